"""The bit budget as plots: the log2 V that is needed against L, with published tokenizers as points; and the
bits of tokenizers against the words that are still read after them. Pillow draws them with the typeface that
it brings, three times as large as they are saved."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..information.catalogue import TextSurvival
from ..information.numerals import amount
from ..system.errors import ConfigError

WIDTH, HEIGHT, SCALE = 1100, 720, 3
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 90, 70  # margins
Tone = tuple[int, int, int]  # red, green, blue
INK, FAINT = (30, 34, 42), (222, 225, 230)
TONES = {64: (214, 73, 51), 128: (230, 150, 30), 256: (32, 98, 180), 384: (20, 140, 120), 512: (130, 70, 170)}
OTHER = (120, 125, 135)


class Plot:
    """A plot in the units of its data: x is logarithmic, and y too where `log_y`."""

    def __init__(
        self,
        title: str,
        below: str,
        x: tuple[float, float],
        y: tuple[float, float],
        names: tuple[str, str],
        log_y: bool = True,
    ):
        self.x, self.y, self.log_y, self.taken = x, y, log_y, []
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.text((LEFT, 22), title, 21)
        self.text((LEFT, 54), below, 14, OTHER)
        self._axes(names)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixels of a point of the data, in the saved picture."""
        part = math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0])
        low, high = self.y
        up = math.log(y / low) / math.log(high / low) if self.log_y else (y - low) / (high - low)
        return LEFT + part * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def text(
        self, at: tuple[float, float], words: str, size: int = 14, tone: Tone = INK, anchor: str = "la"
    ) -> tuple:
        """Write words at these pixels -> the box that they fill."""
        font = ImageFont.load_default(size * SCALE)
        place = at[0] * SCALE, at[1] * SCALE
        self.draw.text(place, words, tone, font, anchor)
        return tuple(side / SCALE for side in self.draw.textbbox(place, words, font, anchor))

    def line(self, points: list[tuple[float, float]], tone: Tone, width: float = 2) -> None:
        """Draw a line through points of the data."""
        places = [tuple(value * SCALE for value in self.at(*point)) for point in points]
        self.draw.line(places, tone, round(width * SCALE), "curve")

    def point(self, x: float, y: float, tone: Tone, radius: float = 5, star: bool = False) -> None:
        """Draw a dot; where `star`, a square, for the point of the user."""
        across, down = (value * SCALE for value in self.at(x, y))
        box = [across - radius * SCALE, down - radius * SCALE, across + radius * SCALE, down + radius * SCALE]
        (self.draw.rectangle if star else self.draw.ellipse)(box, tone, "white", SCALE)
        self.taken.append(tuple(value / SCALE for value in box))

    def label(self, x: float, y: float, words: str, tone: Tone) -> None:
        """Write words beside a point; nothing where no place beside it is free."""
        font, (across, down) = ImageFont.load_default(12 * SCALE), self.at(x, y)
        for shift, anchor in (
            ((9, 0), "lm"),
            ((-9, 0), "rm"),
            ((6, -9), "lb"),
            ((6, 9), "la"),
            ((-6, -9), "rb"),
            ((-6, 9), "ra"),
        ):
            place = across + shift[0], down + shift[1]
            box = tuple(
                side / SCALE
                for side in self.draw.textbbox((place[0] * SCALE, place[1] * SCALE), words, font, anchor)
            )
            inside = box[0] > LEFT and box[2] < WIDTH - 4 and box[1] > TOP and box[3] < HEIGHT - BOTTOM
            if inside and not any(_meet(box, other) for other in self.taken):
                self.taken.append(self.text(place, words, 12, tone, anchor))
                return

    def _axes(self, names: tuple[str, str]) -> None:
        for value in _ticks(*self.x):
            self.line([(value, self.y[0]), (value, self.y[1])], FAINT, 1)
            self.text((self.at(value, self.y[0])[0], HEIGHT - BOTTOM + 10), _short(value), 13, INK, "ma")
        for value in _ticks(*self.y) if self.log_y else range(int(self.y[0]), int(self.y[1]) + 1, 20):
            self.line([(self.x[0], value), (self.x[1], value)], FAINT, 1)
            self.text((LEFT - 10, self.at(self.x[0], value)[1]), _short(value), 13, INK, "rm")
        self.text((LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 22), names[0], 14, INK, "mm")
        self.text((12, TOP - 12), names[1], 14, INK, "lm")

    def save(self, path: Path) -> None:
        """Save the plot as PNG. Raises ConfigError or DataError where it cannot be written."""
        import numpy as np

        from ..data.images import save_png

        save_png(np.asarray(self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)), path)


def check(path: Path) -> None:
    """Check that a plot can be written there. Raises ConfigError."""
    if path.suffix.lower() != ".png" or not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"--plot is '{path}'; allowed: a file ending in .png in a folder that exists")


def needed(
    path: Path,
    rate: float,
    size: tuple[int, int] | None,
    bits: float,
    tokenizers: list[dict],
    own: tuple | None,
    *,
    bound: bool = False,
) -> None:
    """log2 V >= H / L as lines, for pictures of 64 to 512 px at `rate` bits for each of 3 bytes a pixel, and
    the user's H where it is another. own: the user's (L, log2 V); where it lies outside, that is said. bound:
    H is an upper bound."""
    square = size[0] if size and size[0] == size[1] else None
    plot = Plot(
        f"log2 V that {'is enough for an upper bound of H' if bound else 'lossless tokens need'}, against L",
        f"lines: L log2 V = {'an upper bound of H' if bound else 'H'} at {rate:.4g} bits a byte, 3 bytes a "
        f"pixel; dots: "
        "published tokenizers, in the colour of the side of their pictures",
        (16, 32768),
        (4, 40000),
        ("L, tokens of a picture", "log2 V, bits of a token"),
    )
    lines = {f"{side} px": (side * side * 3 * rate, tone) for side, tone in TONES.items() if side != square}
    lines["H, yours" if square is None else f"{square} px (H)"] = (bits, TONES.get(square, INK))
    for name, (total, tone) in lines.items():
        left, right = max(16, total / 40000), min(32768, total / 4)
        if left < right:
            plot.line(
                [(left, total / left), (right, total / right)],
                tone,
                4 if name.endswith(("(H)", "yours")) else 2,
            )
            plot.label(left * 1.05, total / left * 1.1, name, tone)
    for row in tokenizers:
        plot.point(row["length"], row["bits"] / row["length"], TONES.get(row.get("side"), OTHER))
    if own and plot.x[0] <= own[0] <= plot.x[1] and plot.y[0] <= own[1] <= plot.y[1]:
        plot.point(*own, INK, 7, star=True)
        plot.label(*own, "yours", INK)
    elif own:
        outside = f"yours lies outside: L = {amount(own[0])}, log2 V = {amount(own[1])}"
        plot.text((WIDTH - RIGHT, TOP - 12), outside, 13, INK, "rm")
    for row in sorted(tokenizers, key=lambda row: -row["bits"]):
        plot.label(row["length"], row["bits"] / row["length"], row["name"], TONES.get(row.get("side"), OTHER))
    plot.save(path)


def survival(path: Path, text: TextSurvival) -> None:
    """Bits of a tokenizer against the words that are still read."""
    plot = Plot(
        "Words that are still read after a tokenizer, against its bits",
        f"TokBench, 256 px; rank correlation {text.all.spearman:.2f} over "
        f"{text.all.tokenizers}; "
        f"line: smaller pictures alone; hollow: variant assumed",
        (256, 262144),
        (0, 100),
        ("L log2 V, bits of a picture", "% of words"),
        log_y=False,
    )
    plot.line([(256, text.resize), (262144, text.resize)], TONES[384])
    for row in text.rows:
        plot.point(row["bits"], row["words"], TONES[256])
        if "variant" in row:
            plot.point(row["bits"], row["words"], (255, 255, 255), 2.5)
    for row in text.rows:
        plot.label(row["bits"], row["words"], row["name"], INK)
    plot.save(path)


def _meet(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ticks(low: float, high: float) -> list[float]:
    """Powers of two where they are few, else of ten."""
    if low >= 16:
        return [2.0**n for n in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    return [10.0**n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def _short(value: float) -> str:
    return f"{value:,.0f}"
