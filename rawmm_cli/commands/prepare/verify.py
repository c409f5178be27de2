"""`rawmm prepare NAME --verify`: whether a prepared set is as it was prepared."""

from pathlib import Path

from ..screen import emit, notify


def verify_set(folder: Path, json: bool) -> None:
    """Compare every row of a prepared set with its card. Raises DataError where they differ."""
    from ...data import card
    from ...data.codes import kept
    from ...system.errors import DataError

    problems = card.verify(folder) + kept.problems(folder)
    if json:
        emit({"folder": str(folder), "sound": not problems, "problems": problems})
    for line in problems[:20]:
        notify(line)
    if problems:
        raise DataError(
            f"data set {folder} is not as it was prepared: {problems[0]}; delete it and prepare it again"
        )
    if not json:
        notify(f"{folder} is sound: {card.read_card(folder)['fingerprint']}")
