"""Models that read pictures and draw none: what is measured, asked of them, and shown while they train."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import as_loaded, randomised
from PIL import Image

from rawmm_cli.config import build, presets
from rawmm_cli.data import prepared
from rawmm_cli.evaluation import evaluate
from rawmm_cli.sampling import session
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.training import preview

pytestmark = pytest.mark.usefixtures("one_thread")
READING = presets.load("tiny", ["head={kind: reading}", "data.read=1"])


@pytest.fixture(scope="module")
def loaded():
    return as_loaded(randomised(build.model(READING), std=0.1).eval(), READING)


def test_it_is_judged_by_what_it_reads(loaded, few_digits):
    result = evaluate.evaluate(loaded, Request(), few_digits)
    assert "text_to_image" not in result and result["image_to_text"]["count"] == 7
    assert set(result["held_out"]) == {"count", "caption", "bits_per_byte"}


@pytest.mark.parametrize(
    "asked, option",
    [({"settings": {"max_pictures": 2}}, "--max-pictures"), ({"strength": 0.5}, "--strength")],
)
def test_it_is_not_asked_to_draw(loaded, few_digits, asked, option):
    pixels = prepared.load(few_digits / "digits", "held_out").image(0)
    images = (pixels,) if "strength" in asked else ()
    with pytest.raises(ConfigError, match=f"{option}: tiny reads pictures and draws none"):
        session.prepare(loaded, Request(images=images, **asked))


def test_without_a_number_of_pictures_it_writes(loaded):
    ready = session.prepare(loaded, Request(("seven",)))
    assert ready.settings.max_pictures == 0
    assert all(isinstance(item, int) for item in ready.run()[0])


def test_its_preview_reads(loaded, few_digits, tmp_path):
    train, held_out = (prepared.load(few_digits / "digits", split) for split in prepared.SPLITS)
    path, losses = preview.preview(READING, loaded.model, train, held_out, tmp_path, (640, 40))
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["prompts"] == [] and len(note["read"]) == 7 and "held_out_image" not in losses
    assert np.asarray(Image.open(path)).min() == 255 and (tmp_path / "held_out.png").exists()


@pytest.mark.parametrize(
    "pictures, documents, most",
    [(None, 40, 1), (40, 40, 1), (120, 40, 3), (100, 40, 3), (0, 40, 1), (0, 0, 1)],
)
def test_a_model_of_documents_draws_as_many_pictures_as_they_have(pictures, documents, most):
    config = presets.load("tiny")
    known = {"sets": [{"pictures": pictures, "count": {"train": documents, "held_out": 0}}]}
    model = replace(as_loaded(build.model(config), config), seen=known)
    assert session.settings_for(model, Request(("",))).max_pictures == most
    assert session.settings_for(model, Request(("",), settings={"max_pictures": 2})).max_pictures == 2
