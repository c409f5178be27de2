"""Runs on a card: resumed to the bit, read on a CPU and the other way round, out of memory."""

import gc
import itertools
import json
import shutil
from contextlib import contextmanager

import codec_runs
import pytest
import torch
from card import CPU, backward, far, go, weights
from training_runs import SHORT, assert_equal_runs, spoiled, step_of

from rawmm_cli import __version__
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from rawmm_cli.data import prepared
from rawmm_cli.runs import checkpoint, loading, models, records
from rawmm_cli.training import step
from rawmm_cli.training import train as module

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.process,
    pytest.mark.timeout(90),
    pytest.mark.usefixtures("one_thread", "quick"),
]
KINDS = {
    "fp32": (),
    "bf16, muon": ("train.optimizer=muon", "train.precision=bf16", "train.recompute=true"),
    "transformer": ("backbone.kind=transformer", "backbone.heads=2", "train.accumulate=2"),
    # rows of several blocks of a fused kernel, whose backward pass must not add in any order
    "long rows": ("backbone.kind=transformer", "backbone.heads=2", "train.length=320", "train.batch=80"),
    "long rows, bf16": (
        "backbone.kind=transformer",
        "backbone.heads=2",
        "train.length=320",
        "train.batch=80",
        "train.precision=bf16",
    ),
    "flex": ("train.mask=flex",),
}


@pytest.fixture
def run_on_card(once, few_digits, card, quick):
    """Function: settings -> the folder of a run on the card that nothing stopped. Read only."""

    def run(*words):
        return (
            once(f"on the card {words}", lambda folder: go(few_digits, folder / "run", card, *words)) / "run"
        )

    return run


# -------------------------------------------------------------------------------------------- 5: checkpoints


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_on_the_card_it_is_the_same_to_the_bit(kind, run_on_card, few_digits, card, tmp_path):
    """Weights, averages, optimizer, records and sheets. 80 of 160 documents: a checkpoint inside an epoch."""
    words, run = KINDS[kind], tmp_path / "run"
    if kind == "flex" and card.type == "cpu":
        words = ()  # torch has no backward of it there
    go(few_digits, run, card, *words, until=80)
    resumed = go(few_digits, run, card, *words)
    assert resumed and resumed[-1]["documents"] == 160
    assert_equal_runs(run, run_on_card(*words))


@pytest.mark.parametrize("kind", ["fp32", "bf16, snapshots", "micro-batches"])
def test_steps_begun_ahead_make_the_same_run(kind, run_on_card, few_digits, card, tmp_path, monkeypatch):
    """A step begins before the numbers of the one before are read, or after: the same, to the bit."""
    words = {
        "fp32": (),
        "bf16, snapshots": ("train.precision=bf16", "train.ema.kind=power", "train.ema.snapshots=3"),
        "micro-batches": ("train.accumulate=2", "train.workers=2", "train.log_every=16"),
    }[kind]
    begin, finish, order = module.begin_step, module.finish_step, []
    monkeypatch.setattr(module, "AHEAD", False)
    monkeypatch.setattr(module, "begin_step", lambda *rest: order.append("begin") or begin(*rest))
    monkeypatch.setattr(module, "finish_step", lambda *rest: order.append("finish") or finish(*rest))
    one_by_one = go(few_digits, tmp_path / "one by one", card, *words)
    assert order == ["begin", "finish"] * 10
    monkeypatch.setattr(module, "AHEAD", True)
    ahead = go(few_digits, tmp_path / "ahead", card, *words)
    assert_equal_runs(tmp_path / "ahead", tmp_path / "one by one")
    assert [line["loss"] for line in ahead] == [line["loss"] for line in one_by_one]
    if card.type == "cuda":
        assert order[20:25] == ["begin", "finish", "begin", "begin", "finish"]


@pytest.mark.parametrize(
    "words", [(), ("train.precision=bf16",), ("backbone.kind=transformer", "backbone.heads=2")]
)
def test_nothing_in_a_step_waits_for_the_card(words, few_digits, card, tmp_path, monkeypatch):
    """The host launches a step and reads nothing: torch raises an error where it would wait."""
    begin = module.begin_step

    def begin_step(run, state, micro):
        if card.type == "cpu" or state.step == 0:  # the first one makes what is kept
            return begin(run, state, micro)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return begin(run, state, micro)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(module, "begin_step", begin_step)
    assert len(go(few_digits, tmp_path / "run", card, *words)) == 10


@pytest.mark.parametrize("kind", ["vq", "fsq", "kl", "query", "gan"])
def test_a_codec_resumed_on_the_card_is_the_same_to_the_bit(kind, few_pictures, card, tmp_path):
    """Its convolutions add in order too."""
    chosen = codec_runs.settings(*codec_runs.KINDS[kind], "train.compile=no")
    codec_runs.go(chosen, few_pictures, tmp_path / "whole", device=card)
    codec_runs.go(chosen, few_pictures, tmp_path / "halves", until=20, device=card)
    assert codec_runs.go(chosen, few_pictures, tmp_path / "halves", device=card)[-1]["documents"] == 40
    (values, rest), (others, other_rest) = (
        codec_runs.everything(tmp_path / name) for name in ("whole", "halves")
    )
    assert values.keys() == others.keys()
    assert [name for name in values if not torch.equal(values[name], others[name])] == []
    assert rest == other_rest


def test_a_run_on_the_card_learns_as_on_the_cpu(run_on_card, few_digits, card):
    """Losses fall; records and environment.json say what they say of a CPU."""
    lines = records.read(run_on_card() / "records.jsonl")
    assert lines[-1]["text"] < lines[0]["text"] < 6 and all(line["memory"] > 0 for line in lines)
    facts = json.loads((run_on_card() / "environment.json").read_text())
    assert facts["rawmm"] == __version__ and facts["precision"] == "fp32"
    if card.type == "cuda":
        assert facts["device"] == torch.cuda.get_device_name(card)


def held_out_losses(folder, device, data):
    """Losses of a saved model on held-out pictures that are read: no noise."""
    model = models.load(folder, device).model.requires_grad_(True)
    held_out = prepared.load(data / "digits", "held_out")
    documents = [
        [BOS, IMAGE, Picture(held_out.image(n), False, n), END_IMAGE, *encode("seven"), EOS] for n in range(7)
    ]
    return backward(model, pack(documents, 96, model.blocks).to(device))


@pytest.mark.parametrize("made_on", ["card", "cpu"])
def test_a_checkpoint_is_read_on_the_other_device(made_on, run_on_card, tiny_run, few_digits, card):
    run = run_on_card() if made_on == "card" else tiny_run
    (losses, gradients), (others, moved) = (held_out_losses(run, on, few_digits) for on in (card, CPU))
    assert losses == pytest.approx(others, rel=1e-4)  # fp32, sums in another order
    assert all(far(gradients[name], value) < 1e-3 for name, value in moved.items() if value.norm() > 0)
    for name, tensor in models.load(run, card).model.state_dict().items():
        assert torch.equal(tensor.cpu(), models.load(run, CPU).model.state_dict()[name]), name


@pytest.mark.parametrize("begun_on", ["card", "cpu"])
def test_a_run_goes_on_on_the_other_device(begun_on, few_digits, card, tmp_path):
    """Optimizer state moves with it. What follows differs by the noise of the device alone."""
    devices, run = (card, CPU) if begun_on == "card" else (CPU, card), tmp_path / "run"
    words = ("train.optimizer=muon",)
    go(few_digits, run, devices[0], *words, until=80)
    before = weights(checkpoint.latest(run))
    lines = go(few_digits, run, devices[1], *words)
    assert lines[-1]["documents"] == 160 and [line["step"] for line in lines] == list(range(6, 11))
    go(few_digits, tmp_path / "other", devices[1], *words)
    other, after = weights(checkpoint.latest(tmp_path / "other")), weights(checkpoint.latest(run))
    assert far(after, before) > 0 and far(after, other) < far(before, other)


@pytest.mark.process
def test_workers_pin_their_batches_and_change_nothing(run_on_card, few_digits, card, tmp_path):
    go(few_digits, tmp_path / "run", card, "train.workers=2")
    one, other = (checkpoint.latest(run) for run in (tmp_path / "run", run_on_card()))
    for name in ("model", "ema", "optimizer"):
        assert torch.equal(weights(one, name), weights(other, name)), name


# ------------------------------------------------------------------------------------------------ not finite


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("how", ["image", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(how, kind, few_digits, card, tmp_path, monkeypatch):
    """Neither weights nor optimizer: AdamW has counted nine steps of ten."""
    spoiled(monkeypatch, how, 3)
    run, words = (
        tmp_path / "run",
        (f"train.optimizer={kind}", "train.skip_nonfinite=1", "train.save_every=16"),
    )
    lines = go(few_digits, run, card, *words, "train.keep=99")
    assert [line["documents"] for line in lines] == [n for n in range(16, 161, 16) if n != 64]
    saved = sorted((run / "checkpoints").iterdir())
    assert len(saved) == 9 and all(weights(saved[-1], name).isfinite().all() for name in ("model", "ema"))
    steps = {
        float(x) for name, x in loading.tensors(saved[-1], "optimizer").items() if name.endswith("/step")
    }
    assert steps == {9.0}


# ------------------------------------------------------------------------------------------ 6: out of memory

# 1,024 documents are 12,000 positions, of which 4 layers of 256 keep more than 1 GiB for the backward pass; a
# sixteenth of them, the weights and the workspace of cuBLAS need 200 MiB.
LARGE = (
    "backbone.width=256",
    "backbone.depth=4",
    "train.batch=1024",
    "train.documents=4096",
    "train.save_every=1024",
)
ROOM = 512 << 20


def test_out_of_memory_is_one_line_and_the_checkpoint_is_intact(few_digits, card, tmp_path, rawmm):
    run, large = tmp_path / "runs" / "run", LARGE if card.type == "cuda" else ()
    first = 1024 if large else 80
    go(few_digits, run, card, *large, *(["train.accumulate=16"] if large else []), until=first)
    saved = shutil.copytree(checkpoint.latest(run), tmp_path / "saved")
    place = ("--run", "run", "--runs-dir", run.parent, "--data-dir", few_digits, "--device", card.type)
    words = ("train", "--preset", "tiny", *place, "--json", "train.workers=0", *SHORT, *large)
    with limited(card):
        code, out, err = rawmm(*words)
    assert (code, out) == (5, ""), err
    assert err.splitlines()[-1].startswith("error: a micro-batch of ") and err.count("error: ") == 1
    assert "train.accumulate=2" in err and "the last checkpoint is intact" in err and "Traceback" not in err
    for name in ("model", "ema", "optimizer"):
        assert torch.equal(weights(checkpoint.latest(run), name), weights(saved, name))
    with limited(card, raising=False):
        code, out, err = rawmm(*words, "train.accumulate=16" if large else "train.accumulate=2")
    assert code == 0 and json.loads(out)["documents"] == (4096 if large else 160), err
    assert step_of(run) == (4 if large else 10)


@contextmanager
def limited(card, raising=True):
    """Little memory for this process, on a card; on a CPU the second step finds none, where `raising`."""
    if card.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        total, here = torch.cuda.get_device_properties(card).total_memory, torch.cuda.current_device()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + ROOM) / total, here)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, here)
        return
    real, calls = step.joint_loss, itertools.count(1)

    def joint_loss(*arguments):
        if raising and next(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "joint_loss", joint_loss)
        yield
