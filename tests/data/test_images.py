"""Fitting and writing images and contact sheets, against known values; `test_read_image.py` tests reading."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from rawmm_cli.data import images
from rawmm_cli.data.images import (
    ImageError,
    contact_sheet,
    fit,
    fitted,
    multiple_of,
    read_image,
    save_png,
    slug,
)
from rawmm_cli.system.errors import ConfigError, DiskFullError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


# Fitting


def lanczos(pixels: np.ndarray, size: int) -> np.ndarray:
    """Reference: windowed sinc of 3 lobes, stretched by the scale; along the rows, rounded, then along the
    columns."""
    scale = len(pixels) / size
    distance = ((np.arange(size)[:, None] + 0.5) * scale - (np.arange(len(pixels)) + 0.5)) / scale
    weight = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weight /= weight.sum(1, keepdims=True)
    narrow = np.rint(np.einsum("jw,hwc->hjc", weight, pixels).clip(0, 255))
    return np.einsum("ih,hjc->ijc", weight, narrow).clip(0, 255)


@pytest.mark.parametrize("shape,size", [((24, 24), 8), ((40, 31), 12), ((17, 50), 16)])
def test_fit_is_centre_crop_and_lanczos(shape, size):
    pixels = RANDOM.integers(0, 256, (*shape, 3), dtype=np.uint8)
    side = min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = fit(pixels, size, crop="center")
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    assert np.abs(square - lanczos(pixels[top : top + side, left : left + side], size)).max() < 1


def test_fit_copies_pixels_where_it_can():
    pixels = RANDOM.integers(0, 256, (9, 5, 3), dtype=np.uint8)
    assert (fit(pixels, 5, crop="center") == pixels[2:7]).all() and (fit(pixels[:5], 5) == pixels[:5]).all()
    assert (fit(pixels, 5) == pixels).all()
    assert (fit(np.full((31, 40, 3), 77, np.uint8), 8) == 77).all()


def test_fit_without_crop_keeps_the_whole_picture():
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :2] = 255
    assert fit(pixels, 8)[:, 0].min() > 200 and fit(pixels, 8, crop="center").max() == 0
    with pytest.raises(ConfigError, match="crop is 'top'; allowed: center, none"):
        fit(pixels, 8, crop="top")


@pytest.mark.parametrize(
    "shape", [(64, 80), (64, 164), (92, 64), (64, 7 * 64), (64, 65), (128, 160), (124, 308)]
)
def test_fit_without_crop_gives_sides_that_patches_divide(shape):
    """The longer side becomes the nearest multiple of 16, also where the shorter one is 64 already."""
    pixels = RANDOM.integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole = fit(pixels, 64)
    short, long = sorted(shape)
    assert sorted(whole.shape[:2]) == [64, round(long / short * 4) * 16]
    if short == 64 and long % 16 == 0:
        assert (whole == pixels).all()


def test_small_pictures_have_sides_of_smaller_multiples():
    """A shape changes by an eighth at most; patches that divide the multiple divide both sides."""
    multiples = {8: 2, 16: 4, 24: 4, 28: 4, 32: 8, 48: 8, 64: 16, 72: 8, 100: 4, 128: 16, 65: 1, 1: 1}
    assert {size: multiple_of(size) for size in multiples} == multiples
    for size in (8, 28, 32, 64, 100):
        for longer in range(size, 4 * size):
            height, width = fitted(size, longer, size)
            assert height == size <= width and width % multiple_of(size) == 0
            assert abs(width / longer - 1) <= 1 / 8 and fitted(longer, size, size) == (width, height)


def test_fit_never_enlarges():
    with pytest.raises(
        ImageError, match="^it is 7 x 5 pixels; allowed: at least 6 x 6; choose a smaller size$"
    ):
        fit(COLOUR, 6)


# Writing


def test_save_png_round_trip_with_text(tmp_path):
    tensor = torch.from_numpy(COLOUR.transpose(2, 0, 1).copy())
    text = {"prompt": "a fox \N{FOX FACE} [/x] <image>\nnext", "seed": 7, "path": "p", "image": "\udce9 \0"}
    for image in (tensor, COLOUR):
        save_png(image, tmp_path / "x.png", **text)
        assert (read_image(tmp_path / "x.png") == COLOUR).all()
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.text == {"prompt": text["prompt"], "seed": "7", "path": "p", "image": "? \ufffd"}
    assert os.listdir(tmp_path) == ["x.png"]


def test_save_png_writes_all_or_nothing(tmp_path, monkeypatch):
    save_png(COLOUR, tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(
            DiskFullError, match="cannot write .*x.png: No space left; free some space"
        ) as caught:
            save_png(COLOUR[::-1], tmp_path / "x.png")
        assert caught.value.exit_code == 28
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save_png(COLOUR[::-1], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == before and os.listdir(tmp_path) == ["x.png"]


def test_save_png_where_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "x.png", tmp_path / "file" / "x.png"):
        with pytest.raises(ConfigError, match=f"cannot write {path}: .*; choose a folder that exists"):
            save_png(COLOUR, path)


def test_save_png_replaces_no_pipe(tmp_path):
    """A rename would destroy it; a device likewise."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ConfigError, match=f"cannot write .*{name}: it is a named pipe; allowed: a file"):
            save_png(COLOUR, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_save_png_honours_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        save_png(COLOUR, tmp_path / "x.png")
    finally:
        os.umask(old)
    assert (tmp_path / "x.png").stat().st_mode & 0o777 == 0o644


def test_contact_sheet_places_every_pixel():
    first = torch.full((3, 2, 2), 10, dtype=torch.uint8)
    second, third = torch.full((3, 1, 2), 20, dtype=torch.uint8), torch.full((3, 2, 1), 30, dtype=torch.uint8)
    back = images.BACKGROUND
    sheet = contact_sheet([first, second, third], columns=2, gap=1)
    assert sheet.dtype == np.uint8 and (sheet == sheet[..., :1]).all()
    assert sheet[..., 0].tolist() == [
        [back] * 7,
        [back, 10, 10, back, 20, 20, back],
        [back, 10, 10, back, back, back, back],
        [back] * 7,
        [back, 30, back, back, back, back, back],
        [back, 30, back, back, back, back, back],
        [back] * 7,
    ]


def test_contact_sheet_zooms_without_blending():
    tensor = torch.from_numpy(COLOUR.transpose(2, 0, 1).copy())
    assert (contact_sheet([tensor], columns=8, zoom=3, gap=0)[1::3, 1::3] == COLOUR).all()
    assert contact_sheet([tensor] * 5, columns=2, zoom=3).shape == (2 + 3 * (15 + 2), 2 + 2 * (21 + 2), 3)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("A Fox, jumping!", "a-fox-jumping"),
        ("../../etc/passwd", "etc-passwd"),
        ("Café Über", "cafe-uber"),
        ("", "untitled"),
        ("狐", "untitled"),
        ("[/x] $(touch x) \0\n", "x-touch-x"),
        ("a" * 60, "a" * 40),
        ("b" * 39 + " c", "b" * 39),
        ("-x", "x"),
        ("\udce9 x", "x"),
    ],
)
def test_slug(text, expected):
    assert slug(text) == expected
