"""`rawmm sample` as people use it: pictures in prompts, painting in, variations, other sizes, files, the
terminal."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from rawmm_cli.sampling import files as drawn
from rawmm_cli.sampling import request
from rawmm_cli.system.errors import ConfigError


@pytest.fixture
def draw(rawmm, place, tiny_run):
    """draw(words) -> what `rawmm sample WORDS --json` says."""

    def call(*words):
        code, out, err = rawmm("sample", *words, "--run", tiny_run, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def pictures(result) -> list[str]:
    return [item["image"] for item in result["items"] if "image" in item]


# ---------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", []),
        ("a portrait", ["a portrait"]),
        ("{image:a.png}", [Path("a.png")]),
        ("one {image:a.png}{image: b c.png } two", ["one ", Path("a.png"), Path("b c.png"), " two"]),
        ("{{image:a.png} stays", ["{image:a.png} stays"]),
        ("x{{image:a.png}{image:b.png}", ["x{image:a.png}", Path("b.png")]),
        ("{image} {Image:a} {images:a}", ["{image} {Image:a} {images:a}"]),
        ("{{image:a", ["{{image:a"]),
        ("}{", ["}{"]),
    ],
)
def test_pictures_stand_anywhere_in_a_prompt(text, parts):
    assert request.pieces(text) == parts


@pytest.mark.parametrize("text", ["{image:a", "a {image:", "{image:a{b}", "{image:a} {image:b.png"])
def test_a_picture_without_its_closing_brace(text):
    with pytest.raises(ConfigError, match="has no closing brace; allowed: {image:PATH}, without braces"):
        request.pieces(text)


@pytest.mark.parametrize("text", ["{image:}", "see {image:  } here"])
def test_a_picture_without_a_name(text):
    with pytest.raises(ConfigError, match="names no file"):
        request.pieces(text)


def test_the_same_pictures_by_option_and_in_the_prompt(draw):
    """Two pictures of different sizes, in the order in which they are named."""
    one = draw("seven", "--image", "a.png", "--image", "b.png", "--temperature", "1")
    two = draw("{image:a.png}{image:b.png}seven", "--temperature", "1", "--out", "other")
    assert [item.get("text") for item in one["items"]] == [item.get("text") for item in two["items"]]
    assert [pixels(a).tolist() for a in pictures(one)] == [pixels(b).tolist() for b in pictures(two)]
    turned = draw("{image:b.png}{image:a.png}seven", "--temperature", "1", "--out", "turned")
    assert pictures(turned) == [] or not np.array_equal(pixels(pictures(turned)[0]), pixels(pictures(two)[0]))


def test_a_caption_is_written_greedily_and_draws_nothing(draw):
    one, two = (
        draw("--image", "a.png", "--task", "caption"),
        draw("{image:with space.png}", "--task", "caption", "--seed", "5"),
    )
    assert one["temperature"] == two["temperature"] == 0 and pictures(one) == pictures(two) == []
    assert not list(Path("samples").iterdir())


def test_limits_of_text_and_pictures(draw):
    assert len(draw("", "--max-text", "1", "--max-pictures", "0")["items"]) <= 1
    many = draw("seven", "--max-pictures", "3", "--max-text", "400")
    assert 1 <= len(pictures(many)) <= 3 and len(set(pictures(many))) == len(pictures(many))
    assert draw("seven", "--greedy")["temperature"] == 0


# ---------------------------------------------------------------------------------------------------- drawing


def test_painting_in_keeps_what_is_outside(draw):
    before, result = (
        pixels("a.png"),
        draw("seven", "--image", "a.png", "--inpaint", "mask.png", "--count", "2"),
    )
    for path in pictures(result):
        assert np.array_equal(pixels(path)[:, :4], before[:, :4]) and not np.array_equal(
            pixels(path)[:, 4:], before[:, 4:]
        )
    assert len(pictures(result)) == 2 and Path(result["sheet"]).is_file()


def test_a_variation_is_nearer_the_weaker_it_is(draw):
    before, far = pixels("a.png").astype(int), []
    for strength in ("0.05", "1"):
        varied = pixels(
            pictures(draw("seven", "--image", "a.png", "--strength", strength, "--out", strength))[0]
        )
        far.append(np.abs(varied - before).mean())
    assert far[0] < far[1]


def test_another_size(draw):
    for side in (4, 8, 12, 24):
        result = draw("seven", "--size", side, "--out", str(side))
        sides = {"size": side, "height": side, "width": side}
        assert (
            pixels(pictures(result)[0]).shape == (side, side, 3)
            and sides.items() <= result["items"][0].items()
        )


def test_another_shape(draw):
    """Width x height; more than one of them."""
    result = draw("seven", "--size", "12x8", "--count", "2", "--out", "wide")
    assert [pixels(path).shape for path in pictures(result)] == [(8, 12, 3)] * 2
    item = result["items"][0] if "items" in result else result["samples"][0]["items"][0]
    assert {"size": 12, "height": 8, "width": 12}.items() <= item.items()


def test_every_setting_reaches_the_drawing(draw):
    """Each of them changes the picture, and the same words give the same one."""
    plain = pixels(pictures(draw("seven", "--seed", "3"))[0])
    assert np.array_equal(plain, pixels(pictures(draw("seven", "--seed", "3", "--out", "again"))[0]))
    for words in (
        ("--steps", "3"),
        ("--guidance", "5"),
        ("--solver", "ab2"),
        ("--grid", "quantiles"),
        ("--guidance", "5", "--rescale", "1"),
        ("--seed", "4"),
    ):
        other = pixels(pictures(draw("seven", "--seed", "3", "--out", "-".join(words).strip("-"), *words))[0])
        assert not np.array_equal(other, plain), words
        plain = other if words[-1] == "5" else plain  # rescaling is compared with guidance 5 alone


def test_a_picture_is_the_same_alone_and_among_others(draw):
    """Same seed and number, same bytes, whatever else is drawn beside it."""
    few, many = draw("seven", "--count", "2"), draw("seven", "--count", "20", "--out", "many")
    assert [pixels(path).tolist() for path in pictures(few)] == [
        pixels(path).tolist() for path in pictures(many)[:2]
    ]


# ------------------------------------------------------------------------------------------------------ files


def test_a_png_says_how_to_draw_it_again(draw):
    result = draw("seven", "--steps", "4", "--solver", "heun", "--seed", "9")
    text = Image.open(pictures(result)[0]).text
    assert {name: text[name] for name in ("prompt", "seed", "steps", "solver", "number")} == {
        "prompt": "seven",
        "seed": "9",
        "steps": "4",
        "solver": "heun",
        "number": "0",
    }
    assert re.fullmatch("[0-9a-f]{12}", text["model_hash"]) and text["model_hash"] == result["model_hash"]
    assert set(result["seconds"]) == {"start", "generate", "write", "total"} and all(
        result["seconds"].values()
    )


def test_a_gif_shows_every_step_and_ends_with_the_picture(draw):
    result = draw("seven", "--gif", "--steps", "5", "--count", "4")
    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(result["gif"]))]
    assert len(frames) == 6
    first = np.abs(frames[0].astype(int) - frames[-1]).mean()
    assert first > np.abs(frames[-2].astype(int) - frames[-1]).mean() > 0
    drawn = pixels(pictures(result)[0]).astype(int)  # the palette of a GIF has 256 colours
    zoom = (frames[-1].shape[0] - 6) // 2 // 8
    assert np.abs(frames[-1][2 : 2 + 8 * zoom : zoom, 2 : 2 + 8 * zoom : zoom] - drawn).mean() < 8


def test_a_gif_of_more_than_are_drawn_together(draw, monkeypatch):
    from rawmm_cli.core import generate

    monkeypatch.setattr(generate, "CHUNK", 2)
    result = draw("seven", "--gif", "--steps", "2", "--count", "3")
    assert Image.open(result["gif"]).n_frames == 3


def test_several_who_draw_into_one_folder(tmp_path):
    """Each gets a name of its own, and all files are whole."""
    from rawmm_cli.core.document import Picture
    from rawmm_cli.core.text_tokenizer import Bytes

    tensors = [torch.full((3, 8, 8), n, dtype=torch.uint8) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        files = list(
            pool.map(
                lambda n: drawn.write(
                    Bytes(),
                    [[Picture(tensors[n], False)]],
                    tmp_path,
                    "s",
                    {"seed": n},
                    [np.zeros((8, 8, 3), np.uint8)] * 2,
                ),
                range(8),
            )
        )
    names = [saved.samples[0]["items"][0]["image"] for saved in files]
    assert len(set(names)) == 8 and [int(pixels(name).max()) for name in names] == list(range(8))
    assert len({saved.gif for saved in files}) == 8 and not list(tmp_path.glob(".*"))


# -------------------------------------------------------------------------------------------------- bad input

BAD = {
    "mask size": (
        ("a", "--image", "a.png", "--inpaint", "small.png"),
        3,
        "mask small.png has 8x4 pixels and a.png 8x8",
    ),
    "black mask": (("a", "--image", "a.png", "--inpaint", "black.png"), 3, "is black all over"),
    "no mask": (("a", "--image", "a.png", "--inpaint", "none.png"), 3, "image none.png cannot be read"),
    "no canvas": (("a", "--inpaint", "mask.png"), 2, "work on one picture; given with --image: 0"),
    "two canvases": (
        ("a", "--strength", "0.5", "--image", "a.png", "--image", "b.png"),
        2,
        "given with --image: 2",
    ),
    "canvas and size": (
        ("a", "--strength", "0.5", "--image", "a.png", "--size", "16"),
        2,
        "leave out --task",
    ),
    "strength": (
        ("a", "--strength", "1.5", "--image", "a.png"),
        2,
        "--strength = 1.5; allowed: more than 0, at most 1",
    ),
    "strength that was not learned": (
        ("a", "--strength", "0.02", "--image", "a.png"),
        2,
        "allowed: 0.05 to 1",
    ),
    "caption of nothing": (
        ("{{image:a.png}", "--task", "caption"),
        2,
        "needs a picture to read; give --image FILE",
    ),
    "folder as a picture": (("a", "--image", "."), 3, "it is a folder; give a picture"),
    "strength nan": (("a", "--strength", "nan", "--image", "a.png"), 2, "--strength = nan"),
    "top p": (("a", "--top-p", "0"), 2, "--top-p = 0.0; allowed: more than 0, at most 1"),
    "steps": (("a", "--steps", "1000000"), 2, "Invalid value for '--steps'"),
    "size": (
        ("a", "--size", "10"),
        2,
        "--size 10: a picture of 10x10 pixels does not divide into patches of 4",
    ),
    "shape": (
        ("a", "--size", "12x10"),
        2,
        "--size 12x10: a picture of 10x12 pixels does not divide into patches of 4 (height x width); choose",
    ),
    "size that is none": (
        ("a", "--size", "12x"),
        2,
        "--size = '12x'; allowed: a whole number of pixels, or WIDTHxHEIGHT, as 96x64",
    ),
    "size of nothing": (("a", "--size", "0"), 2, "--size = 0; allowed: a whole number from 1 to 4,096"),
    "size of a side": (("a", "--size", "8x5000"), 2, "--size = 5000; allowed: a whole number from 1 to"),
    "too large": (
        ("a", "--size", "2048"),
        2,
        "--size 2048: a picture of 2048x2048 pixels needs 262,147 positions, and the "
        "context of this model is 1,024 (sample.context); allowed: as much as 124x124",
    ),
    "grid": (("a", "--grid", "tunde"), 2, "unknown grid 'tunde' (did you mean tuned?)"),
    "not tuned": (
        ("a", "--grid", "tuned"),
        2,
        "has no tuned grid for 10 steps (it has: none); run `rawmm tune-sampler",
    ),
    "precision": (
        ("a", "--precision", "fp16"),
        2,
        "unknown precision 'fp16' (did you mean bf16?); allowed: auto, fp32, bf16",
    ),
    "task": (("a", "--task", "captoin"), 2, "unknown task 'captoin' (did you mean caption?)"),
    "preview": (("a", "--preview", "kity"), 2, "unknown preview 'kity' (did you mean kitty?)"),
    "picture in the prompt": (
        ("{image:none.png}",),
        3,
        "image none.png cannot be read: there is no such file",
    ),
    "no name": (("{image:}",), 2, "{image:} names no file"),
    "both": (("a", "--model", "x"), 2, "both --run and --model are given"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, rawmm, place, tiny_run):
    words, code, message = BAD[name]
    before = sorted(Path().iterdir())
    status, out, err = rawmm("sample", *words, "--run", tiny_run)
    assert (
        (status, out) == (code, "") and message in err and err.startswith("error: ") and err.count("\n") == 1
    )
    assert sorted(Path().iterdir()) == before


def test_a_model_that_is_not_there(rawmm, place):
    code, out, err = rawmm("sample", "a", "--model", "nowhere")
    assert (code, out) == (4, "") and "no model 'nowhere'" in err and err.count("\n") == 1


def test_what_was_drawn_in_another_way_is_not_written_over(draw):
    """The same again lies where it lay; with other settings it gets another name."""
    names = [
        pictures(draw("seven", *words))[0]
        for words in ((), (), ("--guidance", "1.5"), ("--temperature", "0.9"), ("--guidance", "1.5"))
    ]
    assert names[0] == names[1] and names[2] == names[4] and len(set(names)) == 3
    with Image.open(names[0]) as first, Image.open(names[2]) as second:
        assert (first.text["guidance"], second.text["guidance"]) == ("2.0", "1.5")


def test_what_a_killed_command_left_in_the_folder_is_swept(draw):
    left, other = Path("out", f".{'0a' * 8}.partial"), Path("out", ".mine.partial")
    left.parent.mkdir()
    for path in (left, other):
        path.write_text("half")
    Path("out", "tiny-seven-0-000.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")  # somebody else's
    (drawn_file,) = pictures(draw("seven", "--out", "out", "--steps", "1"))
    assert not left.exists() and other.exists() and "tiny-seven-b-0" not in drawn_file
    assert drawn_file.startswith("out/tiny-seven-0-b-")
