"""The codec loop: resuming bit for bit, the adversary's start, what is measured, divergence, what is
refused."""

import itertools
import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from codec_runs import KINDS, SHORT, everything, go, settings
from training_runs import CPU

from rawmm_cli.codecs.base import to_unit
from rawmm_cli.data import prepared
from rawmm_cli.data.stream import shifted
from rawmm_cli.runs import checkpoint, loading, models
from rawmm_cli.runs.codec import load_codec
from rawmm_cli.system.errors import CheckpointError, DataError, DivergedError, LockedError
from rawmm_cli.training import train_codec as module
from rawmm_cli.training.codec_state import batch
from rawmm_cli.training.train_codec import train_codec

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_equal_runs(one, other):
    (values, rest), (others, other_rest) = everything(one), everything(other)
    assert values.keys() == others.keys()
    assert [name for name in values if not torch.equal(values[name], others[name])] == []
    assert rest == other_rest


# ----------------------------------------------------------------------------------------------- stop, resume


@pytest.mark.parametrize("kind", KINDS)
def test_stop_and_resume_is_the_same_as_never_stopped(kind, whole_codec, few_pictures, tmp_path):
    chosen = settings(*KINDS[kind])
    assert go(chosen, few_pictures, tmp_path / "run", 28)[-1]["documents"] == 28
    assert [record["documents"] for record in go(chosen, few_pictures, tmp_path / "run")] == [
        24,
        28,
        32,
        36,
        40,
    ]
    assert_equal_runs(tmp_path / "run", whole_codec(kind))
    assert go(chosen, few_pictures, tmp_path / "run") == []


def test_another_seed_is_another_run(whole_codec, few_pictures, tmp_path):
    go(settings(*KINDS["fsq"], "train.seed=1"), few_pictures, tmp_path / "run")
    (one, _), (other, _) = everything(whole_codec("fsq")), everything(tmp_path / "run")
    assert not torch.equal(one["model/encoder.layers.0.weight"], other["model/encoder.layers.0.weight"])


def test_pictures_of_a_step_move_where_the_settings_say_so(few_pictures):
    """By one pixel at most in each direction, and always the same; edges are repeated."""
    data = prepared.load(few_pictures / "few", "train")
    rows, images = batch(settings(*KINDS["fsq"]), data, 8)
    assert torch.equal(images, torch.stack([data.image(row) for row in rows]))
    moving = settings(*KINDS["fsq"], "data.shift=1", "train.batch=24")
    rows, images = batch(moving, data, 48)
    moves = list(itertools.product((-1, 0, 1), repeat=2))
    moved = [[shifted(data.image(row), *move) for move in moves] for row in rows]
    which = [[torch.equal(image, one) for one in ones].index(True) for image, ones in zip(images, moved)]
    assert len(set(which)) > 5 and torch.equal(batch(moving, data, 48)[1], images)
    assert torch.equal(batch(moving, data, 47)[1][1:], images[:-1])  # a function of the picture's number


def test_pictures_of_a_run_are_every_picture_once_an_epoch(few_pictures, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(prepared.Prepared, "image", spied(prepared.Prepared.image, seen))
    go(
        settings(*KINDS["fsq"], "train.documents=24", "train.sample_every=1000"),
        few_pictures,
        tmp_path / "run",
    )
    assert sorted(seen[:24]) == list(range(24)) != seen[:24]


def spied(real, seen):
    def image(self, index):
        seen.append(index)
        return real(self, index)

    return image


def test_changed_settings_and_data_are_refused(whole_codec, few_pictures, tmp_path):
    with pytest.raises(CheckpointError, match=r"codec.levels was \(5, 4\), now \(5, 5\)"):
        go(settings(*KINDS["fsq"], "codec.levels=[5, 5]"), few_pictures, whole_codec("fsq"))
    with pytest.raises(CheckpointError, match="started with other settings"):
        go(settings(*KINDS["fsq"], "loss.l1=1"), few_pictures, whole_codec("fsq"))
    rows = {
        split: prepared.read_split(few_pictures / "few", split).to_pylist()[1:] for split in prepared.SPLITS
    }
    prepared.write(tmp_path / "few", rows, {"name": "few"})
    with pytest.raises(CheckpointError, match="was trained on other data: the set 'few' has changed"):
        go(settings(*KINDS["fsq"]), tmp_path, whole_codec("fsq"))


def test_the_sheet_shows_pictures_above_their_reconstructions(whole_codec, few_pictures):
    from PIL import Image

    sheet = np.asarray(Image.open(whole_codec("fsq") / "samples" / "step_00000010.png"))
    codec, held_out = load_codec(whole_codec("fsq"), CPU), prepared.load(few_pictures / "few", "held_out")
    real = held_out.image(1)
    reconstruction = codec.decode(codec.encode(real[None]), 2)[0]
    zoom, cell = 6, 6 * 16 + 2
    for row, image in enumerate((real, reconstruction)):
        cell_pixels = sheet[2 + row * cell : 2 + row * cell + 96 : zoom, 2 + cell : 2 + cell + 96 : zoom]
        assert np.array_equal(cell_pixels, image.permute(1, 2, 0).numpy())
    note = json.loads((whole_codec("fsq") / "samples" / "step_00000010.json").read_text())
    assert note["shows"] == "reconstructions" and note["documents"] == 40


def test_a_collapse_is_told_scale_by_scale(few_pictures, tmp_path):
    """Latents that are all nearly the same, as where nothing is learned: two codes would do."""
    words = ("codec.codes=64", "codec.scales=[1, 2]", "codec.restart=0", "codec.from_data=false")
    lines = []
    chosen = settings(*KINDS["multiscale"], *words)
    for _ in train_codec(chosen, few_pictures, tmp_path / "run", CPU, lines.append):
        pass
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())["codes"]
    assert list(result["sections"]) == ["1x1", "2x2"]
    told = [line.split()[2] for line in lines if "have collapsed" in line]
    assert told == [name for name, one in result["sections"].items() if one["collapsed"]]
    for name, one in result["sections"].items():
        assert one["perplexity"] == pytest.approx(result[f"perplexity_{name}"])
        assert one["collapsed"] == (one["perplexity"] <= min(64, 24 * {"1x1": 1, "2x2": 4}[name]) / 10)


# ------------------------------------------------------------------------------------------------- what fails


@pytest.mark.parametrize("what", ["l2", "gradient"])
def test_a_step_that_is_not_finite_is_not_taken(what, few_pictures, tmp_path, monkeypatch):
    real, calls = module._gradients, itertools.count()

    def spoiled(run, state, *rest):
        parts, reconstruction, used = real(run, state, *rest)
        if next(calls) == 6:
            if what == "gradient":
                next(state.model.parameters()).grad[0] = math.inf
            else:
                parts = parts | {what: torch.tensor(math.nan)}
        return parts, reconstruction, used

    with monkeypatch.context() as patch:
        patch.setattr(module, "_gradients", spoiled)
        with pytest.raises(DivergedError) as caught:
            go(settings(*KINDS["fsq"]), few_pictures, tmp_path / "run")
    assert caught.value.exit_code == 6 and "not finite at document 24; the step was not taken" in str(
        caught.value
    )
    assert len(json.loads((tmp_path / "run" / "bad_batch.json").read_text())["sources"]) == 4
    assert checkpoint.state(checkpoint.latest(tmp_path / "run"))["documents"] == 20
    assert go(settings(*KINDS["fsq"]), few_pictures, tmp_path / "run")[-1]["documents"] == 40


def test_sigint_saves_and_exits_130(few_pictures, tmp_path, rawmm, monkeypatch):
    step, run = module.take_step, tmp_path / "runs" / "mine"

    def interrupted(place, state, *rest):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(place, state, *rest)

    preset = tmp_path / "mine.yaml"
    preset.write_text("# Mine.\ncodec: {kind: fsq}\n")
    words = [
        "train",
        *SHORT,
        *KINDS["fsq"],
        "--preset",
        preset,
        "--data-dir",
        few_pictures,
        "--runs-dir",
        run.parent,
    ]
    with monkeypatch.context() as patch:
        patch.setattr(module, "take_step", interrupted)
        code, out, err = rawmm(*words)
    assert (code, out) == (130, "") and "stopped at 12 documents, saved" in err
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 12
    code, out, _ = rawmm(*words, "--json", "train.time=0.001")
    assert code == 0 and json.loads(out)["documents"] == 12  # the time is up


def test_a_second_process_is_told_at_once(few_pictures, tmp_path):
    loop = train_codec(settings(*KINDS["fsq"]), few_pictures, tmp_path / "run", CPU, lambda message: None)
    next(loop)
    with pytest.raises(LockedError, match="is training in"):
        go(settings(*KINDS["fsq"]), few_pictures, tmp_path / "run")
    loop.close()


def test_pictures_that_do_not_fit_are_named(few_pictures, tmp_path):
    with pytest.raises(
        DataError, match="picture train/0 of set 'few' has 16x16 pixels and data.size is 8; set data.size=16"
    ):
        go(settings(*KINDS["fsq"], "data.size=8"), few_pictures, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_of_codecs_and_of_models_are_not_taken_for_each_other(whole_codec, tiny_run, tmp_path):
    with pytest.raises(
        CheckpointError, match="is a run of a model that draws and reads, not of a codec; train one with"
    ):
        load_codec(tiny_run, CPU)
    for wrong in (loading.load_model, models.load):
        with pytest.raises(
            CheckpointError, match="is a run of a codec, not of a model that draws and reads; use it as"
        ):
            wrong(whole_codec("fsq"), CPU)
    with pytest.raises(CheckpointError, match="is not a run: it has no config.yaml"):
        load_codec(tmp_path, CPU)


def test_a_loaded_codec_does_not_learn(whole_codec):
    codec = load_codec(whole_codec("vq"), CPU)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    tokens = codec.encode(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    codec(to_unit(codec.decode(tokens, 2)))
    assert not codec.training and all(
        torch.equal(value, before[name]) for name, value in codec.state_dict().items()
    )


# ------------------------------------------------------------------------------------------- the command line


def test_the_command_trains_resumes_reports_and_shows(few_pictures, tmp_path, rawmm):
    preset = tmp_path / "mine.yaml"
    preset.write_text("# Mine.\ncodec: {kind: fsq}\n")
    words = [
        "train",
        *SHORT,
        *KINDS["fsq"],
        "--preset",
        preset,
        "--data-dir",
        few_pictures,
        "--runs-dir",
        tmp_path / "runs",
        "--json",
    ]
    code, out, err = rawmm(*words)
    result = json.loads(out)
    assert (
        code == 0
        and result["documents"] == 40
        and result["status"] == "trained"
        and result["held_out_psnr"] > 5
    )
    assert json.loads(rawmm(*words)[1])["status"] == "was trained already"
    code, out, _ = rawmm(*words, "--dry-run")
    result = json.loads(out)
    assert (result["tokens"], result["vocabulary"], result["steps"]) == (4, 20, 10) and result[
        "bits"
    ] == pytest.approx(17.29, abs=0.01)
    code, out, _ = rawmm("report", "mine", "--runs-dir", tmp_path / "runs")
    page = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert code == 0
    for heading in ("PSNR", "Codebook usage", "Perplexity", "its reconstruction", "Held-out"):
        assert heading in page
    assert rawmm(*words, "--gpus", "2")[0] == 2
    code, _, err = rawmm("bench", "train", "--preset", preset)
    assert code == 2 and "trains a codec; allowed: presets of models that draw and read" in err
    code, _, err = rawmm("sample", "x", "--run", "mine", "--runs-dir", tmp_path / "runs")
    assert code == 4 and "is a run of a codec" in err
