"""Captions of portraits understood, judges that can be trusted, and figures that are right for models that
know or do not."""

import json

import numpy as np
import pytest
import torch
from evaluated import means_agree
from helpers import as_loaded, tiny_model
from sources import prepare_source

from rawmm_cli.config import presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import END_IMAGE, EOS, IMAGE, decode, encode
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.portraits import drawing
from rawmm_cli.data.datasets.portraits.attributes import attributes_of
from rawmm_cli.data.datasets.portraits.captions import captions_of, parse
from rawmm_cli.data.rows import picture_row
from rawmm_cli.evaluation import attributes, judges
from rawmm_cli.evaluation.results import to_json
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.sampling.request import Request

SIZE = 32


# --------------------------------------------------------------------------------------------------- captions


def test_every_caption_is_understood_and_true():
    named = {n: set() for n in range(4)}
    for n in range(3000):
        known = attributes_of(n)
        for form, caption in enumerate(captions_of(n, known)):
            parsed = parse(caption)
            assert parsed is not None and all(known[name] == value for name, value in parsed.items()), caption
            named[form] |= parsed.keys()
    assert named[0] == attributes_of(0).keys()
    assert (
        named[1] >= {"clothes", "eyewear", "hair"}
        and named[2] >= {"expression", "clothes"}
        and named[3] >= {"hair", "skin"}
    )


@pytest.mark.parametrize(
    "caption, attributes_named",
    [
        (
            "a portrait of an angry woman with long black hair, brown skin and a red t-shirt",
            {
                "person": "woman",
                "expression": "angry",
                "hair": "long",
                "hair_length": "long",
                "hair_colour": "black",
                "skin": "brown",
                "clothes": "t-shirt",
                "clothes_colour": "red",
            },
        ),
        (
            "a bald man wearing overalls and an eyepatch, with a beard",
            {
                "person": "man",
                "hair": "bald",
                "hair_length": "none",
                "clothes": "overalls",
                "eyewear": "eyepatch",
                "facial_hair": "beard",
            },
        ),
        (
            "a woman sticking out her tongue in a pink sweater",
            {"person": "woman", "expression": "tongue out", "clothes": "sweater", "clothes_colour": "pink"},
        ),
        (
            "a drawing of a person with a red beard and sunglasses",
            {"facial_hair": "beard", "hair_colour": "red", "eyewear": "sunglasses"},
        ),
    ],
)
def test_what_a_caption_says(caption, attributes_named):
    assert parse(caption) == attributes_named


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a portrait of",
        "a portrait of ",
        "a red",
        "a smiling man with red hair",
        "a woman with green skin and long hair",
        "an smiling woman in a blue hoodie",
        "a angry woman in a hoodie",
        "a woman sticking out his tongue in a hoodie",
        "a man sticking out his tongue with short hair",
        "a smiling man in a hoodie in a hoodie",
        "a person with light skin and dark skin",
        "a woman wearing a hoodie, with short black hair and a red beard",
        "a smiling woman in short hair",
        "a man in a hoodie",
        "a man wearing short hair, with a hoodie",
        "a portrait of a portrait of a smiling man in a hoodie",
        "a smiling man in a hoodie.",
        "A smiling man in a hoodie",
        "a smiling man in a hoodie and",
    ],
)
def test_what_the_grammar_does_not_write(caption):
    assert parse(caption) is None


def test_prompts_of_a_trial_are_others_than_those_of_the_measurement():
    trial = attributes.unseen(None, 50, attributes.TRIALS)
    assert not set(trial) & set(attributes.unseen(None, 50))


def test_unseen_portraits_have_combinations_of_their_own(tmp_path):
    prepare_source(tmp_path / "few", drawing.portraits(count=60, size=SIZE))
    train = prepared.load(tmp_path / "few", "train")
    known = [train.attributes(n) for n in range(len(train))]
    numbers = attributes.unseen(train, 300)
    assert len(set(numbers)) == 300 and min(numbers) >= attributes.PROMPTS
    assert all(attributes_of(n) not in known for n in numbers)


def test_numbers_go_on_from_the_first_one():
    items = list(drawing.portraits(count=3, size=SIZE, first=10).items(1))
    assert [item.content for item in items] == [11, 12] and items[0].attributes == attributes_of(11)


# ----------------------------------------------------------------------------------------------------- judges


COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 230)}


def toys(folder, count):
    """Pictures of 16 px: the colour of the ground, where a bar stands, and a mark too faint to be seen."""
    rng, rows = np.random.default_rng(0), {"train": [], "held_out": []}
    for n in range(count):
        values = {
            "ground": str(rng.choice(list(COLOURS))),
            "bar": str(rng.choice(["left", "right"])),
            "hidden": str(rng.choice(["yes", "no"])),
        }
        pixels = np.clip(
            np.array(COLOURS[values["ground"]]) + rng.integers(-20, 20, (16, 16, 3)), 0, 255
        ).astype(np.uint8)
        pixels[2:14, 3 if values["bar"] == "left" else 11] = 255
        rows["held_out" if n % 4 == 0 else "train"].append(picture_row(pixels, ["x"], -1, values, str(n)))
    prepared.write(folder, rows, {"labels": []})
    return prepared.load(folder, "train"), prepared.load(folder, "held_out")


def test_judges_are_right_about_pictures_that_they_have_not_seen(tmp_path, one_thread):
    """And say of themselves where they are not: an attribute that cannot be seen does not count."""
    train, real = toys(tmp_path / "toys", 1200)
    judge = judges.learn(train, real)
    answers, features = judge(judges.pixels(real, range(len(real))))
    for name, right in judge.accuracy.items():
        assert right == np.mean([real.attributes(n)[name] == answers[name][n] for n in range(len(real))])
    assert set(judge.reliable) == {"ground", "bar"} and 0.35 < judge.accuracy["hidden"] < 0.65
    assert features.shape == (len(real), judges.FEATURES)
    judges.save(judge, tmp_path / "judges")
    again = judges.load(tmp_path / "judges")
    assert again(judges.pixels(real, range(20)))[0] == judge(judges.pixels(real, range(20)))[0]
    assert again.accuracy == judge.accuracy
    (tmp_path / "judges.json").write_text("{")
    assert judges.load(tmp_path / "judges") is None


def test_judges_are_made_once(tmp_path, monkeypatch):
    notes, learned = [], []
    monkeypatch.setattr(attributes, "FRESH", 30)
    monkeypatch.setattr(
        judges, "learn", lambda train, held_out: learned.append(len(train) + len(held_out)) or Known({}, {})
    )
    monkeypatch.setattr(judges, "save", lambda judge, path: path.with_suffix(".json").write_text("{}"))
    monkeypatch.setattr(
        judges, "load", lambda path: Known({}, {}) if path.with_suffix(".json").exists() else None
    )
    for _ in range(2):
        _, real = attributes.judged(tmp_path, SIZE, workers=0, notify=notes.append)
        assert all(int(real.source(n).split("/")[1]) >= attributes.FIRST for n in range(len(real)))
    assert learned == [30] and len(notes) == 2


class Known:
    """A judge that knows every picture that it may be shown, {bytes: attributes}."""

    size = SIZE

    def __init__(self, pictures, real, unreliable=()):
        self.pictures = {**pictures, **real}
        self.values = {name: [] for name in attributes_of(0)}
        self.accuracy = {name: 0.5 if name in unreliable else 1.0 for name in self.values}
        self.reliable = [name for name in self.values if name not in unreliable]

    def __call__(self, pictures):
        seen = [
            self.pictures.get(picture.numpy().tobytes(), dict.fromkeys(self.values)) for picture in pictures
        ]
        return {name: [one[name] for one in seen] for name in self.values}, pictures[:, :, ::4, ::4].flatten(
            1
        ).float()


def test_kid_by_its_definition():
    rng = torch.Generator().manual_seed(0)
    one, other = torch.randn(7, 5, generator=rng), torch.randn(9, 5, generator=rng) + 0.5
    scale = other.square().mean().sqrt()

    def kernel(x, y):
        return float((x / scale) @ (y / scale) / 5 + 1) ** 3

    expected = (
        np.mean([kernel(one[i], one[j]) for i in range(7) for j in range(7) if i != j])
        + np.mean([kernel(other[i], other[j]) for i in range(9) for j in range(9) if i != j])
        - 2 * np.mean([kernel(x, y) for x in one for y in other])
    )
    assert judges.kid(one, other) == pytest.approx(expected, rel=1e-4)
    same = torch.randn(4000, 5, generator=rng)
    assert abs(judges.kid(same[:2000], same[2000:])) < 0.05 < judges.kid(same[:2000] + 1, same[2000:])


def test_corners_and_distances():
    pictures = torch.full((2, 3, 16, 16), 255, dtype=torch.uint8)
    pictures[0, :, 0, 0] = 255 - 8  # one of the four pixels of one of the four corners
    pictures[1, :, 8, 8] = 0  # not in a corner
    assert attributes.corners(pictures) == pytest.approx(8 / 16)
    known = torch.stack([pictures[1], 255 - pictures[0]])
    distances = attributes.nearest(pictures, known)
    apart = [(3 * 8**2 + 3 * 255**2) / 768, 0]
    assert distances["min"] == 0 and distances["median"] == pytest.approx(np.sqrt(apart[0]) / 2, abs=1e-3)


# --------------------------------------------------------------------------------- models that know, or don't


def oracle(wrong=()):
    """-> a `generate` that draws what a caption says and names what it sees, but for the attributes in
    `wrong`; and what is to be seen on every picture."""
    by_caption, captions, seen = {}, {}, {}
    for n in attributes.unseen(None, 60):
        known = attributes_of(n)
        changed = known | {
            name: next(value for value in ("light", "dark") if value != known[name]) for name in wrong
        }
        drawn, real = (
            torch.from_numpy(drawing.draw(n, (255, 255, 255), SIZE, one).transpose(2, 0, 1).copy())
            for one in (changed, known)
        )
        by_caption[captions_of(n, known)[n % 4]] = drawn
        captions[real.numpy().tobytes()] = captions_of(n, changed)[0]
        seen |= {real.numpy().tobytes(): known, drawn.numpy().tobytes(): changed}

    def generate(model, prompts, keys, settings, *_):
        done = []
        for prompt in prompts:
            if prompt[1:2] == [IMAGE]:
                done.append([*prompt, *encode(captions[prompt[2].pixels.numpy().tobytes()]), EOS])
            elif (text := decode(prompt[1:])) == "a portrait of":
                done.append([*prompt, *encode(" a smiling man in a hoodie"), IMAGE, *EMPTY, EOS])
            else:
                done.append([*prompt, IMAGE, Picture(by_caption[text], False), END_IMAGE, EOS])
        return done

    return generate, seen


EMPTY = [Picture(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), False), END_IMAGE]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    prepare_source(folder / "portraits", drawing.portraits(count=100, size=SIZE))
    return prepared.load(folder / "portraits", "train")


@pytest.fixture
def measured(train, monkeypatch):
    """measured(wrong, unreliable, count) -> the results of the oracle as JSON."""

    def call(wrong=(), unreliable=(), count=60, keep=None, train=train, generate=None):
        answers, seen = oracle(wrong)
        real = prepared.load(train.folder, "held_out")
        monkeypatch.setattr(generator, "generate", generate or answers)
        monkeypatch.setattr(attributes, "judged", lambda *given, **more: (Known(seen, {}, unreliable), real))
        monkeypatch.setattr(
            attributes, "unseen", lambda train, *which, unseen=attributes.unseen: unseen(None, *which)
        )
        trained = as_loaded(tiny_model(), presets.load("tiny", [f"data.size={SIZE}", "train.length=300"]))
        subject = Subject(trained, Request(), train, real, train.folder, prompts=count, keep=keep)
        results = attributes.measure(subject)
        means_agree(results)
        return {name: to_json(result) for name, result in results.items()}

    return call


@pytest.mark.parametrize("wrong", [(), ("skin",)])
def test_who_knows_all_is_right_and_who_errs_is_wrong(wrong, measured, tmp_path):
    result = measured(wrong, keep=tmp_path)
    drawn, read = result["text_to_image"], result["image_to_text"]
    assert (drawn["count"], drawn["without_picture"], read["count"], read["parsed"]) == (60, 0, 60, 1.0)
    assert list(result) == ["text_to_image", "looks", "image_to_text", "image_to_text_sampled", "written"]
    assert list(read) == ["accuracy", "by_attribute", "not_counted", "count", "parsed", "exact"]
    assert {"size", "steps", "solver", "guidance", "judges", "not_counted"} <= drawn.keys()
    share = 0.0 if wrong else 1.0
    assert drawn["by_attribute"]["skin"] == read["by_attribute"]["skin"] == read["exact"] == share
    assert {share for name, share in drawn["by_attribute"].items() if name != "skin"} == {1.0}
    assert drawn["accuracy"] == pytest.approx(np.mean(list(drawn["by_attribute"].values())))
    assert result["written"] == {"prompt": "a portrait of", "parsed": 1.0, "different": 1}
    assert result["looks"]["corners"]["drawn"] < 2 and result["looks"]["nearest"]["drawn"]["min"] > 0
    note = json.loads((tmp_path / "drawn.json").read_text())
    assert (
        len(note["captions"]) == 40
        and (tmp_path / "drawn.png").is_file()
        and (tmp_path / "read" / "0000.png").is_file()
    )
    assert all(entry["right"] == (not wrong) for entry in json.loads((tmp_path / "read.json").read_text()))


def test_attributes_that_the_judge_does_not_know_do_not_count(measured):
    drawn = measured(("skin",), unreliable=("skin", "hair"))["text_to_image"]
    assert (
        drawn["accuracy"] == 1.0
        and set(drawn["not_counted"]) == {"skin", "hair"}
        and drawn["by_attribute"]["skin"] == 0
    )


def test_who_draws_nothing_and_writes_nonsense_is_wrong(measured, monkeypatch):
    def generate(model, prompts, keys, settings, *_):
        return [[*prompt, *encode(" x"), EOS] for prompt in prompts]

    monkeypatch.setattr(attributes, "compare_looks", lambda *_: None)
    result = measured(generate=generate, count=20)
    assert result["text_to_image"]["accuracy"] == 0 and result["text_to_image"]["without_picture"] == 20
    assert (
        result["image_to_text"]["accuracy"]
        == result["image_to_text"]["parsed"]
        == result["written"]["parsed"]
        == 0
    )


def test_another_size_is_drawn_only(measured, train):
    """Only pictures of the trained size are read."""
    larger = prepared.Prepared(train.folder, train.split, train.table, train.card)
    larger.heights = train.heights * 2
    result = measured(train=larger, count=20)
    assert (
        "image_to_text" not in result
        and "nearest" not in result["looks"]
        and result["text_to_image"]["size"] == SIZE
    )
