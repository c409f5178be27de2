"""What others measured: bits a byte of pictures (anchors), published tokenizers, and what is left of text
behind them.

Read from the YAML files in `rawmm_cli/facts/`, every row with its source. Next: `budget_plot.py`, the same as
pictures."""

import re
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


def rows(name: str) -> list[dict]:
    """anchors, catalogue or tokbench, in the order of the file."""
    return parse_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def anchor(name: str) -> dict:
    """An anchor by its name. Raises ConfigError where there is none."""
    text = (FOLDER / "anchors.yaml").read_text(encoding="utf-8")
    blocks = {
        block.partition(",")[0].removeprefix("- {name: "): block for block in re.split(r"\n(?=- )", text)
    }
    known = [row for row in blocks if not row.startswith("#")]
    if name not in known:  # of all rows one is parsed: the whole file takes longer than the answer
        import difflib

        near = difflib.get_close_matches(name, known, 1)
        raise ConfigError(
            f"unknown anchor '{name[:60]}'{f' (did you mean {near[0]}?)' if near else ''}; `rawmm "
            "entropy-budget anchors` lists them"
        )
    return parse_yaml(blocks[name], "anchors.yaml")[0]


def tokenizers() -> list[dict]:
    """The catalogue, with bits and bits a pixel."""
    return [with_bits(row) for row in rows("catalogue")]


def with_bits(row: dict) -> dict:
    """A row with length and vocabulary -> the same with what follows from them."""
    bits = budget.number(row["length"] * budget.log2(row["vocabulary"]))
    side = row.get("side")
    return {**row, "bits": bits, "bits_per_pixel": bits / side**2 if side else None}


def matching(found: list[dict], word: str | None) -> list[dict]:
    """The rows in which a word stands, in any of their values. Raises ConfigError where it stands in none."""
    kept = [
        row for row in found if word is None or word.casefold() in " ".join(map(str, row.values())).casefold()
    ]
    if not kept:
        raise ConfigError(
            f"no row has '{word[:60]}' in it; allowed: any word of a name, a data set, a method or a source"
        )
    return kept


def text_survival() -> dict:
    """Tokenizers of TokBench with their bits and the share of words that are still read, in percent ->
    {"rows", "all": rank correlation over all of them, "certain": over those whose variant the leaderboard
    names, "resize": what smaller pictures keep}."""
    from ..metrics.text import spearman

    table = rows("tokbench")
    known = [
        {**row, "bits": budget.number(row["length"] * budget.log2(row["vocabulary"]))}
        for row in table
        if "length" in row
    ]

    def correlation(some: list[dict]) -> dict:
        return {
            "tokenizers": len(some),
            "spearman": spearman(*zip(*[(row["bits"], row["words"]) for row in some])),
        }

    return {
        "rows": known,
        "all": correlation(known),
        "certain": correlation([row for row in known if "variant" not in row]),
        "resize": next(row["words"] for row in table if "length" not in row),
    }
