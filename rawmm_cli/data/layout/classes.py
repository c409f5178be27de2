"""Classes by the folders that pictures are in, as the imagefolder of `datasets` makes them."""

import posixpath
from collections.abc import Collection, Sequence

from ...system.errors import printable
from ...system.figures import counted
from ..columns import TEMPLATE
from .splits import split_of, splits_of


def classes_of(folders: Collection[str], has_splits: bool) -> list[str]:
    """Names of the classes, sorted: the last parts of the folders that pictures are in, relative to the set.

    [] where they are not equally deep, or one, or the splits themselves. has_splits: whether folders tell
    any."""
    names = sorted(set(map(posixpath.basename, folders)))
    if len({len(folder) and 1 + folder.count("/") for folder in folders}) != 1 or len(names) < 2:
        return []
    if has_splits and (any(map(split_of, names)) or any(splits_of([f"{name}/x" for name in names]))):
        return []
    return names


def hint(classes: Sequence[str], option: str = "--caption ") -> str:
    """What is said where such classes make no captions. option: what makes them."""
    few = ", ".join(map(printable, classes[:5])) + ", ..." * (len(classes) > 5)
    return f"{counted(len(classes), 'class')} by folder ({few}); {option}'{TEMPLATE}' makes captions of them"
