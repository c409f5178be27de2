"""report.html: a run on one page. Curves, results, drawings, what it read, settings, machine.

The page stands alone: style, curves (SVG) and pictures (base64 PNG) are inside it, it loads nothing and is complete
without its script. Whatever the run folder lacks is left out, so a run that just began has a report too. Captions and
names are hostile input: everything goes through Jinja's autoescape, and the page's own Content-Security-Policy allows
no request and no script but the one whose hash it names. Next: report.html, the template.
"""

import base64
import hashlib
import io
import json
import math
import os
import re
from pathlib import Path

import jinja2
import yaml
from PIL import Image

from . import records
from .errors import CheckpointError

MOST_POINTS, MOST_SHEETS, MOST_PICTURES = 2000, 12, 200     # beyond this the page shows a part, and says so
GAP = 2                                                     # around the cells of a contact sheet, as images.grid does
LEFT, RIGHT, TOP, BOTTOM = 50, 548, 14, 226                 # the plot area of a curve, in SVG units of 560 x 260
READ = ("image", "truth", "said")                           # the keys of samples/read.json
CURVES = [  # key, title, unit, is it a loss
    ("text", "Text loss", "nats per token", True),
    ("image", "Image loss", "mean over drawn patches", True),
    ("learning_rate", "Learning rate", "", False),
    ("documents_per_second", "Speed", "documents per second", False),
]
NAMES = {
    "text_to_image": "Text → image", "text_to_image.accuracy": "drawings the judge recognises",
    "image_to_text": "Image → text", "image_to_text.accuracy": "held-out pictures named right",
    "judge.held_out_accuracy": "held-out pictures the judge recognises", "held_out": "Held-out loss",
    "held_out.caption": "nats per token of captions read", "held_out.image": "mean over drawn patches",
    "held_out.bits_per_byte": "bits per byte of captions read", "train_seconds": "Training", "seconds": "Evaluation",
}


def write(run: Path) -> Path:
    """Write `run/report.html` in one go -> its path. Raises CheckpointError where `run` is not a run."""
    if not (run / "config.yaml").is_file():
        raise CheckpointError(f"{run} is not a run: it has no config.yaml")
    path, partial = run / "report.html", run / f".report.{os.getpid()}.partial"
    try:
        partial.write_bytes(render(run).encode("utf-8", "replace"))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(run: Path) -> str:
    """The page as text; the same folder gives the same page."""
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    script = re.search("<script>(.*?)</script>", template, re.DOTALL).group(1)
    jinja = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    config = (run / "config.yaml").read_text(encoding="utf-8", errors="replace")
    rows, evaluation, samples = _rows(run), _json(run / "evaluation.json", dict), run / "samples"
    machine = _json(run / "environment.json", dict)
    return jinja.from_string(template).render(
        name=run.resolve().name, script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        summary=_summary(config, rows, evaluation), cards=_cards(rows, evaluation), results=_results(evaluation),
        curves=[made for curve in CURVES if (made := _curve(rows, evaluation, *curve))],
        drawn=_drawn(samples), read=_read(samples), timeline=_timeline(samples, rows),
        config=re.findall(r"^([\s-]*[\w.]+:(?=\s|$))?(.*)$", config.rstrip(), re.MULTILINE),
        machine={key: value for key, value in machine.items() if value not in ("", None)})


def _json(path: Path, kind: type):
    """What a JSON file holds, or an empty `kind` where it is missing, torn or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()


def _rows(run: Path) -> list[dict]:
    """The records that can be drawn: those that say after how many documents they were taken."""
    rows = records.read(run / "records.jsonl")
    return [row for row in rows if isinstance(row, dict) and _finite(row.get("documents"))]


def _image(path: Path) -> Image.Image | None:
    """A decoded PNG, or None where the file is missing, torn or something else."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _picture(image: Image.Image) -> dict:
    """A picture as the page holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"uri": uri, "width": image.width, "height": image.height}


def _summary(config: str, rows: list[dict], evaluation: dict) -> list[str]:
    """What stands under the title: the data and how far the run is."""
    try:
        target = yaml.safe_load(config)["train"]["documents"]
    except (yaml.YAMLError, TypeError, KeyError):
        target = None
    seen = rows[-1]["documents"] if rows else 0
    part = f" of {target:,} ({seen / target:.0%})" if _finite(target) and 0 < seen < target else ""
    progress = f"{seen:,}{part} documents" if seen else "no record yet"
    return [str(evaluation["data"]), progress] if evaluation.get("data") else [progress]


def _cards(rows: list[dict], evaluation: dict) -> list[dict]:
    """The headline numbers: label, value, note; `share` where it is a part of a whole."""
    cards, last = [], rows[-1] if rows else {}
    for key, label, of in ("text_to_image", "Draws", "drawings recognised"), ("image_to_text", "Reads", "read right"):
        accuracy, count = _get(evaluation, key, "accuracy"), _get(evaluation, key, "count")
        if accuracy is not None:
            note = of if count is None else f"of {count:,} {of}"
            cards.append({"label": label, "value": f"{accuracy:.1%}", "note": note, "share": min(max(accuracy, 0), 1)})
    for key, label, _, is_loss in CURVES:
        if is_loss and _finite(last.get(key)):
            held_out = _get(evaluation, "held_out", key)
            note = "at the last record" if held_out is None else f"{_number(held_out)} held out"
            cards.append({"label": label, "value": _number(last[key]), "note": note})
    documents, step, seconds = (last.get(key, 0) for key in ("documents", "step", "seconds"))
    if documents:
        note = f"in {step:,} steps" if step else "seen in training"
        cards.append({"label": "Documents", "value": _short(documents), "note": note})
    if seconds > 0:
        note = f"{documents / seconds:,.0f} documents/s"
        cards.append({"label": "Training time", "value": duration(seconds), "note": note})
    return cards


def _results(evaluation: dict) -> list[dict]:
    """One row a number. Beside an accuracy stand its 95 % interval and the other numbers of its group."""
    rows = []
    for key in [key for key in evaluation if key not in ("run", "data", "documents")]:
        group = evaluation[key] if isinstance(evaluation[key], dict) else {"": evaluation[key]}
        accuracy, count = _get(evaluation, key, "accuracy"), _get(evaluation, key, "count")
        detail = [_detail(name.replace("_", " "), value) for name, value in group.items() if name != "accuracy"]
        if accuracy is not None and 0 <= accuracy <= 1 and count and count > 0:
            detail.insert(0, "95% interval {:.1%} to {:.1%}".format(*wilson(accuracy, count)))
        for name, value in group.items() if accuracy is None else [("accuracy", accuracy)]:
            show = "{:.1%}".format if "accuracy" in name else duration if key.endswith("seconds") else _number
            rows.append({"group": NAMES.get(key, key.replace("_", " ").capitalize()),
                         "measure": NAMES.get(f"{key}.{name}", name.replace("_", " ")),
                         "value": show(value) if _finite(value) else str(value),
                         "detail": "" if accuracy is None else " · ".join(detail)})
    return rows


def _detail(name: str, value) -> str:
    """'steps 10', or the lowest of a mapping of shares."""
    if isinstance(value, dict) and value and all(_finite(share) for share in value.values()):
        lowest = min(value, key=value.get)
        return f"lowest {name}: {lowest} {value[lowest]:.1%}"
    return f"{name} {_number(value)}"


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927, "Probable inference, the law of succession")."""
    z = 1.959964
    middle, whole = share + z * z / 2 / count, 1 + z * z / count
    half = z * math.sqrt(share * (1 - share) / count + (z / 2 / count) ** 2)
    return max((middle - half) / whole, 0.0), min((middle + half) / whole, 1.0)


# -------------------------------------------------------------------------------------------------------------- curves


def _curve(rows: list[dict], evaluation: dict, key: str, title: str, unit: str, is_loss: bool) -> dict | None:
    """One number against documents as SVG points, ticks and labels; None where no record has it."""
    points = [(row["documents"], row[key]) for row in rows if _finite(row.get(key))]
    if not points:
        return None
    points = points[::-1][::-(-len(points) // MOST_POINTS)][::-1]           # the last one is always there
    values, held_out = [y for _, y in points], _get(evaluation, "held_out", key) if is_loss else None
    seen = values + [held_out] * (held_out is not None) + [0] * (not is_loss)
    log = is_loss and 0 < 20 * min(seen) < max(seen)
    low, high, ticks = _axis(min(seen), max(seen), log)
    far, scale = rows[-1]["documents"] or 1, math.log if log else float

    def x(documents: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * documents / far, 2)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (scale(value) - scale(low)) / (scale(high) - scale(low)), 2)

    def line(values: list[float]) -> str:
        return " ".join(f"{x(documents)},{y(value)}" for (documents, _), value in zip(points, values))

    return {"key": key, "title": title, "unit": unit, "log": log, "low": low, "high": high, "far": far,
            "points": line(values), "mean": line(_mean(values)) if len(values) >= 60 and key != "learning_rate" else "",
            "end": (x(points[-1][0]), y(values[-1])), "first": _number(values[0]), "last": _number(values[-1]),
            "x_ticks": [(x(tick), _short(tick)) for tick in _axis(0, far)[2] if tick <= far],
            "y_ticks": [(y(tick), _short(tick)) for tick in ticks],
            "held_out": None if held_out is None else (y(held_out), _number(held_out))}


def _axis(low: float, high: float, log: bool = False) -> tuple[float, float, list[float]]:
    """An axis that holds low..high -> its ends and a few round ticks: 1, 2 or 5 times a power of ten."""
    if log:
        low, high = low / 1.15, high * 1.15
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        ticks = [m * 10.0 ** decade for decade in decades for m in ((1, 2, 5) if len(decades) < 4 else (1,))]
        return low, high, [tick for tick in ticks if low <= tick <= high]
    rough = (high - low or abs(high) or 1.0) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [n * step for n in range(first, max(last, first + 1) + 1)]
    return ticks[0], ticks[-1], ticks


def _mean(values: list[float]) -> list[float]:
    """Running mean over about a thirtieth of the curve, over less at its ends."""
    reach, end = max(1, len(values) // 60), len(values) - 1
    spans = [min(reach, n, end - n) for n in range(len(values))]
    return [math.fsum(values[n - span:n + span + 1]) / (2 * span + 1) for n, span in enumerate(spans)]


# ------------------------------------------------------------------------------------------------------------ pictures


def _drawn(samples: Path) -> dict | None:
    """The final contact sheet, cut into cells with their captions; in one piece where it has no captions."""
    sheet, note = _image(samples / "drawn.png"), _json(samples / "drawn.json", dict)
    captions, columns = note.get("captions"), note.get("columns")
    if sheet is None:
        return None
    if not (isinstance(captions, list) and captions and isinstance(columns, int) and columns > 0):
        captions, columns = [""], 1
    columns = min(columns, len(captions))
    lines = -(-len(captions) // columns)
    gap = GAP if (sheet.width - GAP) % columns == 0 == (sheet.height - GAP) % lines else 0
    wide, high = (sheet.width - gap) // columns, (sheet.height - gap) // lines
    if min(wide, high) <= gap:
        return None
    corners = [(gap + n % columns * wide, gap + n // columns * high) for n in range(min(len(captions), MOST_PICTURES))]
    cells = [_picture(sheet.crop((left, top, left + wide - gap, top + high - gap))) for left, top in corners]
    cells = [{**cell, "caption": str(caption)} for cell, caption in zip(cells, captions)]
    return {"cells": cells, "columns": columns, "count": len(captions)}


def _read(samples: Path) -> dict | None:
    """Held-out pictures with what the model said, mistakes first. No file outside `samples` is shown."""
    items = [{key: str(item.get(key, "")).replace("\0", "").encode("utf-8", "replace").decode() for key in READ}
             for item in _json(samples / "read.json", list) if isinstance(item, dict)]
    shown, right = [], sum(item["truth"] == item["said"] for item in items)
    for item in sorted(items, key=lambda item: item["truth"] == item["said"])[:MOST_PICTURES]:
        path = (samples / item["image"]).resolve()
        if path.is_relative_to(samples.resolve()) and (image := _image(path)):
            shown.append({**item, **_picture(image), "right": item["truth"] == item["said"]})
    return {"pictures": shown, "count": len(items), "right": right} if shown else None


def _timeline(samples: Path, rows: list[dict]) -> dict | None:
    """The contact sheets written while training; where they are many, closer together at the beginning."""
    paths = sorted(path for path in samples.glob("step_*.png") if path.stem[5:].isdecimal())
    chosen = set(range(len(paths)))
    if len(paths) > MOST_SHEETS:
        chosen = {max(n, round((len(paths) - 1) * (n / (MOST_SHEETS - 1)) ** 2)) for n in range(MOST_SHEETS)}
    documents, sheets = {row.get("step"): row["documents"] for row in rows}, []
    for path in [paths[n] for n in sorted(chosen)]:
        if image := _image(path):
            step = int(path.stem[5:])
            sheets.append({**_picture(image), "step": f"{step:,}", "documents": documents.get(step)})
    return {"sheets": sheets, "count": len(paths)} if sheets else None


def _finite(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _get(evaluation: dict, key: str, name: str) -> float | None:
    """evaluation[key][name] where it is a number."""
    group = evaluation.get(key)
    return group[name] if isinstance(group, dict) and _finite(group.get(name)) else None


def _number(value) -> str:
    """Whole numbers with commas, others with four digits, anything else as it is."""
    if not _finite(value):
        return str(value)
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}".replace("e-0", "e-")


def _short(value: float) -> str:
    """12,800 -> 12.8k."""
    for least, size, letter in (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"):
        if abs(value) >= least:
            return f"{value / size:.4g}{letter}"
    return _number(value)


def duration(seconds: float) -> str:
    """Seconds for people: 21.3 s, 4 min 12 s, 2 h 03 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02} min"
