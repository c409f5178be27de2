"""A prepared set on one page, card.html beside card.json. Next: the template card.html."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..data.entries import Entry, EntryPicture, entries
from ..data.images import centre
from ..data.layout.unused import lists
from ..data.prepared import SPLITS, evenly_spaced, read_card
from ..data.shapes.figures import crop_lines, lost, percent, shape_lines
from ..data.shapes.originals import example
from ..system.errors import DataError, printable
from ..system.figures import counted, number, plural
from . import page

NARROW, WIDE, DOCUMENTS = (72, 24), (42, 14), (18, 6)  # how many are shown, of each split
LARGEST, EXACT = 160, 64  # the longer side in the page; up to so many pixels shown exactly
PIECES, LONG, SKIPPED = 12, 600, 200  # of a document; bytes of a text; lines of what was left out
WORDS, LONG_CAPTION = 40, 24
CROPPED = {"none": "whole pictures", "center": "the largest square in the centre"}
PALE, FRAME = (128, 128, 128), (255, 90, 0)
TITLES = {"train": "Training", "held_out": "Held out"}


def write(folder: Path, card: dict) -> None:
    """Write card.html into the folder of a prepared set. card: what card.json holds. Raises DiskFullError."""
    page.write(folder / "card.html", render(folder, card))


def complete(folder: Path) -> None:
    """Write the page of a prepared set that has none. Raises DataError where `folder` is no prepared set, or
    its card lacks what the page shows."""
    if not (folder / "card.html").exists():
        card = read_card(folder)
        try:
            write(folder, card)
        except (KeyError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise DataError(
                f"{folder / 'card.json'} is damaged ({type(error).__name__}: {error}); delete the set and "
                "prepare it again"
            ) from None


def render(folder: Path, card: dict) -> str:
    """The page as text; the same set gives the same page."""
    documents = card["kind"] == "documents"
    wide = not documents and _wide(card)
    return page.render(
        "card",
        card={"terms": "", **card},
        documents=documents,
        summary=_summary(card),
        warnings=_warnings(card),
        facts=_facts(card),
        splits=_splits(folder, card, documents, wide),
        wide=wide,
        words=_words(card),
        frequent=_bars(card["captions"]["frequent"]),
        tables=_tables(card),
        sizes=_sizes(card),
        shape_lines=shape_lines(card.get("originals"), card["options"]["size"]),
        pairs=_pairs(folder, card),
        cropped=card["options"]["crop"] == "center",
        skipped=card["skipped"][:SKIPPED],
        unused=lists(card.get("unused", {})),
    )


def _wide(card: dict) -> bool:
    """Whether pictures or captions need broad cells."""
    largest, caption = card["sizes"]["largest"], card["captions"]["bytes"]["median"]
    return (largest is not None and max(largest) > 96) or caption > LONG_CAPTION


def _summary(card: dict) -> list[tuple[str, str]]:
    figures = [
        (number(card["count"]["train"]), plural(card["count"]["train"], f"training {card['kind'][:-1]}")),
        (number(card["count"]["held_out"]), "held out"),
    ]
    if card["kind"] == "documents":
        figures.append((number(card["pictures"]), plural(card["pictures"], "picture")))
    if card["size"]:
        figures.append(("{} × {}".format(*card["size"]), "pixels each"))
    return figures


def _warnings(card: dict) -> list[str]:
    """Warnings before training on the set."""
    lines = [line.replace("`", "") + "." for line in crop_lines(card.get("originals"), "--crop none")]
    if across := sum(card["duplicates"][kind]["across_splits"] for kind in ("exact", "near")):
        lines.append(
            f"{counted(across, 'group')} of equal or nearly equal pictures in both splits: not all that is "
            "held out is new."
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
        "Pixels": f"shorter side {options['size']}, {CROPPED.get(options['crop'], options['crop'])}"
        if options["size"]
        else "as in the source",
        "Scaled": ", ".join(
            f"{counted(pictures, 'picture')} of {bits} bits a sample, as files say"
            for bits, pictures in card.get("scaled", {}).items()
        ),
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


def _sizes(card: dict) -> list[tuple[str, dict, list]]:
    """(title, sizes, bars of the most frequent ones) of the source where pictures were fitted, and of the
    set."""
    both = [("in the source", card.get("originals")), ("in the set", card["sizes"])]
    return [
        (title, sizes, _bars([(f"{height} × {width}", count) for height, width, count in sizes["frequent"]]))
        for title, sizes in both
        if sizes and sizes["different"]
    ]


def _bars(counts: list) -> list[tuple[str, int, float]]:
    """(name, count) -> (name, count, share of the largest count)."""
    most = max((count for _, count in counts), default=1)
    return [(name, count, count / most) for name, count in counts[:WORDS]]


def _tables(card: dict) -> dict[str, list]:
    """Classes, and the values of each attribute."""
    tables = {"class": list(card.get("label_counts", {}).items())}
    tables |= {name: list(values.items()) for name, values in card.get("attributes", {}).items()}
    return {name: _bars(counts) for name, counts in tables.items() if counts}


# --------------------------------------------------------------------------------------------------- pictures


def _splits(folder: Path, card: dict, documents: bool, wide: bool) -> list[dict]:
    """Entries of each split, at equal distances."""
    describe = _document if documents else _picture
    splits = []
    for split, most in zip(SPLITS, DOCUMENTS if documents else WIDE if wide else NARROW):
        chosen = entries(folder, split, evenly_spaced(card["count"][split], most), card["labels"])
        total = card["count"][split]
        splits.append(
            {"title": TITLES[split], "total": total, "entries": [describe(entry) for entry in chosen]}
        )
    return splits


def _pairs(folder: Path, card: dict) -> list[dict]:
    """Pictures before and after they were fitted: those that change visibly."""
    pairs, cropped = [], card["options"]["crop"] == "center"
    for facts in card.get("originals", {}).get("examples", ()):
        entry = entries(folder, facts["split"], [facts["index"]], card["labels"])[0]
        after = entry.pictures[facts["picture"]]
        try:
            before = example(folder, facts)
        except DataError:  # deleted by hand: the page goes without it
            continue
        (height, width), (tall, wide) = (facts["height"], facts["width"]), after.pixels.shape[:2]
        ratio = wide * height / (tall * width)
        shape = f"{percent(ratio - 1)} wider" if ratio > 1 else f"{percent(1 / ratio - 1)} narrower"
        pairs.append(
            {
                "before": page.picture(_marked(before) if cropped else before, "JPEG"),
                "after": _thumbnail(after),
                "sizes": f"{height} × {width} → {tall} × {wide}",
                "what": percent(lost(height, width)) + " cut off" if cropped else shape,
                "title": "\n".join([*map(printable, entry.texts[:1]), entry.source]),
            }
        )
    return pairs


def _marked(image: Image.Image) -> Image.Image:
    """A picture whose largest square in the centre has a frame; the rest is paler."""
    box = centre(image.height, image.width)
    marked = Image.blend(image, Image.new("RGB", image.size, PALE), 0.7)
    marked.paste(image.crop(box), box)
    left, top, right, bottom = box
    ImageDraw.Draw(marked).rectangle((left, top, right - 1, bottom - 1), outline=FRAME, width=2)
    return marked


def _picture(entry: Entry) -> dict:
    """A picture with its first caption; the others and where it came from are its title."""
    captions = [printable(text) for text in entry.texts]
    return _thumbnail(entry.pictures[0]) | {
        "caption": captions[0] if captions else "",
        "title": "\n".join([*captions, entry.source]),
    }


def _document(entry: Entry) -> dict:
    """Texts and pictures in reading order."""
    pieces = [
        {"text": printable(item[:LONG], keep="\n") + "…" * (len(item) > LONG)}
        if isinstance(item, str)
        else _thumbnail(item) | {"use": "to be drawn" if item.draw else "to be read"}
        for item in entry.items[:PIECES]
    ]
    return {"pieces": pieces, "more": max(0, len(entry.items) - PIECES), "source": entry.source}


def _thumbnail(shown: EntryPicture) -> dict:
    """A small picture exactly, a larger one as a thumbnail."""
    image = Image.fromarray(np.ascontiguousarray(shown.pixels))
    exact = max(image.size) <= EXACT
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return page.picture(image, "PNG" if exact else "JPEG")
