"""Runs against known numbers: losses written down once, rates, noise that is a function of the document."""

import math

import numpy as np
import pytest
import torch
from training_runs import go, settings

from rawmm_cli.config import build, presets
from rawmm_cli.core.document import Picture
from rawmm_cli.data import prepared
from rawmm_cli.data.loader import Steps
from rawmm_cli.data.stream import document
from rawmm_cli.runs import checkpoint, records
from rawmm_cli.training import optimizer

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------------------------------------- known numbers

GOLDEN_TEXT = [5.56068, 5.55209, 5.52999, 5.50871, 5.46747, 3.51087]


GOLDEN_IMAGE = [13.80879, 30.63021, 8.63398, 6.46514, 4.93047, 2.50505]


def test_golden_losses_of_preset_tiny(prepared_digits, tmp_path):
    """Steps 1 to 5 and 40, recorded from a run on x86 with AVX-512; other CPUs round differently."""
    lines = go(presets.load("tiny", ["train.threads=1"]), prepared_digits, tmp_path / "run")
    assert len(lines) == 40 and lines[-1]["documents"] == 640
    chosen = [*lines[:5], lines[-1]]
    assert chosen[0]["text"] == pytest.approx(math.log(260), rel=1e-6)  # fresh: all 260 words alike
    assert [record["text"] for record in chosen] == pytest.approx(GOLDEN_TEXT, rel=1e-3)
    assert [record["image"] for record in chosen] == pytest.approx(GOLDEN_IMAGE, rel=1e-3)
    assert all(
        record["loss"] == pytest.approx(record["text"] + record["image"], rel=1e-6) for record in lines
    )


def test_records_say_where_the_run_is(whole):
    lines = records.read(whole() / "records.jsonl")
    assert [line["documents"] for line in lines] == [48, 96, 144, 160]
    assert [line["step"] for line in lines] == [3, 6, 9, 10]
    train_settings = settings().train
    for line in lines:
        share = optimizer.rate(train_settings, line["documents"] - 16, 1 - (line["documents"] - 16) / 160)
        assert line["learning_rate"] == pytest.approx(2e-3 * share)
    assert all(np.diff([line["seconds"] for line in lines]) > 0)


def noise_of(chosen, data):
    """{key of a drawn picture: (noised patches, their time)} of the first 128 documents."""
    model, noise = build.model(chosen), {}
    steps = Steps(chosen, data, model)
    for batch in (batch for first in range(0, 128, chosen.train.batch) for batch in steps[first]):
        head, of = model.head, batch.pictures.picture_of
        corrupted = head.corrupt(model.encode(batch), batch.pictures)
        noise |= {
            key: (corrupted.inputs[of == m], corrupted.time[m])
            for m, (key, drawn) in enumerate(zip(batch.pictures.keys, batch.pictures.drawn))
            if drawn
        }
    return noise


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
    lines = go(settings("train.documents=72"), few_digits, tmp_path / "run")
    assert [record["documents"] for record in lines] == [16, 32, 48, 64, 80]
    assert checkpoint.state(checkpoint.latest(tmp_path / "run"))["documents"] == 80
    assert lines[-1]["learning_rate"] > 0 and math.isfinite(lines[-1]["loss"])
    assert go(settings("train.documents=72"), few_digits, tmp_path / "run") == []


@pytest.mark.parametrize(
    "assignment",
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
def test_the_ends_of_what_is_allowed(assignment, few_digits, tmp_path):
    lines = go(settings(assignment, "train.documents=16"), few_digits, tmp_path / "run")
    assert all(math.isfinite(value) for record in lines for value in record.values())
