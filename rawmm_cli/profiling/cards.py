"""Graphics cards and what their makers publish of them, every row with its source:
`rawmm_cli/facts/cards.yaml`."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..config.explain import nearest
from ..config.yaml_text import parse_yaml
from ..system.errors import ConfigError

FILE = Path(__file__).resolve().parents[1] / "facts" / "cards.yaml"
ALL = "all"  # in place of a name: every card


@dataclass(frozen=True)
class Card:
    """A graphics card. bf16, fp32: FLOP/s of dense matmuls, without sparsity; bf16 is 0 where the hardware
    has none. memory: bytes. bandwidth: bytes/s of its memory. link: bytes/s to other cards, both directions
    together. device: regular expression for the name that CUDA gives it. read: V in the source, S in a
    second one."""

    name: str
    aliases: tuple[str, ...]
    device: str
    bf16: float
    fp32: float
    memory: int
    bandwidth: float
    link: float
    year: int
    read: str
    source: str

    def precision(self, setting: str) -> str:
        """train.precision -> what matmuls run in: `machine.precision` of a card that need not be here."""
        if setting != "auto":
            return setting
        return "bf16" if self.bf16 else "fp32"

    def rate(self, precision: str) -> float:
        """FLOP/s of matmuls, published. Without bf16 in hardware it is emulated, at most as fast as fp32."""
        return self.bf16 if precision == "bf16" and self.bf16 else self.fp32


@cache
def table() -> tuple[Card, ...]:
    """All cards, in the order of the file."""
    rows = parse_yaml(FILE.read_text(encoding="utf-8"), FILE.name)
    return tuple(
        Card(**row | {"aliases": tuple(row["aliases"]), "memory": row["memory"] * 2**20}) for row in rows
    )


def named(name: str) -> Card:
    """The card of a name or an alias. Raises ConfigError, with all of them."""
    word = name.strip().lower()
    for card in table():
        if word == card.name.lower() or word in card.aliases:
            return card
    allowed = [card.aliases[0] for card in table()]
    raise ConfigError(
        f"unknown card '{name[:60]}'{nearest(word, allowed)}; allowed: {', '.join(allowed)}, {ALL}"
    )


def of_device(name: str) -> Card | None:
    """The card of a name as CUDA gives it ('NVIDIA H100 80GB HBM3'), or None."""
    return next((card for card in table() if re.search(card.device, name)), None)
