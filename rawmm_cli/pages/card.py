"""card.html: a prepared set on one page, with nothing outside of it."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from ..data.entries import Entry, Shown, entries
from ..data.prepared import SPLITS, spread
from ..system.errors import printable
from ..system.figures import counted, number

NARROW, WIDE, DOCUMENTS = (72, 24), (42, 14), (18, 6)  # how many are shown, of each split
LARGEST, EXACT = 160, 64  # the longer side in the page; up to so many pixels shown exactly
PIECES, LONG, SHOWN = 12, 600, 200  # of a document; bytes of a text; lines of what was left out
WORDS, LONG_CAPTION = 40, 24
TITLES = {"train": "Training", "held_out": "Held out"}


def render(folder: Path, card: dict) -> str:
    """The page as text; the same set gives the same page."""
    here = Path(__file__)
    jinja = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters |= {
        "number": number,
        "printable": printable,
        "named": lambda text: printable(str(text)).replace("_", " "),
    }
    stories = card["kind"] == "documents"
    wide = not stories and _wide(card)
    page = jinja.from_string(here.with_name("card.html").read_text(encoding="utf-8")).render(
        card={"terms": "", **card},
        style=here.with_name("report.css").read_text(encoding="utf-8"),
        stories=stories,
        summary=_summary(card),
        warnings=_warnings(card),
        facts=_facts(card),
        splits=_splits(folder, card, stories, wide),
        wide=wide,
        words=_words(card),
        frequent=_bars(card["captions"]["frequent"]),
        tables=_tables(card),
        shown=card["skipped"][:SHOWN],
    )
    return page.encode("utf-8", "replace").decode()


def _wide(card: dict) -> bool:
    """Whether pictures or captions need broad cells."""
    return (
        card["sizes"]["largest"] is not None
        and max(card["sizes"]["largest"]) > 96
        or card["captions"]["bytes"]["median"] > LONG_CAPTION
    )


def _summary(card: dict) -> list[tuple[str, str]]:
    stories = card["kind"] == "documents"
    found = [
        (number(card["count"]["train"]), f"training {'documents' if stories else 'pictures'}"),
        (number(card["count"]["held_out"]), "held out"),
    ]
    if stories:
        found.append((number(card["pictures"]), "pictures"))
    if card["size"]:
        found.append(("{} × {}".format(*card["size"]), "pixels each"))
    return found


def _warnings(card: dict) -> list[str]:
    """What a person should know before training on it."""
    lines = []
    if across := sum(card["duplicates"][kind]["across_splits"] for kind in ("exact", "near")):
        lines.append(
            f"{counted(across, 'group')} of equal or nearly equal pictures in both splits: not all that is "
            f"held out "
            "is new."
        )
    if card["without_caption"] and card["kind"] == "pictures":
        lines.append(
            f"{counted(card['without_caption'], 'picture')} without a caption: to be drawn, not to be read."
        )
    if card["skipped_count"]:
        lines.append(
            f"{counted(card['skipped_count'], 'item')} of the source left out; the reasons are below."
        )
    return lines


def _facts(card: dict) -> dict[str, str]:
    options = card["options"]
    facts = {
        "Source": card.get("source"),
        "Licence": card.get("licence", "unknown"),
        "Where from": card.get("url"),
        "Pixels": f"shorter side {options['size']}, crop {options['crop']}"
        if options["size"]
        else "as in the source",
    }
    facts |= {str(name).capitalize(): str(value) for name, value in card.get("chosen", {}).items()}
    return {name: printable(str(value)) for name, value in facts.items() if value}


def _words(card: dict) -> str:
    texts = card["captions"]
    if not texts["count"]:
        return "no text"
    lengths = texts["bytes"]
    return (
        f"{counted(texts['count'], 'text')}, {texts['different']:,} different; "
        f"{counted(texts['vocabulary'], 'different word')}; {lengths['min']:,} to {lengths['max']:,} bytes, "
        f"median {lengths['median']:,}"
    )


def _bars(entries: list) -> list[tuple[str, int, float]]:
    """(name, count) -> (name, count, share of the largest)."""
    return [(name, count, count / max(c for _, c in entries)) for name, count in entries[:WORDS]]


def _tables(card: dict) -> dict[str, list]:
    """Classes, and the values of each attribute."""
    tables = {"class": list(card.get("label_counts", {}).items())}
    tables |= {name: list(values.items()) for name, values in card.get("attributes", {}).items()}
    return {name: _bars(entries) for name, entries in tables.items() if entries}


# --------------------------------------------------------------------------------------------------- pictures


def _splits(folder: Path, card: dict, stories: bool, wide: bool) -> list[dict]:
    """Of each split some documents, at equal distances."""
    found = []
    for split, most in zip(SPLITS, DOCUMENTS if stories else WIDE if wide else NARROW):
        rows = entries(folder, split, spread(card["count"][split], most), card["labels"])
        show = _story if stories else _picture
        found.append(
            {
                "title": TITLES[split],
                "total": card["count"][split],
                "entries": [show(entry) for entry in rows],
            }
        )
    return found


def _picture(entry: Entry) -> dict:
    texts = [printable(text) for text in entry.texts]
    return _shown(entry.pictures[0]) | {
        "caption": texts[0] if texts else "",
        "title": "\n".join([*texts, entry.source]),
    }


def _story(entry: Entry) -> dict:
    """Texts and pictures in reading order."""
    pieces = [
        {"text": printable(item[:LONG], keep="\n") + "…" * (len(item) > LONG)}
        if isinstance(item, str)
        else _shown(item) | {"use": "to be drawn" if item.draw else "to be read"}
        for item in entry.items[:PIECES]
    ]
    return {"pieces": pieces, "more": max(0, len(entry.items) - PIECES), "source": entry.source}


def _shown(shown: Shown) -> dict:
    """Small pictures exactly, others as thumbnails."""
    image = Image.fromarray(np.ascontiguousarray(shown.pixels))
    exact, buffer = max(image.size) <= EXACT, io.BytesIO()
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    image.save(buffer, "PNG") if exact else image.save(buffer, "JPEG", quality=90)
    uri = f"data:image/{'png' if exact else 'jpeg'};base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"uri": uri, "width": image.width, "height": image.height}
