"""Reading image files, against known values: every mode, every orientation, every file that must be
refused."""

import io
import os
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from rawmm_cli.data.images import ImageError, read_image

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.fixture(autouse=True)
def clean(tmp_path):
    """Check that no file stays open and no warning leaks, whatever is read."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


def grey(values) -> np.ndarray:
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, -1)


def png(width: int, height: int, depth: int, colour: int, data: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Bytes of a PNG, built by hand. colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def rows(array: np.ndarray) -> bytes:
    """Compressed body of a PNG without filters, of samples (H, W, ...)."""
    return zlib.compress(b"".join(b"\0" + np.ascontiguousarray(line).tobytes() for line in array))


def refused(path, reason: str) -> str:
    """Check that reading raises one line that names the file and gives the reason; return it."""
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    message = str(caught.value)
    assert message == f"image {path} cannot be read: {caught.value.reason}" and len(message.splitlines()) == 1
    assert str(path) not in caught.value.reason and caught.value.exit_code == 3
    return message


# Lossless formats, grey levels


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.ppm", "x.webp"])
def test_colour_comes_back_bit_for_bit(tmp_path, name):
    Image.fromarray(COLOUR).save(tmp_path / name, **({"lossless": True} if name == "x.webp" else {}))
    pixels = read_image(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.flags.writeable and (pixels == COLOUR).all()
    assert (read_image(str(tmp_path / name)) == COLOUR).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bit_grey_keeps_256_levels(tmp_path, name):
    Image.fromarray(RAMP).save(tmp_path / name, **({"format": "PPM"} if name == "x.pgm" else {}))
    assert (read_image(tmp_path / name) == grey(RAMP >> 8)).all()


def test_16_bit_grey_of_the_other_byte_order(tmp_path):
    Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes()).save(tmp_path / "x.tif")
    assert (read_image(tmp_path / "x.tif") == grey(RAMP >> 8)).all()


def test_32_bit_grey_is_clipped_to_16_bits(tmp_path):
    Image.fromarray(np.array([[-5, 0, 256, 65535, 65536, 2**30]], np.int32)).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 0, 1, 255, 255, 255]


def test_16_bit_colour_and_alpha_keep_the_upper_byte(tmp_path):
    deep = RANDOM.integers(0, 65536, (4, 6, 3)).astype(">u2")
    (tmp_path / "x.png").write_bytes(png(6, 4, 16, 2, rows(deep)))
    assert (read_image(tmp_path / "x.png") == deep >> 8).all()
    (tmp_path / "y.png").write_bytes(png(2, 1, 16, 4, rows(np.array([[300, 65535, 9, 0]], ">u2"))))
    assert read_image(tmp_path / "y.png")[0, :, 0].tolist() == [1, 255]


def test_float_grey(tmp_path):
    for values, expected in (
        ([0, 0.5, 1], [0, 128, 255]),
        ([-0.02, 0.5, 1.04], [0, 128, 255]),  # 0..1, resampled: not black
        ([-3, 1.4, 99.6, 300], [0, 1, 100, 255]),
    ):
        Image.fromarray(np.array([values], np.float32)).save(tmp_path / "x.tif")
        assert read_image(tmp_path / "x.tif")[0, :, 0].tolist() == expected
    Image.fromarray(np.array([[np.nan, 1]], np.float32)).save(tmp_path / "x.tif")
    refused(tmp_path / "x.tif", "not finite")


def test_bilevel_and_8_bit_grey(tmp_path):
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[0].tolist() == [[255] * 3, [0] * 3, [255] * 3]
    Image.fromarray(np.arange(256, dtype=np.uint8)[None]).save(tmp_path / "x.png")
    assert (read_image(tmp_path / "x.png") == grey(np.arange(256)[None])).all()


# Alpha, palettes, colour spaces


def test_alpha_on_white_is_exact(tmp_path):
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    expected = grey(np.rint((colour * alpha + 255 * (255 - alpha)) / 255))
    Image.fromarray(np.stack([colour, colour, colour, alpha], -1).astype(np.uint8)).save(
        tmp_path / "rgba.png"
    )
    Image.fromarray(np.stack([colour, alpha], -1).astype(np.uint8)).save(tmp_path / "la.png")
    for name in ("rgba.png", "la.png"):
        assert (read_image(tmp_path / name) == expected).all()


def test_palette_with_and_without_transparency(tmp_path):
    palette = (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 10, 20, 30]))
    data = rows(np.array([[0, 1, 2]], np.uint8))
    (tmp_path / "x.png").write_bytes(png(3, 1, 8, 3, data, palette))
    assert read_image(tmp_path / "x.png")[0].tolist() == [[255, 0, 0], [0, 255, 0], [10, 20, 30]]
    (tmp_path / "x.png").write_bytes(png(3, 1, 8, 3, data, palette, (b"tRNS", bytes([0, 51]))))
    assert read_image(tmp_path / "x.png")[0].tolist() == [[255, 255, 255], [204, 255, 204], [10, 20, 30]]


def test_one_transparent_colour(tmp_path):
    for depth, colour, samples, clear, expected in (
        (8, 0, np.array([[7, 8]], np.uint8), struct.pack(">H", 7), [[255] * 3, [8] * 3]),
        (8, 2, np.array([[1, 2, 3, 4, 5, 6]], np.uint8), struct.pack(">3H", 1, 2, 3), [[255] * 3, [4, 5, 6]]),
        (16, 0, np.array([[300, 301]], ">u2"), struct.pack(">H", 300), [[255] * 3, [1] * 3]),
    ):
        (tmp_path / "x.png").write_bytes(png(2, 1, depth, colour, rows(samples), (b"tRNS", clear)))
        assert read_image(tmp_path / "x.png")[0].tolist() == expected


def test_cmyk(tmp_path):
    inks = np.array(
        [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [51, 102, 204, 0], [0, 0, 0, 55]]], np.uint8
    )
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif")[0].tolist() == [
        [255, 255, 255],
        [0, 255, 255],
        [0, 0, 0],
        [204, 153, 51],
        [200, 200, 200],
    ]
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "x.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - [0, 255, 255]).max() <= 3


def test_ycbcr_and_colour_profile(tmp_path):
    Image.new("YCbCr", (2, 2), (100, 128, 128)).save(tmp_path / "x.tif")
    assert (read_image(tmp_path / "x.tif") == 100).all()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    Image.fromarray(COLOUR).save(tmp_path / "x.png", icc_profile=profile)
    assert (read_image(tmp_path / "x.png") == COLOUR).all()
    Image.new("LAB", (2, 2), (255, 128, 128)).save(tmp_path / "x.tif")
    assert (read_image(tmp_path / "x.tif") >= 254).all()  # L = 100, a = b = 0: white


# Orientation, animations, JPEG

UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: np.rot90,
    9: lambda x: x,
}


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp", "grey.png"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, expected = COLOUR, COLOUR
    if name == "grey.png":
        stored, expected = RAMP[:, :9], grey(RAMP[:, :9] >> 8)
    Image.fromarray(stored).save(
        tmp_path / name, exif=exif, **({"lossless": True} if name == "x.webp" else {})
    )
    assert (read_image(tmp_path / name) == UPRIGHT[orientation](expected)).all()


def test_exif_orientation_of_a_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (16, 8), "blue")
    picture.paste("red", (0, 0, 8, 8))  # left half red; turned: top half
    picture.save(tmp_path / "x.jpg", exif=exif, quality=95)
    pixels = read_image(tmp_path / "x.jpg")
    assert pixels.shape == (16, 8, 3) and pixels[2, 4, 0] > 200 and pixels[13, 4, 2] > 200


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png", "x.tif"])
def test_first_frame_of_an_animation(tmp_path, name):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if name == "x.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert (read_image(tmp_path / name) == [255, 0, 0]).all()


def test_transparent_gif_is_white(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    picture.putpalette([9, 9, 9, 40, 50, 60])
    picture.save(tmp_path / "x.gif", transparency=0)
    assert read_image(tmp_path / "x.gif")[0].tolist() == [[255] * 3, [40, 50, 60]]


def test_jpeg_progressive_or_with_the_wrong_extension(tmp_path):
    Image.new("RGB", (32, 32), (10, 200, 30)).save(tmp_path / "x.jpg", progressive=True, quality=100)
    (tmp_path / "x.png").write_bytes((tmp_path / "x.jpg").read_bytes())
    for name in ("x.jpg", "x.png"):
        assert np.abs(read_image(tmp_path / name).astype(int) - [10, 200, 30]).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1)])
def test_odd_shapes(tmp_path, shape):
    Image.fromarray(np.full((*shape, 3), 7, np.uint8)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (*shape, 3)


# Files that are refused


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.gif", "x.tif", "x.bmp", "x.ppm"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_truncated_files(tmp_path, name, share):
    Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / name, ".")


def test_not_an_image(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"")
    refused(path, r"it is empty \(0 bytes\)$")
    path.write_text("hello")
    formats = "JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF"
    refused(path, f"content is damaged or of another format; allowed: {formats}$")
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    refused(path, f"it is EPS or PostScript, which is not read; allowed: {formats}; convert it$")
    Image.new("RGB", (16, 16)).save(path, "ICO")
    refused(path, f"it is ICO, which is not read; allowed: {formats}; convert it$")
    refused(tmp_path / "none.png", "there is no such file$")
    refused(tmp_path, "it is a folder; give a picture$")


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    refused(tmp_path / "x.png", "it is a named pipe; allowed: a file$")


def test_a_flipped_bit_in_a_png(tmp_path):
    Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    data[5000] ^= 1
    (tmp_path / "x.png").write_bytes(data)
    refused(tmp_path / "x.png", "broken")


def test_bombs(tmp_path):
    zeros = zlib.compressobj(9)
    side = 20_000
    data = b"".join(zeros.compress(bytes(1 + side // 8)) for _ in range(side)) + zeros.flush()
    bomb = png(side, side, 1, 0, data)
    assert len(bomb) < 60_000
    (tmp_path / "x.png").write_bytes(bomb)
    start = time.process_time()
    refused(tmp_path / "x.png", "more than 64 megapixels; make it smaller$")
    for width in (8001, 12_000):  # Pillow says nothing; Pillow only warns
        (tmp_path / "x.png").write_bytes(png(width, 8000, 1, 0, b""))
        refused(tmp_path / "x.png", "more than 64 megapixels")
    (tmp_path / "x.png").write_bytes(png(8000, 8000, 1, 0, b""))  # allowed, but damaged
    refused(tmp_path / "x.png", "truncated|broken")
    text = (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))
    (tmp_path / "x.png").write_bytes(png(1, 1, 8, 0, rows(np.zeros((1, 1), np.uint8)), text))
    assert read_image(tmp_path / "x.png").tolist() == [[[0, 0, 0]]]  # the text is not needed: not unpacked
    assert time.process_time() - start < 1


def test_unprintable_names_make_one_printable_line(tmp_path):
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a\nb\x1b[31m\udce9.png")
    assert str(caught.value).endswith("a\ufffdb\ufffd[31m\ufffd.png cannot be read: there is no such file")


# Formats


def test_avif(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    exact = {"quality": 100, "subsampling": "4:4:4"}
    Image.new("RGB", (8, 4), (10, 200, 30)).save(tmp_path / "x.avif", **exact)
    assert np.abs(read_image(tmp_path / "x.avif").astype(int) - [10, 200, 30]).max() <= 2
    Image.new("RGBA", (8, 4), (10, 200, 30, 0)).save(tmp_path / "x.avif", **exact)
    assert (read_image(tmp_path / "x.avif") == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4), "blue").save(tmp_path / "x.avif", exif=exif, **exact)
    assert read_image(tmp_path / "x.avif").shape == (8, 4, 3)
    whole = (tmp_path / "x.avif").read_bytes()
    (tmp_path / "x.avif").write_bytes(whole[: len(whole) // 2])
    refused(
        tmp_path / "x.avif",
        "it begins as AVIF and is damaged, or of a kind that is not read.*; replace or convert it$",
    )


@pytest.mark.parametrize(
    "head,words",
    [
        (
            b"\x89PNG\r\n\x1a\nxx",
            "it begins as PNG and is damaged, or of a kind that is not read .*; replace or .*",
        ),
        (
            b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1",
            "it begins as AVIF and is damaged, .*; replace or convert it",
        ),
        (b"\0\0\0\x1cftypmif1\0\0\0\0heicmif1", "it is HEIC, which is not read; .*; convert it"),
        (b"\0\0\0\x18ftypheic", "it is HEIC, which is not read; allowed: JPEG, .*; convert it"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "it is JPEG XL, which is not read; .*; convert it"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "it is JPEG 2000, which is not read; .*; convert it"),
        (b"8BPS\0\1", "it is Photoshop, which is not read; .*; convert it"),
        (b"\x93NUMPY\1\0", "it is a NumPy array, which is not read; .*; convert it"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "it is SVG, which is not read; .*; convert it"),
        (b"<!DOCTYPE html><title>404</title>", "it is a web page and not a picture; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer and not the picture; .*"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "it is text and not a picture; .*"),
        (b'{"error": "not found"}', "it is text and not a picture; download it again"),
        (b"\0\0\0\x18ftypmp42", "it is a film, which is not read; .*; convert it"),
        (b"RIFF\0\0\0\0AVI LIST", "it is a film, which is not read; .*; convert it"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "it is TIFF without the size of its picture: .*; convert it"),
        (b"rubbish", "its content is damaged or of another format; allowed: JPEG, .*"),
    ],
)
def test_a_message_says_what_was_found(tmp_path, head, words):
    (tmp_path / "x.png").write_bytes(head)
    refused(tmp_path / "x.png", f"{words}$")


def test_a_jpeg_of_12_bits_is_named(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "x.jpg")
    data = bytearray((tmp_path / "x.jpg").read_bytes())
    data[data.index(b"\xff\xc0") + 4] = 12  # the precision in its frame header
    (tmp_path / "x.jpg").write_bytes(data)
    refused(tmp_path / "x.jpg", r"or of a kind that is not read \(.*12-bit.*\); replace or convert it$")


def adobe(inks: tuple[int, int, int, int], transform: int) -> bytes:
    """A JPEG with four inks of one colour as Adobe writes them, inverted; transform: 0 CMYK, 2 YCCK."""
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), inks).save(file, "JPEG", quality=100)
    data = bytearray(file.getvalue())
    data[data.index(b"Adobe") + 11] = transform
    return bytes(data)


def test_jpeg_with_an_adobe_marker():
    for inks in ((0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (51, 102, 204, 0)):
        cyan, magenta, yellow, black = inks
        expected = [(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)]
        assert np.abs(read_image(adobe(inks, 0)) - expected).max() <= 3
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (10, 200, 30)).save(file, "JPEG", quality=100, keep_rgb=True)
    assert np.abs(read_image(file.getvalue()) - np.array([10.0, 200, 30])).max() <= 2


MODES = {  # mode -> a file format that keeps it, a value of it, the pixel on white
    "1": ("PNG", 1, (255, 255, 255)),
    "L": ("PNG", 77, (77, 77, 77)),
    "LA": ("PNG", (100, 51), (224, 224, 224)),
    "P": ("PNG", 3, (3, 3, 3)),
    "PA": ("TIFF", (3, 51), (205, 205, 205)),
    "I;16": ("PNG", 0x1234, (0x12, 0x12, 0x12)),
    "I;16B": ("TIFF", 0x1234, (0x12, 0x12, 0x12)),
    "I": ("TIFF", 0x1234, (0x12, 0x12, 0x12)),
    "F": ("TIFF", 0.4, (102, 102, 102)),
    "RGB": ("PNG", (1, 2, 3), (1, 2, 3)),
    "RGBA": ("PNG", (100, 0, 200, 51), (224, 204, 244)),
    "RGBX": ("TIFF", (1, 2, 3, 0), (1, 2, 3)),
    "CMYK": ("TIFF", (51, 102, 204, 0), (204, 153, 51)),
    "YCbCr": ("TIFF", (100, 128, 128), (100, 100, 100)),
    "LAB": ("TIFF", (255, 128, 128), (255, 255, 255)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow(mode):
    kind, value, expected = MODES[mode]
    picture, file = Image.new(mode, (4, 2), value if mode not in ("P", "PA") else 0), io.BytesIO()
    if mode in ("P", "PA"):
        picture.putpalette([level for n in range(256) for level in (n, n, n)])
        picture.paste(value, (0, 0, 4, 2))
    picture.save(file, kind)
    pixels = read_image(file.getvalue())
    assert pixels.shape == (2, 4, 3) and np.abs(pixels - np.array(expected, float)).max() <= (mode == "LAB")


@pytest.mark.parametrize("greatest", [256, 1000, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_ppm_of_more_than_8_bits(greatest, plain):
    """Samples as 16 bits, and the upper byte of these; where all bits are used, the upper 8 of them."""
    values = np.unique(np.linspace(0, greatest, 3 * 400).astype(np.uint16))
    values = values[: len(values) // 3 * 3].reshape(1, -1, 3)
    content = values.astype(">u2").tobytes()
    if plain:
        content = (" ".join(map(str, values.ravel())) + "\n").encode()
    header = f"P{3 if plain else 6}\n# a comment\n{values.shape[1]} 1\n{greatest}\n".encode()
    shown = read_image(header + content)
    if (bits := greatest.bit_length()) and greatest == 2**bits - 1:
        assert (shown == values >> (bits - 8)).all()
    assert (shown == np.rint(values * (65535 / greatest)).astype(int) >> 8).all()


def test_truncated_ppm_of_16_bits():
    with pytest.raises(ImageError):
        read_image(b"P6\n4 4\n65535\n" + bytes(50))


@pytest.mark.parametrize("alpha, shown", [(0, (10, 20, 30)), (128, (132, 137, 142))])
def test_bmp_whose_transparency_is_zero_everywhere(alpha, shown):
    """Writers of 32 bits leave that byte zero: such a picture is opaque. Others are as they say."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    size = struct.pack("<IiiHHIIiiII", 124, 2, 2, 1, 32, 3, 16, 0, 0, 0, 0)
    header = size + masks + b"BGRs" + bytes(64)
    content = bytes([30, 20, 10, alpha]) * 4
    data = b"BM" + struct.pack("<IHHI", 14 + 124 + 16, 0, 0, 14 + 124) + header + content
    assert (read_image(data) == shown).all()
