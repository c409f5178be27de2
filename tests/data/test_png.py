"""Reading PNG files: transparent values of every depth, and chunks that are damaged or too large but not
needed."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from test_read_image import png, rows

from rawmm_cli.data.decoding import extras
from rawmm_cli.data.images import ImageError, read_image

RED = (200, 0, 0)


def packed(bits: int, values: list[int]) -> np.ndarray:
    """Samples of fewer than 8 bits as the bytes of one row."""
    return np.packbits(
        np.array([[int(bit) for value in values for bit in format(value, f"0{bits}b")]]), axis=1
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_grey_value_can_be_transparent(bits):
    """Reference: the PNG specification. A sample of b bits is the level 255 v / (2^b - 1); of the value in
    tRNS only the lowest b bits count."""
    values = list(range(2**bits))
    body = rows(packed(bits, values))
    for clear in values[:: 1 if bits < 8 else 51]:
        for written in (clear, clear | 0x100 if bits > 1 else clear):
            data = png(len(values), 1, bits, 0, body, (b"tRNS", struct.pack(">H", written)))
            pixels = read_image(data, background=RED)[0]
            expected = [[value * 255 // (2**bits - 1)] * 3 for value in values]
            expected[clear] = list(RED)
            assert pixels.tolist() == expected, (bits, clear)


def test_a_transparent_colour_of_16_bits_is_compared_in_16_bits():
    """Pillow compares upper bytes with whole values: nothing matches, or neighbours do."""
    samples = [[300, 301, 302, 300, 301, 303, 44, 45, 46, 65535, 1, 2]]
    data = png(4, 1, 16, 2, rows(np.array(samples, ">u2")), (b"tRNS", struct.pack(">3H", 300, 301, 302)))
    assert read_image(data, RED)[0].tolist() == [list(RED), [1, 1, 1], [0, 0, 0], [255, 0, 0]]
    tall = np.array(samples * 3, ">u2").reshape(3, 4, 3)
    turned = png(4, 3, 16, 2, rows(tall), (b"tRNS", struct.pack(">3H", 300, 301, 302)), (b"eXIf", exif(6)))
    assert (read_image(turned, RED)[0] == RED).all()  # the left column, turned, is the upper row


def exif(orientation: int) -> bytes:
    """EXIF with an orientation and nothing else."""
    return struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0)


LARGE = zlib.compress(bytes(3 * 10**6))
EXTRAS = {
    "a large profile": (b"iCCP", b"p\0\0" + LARGE),
    "a profile without a name": (b"iCCP", b"rubbish"),
    "a large compressed text": (b"zTXt", b"t\0\0" + LARGE),
    "a large compressed international text": (b"iTXt", b"t\0\1\0\0\0" + LARGE),
    "a text of an unknown compression": (b"zTXt", b"t\0\7rubbish"),
    "70 MB of text": (b"tEXt", b"t\0" + bytes(70 * 10**6)),
    "EXIF that is none": (b"eXIf", b"rubbish"),
    "EXIF that ends": (b"eXIf", exif(1)[:12]),
    "gamma that ends": (b"gAMA", b"1"),
    "pixel sizes that end": (b"pHYs", b"1"),
    "chromaticities that end": (b"cHRM", b"1"),
    "an empty sRGB": (b"sRGB", b""),
    "an animation that ends": (b"acTL", b""),
    "a frame that ends": (b"fcTL", b"1"),
}


def with_bad_checksum(data: bytes, kind: bytes) -> bytes:
    """The file with one bit of the checksum of a chunk flipped."""
    start = data.index(kind)
    (length,) = struct.unpack(">I", data[start - 4 : start])
    end = start + 4 + length
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]


@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS.keys())
def test_what_is_not_needed_cannot_spoil_the_picture(extra):
    body = rows(np.array([[7, 8], [9, 10]], np.uint8))
    plain = png(2, 2, 8, 0, body, extra)
    assert read_image(plain)[..., 0].tolist() == [[7, 8], [9, 10]]
    last = png(2, 2, 8, 0, body)[:-12] + plain[33 : 33 + 12 + len(extra[1])] + plain[-12:]
    assert read_image(last)[..., 0].tolist() == [[7, 8], [9, 10]]  # after the pixels too
    clear = png(2, 2, 8, 0, body, extra, (b"tRNS", struct.pack(">H", 8)), (b"eXIf", exif(6)))
    expected = [[[9] * 3, [7] * 3], [[10] * 3, list(RED)]]  # transparent and turned all the same
    assert read_image(clear, RED).tolist() == expected or extra[0] == b"eXIf"


def test_a_wrong_checksum_of_what_is_not_needed():
    body = rows(np.array([[7, 8]], np.uint8))
    for kind, chunk in ((b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Title\0cat"), (b"eXIf", exif(3))):
        data = with_bad_checksum(png(2, 1, 8, 0, body, (kind, chunk)), kind)
        assert read_image(data)[0, :, 0].tolist() == [7, 8]  # nor is it turned by a damaged EXIF
    for kind, chunk in ((b"tRNS", struct.pack(">H", 8)), (b"PLTE", bytes(6))):
        with pytest.raises(ImageError):
            read_image(
                with_bad_checksum(png(2, 1, 8, 3 if kind == b"PLTE" else 0, body, (kind, chunk)), kind)
            )


def test_an_orientation_in_a_text_is_kept_beside_a_chunk_that_is_dropped():
    body = rows(np.array([[7, 8]], np.uint8))
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>'
    raw = b"Raw profile type exif\0\nexif\n%d\n%s" % (len(exif(3)), exif(3).hex().encode())
    for chunk in ((b"iTXt", xmp), (b"tEXt", raw)):
        for more in ([chunk], [EXTRAS["a large profile"], chunk]):
            assert read_image(png(2, 1, 8, 0, body, *more))[0, :, 0].tolist() == [8, 7]


def test_damaged_pixels_are_refused_all_the_same():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = png(64, 64, 8, 0, rows(noise), EXTRAS["a large profile"])
    assert (read_image(data)[..., 0] == noise).all()
    for damaged in (data[: len(data) // 2], data[:-1000], data[:5000] + b"x" + data[5001:]):
        with pytest.raises(ImageError, match="truncated|broken|damaged"):
            read_image(damaged)


def test_a_large_chunk_is_not_unpacked():
    """A gigabyte of zeros in a text of a megabyte: no time, no memory."""
    packer = zlib.compressobj(9)
    zeros = b"".join(packer.compress(bytes(10**7)) for _ in range(100)) + packer.flush()
    body = rows(np.array([[7, 8]], np.uint8))
    start = time.process_time()
    for kind, name in ((b"zTXt", b"t\0\0"), (b"iCCP", b"p\0\0"), (b"zTXt", b"Raw profile type exif\0\0")):
        assert read_image(png(2, 1, 8, 0, body, (kind, name + zeros)))[0, :, 0].tolist() == [7, 8]
    assert time.process_time() - start < 1


def test_reduced_files_are_what_pillow_writes_without_extras():
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    plain, full = io.BytesIO(), io.BytesIO()
    picture.save(plain, "PNG")
    picture.save(full, "PNG", icc_profile=b"profile", dpi=(72, 72))
    assert list(extras.reduced(full.getvalue())) == [plain.getvalue()]
