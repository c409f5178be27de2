"""Text that is drawn and read back: by an engine that is known to read what stands on each picture."""

import numpy as np
import pytest
import torch
from evaluated import means_agree
from helpers import as_loaded, randomised

from rawmm_cli.config import build, presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import END_IMAGE, EOS, IMAGE, decode
from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row
from rawmm_cli.evaluation import drawn_text, evaluate, steps
from rawmm_cli.evaluation.results import LeftOut
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.reconstruction import ocr
from rawmm_cli.sampling.request import Request

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = presets.load("tiny", ["data.set=words"])
WORDS = ("abcd", "efgh", "ijkl mnop", "qrst")


def written(text: str) -> np.ndarray:
    """A picture (8, 8, 3) whose first pixels are the letters."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels.reshape(-1)[: len(text)] = list(text.encode())
    return pixels


class Reader:
    """Reads what `written` wrote."""

    def __init__(self, engine):
        self.engine = engine

    def __call__(self, pictures):
        return [bytes(one.reshape(-1)).rstrip(b"\0").decode() for one in pictures]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.fixture
def subject(tmp_path, monkeypatch):
    rows = [picture_row(written(word), [word]) for word in WORDS]
    splits = {"train": rows, "held_out": rows}
    prepared.write(tmp_path / "words", splits, {"captions_are_written": True})
    monkeypatch.setattr(ocr, "Reader", Reader)
    monkeypatch.setattr(ocr, "available", lambda engine: engine == "rapidocr")
    model = randomised(build.model(TINY), std=0.1).eval()
    splits = [prepared.load(tmp_path / "words", split) for split in prepared.SPLITS]
    return Subject(as_loaded(model, TINY), Request(), *splits, tmp_path)


def who_spells(mistakes):
    """A `generate` that draws captions, in n steps with `mistakes(n)` letters of each replaced; of "qrst" it
    draws nothing."""

    def generate(model, prompts, keys, settings, *_):
        documents = []
        for prompt in prompts:
            text, wrong = decode(prompt), mistakes(settings.drawing.steps)
            pixels = torch.from_numpy(written("." * wrong + text[wrong:])).permute(2, 0, 1)
            drawn = [IMAGE, Picture(pixels, False), END_IMAGE, EOS]
            documents.append([*prompt, *([EOS] if text == "qrst" else drawn)])
        return documents

    return generate


def test_letters_words_and_texts_that_are_read_back(subject, monkeypatch):
    """Two letters of each are wrong, of the fourth there is no picture; real pictures are read without a
    mistake."""
    monkeypatch.setattr(generator, "generate", who_spells(lambda steps: 2))
    results = drawn_text.measure(subject)
    assert means_agree(results) == {f"drawn_text.{name}" for name in ("characters", "words", "right")}
    result = results["drawn_text"]
    assert (result.engine, result.count, result.without_picture) == ("rapidocr", 4, 1)
    assert result.characters == pytest.approx((2 / 4 + 2 / 4 + 7 / 9 + 0) / 4)
    assert (result.words, result.right) == (0.5 / 4, 0.0)
    assert result.real == {"characters": 1.0, "words": 1.0, "right": 1.0} and result.codec is None
    assert result.by_engine["rapidocr"]["real"] == result.real


def test_the_codec_is_measured_where_it_loses_something(subject, monkeypatch):
    monkeypatch.setattr(generator, "generate", who_spells(lambda steps: 0))
    codec, decode_ = subject.loaded.model.codec, subject.loaded.model.codec.decode

    def lossy(tokens, rows):
        images = decode_(tokens, rows)
        images[:, 0, 0, 0] = ord("x")
        return images

    monkeypatch.setattr(codec, "decode", lossy)
    result = drawn_text.measure(subject)["drawn_text"]
    assert result.right == 0.75 and result.codec["right"] == 0.0
    assert result.codec["characters"] == pytest.approx((3 * 3 / 4 + 8 / 9) / 4)


def test_without_an_engine_it_is_left_out_and_named(subject, monkeypatch):
    monkeypatch.setattr(ocr, "available", lambda engine: False)
    monkeypatch.setattr(generator, "generate", who_spells(lambda steps: 0))
    with pytest.raises(LeftOut, match="no OCR engine is installed.*tesseract-ocr; or pip install"):
        drawn_text.measure(subject)
    lines = []
    result = evaluate.evaluate(
        subject.loaded, Request(), subject.folder, evaluators=["drawn_text"], notify=lines.append
    )
    assert "drawn_text" not in result
    assert any(line.startswith("drawn_text is left out: no OCR engine is installed") for line in lines)


def test_sets_whose_captions_are_not_written_on_them(few_digits, tmp_path):
    splits = [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]
    assert drawn_text.measure(Subject(as_loaded(build.model(TINY), TINY), Request(), *splits, tmp_path)) == {}


# ------------------------------------------------------------------------------------------------------ steps


def test_quality_against_steps(subject, monkeypatch):
    """Four letters are wrong in one step, three in two, ... and none from ten on."""
    wrong = dict(zip(steps.STEPS, (4, 3, 2, 1, 0, 0, 0, 0)))
    monkeypatch.setattr(generator, "generate", who_spells(wrong.get))
    results = steps.measure(subject)
    assert means_agree(results) == {f"steps.by_steps.{n}" for n in steps.STEPS}
    result = results["steps"]
    assert (result.metric, result.count, result.fixed) == ("drawn_text.characters", 4, None)
    known = [((4 - n) / 4 + (4 - n) / 4 + (9 - n) / 9 + 0) / 4 for n in wrong.values()]
    assert list(result.by_steps.values()) == pytest.approx(known)


def test_a_model_without_steps_has_one_point(subject, monkeypatch):
    """192 codes of an 8-px picture, one after the other."""
    words = ["codec.kind=subpixels", "head.kind=autoregressive", "train.length=300", "data.set=words"]
    config = presets.load("tiny", words)
    model = randomised(build.model(config), std=0.1).eval()
    other = Subject(as_loaded(model, config), Request(), subject.train, subject.held_out, subject.folder)

    def generate(model, prompts, keys, settings, *_):
        return [[*prompt, EOS] for prompt in prompts]

    monkeypatch.setattr(generator, "generate", generate)
    result = steps.measure(other)["steps"]
    assert result.by_steps == {"192": 0.0}
    known = "head is autoregressive, which has no steps to choose: 192 evaluations a picture"
    assert result.fixed == known
