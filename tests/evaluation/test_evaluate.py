"""The judge, the count of right answers (with models that know everything or nothing), and losses by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evaluated import means_agree
from helpers import as_loaded, randomised
from shard_files import parquet

from rawmm_cli.config import build, presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, decode, encode
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.digits import NAMES
from rawmm_cli.data.rows import picture_row
from rawmm_cli.data.stream import drawing, reading
from rawmm_cli.evaluation import classes, evaluate, losses
from rawmm_cli.evaluation.results import to_json
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.runs import models
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.system.seeds import key

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = presets.load("tiny")


@pytest.fixture(scope="module")
def splits(prepared_digits):
    return [prepared.load(prepared_digits / "digits", split) for split in prepared.SPLITS]


@pytest.fixture(scope="module")
def judge(splits):
    return classes.Judge(splits[0], 8)


@pytest.fixture(scope="module")
def model():
    return randomised(build.model(TINY), std=0.1).eval()


# -------------------------------------------------------------------------------------------------- the judge


def test_the_judge_knows_digits_it_has_not_seen(judge, splits):
    assert judge.accuracy(splits[1]) >= 0.97
    assert judge.accuracy(splits[0]) >= 0.99
    seen = judge([splits[1].image(i) for i in range(360)])
    assert judge.accuracy(splits[1]) == (seen == splits[1].labels).sum() / 360


def test_the_judge_sees_the_centre_of_pictures_of_several_sizes(tmp_path):
    """Two classes that differ in the centre alone; beside it is noise."""
    import numpy as np
    import torch

    rng, rows = np.random.default_rng(0), []
    for n in range(40):
        pixels = rng.integers(0, 256, (8, 8 + 8 * (n % 3), 3), dtype=np.uint8)
        left = (pixels.shape[1] - 8) // 2
        pixels[:, left : left + 8] = 40 + 160 * (n % 2)
        rows.append(picture_row(pixels, [f"class {n % 2}"], n % 2))
    prepared.write(tmp_path / "mixed", {"train": rows, "held_out": rows}, {"labels": ["dark", "light"]})
    data = prepared.load(tmp_path / "mixed", "train")
    judge = classes.Judge(data, 8)
    assert judge.kind == "SVM on the real training pictures, cropped to squares of 8 px"
    assert judge.accuracy(data) == 1.0
    assert judge(
        [torch.full((3, 8, 8), 40, dtype=torch.uint8), torch.full((3, 16, 48), 200, dtype=torch.uint8)]
    ).tolist() == [0, 1]


def test_the_judge_of_larger_and_many_pictures_is_a_network_and_the_same_again(tmp_path):
    """A bar that stands or lies, anywhere, in any two colours: what an SVM on pixels hardly learns."""
    import numpy as np

    rng = np.random.default_rng(0)

    def row(n: int):
        ground, bar = rng.integers(0, 256, (2, 3))
        pixels = np.tile(ground.astype(np.uint8), (16, 16, 1))
        at, first = rng.integers(2, 13), rng.integers(0, 8)
        pixels[at : at + 2, first : first + 8] = np.where(abs(bar - ground) < 60, (ground + 128) % 256, bar)
        return picture_row(np.ascontiguousarray(pixels.swapaxes(0, 1) if n % 2 else pixels), [], n % 2)

    splits = {"train": [row(n) for n in range(classes.PICTURES)], "held_out": [row(n) for n in range(200)]}
    prepared.write(tmp_path / "bars", splits, {"labels": ["lying", "standing"]})
    train, held_out = (prepared.load(tmp_path / "bars", split) for split in splits)
    judge, again = classes.Judge(train, 16), classes.Judge(train, 16)
    assert judge.kind == "convolutional network on the real training pictures"
    assert judge.accuracy(held_out) >= 0.97
    pictures = [held_out.image(n) for n in range(200)]
    assert (judge(pictures) == again(pictures)).all()


@pytest.mark.parametrize(
    "text, label",
    [
        ("seven", 7),
        ("a seven.", 7),
        ("seven seven", 7),
        (" seven\n", 7),
        ("zero", 0),
        ("seventy", None),
        ("xseven", None),
        ("se ven", None),
        ("", None),
        ("Seven", None),
        ("seven_", None),
        ("one two", None),
        ("neither one nor nine", None),
    ],
)
def test_a_text_names_one_label_or_none(text, label):
    assert classes.named(text, list(NAMES)) == label


def test_names_that_are_patterns():
    assert classes.named("a.c", ["a.c", "abc"]) == 0 and classes.named("abc", ["a.c", "abc"]) == 1
    assert classes.named("in c++", ["c", "c++"]) == 1


def test_a_name_inside_a_longer_one_does_not_count():
    clothes = ["shirt", "t-shirt", "ankle boot"]
    assert classes.named("a photo of a t-shirt", clothes) == 1
    assert classes.named("a photo of a shirt", clothes) == 0
    assert classes.named("a shirt over a t-shirt", clothes) is None
    assert classes.named("an ankle", clothes) is None and classes.named("", clothes) is None


# --------------------------------------------------------------------------------- models that know, or don't


def oracle(splits, judge, shift):
    """A `generate` that draws a real picture of, and names, the class `shift` places after the right one."""
    train, held_out = splits
    examples = {}
    for i in range(len(train)):
        if int(judge([train.image(i)])[0]) == train.labels[i]:
            examples.setdefault(int(train.labels[i]), train.image(i))
        if len(examples) == 10:
            break
    truth = {held_out.image(i).numpy().tobytes(): int(label) for i, label in enumerate(held_out.labels)}

    def generate(model, prompts, keys, settings, *_):
        assert len(prompts) == len(keys) <= generator.CHUNK
        done = []
        for prompt in prompts:
            assert prompt[0] == BOS
            if prompt[1] == IMAGE:  # to read: greedily, without drawing
                assert prompt[3:] == [END_IMAGE] and not prompt[2].draw
                assert settings.temperature == 0 and settings.max_pictures == 0
                label = (truth[prompt[2].pixels.numpy().tobytes()] + shift) % 10
                done.append([*prompt, *encode(NAMES[label]), EOS])
            else:  # to draw: the model itself opens the picture
                assert IMAGE not in prompt and settings.max_pictures == 1
                label = (NAMES.index(decode(prompt)) + shift) % 10
                done.append([*prompt, IMAGE, Picture(examples[label], False), END_IMAGE, EOS])
        return done

    return generate


@pytest.mark.parametrize("shift, expected", [(0, 1.0), (1, 0.0)])
def test_who_knows_all_is_right_and_who_errs_is_wrong(
    shift, expected, splits, judge, model, prepared_digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(generator, "generate", oracle(splits, judge, shift))
    result = evaluate.evaluate(as_loaded(model, TINY), Request(), prepared_digits, per_label=3, keep=tmp_path)
    assert result["text_to_image"]["accuracy"] == result["image_to_text"]["accuracy"] == expected
    assert result["text_to_image"]["by_label"] == dict.fromkeys(NAMES, expected)
    assert (result["text_to_image"]["count"], result["image_to_text"]["count"]) == (30, 360)
    assert result["text_to_image"]["without_picture"] == 0
    for metric, count in (("text_to_image", 30), ("image_to_text", 360)):
        each = result["values"][f"{metric}.accuracy"]
        assert each["values"] == [expected] * count and len(set(each["ids"])) == len(each["ids"]) == count
    assert result["judge"]["held_out_accuracy"] == judge.accuracy(splits[1])
    seams = result["seams"]  # drawings are ten real pictures
    assert (seams["count"], seams["patch"]) == (30, TINY.codec.patch)
    assert seams["ratio"] == seams["drawn"] / seams["real"] == pytest.approx(1, abs=0.15)
    assert {"drawn.png", "drawn.json", "read.json", "read"} == {path.name for path in tmp_path.iterdir()}


def test_some_rows_and_some_evaluators(splits, judge, model, prepared_digits, monkeypatch):
    """Of a part of the held-out split the ids are those of the whole."""
    monkeypatch.setattr(generator, "generate", oracle(splits, judge, 0))
    whole, some = (
        evaluate.evaluate(
            as_loaded(model, TINY), Request(), prepared_digits, per_label=1, evaluators=["classes"], rows=rows
        )
        for rows in (None, [3, 5, 350])
    )
    assert whole.keys() == {"text_to_image", "image_to_text", "judge", "values", "seconds", "data"}
    assert some["image_to_text"] == {"accuracy": 1.0, "count": 3, "right_means": "names the class"}
    of_whole, of_some = (result["values"]["image_to_text.accuracy"]["ids"] for result in (whole, some))
    assert of_some == [of_whole[row] for row in (3, 5, 350)]


def test_half_right_is_a_half(splits, judge, model, prepared_digits, monkeypatch):
    """Even digits right, odd ones wrong: accuracies are shares of all prompts, by class too."""
    right, wrong = oracle(splits, judge, 0), oracle(splits, judge, 1)

    def generate(model, prompts, keys, settings, *_):
        both = zip(prompts, right(model, prompts, keys, settings), wrong(model, prompts, keys, settings))
        return [good if p[1] != IMAGE and NAMES.index(decode(p)) % 2 == 0 else bad for p, good, bad in both]

    monkeypatch.setattr(generator, "generate", generate)
    result = evaluate.evaluate(as_loaded(model, TINY), Request(), prepared_digits, per_label=2)
    drawn, each = result["text_to_image"], result["values"]["text_to_image.accuracy"]
    assert drawn["accuracy"] == 0.5
    assert dict(zip(each["ids"], each["values"])) == {
        f"{name} {row}": float(n % 2 == 0) for n, name in enumerate(NAMES) for row in range(2)
    }
    assert drawn["by_label"] == {name: float(n % 2 == 0) for n, name in enumerate(NAMES)}


def test_no_picture_is_no_right_answer(splits, judge, model, monkeypatch):
    """Not even for the class that the judge sees in an empty picture."""
    monkeypatch.setattr(generator, "generate", lambda model, prompts, *_: [[*p, EOS] for p in prompts])
    subject = Subject(as_loaded(model, TINY), Request(), *splits, Path(), per_label=2)
    drawn = classes.draw(subject, judge, list(NAMES))
    assert (drawn.accuracy, drawn.without_picture) == (0.0, 20)


def test_without_labels_right_means_word_for_word(few_digits, tmp_path, model, monkeypatch):
    rows = {}
    for split in prepared.SPLITS:
        data = prepared.load(few_digits / "digits", split)
        rows[split] = [
            picture_row(data.image(i).numpy().transpose(1, 2, 0), [["a 1", "the 1"], ["b"], []][i % 3])
            for i in range(len(data))
        ]
    prepared.write(tmp_path / "digits", rows, {})
    text = [*encode(" the 1 "), EOS]
    monkeypatch.setattr(generator, "generate", lambda model, prompts, *_: [[*p, *text] for p in prompts])
    result = evaluate.evaluate(as_loaded(model, TINY), Request(), tmp_path)
    assert result["image_to_text"] == {
        "accuracy": 3 / 5,
        "count": 5,
        "right_means": "exact",
        "characters": 3 / 5,  # nothing is common to "the 1" and "b"
        "words": 3 / 5,
        "character_errors": 2 * 5 / (3 * 5 + 2 * 1),  # "the 1" three times and "b" twice
    }  # of 7, two without
    assert means_agree(result) >= {
        f"image_to_text.{name}" for name in ("accuracy", "words", "character_errors")
    }
    assert "text_to_image" not in result and "judge" not in result


@pytest.mark.parametrize("count, judged", [(12, True), (8, False)])
def test_captions_of_a_few_are_classes(count, judged, tmp_path, model, monkeypatch):
    """One caption each, five pictures of it at least: what is drawn from it is judged."""
    import numpy as np

    colours = {"red dot": (255, 0, 0), "blue dot": (0, 0, 255)}
    both = [(name, np.full((8, 8, 3), colour, np.uint8)) for name, colour in colours.items()]
    rows = [picture_row(pixels, [name]) for name, pixels in both]
    prepared.write(tmp_path / "digits", {"train": rows * (count // 2), "held_out": rows}, {})

    def generate(model, prompts, *_):  # always red
        red = Picture(torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8), False)
        return [
            [*prompt, *encode("red dot"), EOS]
            if prompt[1] == IMAGE
            else [*prompt, IMAGE, red, END_IMAGE, EOS]
            for prompt in prompts
        ]

    monkeypatch.setattr(generator, "generate", generate)
    result = evaluate.evaluate(as_loaded(model, TINY), Request(), tmp_path, per_label=2)
    read = result["image_to_text"]
    assert (read["accuracy"], read["count"], read["right_means"], read["words"]) == (0.5, 2, "exact", 0.75)
    assert ("text_to_image" in result) == judged
    if judged:
        assert result["text_to_image"]["by_label"] == {"blue dot": 0.0, "red dot": 1.0}
        assert result["judge"]["held_out_accuracy"] == 1.0


@pytest.mark.parametrize("classes", [1, 2])
def test_drawings_are_judged_where_there_are_classes_to_tell(tmp_path, model, monkeypatch, classes):
    """Of pictures of other sizes the judge sees the square in the centre; one class cannot be told."""
    import numpy as np

    rows = [
        picture_row(np.full((8, side, 3), 200 * label, np.uint8), ["ab"[label]], label)
        for side in (8, 12)
        for label in range(classes)
    ]
    prepared.write(tmp_path / "digits", {"train": rows, "held_out": rows}, {"labels": ["a", "b"][:classes]})
    dark = Picture(torch.zeros(3, 8, 8, dtype=torch.uint8), False)

    def generate(model, prompts, *_):
        answer = [*encode("a"), EOS]
        return [[*p, *answer] if p[1] == IMAGE else [*p, IMAGE, dark, END_IMAGE, EOS] for p in prompts]

    monkeypatch.setattr(generator, "generate", generate)
    said = []
    result = evaluate.evaluate(as_loaded(model, TINY), Request(), tmp_path, per_label=2, notify=said.append)
    assert result["image_to_text"]["accuracy"] == 1 / classes
    if classes == 1:
        assert "text_to_image" not in result and "judge" not in result
        assert said == ["drawings are not judged: all training pictures are of one class"]
    else:
        assert result["text_to_image"]["by_label"] == {"a": 1.0, "b": 0.0} and said == []
        assert result["judge"] == {
            "held_out_accuracy": 1.0,
            "kind": "SVM on the real training pictures, cropped to squares of 8 px",
        }


# ----------------------------------------------------------------------------------------------------- losses


@torch.no_grad()
def test_held_out_losses_by_hand(model, few_digits):
    """Each of the 7 documents alone: log-softmax where the caption and <eos> stand, image loss by
    joint_loss."""
    data = prepared.load(few_digits / "digits", "held_out")
    nats, tokens, size, images = 0.0, 0, 0, []
    for i in range(len(data)):
        caption = data.captions[i][0]
        predicted = [*encode(caption), EOS]
        read = pack([reading(data.image(i), caption)], 40, model.blocks)
        hidden = model(read, model.codec.encode(data.image(i)[None])[0], torch.zeros(4))
        chances = model.text_out(hidden).log_softmax(-1)  # (40, V)
        first = 1 + 1 + 4 + 1  # <bos> <image> four patches </image>, then the caption
        nats -= sum(chances[first - 1 + n, token].item() for n, token in enumerate(predicted))
        tokens, size = tokens + len(predicted), size + len(caption)
        drawn = pack([drawing(caption, data.image(i), key(5, "held out", i))], 40, model.blocks)
        images.append(joint_loss(model, drawn).image.item())
    measured = losses.picture_losses(model, TINY, data, seed=5)
    assert measured.count == 7 and means_agree({"held_out": measured}) == {"held_out.bits_per_byte"}
    assert measured.caption == pytest.approx(nats / tokens, rel=1e-5)
    assert measured.bits_per_byte == pytest.approx(nats / size / math.log(2), rel=1e-5)
    assert measured.image == pytest.approx(sum(images) / 7, rel=1e-5)


def test_held_out_losses_do_not_depend_on_how_many_are_packed(model, few_digits, monkeypatch):
    data = prepared.load(few_digits / "digits", "held_out")

    def measured() -> dict:
        return to_json(losses.picture_losses(model, TINY, data, seed=0))

    at_once = measured()
    monkeypatch.setattr(losses, "CHUNK", 2)
    assert measured() == pytest.approx(at_once, rel=1e-5) and "bits_per_byte" in at_once
    assert losses.picture_losses(model, TINY, data, seed=1).image != at_once["image"]


def test_a_fresh_model_knows_nothing(few_digits):
    """All 260 words alike: ln 260 nats a token, and pictures predicted as mid grey."""
    data = prepared.load(few_digits / "digits", "held_out")
    assert losses.picture_losses(build.model(TINY), TINY, data, 0).caption == pytest.approx(math.log(260))


# -------------------------------------------------------------------------------------------------- the whole


def test_evaluate_of_a_trained_run(tiny_run, prepared_digits):
    trained = models.load(tiny_run, torch.device("cpu"))
    result = evaluate.evaluate(trained, Request(), prepared_digits, per_label=2)
    assert result.keys() == {
        "text_to_image",
        "image_to_text",
        "judge",
        "held_out",
        "seams",
        "sharpness",
        "foreign_prompts",
        "foreign_pictures",
        "seconds",
        "data",
        "values",
    }
    assert list(result["text_to_image"]) == [
        "accuracy",
        "steps",
        "count",
        "solver",
        "guidance",
        "without_picture",
        "ended_after_picture",
        "by_label",
    ]
    assert list(result["image_to_text"]) == ["accuracy", "count", "right_means"]
    assert list(result["judge"]) == ["held_out_accuracy", "kind"]
    assert list(result["held_out"]) == ["count", "image", "caption", "bits_per_byte"]
    assert result["text_to_image"]["steps"] == 10 and result["text_to_image"]["without_picture"] == 0
    assert (
        result["image_to_text"]["accuracy"] > 0.3 and result["held_out"]["caption"] < 1
    )  # chance: 0.1, 2.5 nats
    again = evaluate.evaluate(trained, Request(), prepared_digits, per_label=2)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


def test_an_exported_model_opens_no_data_elsewhere(tmp_path):
    """It may come from somebody else: what data.stream.path names is not opened; data of that name are."""
    settings = ["data.stream=true", "data.size=8", "data.set=shards", "data.stream.lanes=1", "train.batch=4"]
    parquet(tmp_path / "secret", range(60))
    config = presets.load("tiny", [*settings, f"data.stream.path={tmp_path / 'secret'}"])
    loaded = replace(as_loaded(randomised(build.model(config), std=0.1), config), data=None)
    assert loaded.saved == loaded.folder
    with pytest.raises(
        ConfigError, match="names its data as '.*secret', which is not opened.*; link or copy"
    ):
        evaluate.evaluate(loaded, Request(), tmp_path / "data", prompts=4)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").symlink_to(tmp_path / "secret")
    assert "held_out" in evaluate.evaluate(loaded, Request(), tmp_path / "data", prompts=4)
    run = replace(loaded, saved=tmp_path / "run" / "checkpoints")
    assert "held_out" in evaluate.evaluate(run, Request(), tmp_path / "none", prompts=4)
