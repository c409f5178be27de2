"""Pictures in a terminal: as pixels where it speaks a protocol for them, else two pixels a character.

blocks    the upper half block in one colour on the other as its ground: everywhere
kitty     kitty, Ghostty, Konsole         https://sw.kovidgoyal.net/kitty/graphics-protocol
iterm     iTerm2, WezTerm, VS Code        https://iterm2.com/documentation-images.html
sixel     foot, mlterm, xterm -ti vt340   DEC STD 070, chapter 9
"""

import base64
import io
import os
import re
from collections.abc import Mapping

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

HALF, LEAST = "\u2580", 16
PROTOCOLS = ("blocks", "kitty", "iterm", "sixel")
CHUNK = 4096  # letters of base64 that kitty takes at a time


def protocol(environment: Mapping[str, str] = os.environ) -> str:
    """The protocol that the terminal announces in its environment variables; inside tmux and screen only
    blocks come through."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return "blocks"
    if (
        "KITTY_WINDOW_ID" in environment
        or "kitty" in term
        or program == "ghostty"
        or "KONSOLE_VERSION" in environment
    ):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "vscode") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if term.startswith(("foot", "mlterm", "yaft")) or "sixel" in term else "blocks"


def escapes(pixels: np.ndarray, kind: str) -> str:
    """(H, W, 3) uint8 -> the escape sequence that shows it in a terminal that speaks `kind`: kitty, iterm or
    sixel."""
    return {"kitty": _kitty, "iterm": _iterm, "sixel": _sixel}[kind](pixels)


def _kitty(pixels: np.ndarray) -> str:
    """a=T: transmit and show; f=100: a PNG; m=1: more follows."""
    data = base64.standard_b64encode(_png(pixels)).decode()
    parts = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    keys = [f"{'a=T,f=100,q=2,' * (n == 0)}m={int(n < len(parts) - 1)}" for n in range(len(parts))]
    return "".join(f"\x1b_G{key};{part}\x1b\\" for key, part in zip(keys, parts))


def _iterm(pixels: np.ndarray) -> str:
    data = _png(pixels)
    text = base64.standard_b64encode(data).decode()
    return f"\x1b]1337;File=inline=1;size={len(data)};width={pixels.shape[1]}px:{text}\x07"


def _sixel(pixels: np.ndarray) -> str:
    """Up to 256 colours, six rows of pixels at a time, each colour of them with its own line of letters."""
    picture = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    indices, palette = np.asarray(picture), np.array(picture.getpalette()).reshape(-1, 3)
    height, width = indices.shape
    head, bands = f'\x1bPq"1;1;{width};{height}', []
    head += "".join(
        f"#{n};2;{';'.join(str(round(level / 2.55)) for level in palette[n])}" for n in np.unique(indices)
    )
    for top in range(0, height, 6):
        band = indices[top : top + 6]
        weights = 1 << np.arange(len(band))
        lines = [
            f"#{n}" + _repeated("".join(chr(63 + int(bits)) for bits in weights @ (band == n)))
            for n in np.unique(band)
        ]
        bands.append("$".join(lines))
    return head + "-".join(bands) + "\x1b\\"


def _repeated(letters: str) -> str:
    """Runs of a letter as !COUNT LETTER."""
    return re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", letters)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def half_blocks(pixels: np.ndarray, columns: int) -> Text:
    """(H, W, 3) uint8 -> text of at most `columns` characters a line. Wider pictures shrink; narrower than
    LEAST ones grow by a whole number. How many colours the terminal has is up to rich."""
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
