"""Damaged parts of image files that pixels do not need: the picture is read as without them; `test_png.py`
has those of PNG."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from rawmm_cli.data import pictures
from rawmm_cli.data.decoding import extras
from rawmm_cli.data.images import ImageError, read_image

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (16, 12, 3), dtype=np.uint8)
TURNED = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0)  # EXIF: a quarter to the right


def written(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, kind, **options)
    return file.getvalue()


def same(data: bytes, expected: np.ndarray) -> None:
    assert np.array_equal(read_image(data), expected)


# JPEG

JPEG = written("JPEG", quality=95)
HEADS = {
    "EXIF": (0xE1, b"Exif\0\0"),
    "EXIF that ends": (0xE1, b"Exif\0\0II*\0\x08\0\0\0"),
    "XMP": (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    "a profile": (0xE2, b"ICC_PROFILE\0"),
    "a profile, the second part of two": (0xE2, b"ICC_PROFILE\0\2\2"),
    "several pictures": (0xE2, b"MPF\0"),
    "Photoshop": (0xED, b"Photoshop 3.0\0"),
    "Photoshop's resolution": (0xED, b"Photoshop 3.0\x008BIM\3\xed"),
    "JFIF": (0xE0, b"JFIF\0"),
    "a comment": (0xFE, b""),
    "of a maker": (0xEB, b""),
}


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize("name", HEADS)
def test_segments_of_a_jpeg(name):
    marker, head = HEADS[name]
    expected = read_image(JPEG)
    for size in (0, 1, 3, 10, 60, 5000):
        body = head + RANDOM.bytes(size)
        same(JPEG[:2] + segment(marker, body) + JPEG[2:], expected)


def test_a_jpeg_is_turned_beside_a_damaged_profile():
    expected = np.rot90(read_image(JPEG), -1)
    exif, profile = segment(0xE1, b"Exif\0\0" + TURNED), segment(0xE2, b"ICC_PROFILE\0")
    for order in (exif + profile, profile + exif):
        same(JPEG[:2] + order + JPEG[2:], expected)


def test_colours_of_a_jpeg_stay_what_its_markers_say():
    """Without its Adobe marker, inks would not be inverted, and RGB would be taken for YCbCr."""
    for mode in ("CMYK", "RGB"):
        file = io.BytesIO()
        options = {"keep_rgb": True} if mode == "RGB" else {}
        Image.fromarray(RANDOM.integers(0, 256, (8, 8, len(mode)), dtype=np.uint8), mode=mode).save(
            file, "JPEG", quality=95, **options
        )
        data = file.getvalue()
        same(data[:2] + segment(0xE2, b"ICC_PROFILE\0") + data[2:], read_image(data))


# GIF, WebP, TIFF, AVIF


@pytest.mark.parametrize("label", [0xFE, 0xFF, 0x01, 0x55])
def test_extensions_of_a_gif(label):
    """Extensions without any block too, which Pillow takes the picture for."""
    data = written("GIF")
    position, expected = 13 + 3 * 2 ** ((data[10] & 7) + 1), read_image(data)
    for blocks in ([], [b"NETSCAPE2.0"], [b"XMP DataXMP", bytes(200)], [RANDOM.bytes(11), RANDOM.bytes(255)]):
        extension = bytes([0x21, label]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
        same(data[:position] + extension + data[position:], expected)


def test_a_gif_stays_transparent_beside_an_empty_extension():
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    picture.putpalette([9, 9, 9, 40, 50, 60])
    file = io.BytesIO()
    picture.save(file, "GIF", transparency=0)
    data = file.getvalue()
    position = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    assert read_image(data[:position] + b"\x21\xfe\0" + data[position:])[0].tolist() == [
        [255] * 3,
        [40, 50, 60],
    ]


@pytest.mark.parametrize("kind", [b"ICCP", b"EXIF", b"XMP ", b"ABCD"])
def test_chunks_of_a_webp(kind):
    image = written("WEBP", lossless=True)[12:]
    for body in (b"", b"x", RANDOM.bytes(20), b"Exif\0\0" + RANDOM.bytes(9), b"II*\0\x08\0\0\0\xff\xff"):
        flags = {b"ICCP": 0x20, b"EXIF": 8, b"XMP ": 4}.get(kind, 0)
        header = b"VP8X" + struct.pack("<IIHBHB", 10, flags, 11, 0, 15, 0)
        extra = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        parts = [header, extra, image] if kind == b"ICCP" else [header, image, extra]
        content = b"WEBP" + b"".join(parts)
        same(b"RIFF" + struct.pack("<I", len(content)) + content, COLOUR)


def with_tag(data: bytes, code: int, kind: int, count: int, value: int) -> bytes:
    """A little-endian TIFF whose directory, now at the end, has one more tag."""
    start = int.from_bytes(data[4:8], "little")
    (number,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * n :][:12] for n in range(number)]
    entries = [entry for entry in entries if entry[:2] != struct.pack("<H", code)]
    entries = sorted([*entries, struct.pack("<HHII", code, kind, count, value)], key=lambda one: one[1::-1])
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 7, 12, 13])
@pytest.mark.parametrize("code", [270, 305, 315, 330, 700, 33432, 33723, 34377, 34665, 34675, 34853, 65000])
def test_tags_of_a_tiff(code, kind):
    """Descriptions, profiles, XMP and EXIF of the wrong type, or beyond the end of the file."""
    for compression in (None, "tiff_adobe_deflate"):
        data = written("TIFF", compression=compression)
        for count, value in ((0, 5), (1, 5), (3, 0x7FFFFF00), (1000, 0x7FFFFF00)):
            same(with_tag(data, code, kind, count, value), COLOUR)


def test_bits_that_a_description_gives_are_kept_beside_a_damaged_tag():
    """Significant bits of OME, with XMP of the wrong type."""
    file, ramp = io.BytesIO(), np.arange(0, 4096, 16, dtype=np.uint16)[None]
    tifffile.imwrite(file, ramp, metadata=None, description='<OME><Pixels SignificantBits="12"/></OME>')
    data = with_tag(file.getvalue(), 700, 3, 1, 5)
    assert (read_image(data)[0, :, 0] == np.arange(256)).all()


def test_a_tiff_is_turned_beside_a_damaged_description():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = with_tag(written("TIFF", exif=exif), 270, 2, 1000, 0x7FFFFF00)
    same(data, np.rot90(COLOUR, -1))


def test_a_damaged_exif_of_an_avif():
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = written("AVIF", exif=exif)
    at = data.index(b"a description") - 26  # its header
    damaged = data[:at] + bytes(4) + data[at + 4 :]
    assert damaged != data
    same(damaged, read_image(data))


def test_sides_are_those_of_the_picture(tmp_path):
    """Sizes of files whose extras are damaged count too: by them the time that codecs may take is chosen."""
    profile = segment(0xE2, b"ICC_PROFILE\0")
    for name, data in (("a.jpg", JPEG[:2] + profile + JPEG[2:]), ("b.tif", written("TIFF")), ("c.png", b"x")):
        (tmp_path / name).write_bytes(data)
    locations = pictures.find([tmp_path], tmp_path)
    assert pictures.area(locations) == 2 * 16 * 12


# What is reduced


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_a_reduced_file_has_the_same_pixels(kind):
    data = written(kind)
    for part in extras.reduced(data):
        same(part, read_image(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_cut_files_are_refused_all_the_same(kind):
    data = written(kind)
    for length in range(len(data) // 2):
        list(extras.reduced(data[:length]))
        if length % 16 == 0:
            with pytest.raises(ImageError):
                read_image(data[:length])
