"""Resuming from every step bit for bit, and with settings that have changed."""

import shutil

import pytest
import torch
from training_runs import assert_equal_runs, command, everything, go, settings

from rawmm_cli.runs import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread", "quick")


# ------------------------------------------------------------------------------------------- 20: exact resume

EVERY = ("train.save_every=16", "train.log_every=16", "train.keep=99")


KINDS = {
    "plain": (range(1, 11), ()),
    "all at once": (
        range(1, 11),
        (
            "train.optimizer=muon",
            "backbone.kind=transformer",
            "train.ema.kind=power",
            "train.ema.snapshots=5",
            "train.accumulate=2",
            "train.recompute=true",
        ),
    ),
    "transformer": ((3, 8), ("backbone.kind=transformer", "data.shift=2", "data.finished=0.3")),
    "muon": ((3, 8), ("train.optimizer=muon", "train.ema.half_life=50", "train.decay=1")),
    "workers": ((3, 8), ("train.workers=2",)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.process
def test_resumed_from_any_step_it_is_the_same(kind, whole, few_digits, tmp_path):
    """Steps 4, 7 and 10 cross the borders of epochs of 50 pictures; the learning rate rises until step 4 and
    falls from 7 on."""
    steps, words = KINDS[kind]
    unbroken = whole(*EVERY, *words)
    for step in steps:
        run = shutil.copytree(unbroken, tmp_path / str(step))
        for later in range(step + 1, 11):
            shutil.rmtree(run / "checkpoints" / f"step_{later:08d}")
        records = go(settings(*EVERY, *words), few_digits, run)
        assert [record["step"] for record in records] == list(range(step + 1, 11))
        assert_equal_runs(run, unbroken)
        assert averages(run) == averages(unbroken)
    assert len(averages(unbroken)) == (5 * 2 + 1) * ("train.ema.kind=power" in words)


def averages(run):
    """The snapshots of averages whose width is chosen later, byte for byte; the second average at the end."""
    files = {
        str(path.relative_to(run)): path.read_bytes() for path in (run / "averages").rglob("*.safetensors")
    }
    newest = checkpoint.latest(run) / "ema_2.safetensors"
    return files | ({"last": newest.read_bytes()} if newest.exists() else {})


# --------------------------------------------------------------------------------------- 22: changed settings


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("train.batch=32", "train.batch was 16, now 32"),
        ("backbone.width=64", "backbone.width was 32, now 64"),
        ("train.ema.kind=power", "train.ema was {'kind': 'half_life'"),
        ("train.ema.widths=[0.05,0.2]", "train.ema was"),
        ("train.decay=0.5", "train.decay was 0.4, now 0.5"),
        ("train.optimizer=muon", "train.optimizer was adamw, now muon"),
        ("train.length=44", "train.length was 40, now 44"),
    ],
)
def test_changed_settings_are_named(assignment, message, whole, few_digits, tmp_path, rawmm):
    run = shutil.copytree(whole(), tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, err = rawmm(*command(few_digits, run, "train.documents=320", assignment))
    assert (
        (code, out) == (4, "")
        and err.startswith("error: run 'run' was started with other settings (")
        and message in err
    )
    assert "use the old settings, or another --run name" in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words",
    [
        ("train.workers=1",),
        ("train.recompute=true",),
        ("train.parallel=fsdp",),
        ("train.save_every=16", "train.keep=5"),
        ("train.timeout=5", "train.skip_nonfinite=3", "train.trackers=[]"),
        ("sample.steps=3", "train.sample_every=16"),
    ],
)
@pytest.mark.process
def test_settings_that_may_change_do_not_change_the_run(words, whole, few_digits, tmp_path):
    run = tmp_path / "run"
    go(settings(), few_digits, run, until=96)
    assert len(go(settings(*words), few_digits, run)) == 5
    (values, rest), (others, other_rest) = everything(run), everything(whole())
    assert rest["records"] == other_rest["records"]
    assert all(torch.equal(value, others[name]) for name, value in values.items())
