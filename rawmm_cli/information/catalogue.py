"""Published figures: bits a byte of pictures (anchors), tokenizers, and the share of text that survives them.

They stand in the YAML files of `rawmm_cli/facts/`, every row with its source. `pages/budget.py` plots
them."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..config.yaml_text import parse_yaml
from ..system.errors import ConfigError
from . import budget

FOLDER = Path(__file__).resolve().parents[1] / "facts"
KINDS = {
    "exact": "likelihood of a model: an upper bound of H",
    "bound": "bound of a model's likelihood: an upper bound of H",
    "codec": "length of files: an upper bound of H",
    "assumed": "an assumption",
}


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of bits and text survival over tokenizers."""

    tokenizers: int
    spearman: float


@dataclass(frozen=True)
class TextSurvival:
    """Tokenizers of TokBench with their bits and the percentage of words that can still be read. all: over
    all of them. certain: over those whose variant the leaderboard names. resize: percentage for pictures that
    were only shrunk. `dataclasses.asdict` gives its JSON."""

    rows: list[dict]
    all: Correlation
    certain: Correlation
    resize: float


def rows(name: str) -> list[dict]:
    """Rows of `anchors`, `catalogue` or `tokbench`, in the order of the file."""
    return parse_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def anchor(name: str) -> dict:
    """The anchor with that name. Raises ConfigError where there is none."""
    text = (FOLDER / "anchors.yaml").read_text(encoding="utf-8")
    blocks = {
        block.partition(",")[0].removeprefix("- {name: "): block for block in re.split(r"\n(?=- )", text)
    }
    known = [row for row in blocks if not row.startswith("#")]
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, 1)
        raise ConfigError(
            f"unknown anchor '{name[:60]}'{f' (did you mean {near[0]}?)' if near else ''}; `rawmm "
            "entropy-budget anchors` lists them"
        )
    return parse_yaml(blocks[name], "anchors.yaml")[0]  # one row only: parsing the whole file is slow


def tokenizers() -> list[dict]:
    """Rows of the catalogue, with bits and bits a pixel."""
    return [with_bits(row) for row in rows("catalogue")]


def with_bits(row: dict) -> dict:
    """A row with the bits that follow from its `length` and `vocabulary`."""
    bits = budget.number(row["length"] * budget.log2(row["vocabulary"]))
    side = row.get("side")
    return {**row, "bits": bits, "bits_per_pixel": bits / side**2 if side else None}


def matching(rows: list[dict], word: str | None) -> list[dict]:
    """Rows with the word in any of their values; all rows for None. Raises ConfigError where there is
    none."""
    kept = [
        row for row in rows if word is None or word.casefold() in " ".join(map(str, row.values())).casefold()
    ]
    if not kept:
        raise ConfigError(
            f"no row contains '{word[:60]}'; allowed: any word of a name, a data set, a method or a source"
        )
    return kept


def text_survival() -> TextSurvival:
    """TokBench's rows whose bits are known, and the correlation of bits and surviving words."""
    table = rows("tokbench")
    known = [
        {**row, "bits": budget.number(row["length"] * budget.log2(row["vocabulary"]))}
        for row in table
        if "length" in row
    ]
    certain = [row for row in known if "variant" not in row]
    resized = next(row["words"] for row in table if "length" not in row)
    return TextSurvival(known, _correlation(known), _correlation(certain), resized)


def _correlation(rows: list[dict]) -> Correlation:
    from ..metrics.text import spearman

    return Correlation(len(rows), spearman(*zip(*[(row["bits"], row["words"]) for row in rows])))
