"""The held-out split in two: a part for the search of the sampler, and the rest for the measurement. No
torch."""

import math

from ..data.prepared import Prepared, PreparedDocuments
from ..system import seeds
from ..system.errors import DataError
from ..system.figures import counted

VALIDATION, ENOUGH = 0.25, 50  # share of the held-out split; documents that a search needs
Split = Prepared | PreparedDocuments


def halves(split: Split) -> tuple[list[int], list[int]]:
    """Rows of the held-out split for the search, and those for the measurement at the end: by the SHA-256 of
    a document alone, so that equal ones are on one side and every system has the same."""
    digests = split.table["sha256"].to_pylist()
    early = [seeds.uniforms("validation", digest.hex(), count=1)[0] < VALIDATION for digest in digests]
    rows = range(len(early))
    return [row for row in rows if early[row]], [row for row in rows if not early[row]]


def check_enough(data: Split, trials: int, pictures: int) -> None:
    """Raise DataError where the validation part of a held-out split is too small for the trials."""
    needed, have = min(ENOUGH, pictures), len(halves(data)[0])
    if trials and have < needed:
        raise DataError(
            f"{have} of {counted(len(data), 'held-out document')} of '{data.folder.name}' are for the "
            f"search of the sampler; needed: {needed}, which a split of about "
            f"{math.ceil(needed / VALIDATION)} has; prepare the set with a larger --held-out, or set "
            "trials: 0"
        )
