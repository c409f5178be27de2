"""What `rawmm prepare` prints of a prepared set."""

from pathlib import Path

from ..common import DATA
from ..screen import notify


def show(card: dict) -> None:
    """Print a few lines about the set."""
    from ...data.layout.unused import sentence
    from ...data.shapes.figures import fitted_lines
    from ...system.figures import counted

    count, folder, kind = card["count"], card["folder"], card["kind"]
    held_out = f"held-out {kind.removesuffix('s')}"
    notify(
        f"prepared {folder}: {count['train']:,} training and {counted(count['held_out'], held_out)}; "
        f"data card: {folder}/card.html"
    )
    for skipped in card["skipped"][:5]:
        notify(f"left out {skipped['file']}: {skipped['reason']}")
    if card["skipped_count"] > 5:
        notify(f"left out {card['skipped_count'] - 5:,} more: {folder}/skipped.jsonl")
    for bits, pictures in card.get("scaled", {}).items():
        notify(f"scaled {counted(pictures, 'picture')} from {bits} bits a sample, as the files say")
    if card.get("without_caption") and kind == "pictures":
        notify(f"pictures without a caption: {card['without_caption']:,}; they are drawn, not read")
    if line := sentence(card.get("unused", {})):
        notify(line)
    for line in fitted_lines(card):
        notify(line)
    if across := card["duplicates"]["exact"]["across_splits"]:
        of = "group of equal pictures is" if across == 1 else "groups of equal pictures are"
        notify(f"{across:,} {of} in both splits: not all that is held out is new")
    place = Path(folder)
    elsewhere = "" if place.parent == DATA else f" --data-dir {place.parent}"
    notify(f"next: `rawmm train --data {place.name} --time 10m{elsewhere}`")
