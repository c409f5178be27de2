"""`--gpus` and the environment of a launcher: what cannot be is refused before anything starts."""

import pytest
import torch
from forking import forked
from training_runs import command

pytestmark = pytest.mark.usefixtures("one_thread", "quick")


# ----------------------------------------------------------------------------------------------------- --gpus


@pytest.mark.parametrize(
    "have, message",
    [
        (0, "--gpus 99: this machine has no GPUs; add --device cpu to train with 99 processes on the CPU"),
        (1, "--gpus 99: this machine has 1 GPU; add --device cpu to train with 99 processes on the CPU"),
        (4, "--gpus 99: this machine has 4 GPUs; give --gpus 4"),
    ],
)
def test_more_gpus_than_there_are(have, message, few_digits, tmp_path, rawmm, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: have)
    words = [
        word
        for word in command(few_digits, tmp_path / "run", "--gpus", "99")
        if word not in ("--device", "cpu")
    ]
    assert rawmm(*words) == (2, "", f"error: {message}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ("--gpus", "3"),
            "train.batch = 16 cannot be dealt out to 3 ranks x 1 micro-batches; set train.batch to a "
            "multiple of 3",
        ),
        (
            ("--gpus", "2", "train.parallel=none"),
            "train.parallel = none and there are 2 ranks; set train.parallel=ddp or fsdp",
        ),
        (("--gpus", "0"), "Invalid value for '--gpus'"),
        (("train.accumulate=3",), "set train.batch to a multiple of 3"),
        (("--gpus", "2", "train.accumulate=3"), "set train.batch to a multiple of 6"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused_before_anything_starts(
    words, message, few_digits, tmp_path, rawmm, monkeypatch
):
    monkeypatch.setattr(
        "rawmm_cli.system.launch.launch", lambda *arguments: pytest.fail("ranks were started")
    )
    code, out, err = rawmm(*command(few_digits, tmp_path / "run", *words))
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank, size", [("one", "2"), ("2", "2"), ("-1", "2"), ("0", "0"), ("0", "")])
@pytest.mark.process
def test_an_environment_that_does_not_fit(rank, size, few_digits, tmp_path):
    """Variables left over from another launcher."""
    fault = f"os.environ.update(RANK={rank!r}, WORLD_SIZE={size!r})"
    process = forked(tmp_path, command(few_digits, tmp_path / "run"), fault)
    process.join(60)
    assert process.exitcode == 2
    assert (tmp_path / "err").read_text() == (
        f"error: RANK={rank} and WORLD_SIZE={size} do not fit; set both through torchrun, or unset both\n"
    )
