"""What is marked as outside: the model inside the package against what it never saw, and what it did."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rawmm_cli.data.datasets.portraits import attributes, captions, drawing
from rawmm_cli.runs import familiar, models
from rawmm_cli.sampling import foreign
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import ConfigError

UNSEEN = 900_000  # number of a portrait that no set of the training has


@pytest.fixture(scope="module")
def portraits():
    return models.load(models.find(Path("none"), None, "portraits"), torch.device("cpu"))


def portrait(number, size=64):
    return torch.from_numpy(drawing.draw(number, (255, 255, 255), size).transpose(2, 0, 1).copy())


def judged(loaded, prompt, **options):
    return foreign.judge(loaded, Request((prompt,), **options))


# ---------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize(
    "prompt, word",
    [
        ("a red bicycle", "bicycle"),
        ("a cat", "cat"),
        ("a portrait of a dog", "dog"),
        ("a portrait of a woman with a hat", "hat"),
        ("ein Haus", "ein"),
        ("42", "42"),
        ("犬", "犬"),
        ("A portrait of a woman", "A"),
    ],
)
def test_foreign_prompts_are_marked_and_the_word_is_named(portraits, prompt, word):
    verdict = judged(portraits, prompt)
    assert verdict.outside is True
    assert word in [one.text for one in verdict.text.outside]
    (line,) = verdict.lines()
    assert line.startswith("outside of what portraits has seen: '") and "\n" not in line
    assert f"'{word}' (" in line and '; try: "a portrait of", ' in line


@pytest.mark.parametrize(
    "prompt",
    [
        "a portrait of",
        "a portrait of ",
        "a portrait of a smiling woman",
        "a woman with a pink afro",
        "a",
        "a portrait of a smiling woman with long red hair, round glasses and a green hoodie",
    ],
)
def test_captions_and_their_beginnings_are_not(portraits, prompt):
    verdict = judged(portraits, prompt)
    assert verdict.outside is False and verdict.lines() == []


def test_no_unseen_caption_and_no_beginning_of_one_is_marked(portraits):
    own = [
        text
        for n in range(UNSEEN, UNSEEN + 20)
        for text in captions.captions_of(n, attributes.attributes_of(n))
    ]
    cut = [" ".join(text.split()[: 1 + n % 9]) for n, text in enumerate(own)]
    threshold = portraits.seen["words"]["threshold"]
    for words in familiar.word_bits(portraits.model, [*own, *cut]):
        assert max(word.bits for word in words) < threshold


def test_every_prompt_that_is_offered_is_inside(portraits):
    assert len(portraits.seen["prompts"]) >= 6
    for prompt in portraits.seen["prompts"]:
        assert judged(portraits, prompt).outside is False


def test_a_prompt_is_judged_in_a_moment(portraits):
    judged(portraits, "a")
    started = time.process_time()
    judged(portraits, "a portrait of a smiling woman with long red hair, round glasses and a green hoodie")
    assert time.process_time() - started < 0.3


def test_no_prompt_and_text_between_pictures_are_not_judged(portraits):
    assert judged(portraits, "").outside is False and judged(portraits, "").text is None
    pieces = ["a dog", portrait(UNSEEN), "a cat"]
    assert foreign.judge(portraits, Request((pieces,))).text is None


# --------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("size", [64, 96, 48])
def test_unseen_portraits_are_inside_and_noise_and_colours_are_not(portraits, size):
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8))
    grey = torch.full((3, size, size), 120, dtype=torch.uint8)
    own = [portrait(n, size) for n in range(UNSEEN, UNSEEN + 6)]
    verdict = foreign.judge(portraits, Request(images=(*own, noise, grey), task="caption"))
    assert [one.outside for one in verdict.pictures] == [False] * 6 + [True] * 2
    assert verdict.outside is True
    (line,) = verdict.lines()
    assert "2 pictures (distance" in line and "what it makes of it means little" in line


def test_the_largest_distance_is_named(portraits):
    noise = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    verdict = foreign.judge(portraits, Request(images=(noise,)))
    assert f"the picture (distance {verdict.pictures[0].distance:.1f}, of its own 1 to " in verdict.lines()[0]


# -------------------------------------------------------------------------------------------------- commands


def test_the_command_says_it_in_a_line_and_in_json(rawmm, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    options = "--out", tmp_path / "out", "--steps", "1"
    code, out, err = rawmm("sample", "a red bicycle", *options, "--json")
    result = json.loads(out)
    assert code == 0 and result["outside"] is True and err.count("outside of what portraits has seen") == 1
    text = result["prompt_familiarity"]
    assert text["outside"] and text["bits"] > 5 * text["threshold"] > 0
    assert [one["word"] for one in text["words"]] == ["a", "red", "bicycle"]
    assert text["bits"] == max(one["bits"] for one in text["words"])
    assert result["picture_familiarity"] == [] and "a portrait of" in result["prompts"]
    code, out, err = rawmm(
        "sample", "--task", "caption", "--image", tmp_path / "noise.png", *options, "--json"
    )
    result = json.loads(out)
    (picture,) = result["picture_familiarity"]
    assert code == 0 and result["outside"] is picture["outside"] is True
    assert picture["distance"] > picture["threshold"] and "the picture (distance" in err
    code, out, err = rawmm("sample", "a portrait of", *options, "--json")
    assert json.loads(out)["outside"] is False and "outside" not in err


def test_without_a_prompt_it_lists_prompts_that_work(rawmm, tmp_path, tiny_run):
    code, _, err = rawmm("sample", "--run", tiny_run, "--out", tmp_path)
    assert code == 0 and "tiny has learned from digits; prompts that work:" in err
    assert "\n  zero\n  one\n  two\n" in err
    code, _, err = rawmm("sample", "seven", "--run", tiny_run, "--out", tmp_path)
    assert code == 0 and "prompts that work" not in err


def test_a_model_without_measures_marks_nothing_and_says_so(portraits):
    bare = replace(portraits, seen={})
    verdict = judged(bare, "a red bicycle")
    assert verdict.outside is None and verdict.text is None and verdict.pictures == []
    (line,) = verdict.lines()
    assert "was not measured" in line and "`rawmm evaluate` measures it" in line
    assert verdict.to_json()["outside"] is None and foreign.summary(bare) is None


def test_prompts_with_control_characters_stay_an_error(portraits):
    with pytest.raises(ConfigError, match="control character"):
        judged(portraits, "a\x07")
