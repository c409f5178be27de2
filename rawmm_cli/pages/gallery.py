"""The pictures of a run as the report shows them: contact sheets, what was drawn, what was read, and how both
came about.

Every picture is decoded and encoded again, so that what stands in the page is a PNG whatever the file was.
What is missing, torn or something else is left out. Captions are hostile: they stay text."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ..runs.folder import read_json
from ..system.disk import open_file
from ..system.figures import finite
from . import page

MOST_SHEETS, MOST_PICTURES, MOST_WIDE = 12, 200, 1280  # beyond this the page shows a part, and says so
GAP = 2  # around the cells of a contact sheet, as images.contact_sheet does
READ = ("image", "truth", "said")  # the keys of samples/read.json


def image(path: Path) -> Image.Image | None:
    """A decoded PNG, or None where the file is missing, torn or something else."""
    try:
        with open_file(path) as file, Image.open(file, formats=["PNG"]) as opened:
            opened.load()
            return opened
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def picture(shown: Image.Image) -> dict:
    """A picture as the page holds it; very wide ones become smaller."""
    if shown.width > MOST_WIDE:
        size = MOST_WIDE, max(1, round(shown.height * MOST_WIDE / shown.width))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    return page.picture(shown)


def cells(sheet: Image.Image, columns: int, count: int) -> list[Image.Image]:
    """The first `count` pictures of a contact sheet of `columns` columns; [] where the sheet is too small."""
    lines = -(-count // columns)
    gap = GAP if (sheet.width - GAP) % columns == 0 == (sheet.height - GAP) % lines else 0
    wide, high = (sheet.width - gap) // columns, (sheet.height - gap) // lines
    if min(wide, high) <= gap:
        return []
    corners = [
        (gap + n % columns * wide, gap + n // columns * high) for n in range(min(count, MOST_PICTURES))
    ]
    return [sheet.crop((left, top, left + wide - gap, top + high - gap)) for left, top in corners]


# ------------------------------------------------------------------------------------------ what is evaluated


def drawn(samples: Path) -> dict | None:
    """The evaluation's contact sheet, cut into cells with their captions; in one piece where it has no
    captions."""
    sheet, note = image(samples / "drawn.png"), read_json(samples / "drawn.json", dict)
    captions, columns = note.get("captions"), note.get("columns")
    if sheet is None:
        return None
    if not (isinstance(captions, list) and captions and isinstance(columns, int) and columns > 0):
        captions, columns = [""], 1
    columns = min(columns, len(captions))
    shown = [
        {**picture(cell), "caption": str(caption)}
        for cell, caption in zip(cells(sheet, columns, len(captions)), captions)
    ]
    return {"cells": shown, "columns": columns, "count": len(captions)} if shown else None


def read(samples: Path) -> dict | None:
    """Held-out pictures with what the model said, mistakes first. No file outside `samples` is shown."""
    items = [
        {key: _text(item.get(key, "")) for key in READ} | {"right": _right(item)}
        for item in read_json(samples / "read.json", list)
        if isinstance(item, dict)
    ]
    pictures = []
    for item in sorted(items, key=lambda item: item["right"])[:MOST_PICTURES]:
        with suppress(OSError, RuntimeError, ValueError):  # links in a circle, names of any length
            path = (samples / item["image"]).resolve()
            if path.is_relative_to(samples.resolve()) and (decoded := image(path)):
                pictures.append({**item, **picture(decoded)})
    right = sum(item["right"] for item in items)
    return {"pictures": pictures, "count": len(items), "right": right} if pictures else None


def _right(item: dict) -> bool:
    """The verdict of the evaluation, or else whether the words are the same."""
    return item["right"] if isinstance(item.get("right"), bool) else item.get("truth") == item.get("said")


def _text(value: Any) -> str:
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()


# -------------------------------------------------------------------------------------------- while it trains


def steps(samples: Path, ending: str) -> list[Path]:
    """samples/step_*.ENDING in order of steps; where they are many a part, closer together at the
    beginning."""
    paths = sorted(
        (path for path in samples.glob(f"step_*.{ending}") if path.stem[5:].isdecimal()),
        key=lambda path: int(path.stem[5:]),
    )
    if len(paths) <= MOST_SHEETS:
        return paths
    chosen = {max(n, round((len(paths) - 1) * (n / (MOST_SHEETS - 1)) ** 2)) for n in range(MOST_SHEETS)}
    return [paths[n] for n in sorted(chosen)]


def timeline(samples: Path, rows: list[dict]) -> dict | None:
    """The contact sheets drawn while training, with the documents seen and the prompts above each column."""
    sheets = []
    for path in steps(samples, "png"):
        note, step = read_json(path.with_suffix(".json"), dict), int(path.stem[5:])
        prompts = note.get("prompts") if isinstance(note.get("prompts"), list) else []
        if decoded := image(path):
            sheets.append(
                {
                    **picture(decoded),
                    "step": step,
                    "prompts": [_text(prompt) for prompt in prompts],
                    "again": note.get("shows") == "reconstructions",
                    "documents": note["documents"] if finite(note.get("documents")) else seen_at(rows, step),
                }
            )
    return {"sheets": sheets, "count": len(list(samples.glob("step_*.png")))} if sheets else None


def seen_at(rows: list[dict], step: int) -> int | None:
    """Documents seen after a step, from the records: every step between two of them takes the same number."""
    before = {"step": 0, "documents": 0}
    for row in rows:
        if not (finite(row.get("step")) and row["step"] > before["step"]):
            continue
        if row["step"] >= step:
            share = (step - before["step"]) / (row["step"] - before["step"])
            return round(before["documents"] + share * (row["documents"] - before["documents"]))
        before = row
    return None


def written(samples: Path) -> dict | None:
    """Captions that the model wrote for the same held-out pictures while it was trained: a line for each
    time."""
    times = []
    for path in steps(samples, "json"):
        note = read_json(path, dict)
        items = note.get("read") if isinstance(note.get("read"), list) else []
        if items := [item for item in items if isinstance(item, dict)]:
            times.append((int(path.stem[5:]), note.get("documents"), items[:MOST_PICTURES]))
    if not times:
        return None
    last = times[-1][2]
    sheet = image(samples / "held_out.png")
    pictures = [picture(cell) for cell in cells(sheet, len(last), len(last))] if sheet else []
    heads = [
        {"truth": _truth(item), **(pictures[n] if n < len(pictures) else {"uri": None})}
        for n, item in enumerate(last)
    ]
    lines = [
        {
            "step": step,
            "documents": documents if finite(documents) else None,
            "captions": [_caption(items, item.get("picture")) for item in last],
        }
        for step, documents, items in times
    ]
    longest = max((len(text) for head in heads for text in head["truth"]), default=0)
    count = len(list(samples.glob("step_*.json")))
    return {"heads": heads, "lines": lines, "long": longest > 16, "count": count}


def _truth(item: dict) -> list[str]:
    truth = item.get("truth")
    return [_text(one) for one in truth] if isinstance(truth, list) else []


def _caption(items: list[dict], index: Any) -> dict:
    """The caption written for picture `index`, and whether it is one of its true ones."""
    item = next((item for item in items if item.get("picture") == index), None)
    text = _text(item.get("written", "")) if item else ""
    return {"text": text, "right": bool(item) and text.strip() in _truth(item), "missing": item is None}
