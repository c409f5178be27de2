"""How much training makes a model at all: below, a run says that it is none yet."""

STEPS, PART = 100, 10


def least(warmup: int, batch: int, documents: int | None) -> int:
    """Documents below which a run is no model yet: twice the warm-up, in which the learning rate rises, 100
    steps, and a tenth of what its preset trains on, where it was the time that ended it (documents: else
    None)."""
    return max(2 * warmup, STEPS * batch, (documents or 0) // PART)


def too_few(seen: int, warmup: int, batch: int, documents: int | None) -> str:
    """One line where a run of `seen` documents is no model yet, else nothing."""
    needed = least(warmup, batch, documents)
    if seen >= needed:
        return ""
    return f"{seen:,} documents are too few, about {needed:,} are the least; expect noise"
