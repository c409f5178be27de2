"""Pictures of a comparison of systems: the same prompts drawn, the same pictures read, what codecs left."""

import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from PIL import Image

from ..comparison.differences import cells_of
from ..comparison.results import BudgetKind, Results
from ..runs.folder import read_json
from ..system.figures import finite
from . import gallery, page
from .compare_plots import tones

PROMPTS, READ = 10, 12  # shown at most: prompts, pictures that are read
FEW = 4  # systems, of which more drawings are shown; words, in which characters are compared
COPIES = (4, 2)  # drawings of each prompt, of few systems and of more
EXACT = 128  # pixels; larger pictures are shown as JPEG


def drawn(results: Results, folder: Path, budget: BudgetKind) -> dict | None:
    """The same prompts drawn by every system: {"heads": captions, "rows": [{"name", "tone", "seed", "cells":
    [pictures of each prompt]}]}. folder: of the comparison."""
    sheets = {}
    for name in tones(results):
        for seed, place in _places(results, folder, name, budget):
            if prompts := _prompts(place, COPIES[len(results["systems"]) > FEW]):
                sheets[name] = (seed, prompts)
                break
    if not sheets:
        return None
    first = next(iter(sheets.values()))[1]
    shared = [caption for caption in first if all(caption in prompts for _, prompts in sheets.values())]
    heads = shared[:PROMPTS]
    rows = [
        {
            "name": name,
            "tone": tones(results)[name],
            "seed": seed,
            "cells": [[_picture(one) for one in prompts[caption]] for caption in heads],
        }
        for name, (seed, prompts) in sheets.items()
    ]
    return {"heads": heads, "rows": rows} if heads else None


def _prompts(place: Path, most: int) -> dict[str, list[Image.Image]]:
    """Captions of a cell's sheet -> its drawings of them, at most so many of each. A sheet with a caption for
    each column has several drawings of each."""
    sheet, note = gallery.image(place / "drawn.png"), read_json(place / "drawn.json", dict)
    captions, columns = note.get("captions"), note.get("columns")
    whole = isinstance(captions, list) and captions and isinstance(columns, int) and columns > 0
    if sheet is None or not whole:
        return {}
    columns = min(columns, len(captions))
    copies = len(captions) == columns
    lines = round((sheet.height - gallery.GAP) / ((sheet.width - gallery.GAP) / columns)) if copies else 1
    count = columns * lines if copies else len(captions)
    prompts: dict[str, list[Image.Image]] = {}
    for n, one in enumerate(gallery.cells(sheet, columns, count)):
        drawings = prompts.setdefault(str(captions[n % len(captions)]), [])
        if len(drawings) < (most if copies else 1):
            drawings.append(one)
    return prompts


def read(results: Results, folder: Path, budget: BudgetKind) -> dict | None:
    """The same pictures read by every system that reads: first those on which the systems disagree the most,
    then as many of the others as they come.
    {"heads": [picture, with "truth"], "rows": [{"name", "tone", "right", "count", "said": [{"said",
    "right", "parts"}]}]}."""
    known: dict[str, tuple[dict, Path]] = {}
    for name in tones(results):
        for _, place in _places(results, folder, name, budget):
            items = {item["image"]: item for item in _items(place)}
            if items:
                known[name] = (items, place)
                break
    if not known:
        return None
    first, place = next(iter(known.values()))
    shared = [
        image
        for image, item in first.items()
        if all(image in items and items[image]["truth"] == item["truth"] for items, _ in known.values())
    ]
    wrong = {image: sum(not items[image]["right"] for items, _ in known.values()) for image in shared}
    heads = []
    disputed = sorted(shared, key=lambda image: -min(wrong[image], len(known) - wrong[image]))[: READ // 2]
    for image in [*disputed, *(one for one in shared if one not in disputed)]:
        path = (place / image).resolve()
        if len(heads) < READ and path.is_relative_to(place.resolve()) and (decoded := gallery.image(path)):
            heads.append(_picture(decoded) | {"image": image, "truth": first[image]["truth"]})
    rows = [
        {
            "name": name,
            "tone": tones(results)[name],
            "right": sum(items[image]["right"] for image in shared),
            "count": len(shared),
            "said": [_said(items[one["image"]]) for one in heads],
        }
        for name, (items, _) in known.items()
    ]
    longest = max((len(one["truth"]) for one in heads), default=0)
    return {"heads": heads, "rows": rows, "long": longest > 16} if heads else None


def _said(item: dict) -> dict:
    """What was read, in parts that are right or wrong where it is not right."""
    right = item["right"]
    return {
        "said": item["said"],
        "right": right,
        "parts": [] if right else marked(item["truth"], item["said"]),
    }


def marked(truth: str, said: str) -> list[tuple[str, bool]]:
    """Parts of what was read -> whether they stand in the truth: characters of a few words, else words. A
    dot stands where something is missing. What has less than half in common is wrong as a whole."""
    cut = list if len(truth.split()) <= FEW else re.compile(r"\S+|\s+").findall
    other, parts = cut(said), []
    matched = SequenceMatcher(None, cut(truth), other, autojunk=False)
    if said.strip() and matched.ratio() < 0.5:
        return [(said, False)]
    for kind, _, _, first, last in matched.get_opcodes():
        text = "".join(other[first:last])
        parts.append(("·" if kind == "delete" else text, kind == "equal"))
    return parts if said.strip() else []


def _items(place: Path) -> list[dict]:
    """What a cell has read: entries of read.json that are as they should be."""
    keys = {"image": str, "truth": str, "said": str, "right": bool}
    return [
        item
        for item in read_json(place / "read.json", list)
        if isinstance(item, dict)
        and all(isinstance(item.get(key), kind) for key, kind in keys.items())
        and "\0" not in item["image"]
    ]


def kept(results: Results, folder: Path) -> dict | None:
    """What each codec left of the same pictures: {"originals": pictures, "rows": [{"name", "tone", "bits",
    "cells": pictures with "psnr"}]}; None where no system has a codec."""
    originals, rows = [], []
    for system in results["systems"]:
        name = system["name"]
        for _, place in _places(results, folder, name, results["cells"][0]["budget"]):
            note, sheet = read_json(place / "kept.json", dict), gallery.image(place / "kept.png")
            numbers = note.get("psnr")
            if sheet is None or not isinstance(numbers, list) or not numbers:
                continue
            pictures = [_picture(one) for one in gallery.cells(sheet, len(numbers), 2 * len(numbers))]
            originals = originals or pictures[: len(numbers)]
            cells = [
                picture | {"psnr": _psnr(value)} for picture, value in zip(pictures[len(numbers) :], numbers)
            ]
            rows.append({"name": name, "tone": tones(results)[name], "bits": _bits(system), "cells": cells})
            break
    return {"originals": originals, "rows": rows} if rows else None


def _bits(system: Any) -> str:
    bits = (system["codec"] or {}).get("bits") or system["bits"]
    return f"{bits:,.0f} bits" if bits else ""


def _psnr(value: Any) -> str:
    return f"{value:.1f} dB" if finite(value) else "exact"


def _places(results: Results, folder: Path, system: str, budget: BudgetKind) -> list[tuple[int, Path]]:
    """Seeds of a system's finished cells and their folders, in the order of the seeds."""
    cells = cells_of(results, system, budget)
    order = [seed for seed in results["seeds"] if seed in cells and cells[seed]["state"] == "done"]
    return [(seed, folder / cells[seed]["folder"]) for seed in order]


def _picture(shown: Image.Image) -> dict:
    return page.picture(shown) if shown.width <= EXACT else page.picture(shown.convert("RGB"), "JPEG")
