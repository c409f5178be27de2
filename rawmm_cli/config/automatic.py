"""Settings that are `auto`: which ones, and what they become. No torch here.

A preset may give `auto` for any setting of a type `Auto` (`fields.py`). What the user or the preset gives is
never changed. `training/auto.py` collects the facts of the sets, and keeps what a run was begun with."""

from collections.abc import Callable
from dataclasses import replace
from math import gcd

from ..system.errors import ConfigError
from . import presets
from .facts import Facts, Known
from .fields import AUTO
from .model import Config
from .rules import RULES, divisors, in_words
from .tokens import FrozenCodec

ENOUGH, ROUGH = 30_000, 16  # documents of a run by time; patches of a picture where there is time for fewer
STEPPING = 0.8  # share of a run's time that its steps take, about


def automatic(config: Config) -> list[str]:
    """Dotted names of the settings that are `auto` and follow from the set, in the order of RULES."""
    known = Known(config)
    return [key for key in RULES if known[key] == AUTO]


def check_settled(config: Config) -> None:
    """Raise ConfigError where settings wait for a set."""
    if not config.codec.known and isinstance(config.codec, FrozenCodec):
        raise ConfigError(
            f"codec.run = {config.codec.run} has not been looked at; name a run of a codec that exists"
        )
    for key in automatic(config):
        raise ConfigError(f"{key} = auto follows from a set; name one with --data NAME, or give a value")


def settle(
    config: Config, facts: Facts, pace: Callable[[Config], float] | None = None
) -> tuple[Config, dict[str, str]]:
    """Settings without `auto`, and {name: reason} of each that was. Raises ConfigError where none fits.

    pace(settings): seconds of a step, on which a run by time (train.time) depends too; None: not known."""
    settled, reasons = _by_rules(config, facts)
    if pace is None or not config.train.time:
        return settled, reasons
    facts = replace(facts, expected=_expected(settled, pace))
    while facts.expected < ENOUGH and "codec.patch" in reasons and (patch := _coarser(settled, facts)):
        coarse = presets.changed(config, {"codec.patch": patch})
        settled, others = _by_rules(coarse, facts)
        facts = replace(facts, expected=_expected(settled, pace))
        reasons = others | {
            "codec.patch": f"{in_words(facts, patch)}; smaller ones would be slow for the time"
        }
        config = coarse
    settled, others = _by_rules(config, facts)
    reasons |= others
    return settled, {key: reasons[key] for key in RULES if key in reasons}


def _by_rules(config: Config, facts: Facts) -> tuple[Config, dict[str, str]]:
    known, reasons = Known(config), {}
    for key in automatic(config):
        known.values[key], reasons[key] = RULES[key](known, facts)
    return presets.changed(config, {key: known[key] for key in reasons}), reasons


def _expected(config: Config, pace: Callable[[Config], float]) -> int:
    """Documents that a run by time is expected to see."""
    return int(STEPPING * config.train.time / pace(config) * config.train.batch)


def _coarser(config: Config, facts: Facts) -> int | None:
    """The next larger patch that still gives ROUGH patches; None where there is none."""
    fitting = divisors(gcd(facts.common, config.data.size))
    larger = [patch for patch in fitting if patch > config.codec.patch]
    return next((patch for patch in larger if facts.area / patch**2 >= ROUGH), None)
