"""Pictures in a terminal: two pixels a character, the upper half block in one colour on the other as its ground."""

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

HALF, LEAST = "\u2580", 16


def half_blocks(pixels: np.ndarray, columns: int) -> Text:
    """(H, W, 3) uint8 -> text of at most `columns` characters a line. Wider pictures shrink; narrower than LEAST ones grow by
    a whole number. How many colours the terminal has is up to rich."""
    height, width = pixels.shape[:2]
    if width < min(LEAST, columns):
        zoom = min(LEAST, columns) // width
        pixels = pixels.repeat(zoom, 0).repeat(zoom, 1)
    if width > columns:
        size = columns, max(1, round(height * columns / width))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    text = Text(no_wrap=True)
    for line in range(0, len(pixels), 2):
        upper, lower = pixels[line], pixels[line + 1] if line + 1 < len(pixels) else [None] * pixels.shape[1]
        if line:
            text.append("\n")
        for above, below in zip(upper, lower):
            text.append(HALF, Style(color=_colour(above), bgcolor=None if below is None else _colour(below)))
    return text


def _colour(pixel: np.ndarray) -> Color:
    return Color.from_rgb(*pixel.tolist())
