"""The loop: resuming bit for bit however it was stopped, divergence, changed settings and data, golden
losses."""

import itertools
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from training_runs import CPU, SHORT, assert_equal_runs, everything, go, settings, spoiled

from rawmm_cli.config import build, presets
from rawmm_cli.core.document import Picture
from rawmm_cli.data import prepared
from rawmm_cli.data.loader import Steps
from rawmm_cli.data.rows import picture_row
from rawmm_cli.data.stream import document, picture_of
from rawmm_cli.runs import checkpoint, records
from rawmm_cli.system.distributed import ALONE
from rawmm_cli.system.errors import CheckpointError, DataError, DivergedError, LockedError, Stopped
from rawmm_cli.training import optimizer
from rawmm_cli.training import train as module
from rawmm_cli.training.state import Run, Signals, fresh
from rawmm_cli.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


# ----------------------------------------------------------------------------------------------- stop, resume


VARIANTS = [
    f"{kind} {backbone}" for kind, backbone in itertools.product(("adamw", "muon"), ("gau", "transformer"))
]


def variant(name):
    kind, backbone = name.split()
    return f"train.optimizer={kind}", f"backbone.kind={backbone}"


@pytest.fixture(scope="module")
def whole(few_digits, tmp_path_factory):
    """variant -> the folder of a run that nothing stopped."""
    made = {}

    def run(name, *words):
        key = (name, *words)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "run"
            go(settings(*variant(name), *words), few_digits, made[key])
        return made[key]

    return run


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("until", [80, 112])  # right after a checkpoint; two steps later
def test_stop_and_resume_is_the_same_as_never_stopped(name, until, whole, few_digits, tmp_path):
    chosen, run = settings(*variant(name)), tmp_path / "run"
    assert go(chosen, few_digits, run, until)[-1]["documents"] == until
    resumed = go(chosen, few_digits, run)
    assert [record["documents"] for record in resumed] == list(range(96, 161, 16))
    assert_equal_runs(run, whole(name))


def test_two_runs_are_the_same_and_another_seed_is_not(whole, few_digits, tmp_path):
    for seed in (0, 1):
        go(settings(f"train.seed={seed}"), few_digits, tmp_path / str(seed))
    assert_equal_runs(tmp_path / "0", whole("adamw gau"))
    one, other = (everything(tmp_path / seed)[0] for seed in "01")
    assert not torch.equal(one["model/head.into.weight"], other["model/head.into.weight"])


def test_all_stops_at_once(whole, few_digits, tmp_path):
    """A checkpoint that was damaged, one half written, a torn record: the run goes on from what is whole."""
    chosen, run = settings(), tmp_path / "run"
    go(settings("train.save_every=32"), few_digits, run, 112)
    damaged = run / "checkpoints" / "step_00000006" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    shutil.copytree(damaged.parent, run / "checkpoints" / ".step_00000008.partial")
    with open(run / "records.jsonl", "a") as file:
        file.write('{"loss": 1')
    heard = []
    assert go(chosen, few_digits, run, notify=heard.append)[0]["documents"] == 80
    assert any("damaged" in line for line in heard) and any(
        "resuming run at 64 of 160" in line for line in heard
    )
    assert_equal_runs(run, whole("adamw gau"))
    assert not list((run / "checkpoints").glob(".*"))


def test_a_run_that_is_done_is_left_alone(whole, few_digits, tmp_path):
    run, heard = shutil.copytree(whole("adamw gau"), tmp_path / "run"), []
    assert go(settings(), few_digits, run, notify=heard.append) == []
    assert "nothing to do" in heard[-1]
    assert_equal_runs(run, whole("adamw gau"))


def test_more_documents_may_be_trained(whole, few_digits, tmp_path):
    run = shutil.copytree(whole("adamw gau"), tmp_path / "run")
    more = go(settings("train.documents=208", "train.keep=1", "sample.guidance=3"), few_digits, run)
    assert [record["documents"] for record in more] == [176, 192, 208]
    assert checkpoint.run_config(run).train.documents == 208
    assert len(list((run / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize(
    "word, told",
    [
        ("train.learning_rate=1e-3", "train.learning_rate was 0.002, now 0.001"),
        ("train.batch=32", "train.batch was 16, now 32"),
        ("backbone.width=64", "backbone.width was 32, now 64"),
        ("data.read=0.25", "data.read was 0.5, now 0.25"),
        ("head.loss=clean", "head.loss was velocity, now clean"),
        ("train.seed=1", "train.seed was 0, now 1"),
        ("train.ema.ramp=0.1", "train.ema"),
        ("backbone.kind=transformer", "backbone.kind was gau, now transformer"),
    ],
)
def test_other_settings_are_another_run(word, told, whole, few_digits):
    run = whole("adamw gau")
    before = (run / "config.yaml").read_text()
    with pytest.raises(CheckpointError) as caught:
        go(settings(word), few_digits, run)
    assert told in str(caught.value) and "--run" in str(caught.value)
    assert (run / "config.yaml").read_text() == before


def test_other_data_is_another_run(whole, few_digits, tmp_path):
    run, data = shutil.copytree(whole("adamw gau"), tmp_path / "run"), tmp_path / "data"
    rows = {split: rows_of(prepared.load(few_digits / "digits", split)) for split in prepared.SPLITS}
    rows["train"][0]["captions"] = ["naught"]
    prepared.write(data / "digits", rows, {"labels": []})
    with pytest.raises(CheckpointError, match="was trained on other data: the set 'digits' has changed"):
        go(settings("train.documents=176"), data, run)


def rows_of(data):
    return [
        picture_row(data.image(i).numpy().transpose(1, 2, 0), data.captions[i], int(data.labels[i]), str(i))
        for i in range(len(data))
    ]


# ---------------------------------------------------------------------------------------------------- signals


HIT = """
import os, sys
from rawmm_cli.training import train
step, number, at = train.take_step, int(sys.argv.pop(1)), int(sys.argv.pop(1))
def hit(run, state, *rest):
    if state.step == at:
        os.kill(os.getpid(), number)
    return step(run, state, *rest)
train.take_step = hit
from rawmm_cli.cli import main
main()
"""


def command(data, run, *words):
    return [
        "train",
        "--preset",
        "tiny",
        "--run",
        run.name,
        "--runs-dir",
        run.parent,
        "--data-dir",
        data,
        "--json",
        *SHORT,
        *words,
    ]


def hit(number, at, data, run):
    """`rawmm train` in a process of its own, to which signal `number` comes at the start of step `at`."""
    words = [sys.executable, "-c", HIT, str(int(number)), str(at), *map(str, command(data, run))]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def test_sigterm_saves_and_exits_143(whole, few_digits, tmp_path, rawmm):
    run = tmp_path / "run"
    done = hit(signal.SIGTERM, 6, few_digits, run)
    assert done.returncode == 143 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        "error: stopped by SIGTERM and saved at 112 documents; run the same command again to go on"
    )
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 112
    code, out, _ = rawmm(*command(few_digits, run))
    assert code == 0 and '"documents": 160' in out
    assert_equal_runs(run, whole("adamw gau"))


def test_kill_9_loses_nothing_but_time(whole, few_digits, tmp_path, rawmm):
    run = tmp_path / "run"
    assert hit(signal.SIGKILL, 8, few_digits, run).returncode == -signal.SIGKILL
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 80
    assert records.read(run / "records.jsonl")[-1]["documents"] == 96  # it came further than it had saved
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_equal_runs(run, whole("adamw gau"))


def test_sigint_saves_and_exits_130(few_digits, tmp_path, rawmm, monkeypatch):
    step, run = module.take_step, tmp_path / "run"

    def interrupted(place, state, *rest):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(place, state, *rest)

    monkeypatch.setattr(module, "take_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (130, "") and "stopped by SIGINT and saved at 48 documents" in err
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 48
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("moment", ["the consumer's turn", "the sheet is drawn"])
def test_what_is_said_to_be_saved_is_saved(moment, few_digits, tmp_path, monkeypatch):
    """The signal comes when it was already decided that the step needs no checkpoint."""
    signals = iter([signal.SIGTERM])  # one only: a second acts at once

    def send(*rest):
        for number in signals:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(module, "preview", send if moment == "the sheet is drawn" else lambda *rest: None)
    loop = train(settings("train.sample_every=16"), few_digits, tmp_path / "run", CPU, lambda message: None)
    with pytest.raises(Stopped) as caught:
        for record in loop:
            send()
            assert record["documents"] < 48
    newest = checkpoint.latest(tmp_path / "run")
    assert newest is not None
    assert f"saved at {checkpoint.state(newest)['documents']} documents" in str(caught.value)


def test_a_second_process_is_told_at_once(few_digits, tmp_path):
    run = tmp_path / "run"
    loop = train(settings(), few_digits, run, CPU, lambda message: None)
    next(loop)
    words = [sys.executable, "-m", "rawmm_cli", *map(str, command(few_digits, run))]
    second = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert second.returncode == 8 and second.stdout == ""
    assert second.stderr == (
        f"error: process {os.getpid()} on {socket.gethostname()} is training in {run}; wait for it, "
        "or use another --run name\n"
    )
    with pytest.raises(LockedError):
        go(settings(), few_digits, run)
    loop.close()
    assert go(settings(), few_digits, run)[-1]["documents"] == 160  # the lock is gone with its owner


# ------------------------------------------------------------------------------------------------- divergence


def first_step(chosen, data, folder):
    """Take the first step of a run that was never saved -> its state."""
    place = Run(chosen, folder, CPU, ALONE, data, data, lambda message: None)
    folder.mkdir(exist_ok=True)
    state = fresh(chosen, CPU, ALONE)
    micro = Steps(chosen, data, state.model)[0]
    try:
        module.take_step(place, state, micro, Signals(ALONE), module.Clock(0.0))
    finally:
        first_step.state = state
    return state


@pytest.mark.parametrize(
    "how, named",
    [
        ("text", "loss, text, gradient_norm"),
        ("image", "loss, image, gradient_norm"),
        ("gradient", "gradient_norm"),
    ],
)
def test_a_step_that_is_not_finite_is_not_taken(how, named, few_digits, monkeypatch, tmp_path):
    chosen, data = settings(), prepared.load(few_digits / "digits", "train")
    spoiled(monkeypatch, how, 0)
    with pytest.raises(DivergedError) as caught:
        first_step(chosen, [data], tmp_path)
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        f"{named} not finite at document 0; the step was not taken and its documents are in "
        "bad_batch.json; set a lower train.learning_rate (now 0.002) or train.precision=fp32, "
        "and another --run"
    )
    bad = json.loads((tmp_path / "bad_batch.json").read_text())
    rows = Steps(chosen, data, build.model(chosen, "meta")).rows(0)
    numbers = sorted(number for row in rows for number in row)
    order = [picture_of(number, len(data), 0) for number in numbers]
    assert (bad["documents"], bad["pictures"]) == (numbers, order) and len(order) > 10
    assert bad["sources"] == [data.source(index) for index in order]
    state, other = first_step.state, fresh(chosen, CPU, ALONE)
    assert state.documents == state.step == 0 and optimizer.state(state.optimizers, state.model) == {}
    for one, new in ((state.model, other.model), (state.averages[0], other.averages[0])):
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), new.parameters()))


def test_divergence_leaves_a_good_checkpoint(whole, few_digits, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoiled(patch, "text", 7)
        with pytest.raises(DivergedError, match="at document 112"):
            go(settings(), few_digits, run)
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 80
    go(settings(), few_digits, run)
    assert_equal_runs(run, whole("adamw gau"))


def test_the_advice_of_a_divergence_can_be_followed(few_digits, tmp_path, monkeypatch):
    """Nothing was saved yet, so a lower learning rate under the same name starts anew."""
    with monkeypatch.context() as patch:
        spoiled(patch, "image", 1)
        with pytest.raises(DivergedError, match="set a lower train.learning_rate"):
            go(settings(), few_digits, tmp_path / "run")
    assert go(settings("train.learning_rate=1e-3"), few_digits, tmp_path / "run")[-1]["documents"] == 160


# ---------------------------------------------------------------------------------------------- known numbers


GOLDEN_TEXT = [5.56068, 5.55209, 5.52999, 5.50871, 5.46747, 3.51087]
GOLDEN_IMAGE = [13.80879, 30.63021, 8.63398, 6.46514, 4.93047, 2.50505]


def test_golden_losses_of_preset_tiny(prepared_digits, tmp_path):
    """Steps 1 to 5 and 40, recorded from a run on x86 with AVX-512; other CPUs round differently."""
    found = go(presets.load("tiny", ["train.threads=1"]), prepared_digits, tmp_path / "run")
    assert len(found) == 40 and found[-1]["documents"] == 640
    chosen = [*found[:5], found[-1]]
    assert chosen[0]["text"] == pytest.approx(math.log(260), rel=1e-6)  # fresh: all 260 words alike
    assert [record["text"] for record in chosen] == pytest.approx(GOLDEN_TEXT, rel=1e-3)
    assert [record["image"] for record in chosen] == pytest.approx(GOLDEN_IMAGE, rel=1e-3)
    assert all(
        record["loss"] == pytest.approx(record["text"] + record["image"], rel=1e-6) for record in found
    )


def test_records_say_where_the_run_is(whole):
    lines = records.read(whole("adamw gau") / "records.jsonl")
    assert [line["documents"] for line in lines] == [48, 96, 144, 160]
    assert [line["step"] for line in lines] == [3, 6, 9, 10]
    train_settings = settings().train
    for line in lines:
        share = optimizer.rate(train_settings, line["documents"] - 16, 1 - (line["documents"] - 16) / 160)
        assert line["learning_rate"] == pytest.approx(2e-3 * share)
    assert all(np.diff([line["seconds"] for line in lines]) > 0)


def noise_of(chosen, data):
    """{key of a drawn picture: (noised patches, their time)} of the first 128 documents."""
    model, found = build.model(chosen), {}
    steps = Steps(chosen, data, model)
    for batch in (batch for first in range(0, 128, chosen.train.batch) for batch in steps[first]):
        head, of = model.head, batch.pictures.picture_of
        corrupted = head.corrupt(model.clean(batch), batch.pictures)
        found |= {
            key: (corrupted.inputs[of == m], corrupted.time[m])
            for m, (key, drawn) in enumerate(zip(batch.pictures.keys, batch.pictures.drawn))
            if drawn
        }
    return found


def test_noise_depends_on_the_document_and_not_on_the_batch(few_digits):
    data = prepared.load(few_digits / "digits", "train")
    of_16, of_8 = (
        noise_of(settings(), data),
        noise_of(settings("train.batch=8", "train.accumulate=2"), data),
    )  # three epochs
    assert of_16.keys() == of_8.keys() and len(of_16) > 30
    assert all(torch.equal(a, b) for key in of_16 for a, b in zip(of_16[key], of_8[key]))
    keys = [
        item.key
        for number in range(128)
        for item in document(data, number, 0, read=0.5, drop=0.1, shift=0)
        if isinstance(item, Picture) and item.draw
    ]
    assert set(keys) == of_16.keys()


def test_a_run_ends_with_a_whole_step(few_digits, tmp_path):
    found = go(settings("train.documents=72"), few_digits, tmp_path / "run")
    assert [record["documents"] for record in found] == [16, 32, 48, 64, 80]
    assert checkpoint.state(checkpoint.latest(tmp_path / "run"))["documents"] == 80
    assert found[-1]["learning_rate"] > 0 and math.isfinite(found[-1]["loss"])
    assert go(settings("train.documents=72"), few_digits, tmp_path / "run") == []


@pytest.mark.parametrize(
    "word",
    [
        "data.read=0",
        "data.read=1",
        "data.drop=1",
        "data.shift=3",
        "train.batch=1",
        "loss.text=0",
        "train.optimizer=muon",
        "head.prediction=velocity",
    ],
)
def test_the_ends_of_what_is_allowed(word, few_digits, tmp_path):
    found = go(settings(word, "train.documents=16"), few_digits, tmp_path / "run")
    assert all(math.isfinite(value) for record in found for value in record.values())


# --------------------------------------------------------------------------------------- data that do not fit


def set_of(folder, sizes, captions, labels=()):
    """A data folder whose set `digits` holds pictures of these (height, width) with these captions."""
    dice = np.random.default_rng(0)
    rows = [
        picture_row(dice.integers(0, 256, (*size, 3), dtype=np.uint8), texts, source=f"{n}.png")
        for n, (size, texts) in enumerate(zip(sizes, captions))
    ]
    prepared.write(folder / "digits", {"train": rows, "held_out": rows[:1]}, {"labels": list(labels)})
    return folder


MISFITS = {
    "caption": (
        [(8, 8)] * 3,
        [["a"], ["b", "x" * 33], ["c"]],
        (),
        "picture 1.png and its caption of 33 bytes need 41 positions; train.length is 40; set "
        "train.length=41 or more, or shorten the caption",
    ),
    "bytes": ([(8, 8)] * 2, [["a"], ["\U0001f600" * 9]], (), "caption of 36 bytes need 44 positions"),
    "size": (
        [(12, 12)] * 2,
        [["a"], ["b"]],
        (),
        "set 'digits' holds pictures of 12x12 pixels and data.size is 8; set data.size=12, or prepare the "
        "set "
        "again with --size 8",
    ),
    "patch": (
        [(8, 8), (8, 10)],
        [["a"], ["b"]],
        (),
        "picture 1.png has 10x8 pixels; codec.patch = 4 must divide both; prepare the set again with --size "
        "8, "
        "or set codec.patch",
    ),
    "none to read": (
        [(8, 8)] * 2,
        [[], []],
        ("data.read=1",),
        "no picture of 'digits' has a caption and data.read = 1",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_data_that_do_not_fit_are_named_before_anything_is_made(name, tmp_path):
    sizes, captions, words, told = MISFITS[name]
    data = set_of(tmp_path / "data", sizes, captions)
    with pytest.raises(DataError) as caught:
        go(settings(*words), data, tmp_path / "run")
    assert told in str(caught.value) and caught.value.exit_code == 3
    assert not (tmp_path / "run").exists()


def test_data_that_just_fit(tmp_path):
    data = set_of(tmp_path / "data", [(8, 8), (8, 12), (24, 24)], [["x" * 32], ["\u00e9" * 15], []])
    assert go(settings("train.documents=16"), data, tmp_path / "run")[-1]["documents"] == 16


def test_no_data_is_said_with_the_remedy(tmp_path):
    with pytest.raises(
        DataError, match="data set 'digits' is not prepared in .*; run `rawmm prepare digits`"
    ):
        go(settings(), tmp_path / "none", tmp_path / "run")
    assert not (tmp_path / "run").exists()
