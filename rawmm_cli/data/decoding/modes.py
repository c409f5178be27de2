"""A decoded picture of any mode -> 8-bit RGB, by the table of `data/images.py`."""

import numpy as np
from PIL import Image, ImageChops

OVERSHOOT = 0.1  # by which float of 0..1 may leave its range, as resampling makes it
Colour = tuple[int, int, int]


def to_rgb(picture: Image.Image, background: Colour) -> Image.Image:
    """Convert a loaded picture to RGB. Raises ValueError on values that are not finite.

    Where samples were scaled because the file says how many bits they use, these are in
    `info["bits_used"]` of the result."""
    inverted = getattr(picture, "inverted", False)  # this, `signed`, `unsigned` and `depth`: of `Tiff`
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture)
        if getattr(picture, "unsigned", False):
            values = values.view(np.uint32)
        bits = bits_used(picture, values)
        grey = _float_levels(values, bits) if picture.mode == "F" else levels(values, bits or 16)
        pixels = np.repeat((255 - grey if inverted else grey)[..., None], 3, -1)
        if picture.has_transparency_data:
            pixels[values == picture.info["transparency"]] = background
        return marked(Image.fromarray(pixels), bits)
    if getattr(picture, "signed", False):
        picture = picture.point([*range(128), *[0] * 128] * len(picture.getbands()))
    if picture.mode == "La":
        picture = picture.convert("LA")
    if inverted:
        grey, *alpha = picture.split()
        picture = Image.merge(picture.mode, [ImageChops.invert(grey), *alpha])
    if picture.format == "BMP" and picture.mode == "RGBA" and not picture.getchannel("A").getbbox():
        picture = picture.convert("RGB")  # many writers leave that byte zero: Windows reads it so too
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        canvas = Image.new("RGB", picture.size, background)
        canvas.paste(picture, mask=picture.getchannel("A"))
        return canvas
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def bits_used(picture: Image.Image, values: np.ndarray) -> int | None:
    """Bits that the file says its samples use, other than 16; None where it does not, or is wrong."""
    bits = getattr(picture, "depth", None)
    return bits if bits not in (None, 16) and values.max() < 2**bits else None


def levels(values: np.ndarray, bits: int) -> np.ndarray:
    """Samples as uint8: clipped to `bits` bits, the upper 8 of them."""
    return (values.clip(0, 2**bits - 1) >> (bits - 8)).astype(np.uint8)


def marked(picture: Image.Image, bits: int | None) -> Image.Image:
    """The picture with the bits by which its samples were scaled."""
    if bits is not None:
        picture.info["bits_used"] = bits
    return picture


def _float_levels(values: np.ndarray, bits: int | None) -> np.ndarray:
    """Float grey as uint8. Raises ValueError on values that are not finite."""
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    scale = 255 if values.min() >= -OVERSHOOT and values.max() <= 1 + OVERSHOOT else 1
    scale = scale if bits is None else 255 / (2**bits - 1)
    return np.rint((values * scale).clip(0, 255)).astype(np.uint8)
