"""The card of a prepared set: counts, sizes, captions, duplicates, skipped items, and a fingerprint of it
all.

`describe` reads all columns but the pixels, so it takes seconds for hundreds of thousands of pictures.
`verify` reads everything and reports what does not match. `pages/card.py` draws the page."""

import hashlib
import json
import re
from array import array
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np

from ..system import disk
from ..system.errors import DataError
from ..system.figures import counted
from .duplicates import exact_duplicates, near_duplicates
from .prepared import SPLITS, fingerprint, read_card
from .rows import DOCUMENTS, PICTURES, digest
from .shapes.figures import size_figures
from .tables import Rows, data_errors

OTHERS = ("source", "look", "means")  # columns that the fingerprint leaves out
SKIPPED = 1000  # skipped items in the card; all of them are in skipped.jsonl
EXAMPLES, TOP = 20, 60  # groups of duplicates; frequent words, and values of an attribute


def describe(folder: Path, about: dict, skipped: list[dict], options: dict) -> dict:
    """Card of the splits in `folder`; where items were skipped, skipped.jsonl is written there.

    about: the card of the source. skipped: {file, reason} of every skipped item. options: how the set was
    prepared."""
    splits = {split: Rows.of(folder, split) for split in SPLITS}
    documents = "order" in next(iter(splits["train"].tables())).column_names
    card = {
        **about,
        "kind": "documents" if documents else "pictures",
        "options": options,
        "count": {split: len(rows) for split, rows in splits.items()},
        "labels": about.get("labels", []),
    }
    card |= _sizes(splits, documents) | _texts(splits, documents)
    if not documents:
        card |= _labels(splits, card["labels"])
    digests = np.concatenate([rows.digests() for rows in splits.values()])
    near, complete = ([], True) if documents else near_duplicates(splits, digests)
    card["duplicates"] = {
        "exact": _groups(splits, exact_duplicates(digests)),
        "near": _groups(splits, near) | {"complete": complete},
    }
    card |= {"skipped_count": len(skipped), "skipped": skipped[:SKIPPED]}
    if skipped:
        disk.write(folder / "skipped.jsonl", "".join(json.dumps(entry) + "\n" for entry in skipped))
    return card | {"fingerprint": fingerprint(splits), "columns": _columns(splits)}


def write(folder: Path, card: dict) -> None:
    """Write card.json: the set counts as prepared when it is there."""
    disk.write_json(folder / "card.json", card)


def verify(folder: Path) -> list[str]:
    """Problems of a prepared set, one line each; [] where everything is as it was prepared.

    Raises DataError where the set cannot be read at all."""
    card = read_card(folder)
    splits = {split: Rows.of(folder, split) for split in SPLITS}
    with data_errors(folder):
        return _problems(card, splits)


def _problems(card: dict, splits: dict[str, Rows]) -> list[str]:
    problems = []
    for split, rows in splits.items():
        for part in rows.tables():
            expected = DOCUMENTS if "order" in part.column_names else PICTURES
            if missing := sorted(set(expected.names) - set(part.column_names)):
                return [f"{split} lacks the columns {missing}"]
        if len(rows) != card["count"][split]:
            problems.append(
                f"{split} has {counted(len(rows), 'row')}; the card says {card['count'][split]:,}"
            )
        problems += [
            f"{split} row {number:,} ({row['source']}): its pixels do not match their checksum"
            for number, row in enumerate(rows.dicts())
            if not _matches_checksum(row)
        ]
    if not problems and fingerprint(splits) != card["fingerprint"]:
        problems.append(
            "captions, labels, attributes or the order of rows do not match the fingerprint in card.json"
        )
    if not problems and "columns" in card:  # cards of earlier versions have none
        problems += [
            f"column {name} does not match its checksum in card.json"
            for name, checksum in _columns(splits).items()
            if checksum != card["columns"].get(name)
        ]
    if not problems:
        problems += [
            f"card.json says {name} = {str(card.get(name))[:200]}; the rows say {str(value)[:200]}"
            for name, value in _facts(card, splits).items()
            if json.loads(json.dumps(value)) != card.get(name)
        ]
    return problems


def _facts(card: dict, splits: dict[str, Rows]) -> dict:
    """What the rows say of everything in a card that is counted quickly."""
    documents = card.get("kind") == "documents"
    facts = _sizes(splits, documents) | _texts(splits, documents)
    if not documents and "label_counts" in card:
        facts |= _labels(splits, card.get("labels") or [])
    if "exact" in card.get("duplicates", {}):
        digests = np.concatenate([rows.digests() for rows in splits.values()])
        facts["duplicates"] = card["duplicates"] | {"exact": _groups(splits, exact_duplicates(digests))}
    return facts


def _columns(splits: dict[str, Rows]) -> dict[str, str]:
    """SHA-256 of each column that the fingerprint leaves out: those that nobody learns from."""
    totals = {}
    for rows in splits.values():
        for row in rows.dicts(OTHERS):
            for name, value in row.items():
                data = value if isinstance(value, bytes) else str(value).encode()
                totals.setdefault(name, hashlib.sha256()).update(b"%d\n" % len(data) + data)
    return {name: total.hexdigest() for name, total in totals.items()}


def _matches_checksum(row: dict) -> bool:
    """Whether the pixels of a row (and the texts of a document) have its sizes and its SHA-256."""
    pixels, heights, widths = row["pixels"], row.get("heights"), row.get("widths")
    if heights is None:
        pixels, heights, widths = [pixels], [row["height"]], [row["width"]]
    fits = all(len(data) == 3 * height * width for data, height, width in zip(pixels, heights, widths))
    return fits and digest(list(zip(heights, widths, pixels)), row.get("texts", [])) == row["sha256"]


# ------------------------------------------------------------------------------------------------- statistics


def _sizes(splits: dict[str, Rows], documents: bool) -> dict:
    """Statistics of the heights and widths of all pictures."""
    names = ("heights", "widths") if documents else ("height", "width")
    heights, widths = (np.concatenate([rows.numbers(name) for rows in splits.values()]) for name in names)
    figures = size_figures(np.stack([heights, widths], -1))
    return {
        "size": figures["smallest"] if figures["different"] == 1 else None,
        "pictures": len(heights),
        "sizes": figures,
    }


def _texts(splits: dict[str, Rows], documents: bool) -> dict:
    """Statistics of captions, or of the texts of documents: number, length, words."""
    words, lengths, without, hashes = Counter(), array("q"), 0, array("Q")
    for rows in splits.values():
        for row in rows.dicts(("texts" if documents else "captions",)):
            texts = [text for text in next(iter(row.values())) if text]
            without += not texts
            for text in texts:
                lengths.append(len(text.encode()))
                words.update(re.findall(r"\w+", text.lower()))
                hashes.append(
                    int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
                )
    lengths = np.array(lengths or [0])
    frequent = sorted(words.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]
    return {
        "without_caption": without,
        "captions": {
            "count": int((lengths > 0).sum()),
            "different": len(np.unique(np.array(hashes))),
            "vocabulary": len(words),
            "words": words.total(),
            "frequent": [list(entry) for entry in frequent],
            "bytes": {
                name: int(np.quantile(lengths, q))
                for name, q in (("min", 0), ("median", 0.5), ("p95", 0.95), ("max", 1))
            },
        },
    }


def _labels(splits: dict[str, Rows], names: list[str]) -> dict:
    """Number of pictures of every class, and of every value of every attribute."""
    labels = Counter(
        label for rows in splits.values() for label in rows.numbers("label").tolist() if label >= 0
    )
    counts: dict[str, Counter] = {}
    for rows in splits.values():
        for row in rows.dicts(("attributes",)):
            for name, value in json.loads(row["attributes"] or "{}").items():
                counts.setdefault(name, Counter())[str(value)] += 1
    attributes = {
        name: dict(sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP])
        for name, values in sorted(counts.items())
    }
    named = {
        names[label] if label < len(names) else str(label): count for label, count in sorted(labels.items())
    }
    return {"label_counts": named, "attributes": attributes}


def _groups(splits: dict[str, Rows], groups: list[list[int]]) -> dict:
    """Statistics of groups of duplicates, given as row numbers in both splits together."""
    first_held_out = len(splits["train"]) if groups else 0
    across = [group for group in groups if min(group) < first_held_out <= max(group)]
    examples = [*across, *(group for group in groups if group not in across)][:EXAMPLES]
    examples = [group[:6] for group in examples]
    names, indices = {}, {index for group in examples for index in group}
    if indices:
        for index, row in enumerate(chain(*(rows.dicts(("source",)) for rows in splits.values()))):
            if index in indices:
                names[index] = row["source"]
    return {
        "groups": len(groups),
        "pictures": sum(map(len, groups)),
        "across_splits": len(across),
        "examples": [[names[index] for index in group] for group in examples],
    }


def check(folder: Path) -> None:
    """Raise DataError with the first problem of a prepared set."""
    if problems := verify(folder):
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise DataError(
            f"data set {folder} is not as it was prepared: {problems[0]}{more}; "
            "delete it and prepare it again"
        )
