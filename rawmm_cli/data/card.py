"""What is in a prepared set: counts, sizes, captions, duplicates, what was left out, and a fingerprint of all
of it.

`describe` reads the columns but not the pixels (these only where two pictures look alike), so it takes
seconds for hundreds of thousands of pictures. `verify` reads everything and says what does not fit.
`pages/card.py` draws the page."""

import hashlib
import json
import re
from array import array
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..system import disk
from ..system.errors import DataError
from .duplicates import alike, same
from .prepared import SPLITS, fingerprint, read_card
from .rows import digest
from .tables import Rows

SHOWN = 1000  # of what was skipped, in the card; all of it is in skipped.jsonl
EXAMPLES, TOP = 20, 60


def describe(folder: Path, about: dict, skipped: list[dict], options: Any) -> dict:
    """The card of the splits in `folder`. about: what the source says of itself."""
    splits = {split: Rows.of(folder, split) for split in SPLITS}
    stories = "order" in next(iter(splits["train"].tables())).column_names
    chosen = {
        "size": options.fitting.size,
        "crop": options.fitting.crop,
        "background": list(options.fitting.background),
        "limit": options.limit,
    }
    card = {
        **about,
        "kind": "documents" if stories else "pictures",
        "options": chosen,
        "count": {split: len(rows) for split, rows in splits.items()},
        "labels": about.get("labels", []),
    }
    card |= _sizes(splits, stories) | _texts(splits, stories)
    if not stories:
        card |= _labels(splits, card["labels"])
    digests = np.concatenate([rows.digests() for rows in splits.values()])
    near, complete = ([], True) if stories else alike(splits, digests)
    card["duplicates"] = {
        "exact": _groups(splits, same(digests)),
        "near": _groups(splits, near) | {"complete": complete},
    }
    card |= {"skipped_count": len(skipped), "skipped": skipped[:SHOWN]}
    if skipped:
        disk.write(folder / "skipped.jsonl", "".join(json.dumps(entry) + "\n" for entry in skipped))
    return card | {"fingerprint": fingerprint(splits)}


def write(folder: Path, card: dict) -> None:
    """Write card.json: the set counts as prepared when it is there."""
    disk.write_json(folder / "card.json", card)


def verify(folder: Path) -> list[str]:
    """Everything about a prepared set that does not fit, one line each; [] where all is as it was
    prepared."""
    card, wrong = read_card(folder), []
    splits = {split: Rows.of(folder, split) for split in SPLITS}
    for split, rows in splits.items():
        if len(rows) != card["count"][split]:
            wrong.append(f"{split} has {len(rows):,} rows; the card says {card['count'][split]:,}")
        wrong += [
            f"{split} row {number:,} ({row['source']}): its pixels do not match their checksum"
            for number, row in enumerate(rows.dicts())
            if not _sound(row)
        ]
    if not wrong and fingerprint(splits) != card["fingerprint"]:
        wrong.append(
            "captions, labels, attributes or the order of rows do not match the fingerprint in card.json"
        )
    if not wrong:
        again = _sizes(splits, card["kind"] == "documents") | _texts(splits, card["kind"] == "documents")
        wrong += [
            f"card.json says {name} = {card.get(name)}; the rows say {value}"
            for name, value in again.items()
            if json.loads(json.dumps(value)) != card.get(name)
        ]
    return wrong


def _sound(row: dict) -> bool:
    pixels, heights, widths = row["pixels"], row.get("heights"), row.get("widths")
    if heights is None:
        pixels, heights, widths = [pixels], [row["height"]], [row["width"]]
    fits = all(len(data) == 3 * height * width for data, height, width in zip(pixels, heights, widths))
    return fits and digest(list(zip(heights, widths, pixels)), row.get("texts", [])) == row["sha256"]


# ------------------------------------------------------------------------------------------------- statistics


def _sizes(splits: dict[str, Rows], stories: bool) -> dict:
    """Heights and widths of all pictures."""
    names = ("heights", "widths") if stories else ("height", "width")
    heights, widths = (np.concatenate([rows.numbers(name) for rows in splits.values()]) for name in names)
    both, counts = np.unique(heights.astype(np.int64) << 32 | widths, return_counts=True)
    found = Counter(
        {(size >> 32, size & 0xFFFFFFFF): count for size, count in zip(both.tolist(), counts.tolist())}
    )
    size = list(next(iter(found))) if len(found) == 1 else None
    area = [height * width for height, width in found]
    return {
        "size": size,
        "pictures": int(found.total()),
        "sizes": {
            "different": len(found),
            "frequent": [
                [*pair, count]
                for pair, count in sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:10]
            ],
            "smallest": list(list(found)[int(np.argmin(area))]) if area else None,
            "largest": list(list(found)[int(np.argmax(area))]) if area else None,
        },
    }


def _texts(splits: dict[str, Rows], stories: bool) -> dict:
    """Captions (or the texts of documents): how many, how long, which words."""
    words, lengths, captionless, different = Counter(), array("q"), 0, array("Q")
    for rows in splits.values():
        for row in rows.dicts(("texts" if stories else "captions",)):
            texts = [text for text in next(iter(row.values())) if text]
            captionless += not texts
            for text in texts:
                lengths.append(len(text.encode()))
                words.update(re.findall(r"\w+", text.lower()))
                different.append(
                    int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
                )
    lengths, different = np.array(lengths or [0]), np.unique(np.array(different))
    frequent = sorted(words.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]
    return {
        "without_caption": captionless,
        "captions": {
            "count": int((lengths > 0).sum()),
            "different": len(different),
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
    """Pictures of each class, and of each value of each attribute."""
    labels = Counter(
        label for rows in splits.values() for label in rows.numbers("label").tolist() if label >= 0
    )
    counted: dict[str, Counter] = {}
    for rows in splits.values():
        for row in rows.dicts(("attributes",)):
            for name, value in json.loads(row["attributes"] or "{}").items():
                counted.setdefault(name, Counter())[str(value)] += 1
    attributes = {
        name: dict(sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP])
        for name, values in sorted(counted.items())
    }
    named = {
        names[label] if label < len(names) else str(label): count for label, count in sorted(labels.items())
    }
    return {"label_counts": named, "attributes": attributes}


def _groups(splits: dict[str, Rows], groups: list[list[int]]) -> dict:
    """Groups of equal rows, by their number in both splits together -> what the card says."""
    first_held_out = len(splits["train"]) if groups else 0
    across = [group for group in groups if min(group) < first_held_out <= max(group)]
    shown = [group[:6] for group in [*across, *(group for group in groups if group not in across)][:EXAMPLES]]
    names, wanted = {}, {index for group in shown for index in group}
    for index, row in (
        enumerate(chain(*(rows.dicts(("source",)) for rows in splits.values()))) if wanted else ()
    ):
        if index in wanted:
            names[index] = row["source"]
    return {
        "groups": len(groups),
        "pictures": sum(map(len, groups)),
        "across_splits": len(across),
        "examples": [[names[index] for index in group] for group in shown],
    }


def checked(folder: Path) -> None:
    """Raises DataError with the first thing that is wrong."""
    if wrong := verify(folder):
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise DataError(
            f"data set {folder} is not as it was prepared: {wrong[0]}{more}; delete it and prepare it again"
        )
