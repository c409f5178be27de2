"""Losses on held-out documents while training: those of the same documents by the joint loss, and they fall
into the notes of sheets, the trackers and the report."""

import json
import math

import pytest
import torch
from combinations import randomised
from training_runs import go, settings

from rawmm_cli.config import build, presets
from rawmm_cli.core.batch import pack
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.data import prepared
from rawmm_cli.data.stream import Stream
from rawmm_cli.pages import report
from rawmm_cli.runs.folder import held_out_losses
from rawmm_cli.runs.records import read
from rawmm_cli.training import held_out

TINY = presets.load("tiny", ["train.threads=1"])


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomised(build.model(TINY)).eval()


@pytest.fixture
def split(few_digits):
    return prepared.load(few_digits / "digits", "held_out")


def test_they_are_those_of_the_joint_loss(model, split):
    """Chunks of 16 documents give what one batch of all 64 gives."""
    stream = Stream([split], TINY.train.seed, TINY.data, encode=model.tokenizer.encode)
    documents = [stream.finish(stream.plan_of(0, n % len(split), n)) for n in range(64)]
    with torch.no_grad():
        losses = joint_loss(model, pack(documents, TINY.train.length, model.blocks))
    assert held_out.losses(model, TINY, split) == {
        "held_out_text": pytest.approx(losses.text.item(), rel=1e-5),
        "held_out_image": pytest.approx(losses.image.item(), rel=1e-5),
    }


def test_a_model_that_knows_nothing_has_the_loss_of_chance(split):
    """A fresh model gives all tokens the same probability."""
    fresh = build.model(TINY).eval()
    torch.nn.init.zeros_(fresh.words.weight)
    losses = held_out.losses(fresh, TINY, split)
    assert losses["held_out_text"] == pytest.approx(math.log(fresh.words.weight.shape[0]), rel=1e-3)


def test_the_same_weights_give_the_same_numbers(model, split):
    torch.manual_seed(1)
    one = held_out.losses(model, TINY, split)
    torch.manual_seed(2)
    assert held_out.losses(model, TINY, split) == one


def test_a_run_keeps_them_beside_its_sheets(few_digits, tmp_path, split):
    run = tmp_path / "run"
    records = go(settings("train.sample_every=80"), few_digits, run)
    notes = held_out_losses(run)
    assert [note["documents"] for note in notes] == [80, 160]
    stored = json.loads((run / "samples" / "step_00000010.json").read_text())["held_out"]
    assert {"documents": 160, **stored} == notes[-1] and stored.keys() == {"held_out_text", "held_out_image"}
    assert notes[1]["held_out_text"] < notes[0]["held_out_text"]
    assert not any("held_out_text" in line for line in read(run / "records.jsonl"))
    page = report.render(run)
    assert page.count('class="held-out"') == 2  # a curve for the text and one for the images
    assert f"{notes[-1]['held_out_text']:.4g} held out" in page
    flops = records[-1]["total_flops"]
    assert f"{flops / 1e9:.3g} GFLOP" in page and f"{flops / 160 / 1e9:.3g} GFLOP a document" in page


def test_work_is_counted_over_all_commands(few_digits, tmp_path):
    whole = go(settings(), few_digits, tmp_path / "whole")
    go(settings(), few_digits, tmp_path / "run", until=96)
    resumed = go(settings(), few_digits, tmp_path / "run")
    assert len(resumed) < len(whole) and resumed[-1]["total_flops"] == whole[-1]["total_flops"]
    steps = [line["total_flops"] for line in whole]
    assert steps == sorted(steps) and steps[0] > 0


def test_a_run_begun_before_work_was_counted_has_none(few_digits, tmp_path):
    run = tmp_path / "run"
    go(settings(), few_digits, run, until=96)
    (newest,) = (run / "checkpoints").glob("step_*")
    state = json.loads((newest / "state.json").read_text())
    del state["flops"]
    text = json.dumps(state)
    (newest / "state.json").write_text(text)
    manifest = json.loads((newest / "MANIFEST.json").read_text())
    import hashlib

    manifest["state.json"] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (newest / "MANIFEST.json").write_text(json.dumps(manifest))
    assert all("total_flops" not in line for line in go(settings(), few_digits, run))
    assert "GFLOP" not in report.render(run)
