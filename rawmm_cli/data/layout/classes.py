"""Classes by the folders that pictures are in, as the imagefolder of `datasets` makes them."""

from collections.abc import Collection, Sequence

from ...system.errors import printable
from ...system.figures import counted
from ..columns import TEMPLATE
from .splits import split_of, splits_of


def classes_of(folders: Collection[str]) -> dict[str, str]:
    """{folder: name of its class}: its last part, but for the part that tells a split. {} where folders are
    no classes: where they are not equally deep, or all of one class, or the splits themselves.

    folders: all that pictures are in, relative to the set."""
    if len({len(folder) and 1 + folder.count("/") for folder in folders}) != 1:
        return {}
    telling = set()
    if any(splits_of([f"{folder}/x" for folder in folders])):
        parts = list(dict.fromkeys(part for folder in folders for part in folder.split("/")))
        splits = splits_of([f"{part}/x" for part in parts])
        telling = {part for part, split in zip(parts, splits) if split or split_of(part)}
    classes = {}
    for folder in folders:
        parts = folder.split("/")
        split = next((n for n, part in enumerate(parts) if part in telling), len(parts))
        classes[folder] = next(iter([*parts[:split], *parts[split + 1 :]][-1:]), "")
    return classes if len({*classes.values()}) > 1 and all(classes.values()) else {}


def hint(classes: Sequence[str], option: str = "--caption ") -> str:
    """What is said where such classes make no captions. option: what makes them."""
    few = ", ".join(map(printable, classes[:5])) + ", ..." * (len(classes) > 5)
    return f"{counted(len(classes), 'class')} by folder ({few}); {option}'{TEMPLATE}' makes captions of them"
