"""Reading TIFF files of every layout that tifffile writes, against the numbers it was given."""

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from rawmm_cli.data.images import ImageError, read_image
from rawmm_cli.data.items import Item, Source, open_content
from rawmm_cli.data.prepare import Options, prepare
from rawmm_cli.pages.card import _facts as facts_of

LEVELS = np.arange(256).reshape(16, 16)
COLOUR = np.random.default_rng(0).integers(0, 256, (32, 32, 4))
ORDERS = {"<": "little-endian", ">": "big-endian"}


def tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def as_kind(levels: np.ndarray, kind: str) -> np.ndarray:
    """Levels 0..255 as samples of a type: integers fill 8 or 16 bits, float is 0..1."""
    scale = {"uint8": 1, "uint16": 257, "int32": 257, "uint32": 257, "int16": 128, "int8": 0.5}
    return (levels * scale.get(kind, 1 / 255)).astype(kind)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("order", ORDERS, ids=ORDERS.values())
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float32", "int16", "int8"])
@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_grey_of_every_depth(white, kind, order, compression):
    expected = LEVELS if white == "minisblack" else 255 - LEVELS
    if kind == "int16":  # as 32-bit numbers: clipped to 0..65535, and then the upper byte
        expected = LEVELS // 2 if white == "minisblack" else 255 - LEVELS // 2
    if kind == "int8":
        expected = LEVELS // 2 if white == "minisblack" else 255 - LEVELS // 2
    data = tiff(as_kind(LEVELS, kind), photometric=white, byteorder=order, compression=compression)
    assert (read_image(data) == expected[..., None]).all()


def test_negative_numbers_are_black():
    for kind in ("int8", "int16", "int32", "float32"):
        data = tiff(np.array([[-100, -1, 0]], kind), photometric="minisblack")
        assert read_image(data)[0, :, 0].tolist() == [0, 0, 0]
        data = tiff(np.array([[-100, -1, 0]], kind), photometric="miniswhite")
        assert read_image(data)[0, :, 0].tolist() == [255, 255, 255]


def test_unsigned_numbers_of_32_bits_do_not_become_negative():
    data = tiff(np.array([[0, 65535, 2**31, 2**32 - 1]], np.uint32), photometric="minisblack")
    assert read_image(data)[0, :, 0].tolist() == [0, 255, 255, 255]


@pytest.mark.parametrize("compression", [None, "packbits"])
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_grey_of_fewer_bits(white, bits, compression):
    """Packed by hand into the one strip of a file, as its layout says."""
    values = np.arange(16) % 2**bits
    row = np.packbits([int(bit) for value in values for bit in format(value, f"0{bits}b")])
    file = io.BytesIO()
    Image.fromarray(np.array([row])).save(file, "TIFF")
    data = file.getvalue()
    tags = {0x0100: 16, 0x0102: bits, 0x0106: int(white == "minisblack")}
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as pages:
        for code, value in tags.items():
            offset = pages.pages[0].tags[code].valueoffset
            changed[offset : offset + 4] = value.to_bytes(4, "little")
    levels = values * 255 // (2**bits - 1)
    levels = levels if white == "minisblack" else 255 - levels
    picture = bytes(changed)
    if compression:
        with Image.open(io.BytesIO(picture)) as opened:
            file = io.BytesIO()
            opened.save(file, "TIFF", compression=compression)
            picture = file.getvalue()
    assert read_image(picture)[0, :, 0].tolist() == levels.tolist()


# Bits that are used

RAMP = np.arange(0, 4096, 16, dtype=np.uint16)[None]  # 256 levels of 12 bits


@pytest.mark.parametrize("order", ORDERS, ids=ORDERS.values())
@pytest.mark.parametrize("code,kind", [(281, 3), (341, 3), (341, 4), (50717, 4)])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_tag_that_says_how_many_bits_are_used(bits, code, kind, order):
    """MaxSampleValue, SMaxSampleValue, and WhiteLevel of DNG."""
    ramp = (np.arange(256, dtype=np.uint16) << (bits - 8))[None]
    for white, expected in (("minisblack", np.arange(256)), ("miniswhite", 255 - np.arange(256))):
        extra = [(code, kind, 1, 2**bits - 1, True)]
        data = tiff(ramp, photometric=white, byteorder=order, extratags=extra)
        assert (read_image(data)[0, :, 0] == expected).all()


def test_numbers_that_are_no_depth_change_nothing():
    """TIFF 6 has MaxSampleValue for statistics: the brightest sample of a dark picture is not white. A tag
    that a sample exceeds is wrong."""
    dark = np.array([[0, 1000, 3000]], np.uint16)
    assert read_image(tiff(dark, extratags=[(281, 3, 1, 3000, True)]))[0, :, 0].tolist() == [0, 3, 11]
    bright = np.array([[0, 4095, 65535]], np.uint16)
    assert read_image(tiff(bright, extratags=[(281, 3, 1, 4095, True)]))[0, :, 0].tolist() == [0, 15, 255]
    assert read_image(tiff(dark))[0, :, 0].tolist() == [0, 3, 11]


def test_significant_bits_of_ome():
    description = '<OME><Image><Pixels SignificantBits="12" Type="uint16"/></Image></OME>'
    assert (read_image(tiff(RAMP, description=description))[0, :, 0] == np.arange(256)).all()


def test_float_with_a_greatest_value():
    data = tiff(np.array([[0, 2047.5, 4095]], np.float32), extratags=[(341, 11, 1, 4095.0, True)])
    assert read_image(data)[0, :, 0].tolist() == [0, 128, 255]


def test_packed_12_bits():
    assert (read_image(tiff(RAMP, bitspersample=12))[0, :, 0] == np.arange(256)).all()


@pytest.mark.parametrize("order", ORDERS, ids=ORDERS.values())
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_colour_of_12_bits_in_16(planes, compression, order):
    samples = (COLOUR[..., :3] * 16 + 7).astype(np.uint16)
    stored = samples if planes == "contig" else np.ascontiguousarray(samples.transpose(2, 0, 1))
    options = {"photometric": "rgb", "planarconfig": planes, "compression": compression, "byteorder": order}
    data = tiff(stored, extratags=[(281, 3, 3, (4095,) * 3, True)], **options)
    if planes == "separate" and compression:  # Pillow gives no lower bytes of these
        with pytest.raises(ImageError, match="it is TIFF with 3 samples of 16 bits, .* in separate planes"):
            read_image(data)
    else:
        assert (read_image(data) == COLOUR[..., :3]).all()


def test_the_card_says_which_pictures_were_scaled(tmp_path):
    tagged, plain = tiff(RAMP, extratags=[(281, 3, 1, 4095, True)]), tiff(RAMP)
    items = [Item(f"{n}.tif", tagged if n else plain) for n in range(4)]
    source = Source(lambda start: iter(items[start:]), "x", {"name": "x"}, open_content)
    card = prepare(source, tmp_path / "scaled", Options(workers=0))
    assert card["scaled"] == {"12": 3}
    assert facts_of(card)["Scaled"] == "3 pictures of 12 bits a sample, as files say"
    source = Source(lambda start: iter(items[:1][start:] * 4), "x", {"name": "x"}, open_content)
    assert "scaled" not in prepare(source, tmp_path / "plain", Options(workers=0, limit=2))


# Planes, alpha, palettes


def on_white(kind: str, photometric: str, extra: tuple[str, ...] | None, levels: np.ndarray) -> np.ndarray:
    """Reference: colour on a white background, in real numbers."""
    levels = levels.astype(float)
    if extra and "alpha" in extra[0]:
        colour, alpha = levels[..., :-1], levels[..., -1:]
        colour = 255 - colour if photometric == "miniswhite" else colour
        mixed = (
            colour + 255 - alpha if extra == ("assocalpha",) else (colour * alpha + 255 * (255 - alpha)) / 255
        )
    elif photometric == "separated":
        mixed = (255 - levels[..., :3]) * (255 - levels[..., 3:]) / 255
    else:
        mixed = levels[..., :3] if levels.shape[-1] > 2 else levels[..., :1]
    return np.broadcast_to(mixed, (32, 32, 3))


@pytest.mark.parametrize("order", ORDERS, ids=ORDERS.values())
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "float16", "float32", "float64"])
def test_colour_and_alpha_are_right_or_refused(kind, planes, order):
    """Whatever the layout: the right pixels within one level, or one line that says what the file holds."""
    read, refused = 0, 0
    for samples, photometric, extra in (
        (3, "rgb", None),
        (4, "rgb", ("unassalpha",)),
        (4, "rgb", ("assocalpha",)),
        (4, "rgb", ("unspecified",)),
        (4, "separated", None),
        (2, "minisblack", ("unassalpha",)),
        (2, "minisblack", ("assocalpha",)),
        (2, "minisblack", ("unspecified",)),
        (2, "miniswhite", ("unassalpha",)),
    ):
        levels = COLOUR[..., :samples]
        if extra == ("assocalpha",):
            levels = levels.copy()
            levels[..., :-1] = levels[..., :-1] * levels[..., -1:] // 255
        values = as_kind(levels, kind)
        values = values if planes == "contig" else np.ascontiguousarray(values.transpose(2, 0, 1))
        for compression in (None, "zlib"):
            for tile in (None, (16, 16)):
                options = {
                    "planarconfig": planes,
                    "compression": compression,
                    "tile": tile,
                    "byteorder": order,
                }
                data = tiff(values, photometric=photometric, extrasamples=extra, **options)
                try:
                    pixels = read_image(data)
                except ImageError as error:
                    assert error.reason.startswith("it is TIFF with ") and ORDERS[order] in error.reason
                    refused += 1
                    continue
                assert np.abs(pixels - on_white(kind, photometric, extra, levels)).max() <= 1, (
                    photometric,
                    extra,
                )
                read += 1
    expected = {("uint8", "contig"): 36, ("uint16", "contig"): 20, ("uint8", "separate"): 16}
    assert read >= expected.get((kind, planes), 12 if kind == "uint16" else 0) and read + refused == 36


def test_a_refused_layout_is_described():
    data = tiff(np.zeros((4, 4, 3), np.float32), photometric="rgb", compression="zlib")
    with pytest.raises(
        ImageError, match="^it is TIFF with 3 samples of 32 bits, float, little-endian"
    ) as caught:
        read_image(data)
    assert caught.value.reason.endswith("; convert it") and "adobe_deflate" in caught.value.reason


def test_the_preview_of_a_raw_photograph_is_not_the_picture():
    colour = COLOUR[..., :3].astype(np.uint8)
    version = [(50706, 1, 4, (1, 4, 0, 0), True)]
    with pytest.raises(ImageError, match="^it is DNG, a raw photograph .*; convert it$"):
        read_image(tiff(colour, photometric="rgb", subfiletype=1, extratags=version))
    assert (read_image(tiff(colour, photometric="rgb", extratags=version)) == colour).all()


def test_colour_maps_of_16_and_of_8_bits():
    """Old writers gave 8-bit numbers where TIFF has 16; libtiff reads a map without larger ones so."""
    for scale in (257, 1):
        table = (np.arange(256) * scale).astype(np.uint16)[None].repeat(3, 0)
        data = tiff(np.arange(256, dtype=np.uint8)[None], photometric="palette", colormap=table)
        assert (read_image(data)[0, :, 0] == np.arange(256)).all()


def test_pages_and_byte_orders_of_this_machine():
    assert sys.byteorder in ("little", "big")
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=True) as writer:
        for level in (3, 99):
            writer.write(np.full((4, 4), level * 257, np.uint16), photometric="miniswhite")
    assert (read_image(file.getvalue()) == 255 - 3).all()
