"""Words after --codec; pictures that do not fit a codec; the controls."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from toy_codec import Squares

import rawmm_cli.runs.codec
from rawmm_cli.metrics import pixels
from rawmm_cli.reconstruction import choices, controls
from rawmm_cli.reconstruction.round_trip import fitted, layout, through
from rawmm_cli.system.errors import CheckpointError, ConfigError

CPU = torch.device("cpu")


def noise(size=(24, 24), count=2, seed=0):
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


def smooth(size=(64, 64)):
    y, x = np.mgrid[: size[0], : size[1]]
    return torch.from_numpy(np.stack([3 * x % 256, 2 * y % 256, (x * y) // 20 % 256])).to(torch.uint8)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with the run `toy`, which trained Squares."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.yaml").write_text("codec: {kind: fsq}\n")
    monkeypatch.setattr(rawmm_cli.runs.codec, "load_codec", lambda folder, device, warn=None: Squares())
    return tmp_path


def chosen(words, runs):
    return choices.choices(words, runs, CPU, lambda: pytest.fail("no model is needed"), [10])


# ------------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    "word, message",
    [
        ("rwa", "unknown codec 'rwa' (did you mean raw?)"),
        ("tou", "unknown codec 'tou' (did you mean toy?)"),
        ("jpg@400", "unknown codec 'jpg@400' (did you mean jpeg?)"),
        ("resize@x", "'x' is not a number of pixels"),
        ("resize@0", "'0' is not a number of pixels"),
        ("resize", "'' is not a number of pixels"),
        ("jpeg@-4", "'-4' is neither a number of bits"),
        (
            "jpeg@toi",
            "'toi' is neither a number of bits nor another --codec that has bits (did you mean toy?)",
        ),
        ("jpeg@webp@400", "neither a number of bits"),
    ],
)
def test_a_wrong_word_is_one_line(word, message, runs):
    with pytest.raises(ConfigError) as error:
        chosen(["toy", word], runs)
    assert message in str(error.value) and "allowed: " in str(error.value) and "\n" not in str(error.value)


def test_twice_and_no_bits(runs, monkeypatch):
    with pytest.raises(ConfigError, match="--codec raw is given twice"):
        chosen(["raw", "raw"], runs)
    monkeypatch.setattr(Squares, "bits", lambda self, height, width: None)
    with pytest.raises(ConfigError, match="toy has no number of bits"):
        chosen(["jpeg@toy", "toy"], runs)[0].go(noise())


def test_a_run_of_a_model_is_no_codec(tiny_run):
    with pytest.raises(CheckpointError, match="not of a codec"):
        chosen([str(tiny_run)], tiny_run.parent)


def test_choices_are_in_the_order_of_words(runs):
    codecs = chosen(["jpeg@toy", "raw", "toy", "resize@8", "webp@20000"], runs)
    assert [choice.word for choice in codecs] == ["jpeg@toy", "raw", "toy", "resize@8", "webp@20000"]
    assert [choice.kind for choice in codecs] == ["file", "raw", "tokenizer", "resize", "file"]
    assert [choice.bits(24, 24) for choice in codecs] == [144, 13824, 144, 1536, 20000]
    for choice in codecs:
        trip = choice.go(noise())
        assert trip.back.shape == (2, 3, 24, 24) and trip.back.dtype == torch.uint8
    assert torch.equal(codecs[1].go(noise()).back, noise())


# ---------------------------------------------------------------------------------------------------- fitting


def test_the_smallest_sides_that_fit():
    assert fitted(Squares(4).grid, 24, 24) == (24, 24) and fitted(Squares(4).grid, 25, 31) == (28, 32)
    assert layout(Squares(8, only=16).grid, 10, 16) == ((16, 16), (16, 16))
    assert layout(Squares(8, only=16).grid, 40, 16) == ((48, 16), (16, 16))


def test_padding_repeats_edges_and_is_cropped_off():
    """The result equals that of a picture padded by numpy."""
    images = noise((10, 13))
    trip = through(Squares(4), images, CPU)
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (0, 2), (0, 3)), mode="edge"))
    codec = Squares(4)
    assert torch.equal(trip.back, codec.decode(codec.encode(padded), 3)[:, :, :10, :13])
    assert trip.padded == (12, 16) and trip.tokens == [12, 12] and trip.bits == [48, 48] and trip.tiles == 1


def test_a_codec_of_one_size_takes_larger_pictures_in_tiles():
    """Squares are independent, so tiles do not change the result."""
    images = noise((40, 16))
    tiled, whole = through(Squares(4, only=16), images, CPU), through(Squares(4), images, CPU)
    assert torch.equal(tiled.back, whole.back) and tiled.tiles == 3 and tiled.padded == (48, 16)
    assert tiled.bits == [4 * 48, 4 * 48] and tiled.codes.shape == (2, 48)
    assert tiled.codes[:, :32].tolist() == whole.codes[:, :32].tolist()


# --------------------------------------------------------------------------------------------------- controls


@pytest.mark.parametrize("kind", controls.FORMATS)
def test_a_file_is_the_largest_within_the_budget(kind):
    picture = Image.fromarray(smooth().permute(1, 2, 0).numpy())
    sizes = [len(controls.written(picture, kind, quality)) for quality in (20, 60)]
    for budget in (sizes[0], sizes[1], sum(sizes) // 2):
        data = controls.highest(picture, kind, 8 * budget)
        assert sizes[0] <= len(data) <= budget and (budget < sizes[1] or len(data) >= sizes[1])
    assert data in [controls.written(picture, kind, quality) for quality in controls.QUALITIES]


def detailed():
    """A picture that shrinking costs much and coding costs more."""
    waves = torch.linspace(0, 40, 96).sin()
    return (127 + 60 * (waves[:, None] + waves[None, :].cos())).clamp(0, 255).to(torch.uint8).repeat(3, 1, 1)


@pytest.mark.parametrize("kind, budget", [("jpeg", 3000), ("webp", 900), ("webp", 4000), ("webp", 99_999)])
def test_a_file_has_the_scale_of_the_highest_psnr(kind, budget):
    """The same as a search over all scales, with Pillow's own files."""

    def resized(picture, side, antialias):
        picture = torch.nn.functional.interpolate(
            picture[None].float(), (side, side), mode="bicubic", antialias=antialias, align_corners=False
        )
        return picture[0].round().clamp(0, 255).byte()

    image, reached = detailed(), {}
    for scale in controls.SCALES:
        small = image if scale == 1 else resized(image, round(96 * scale), True)
        data = controls.highest(Image.fromarray(small.permute(1, 2, 0).contiguous().numpy()), kind, budget)
        back = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)
        back = back if scale == 1 else resized(back, 96, False)
        if 8 * len(data) <= budget:
            reached[scale] = float(pixels.psnr(back[None], image[None]))
    back, bits, scale = controls.file(image, kind, budget)
    assert bits <= budget and scale == max(reached, key=reached.get)
    assert float(pixels.psnr(back[None], image[None])) == pytest.approx(max(reached.values()))
    assert (scale < 1) == (budget <= 3000)


def test_the_smallest_file_where_none_is_within_the_budget(runs):
    """Its scale is that of the smallest file: there is none of 1,024 bits."""
    (trip,) = [chosen(["jpeg@toy", "toy"], runs)[0].go(torch.stack([smooth()]))]
    smallest = min(
        8 * len(controls.written(Image.new("RGB", (n, n), (g, g, g)), "jpeg", 1))
        for n in (2, 4)
        for g in (0, 128)
    )
    assert trip.over == [True] and 4 * 256 < trip.bits[0] <= 1.1 * smallest and trip.scales[0] < 0.2
    assert trip.tokens == [trip.bits[0] // 8]


def test_fewer_pixels():
    flat = torch.full((1, 3, 20, 30), 77, dtype=torch.uint8)
    assert torch.equal(controls.resized(flat, 8), flat)  # a plain picture loses nothing
    assert torch.equal(controls.resized(noise(), 24), noise()) and torch.equal(
        controls.resized(noise(), 99), noise()
    )
    back = controls.resized(noise(), 8)
    assert not torch.equal(back, noise()) and back.float().mean() == pytest.approx(
        noise().float().mean(), abs=2
    )
