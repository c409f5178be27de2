"""Settings that are `auto`: a new run takes what follows from its sets, one that has begun keeps its own."""

import os
from collections.abc import Callable
from pathlib import Path

from ..config import presets
from ..config.automatic import automatic, settle
from ..config.facts import Known
from ..config.fields import AUTO
from ..config.model import Config
from ..runs.codec import look_up
from ..runs.folder import read_config
from ..system.errors import ConfigError
from .facts import facts_of

RUNS = Path(os.environ.get("RAWMM_RUNS", "runs"))  # where a codec is looked for, where no run is named
CHANGED = ("head.time_mean", "head.time_spread", "loss.image")  # their defaults were others once


def settled(
    config: Config, data: Path, run: Path | None = None, pace: Callable[[Config], float] | None = None
) -> tuple[Config, dict[str, str]]:
    """Settings without `auto` -> the settings, and {name: reason} of each that was.

    data: folder of the prepared sets. run: folder of the run; where it has a checkpoint, it goes on with the
    settings that it was begun with, and there are no reasons; so it does with those of CHANGED that are not
    given. pace: as in `automatic.settle`. Raises ConfigError where no set is named or no value fits,
    DataError where a set is missing, CheckpointError where the run of a codec is."""
    if config.data.set == AUTO:
        raise ConfigError(_which_set(data))
    config = look_up(config, run or RUNS / ".new")
    follow = automatic(config)
    given = {f"{part}.{name}" for part in ("head", "loss") for name in getattr(config, part).model_fields_set}
    kept = [*follow, *(key for key in CHANGED if key not in given)]
    if (
        kept
        and run is not None
        and any(run.glob("checkpoints/step_*"))
        and isinstance(saved := read_config(run), Config)
    ):
        now, known = Known(config), Known(saved)
        differ = [
            key for key in kept if now[key] is None or known[key] is None
        ]  # heads do; data.long may be none
        has = [key for key in kept if key not in differ or key in follow]
        return presets.changed(config, {key: known[key] for key in has}), {}
    return settle(config, facts_of(config, data), pace) if follow else (config, {})


def _which_set(data: Path) -> str:
    """The error where no set is named."""
    names = sorted(card.parent.name for card in data.glob("*/card.json"))
    here = (
        f"prepared in {data}: {', '.join(names)}"
        if names
        else (f"none is prepared in {data} yet: `rawmm prepare folder --path DIR --name mine`")
    )
    return f"this preset is for any set, and none is named; give --data NAME; {here}"


def say(config: Config, reasons: dict[str, str], notify: Callable[[str], None]) -> None:
    """A line for each reason: the settings that followed from it, and why."""
    known, together = Known(config), {}
    for key, reason in reasons.items():
        if reason:
            together.setdefault(reason, []).append(f"{key} = {_value(known[key])}")
    for reason, settings in together.items():
        notify(f"{', '.join(settings)}: {reason}")


def _value(value: object) -> str:
    """A value as people write it."""
    if value is None:
        return "none"
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
    )
