"""The picture of `noise_times`: for each set a panel of drawings, and below it one of readings, that are
right, by the mean of the times; a line for each spread."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .noise_results import Cells, Times
from .noise_sets import NAMES

INK, FAINT, GROUND = "#222222", "#d8d8d8", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: also for the colour-blind
FINER = 2  # the picture is drawn so many times larger, for smooth lines
COLUMNS, WIDTH, HEIGHT = 3, 600, 300  # panels beside each other; of one, in drawn pixels
LEFT, TOP, ACROSS, DOWN = 100, 170, 120, 120  # margins, and gaps between panels
ROWS = {"right": "drawn right, %", "read": "read right, %"}
WEIGHT = 4.0  # of the lines


def plot(cells: Cells, file: Path) -> None:
    """Write the picture of all sets as PNG."""
    names = [name for name in NAMES if name in cells]
    times = sorted({times for of in cells.values() for times in of})
    spreads = sorted({spread for _, spread, weight in times if weight == WEIGHT})
    means = min(mean for mean, _, _ in times), max(mean for mean, _, _ in times)
    rows = len(ROWS) * -(-len(names) // COLUMNS)
    width, height = LEFT + COLUMNS * (WIDTH + ACROSS) - 60, TOP + rows * (HEIGHT + DOWN) + 10
    image = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(image)
    _legend(draw, spreads)
    for n, name in enumerate(names):
        for row, figure in enumerate(ROWS):
            place = (n % COLUMNS, len(ROWS) * (n // COLUMNS) + row)
            corner = (LEFT + place[0] * (WIDTH + ACROSS), TOP + place[1] * (HEIGHT + DOWN))
            draw.text((corner[0], corner[1] - 54), f"{name}: {ROWS[figure]}", INK, _font(32))
            _panel(draw, corner, cells[name], figure, spreads, means)
    draw.text((LEFT, height - 44), "mean of the training times: logit t = ln(noise / signal)", INK, _font(32))
    image = image.resize((width // FINER, height // FINER), Image.Resampling.LANCZOS)
    image.quantize(64).save(file, optimize=True)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _legend(draw: ImageDraw.ImageDraw, spreads: list[float]) -> None:
    x = LEFT
    for spread, colour in zip(spreads, COLOURS):
        draw.line((x, 46, x + 70, 46), colour, 8)
        draw.text((x + 86, 46), f"spread {spread:g}", INK, _font(34), anchor="lm")
        x += 330
    draw.text((x, 46), f"image weight {WEIGHT:g};", INK, _font(34), anchor="lm")
    _circle(draw, x + 310, 46)
    draw.text((x + 336, 46), "weight 1, any spread", INK, _font(34), anchor="lm")


def _circle(draw: ImageDraw.ImageDraw, x: float, y: float, fill: str | None = None) -> None:
    draw.ellipse((x - 12, y - 12, x + 12, y + 12), fill, INK if fill is None else None, 4)


def _panel(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    of: dict[Times, dict[str, float]],
    figure: str,
    spreads: list[float],
    means: tuple[float, float],
) -> None:
    """One set and figure. Its axis has 0 to 25 %, 0 to 100 % or 50 to 100 %, as the figures need."""
    left, top = corner
    shares = [one[figure] for one in of.values()]
    lowest, highest = (0.5 if min(shares) > 0.5 else 0.0), (1.0 if max(shares) > 0.25 else 0.25)

    def place(mean: float, share: float) -> tuple[float, float]:
        x = left + 30 + (WIDTH - 60) * (mean - means[0]) / max(means[1] - means[0], 1e-9)
        return x, top + HEIGHT * (1 - (share - lowest) / (highest - lowest))

    for step in range(6):
        share = lowest + step * (highest - lowest) / 5
        y = place(0, share)[1]
        draw.line((left, y, left + WIDTH, y), FAINT, 2)
        draw.text((left - 12, y), f"{100 * share:g}", INK, _font(28), anchor="rm")
    for mean in sorted({mean for mean, _, _ in of}):
        draw.text((place(mean, 0)[0], top + HEIGHT + 12), f"{mean:g}", INK, _font(28), anchor="ma")
    for spread, colour in zip(spreads, COLOURS):
        points = [place(times[0], of[times][figure]) for times in sorted(of) if times[1:] == (spread, WEIGHT)]
        draw.line(points, colour, 7, joint="curve")
        for point in points:
            _circle(draw, *point, colour)
    for (mean, _, weight), one in of.items():
        if weight == 1:
            _circle(draw, *place(mean, one[figure]))
