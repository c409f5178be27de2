"""card.html: a prepared set on one page, with nothing outside of it."""

from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from .figures import number
from .gallery import picture
from .prepared import SPLITS, Rows

MOST, LARGEST, SHOWN = 96, 160, 200                     # pictures, their longer side in the page, lines of what was left out
WORDS = 40


def render(folder: Path, card: dict) -> str:
    """The page as text; the same set gives the same page."""
    here = Path(__file__)
    jinja = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters["number"] = number
    shown = _pictures(folder, card)
    page = jinja.from_string(here.with_name("card.html").read_text(encoding="utf-8")).render(
        card={"terms": "", "licence": "unknown", **card}, style=here.with_name("report.css").read_text(encoding="utf-8"),
        summary=_summary(card), warnings=_warnings(card), facts=_facts(card), pictures=shown, total=sum(card["count"].values()),
        wide=any(entry["width"] > 96 for entry in shown), bars=_bars(card), words=_words(card), shown=card["skipped"][:SHOWN])
    return page.encode("utf-8", "replace").decode()


def _summary(card: dict) -> list[tuple[str, str]]:
    things = "documents" if card["kind"] == "documents" else "pictures"
    found = [(number(card["count"]["train"]), f"training {things}"), (number(card["count"]["held_out"]), "held out")]
    if card["kind"] == "documents":
        found.append((number(card["pictures"]), "pictures"))
    if card["size"]:
        found.append(("{} × {}".format(*card["size"]), "pixels each"))
    return found


def _warnings(card: dict) -> list[str]:
    """What a person should know before training on it."""
    across = sum(card["duplicates"][kind]["across_splits"] for kind in ("exact", "near"))
    lines = [f"{across:,} groups of equal or nearly equal pictures stand in both splits: what is held out is not all new."] \
        if across else []
    if card["without_caption"] and card["kind"] == "pictures":
        lines.append(f"{card['without_caption']:,} pictures have no caption: they can be drawn, but not read.")
    return lines


def _facts(card: dict) -> dict[str, str]:
    facts = {"Source": card.get("source"), "Licence": card.get("licence"), "Where from": card.get("url")}
    options = card.get("options", {})
    if options.get("size"):
        facts["Made to fit"] = f"{options['size']} pixels, crop {options['crop']}"
    facts |= {str(name).capitalize(): str(value) for name, value in card.get("chosen", {}).items()}
    return {name: value for name, value in facts.items() if value}


def _words(card: dict) -> str:
    texts = card["captions"]
    if not texts["count"]:
        return "no text"
    lengths = texts["bytes"]
    return (f"{texts['count']:,} texts, {texts['different']:,} different; {texts['vocabulary']:,} different words; "
            f"{lengths['min']:,} to {lengths['max']:,} bytes, median {lengths['median']:,}")


def _bars(card: dict) -> list[tuple[str, list[tuple[str, int, float]]]]:
    """(title, (name, count, share of the largest)) for classes, attributes and words."""
    tables = [("Classes", list(card.get("label_counts", {}).items()))]
    tables += [(f"Attribute: {name}", list(values.items())) for name, values in card.get("attributes", {}).items()]
    tables.append(("Frequent words", [tuple(entry) for entry in card["captions"]["frequent"][:WORDS]]))
    return [(title, [(name, count, count / max(c for _, c in entries)) for name, count in entries[:WORDS]])
            for title, entries in tables if entries]


def _pictures(folder: Path, card: dict) -> list[dict]:
    """Pictures at equal distances through both splits, with what is said of them."""
    found = []
    for split in SPLITS:
        count, most = card["count"][split], MOST * 3 // 4 if split == "train" else MOST // 4
        chosen = np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()
        show = _story if card["kind"] == "documents" else _picture
        found += [entry for row in Rows.of(folder, split).at(chosen) if (entry := show(row))]
    return found


def _picture(row: dict) -> dict:
    pixels = np.frombuffer(row["pixels"], np.uint8).reshape(row["height"], row["width"], 3)
    return _shown(pixels) | {"caption": next(iter(row["captions"]), "")}


def _story(row: dict) -> dict | None:
    """The first picture of a document and the text around it."""
    if not row["pixels"]:
        return None
    pixels = np.frombuffer(row["pixels"][0], np.uint8).reshape(row["heights"][0], row["widths"][0], 3)
    return _shown(pixels) | {"caption": " … ".join(row["texts"])[:400]}


def _shown(pixels: np.ndarray) -> dict:
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return picture(image)
