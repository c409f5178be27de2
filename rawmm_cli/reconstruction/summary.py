"""Numbers of every picture -> codecs in sum, with quantiles, and what they say in words.

Averages are over pictures, but for PSNR (over all pixel values of all pictures) and sharpness (energy of all
edges). Where nothing differs PSNR is infinite, which JSON cannot say: it is null there, and `exact` tells
why."""

import math
from dataclasses import asdict
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ..data.pictures import Skipped
from ..information import catalogue
from ..metrics import codes, features
from ..metrics.text import readable, spearman
from .choices import Choice

QUANTILES = {"p05": 5, "median": 50, "p95": 95}
SPREAD = (
    "tokens",
    "bits",
    "used_bits",
    "bits_per_pixel",
    "mse",
    "psnr",
    "ssim",
    "exact_pixels",
    "sharpness",
    "feature_distance",
    "text_survival",
    "word_survival",
    "milliseconds",
)
MEANS = (
    "tokens",
    "bits",
    "bits_per_pixel",
    "ssim",
    "exact_pixels",
    "exact_values",
    "feature_distance",
    "text_survival",
    "word_survival",
    "right_letters",
    "right_words",
)
FEW = 16  # pictures, below which KID is noise
SHARPER, FARTHER = 1.05, 0.25  # times the sharpness, dB of PSNR: differences that are told


def number(value: float) -> float | None:
    """What JSON can hold: None for infinite and for what is not defined."""
    return value if math.isfinite(value) else None


def results(
    each: list[dict],
    skipped: list[Skipped],
    choices: list[Choice],
    tallies: dict,
    before: Tensor | None,
    read: bool,
    again: list[int],
) -> dict:
    """Everything that is told of a comparison, but where its files are."""
    rows = [_row(each, choice, tallies[choice.word], before) for choice in choices]
    text = _baseline(each, again) if read else None
    found = {
        "pictures": len(each),
        "skipped": [asdict(one) for one in skipped],
        "rows": rows,
        "text": text,
        "spearman": _spearman(rows),
    }
    return {**found, "findings": findings(found, choices), "each": each}


def _row(each: list[dict], choice: Choice, tally, before: Tensor | None) -> dict:
    """One codec in sum."""
    _spend(tally)
    known = [entry["codecs"][choice.word] for entry in each]
    columns = {name: [one[name] for one in known if one.get(name) is not None] for name in (*MEANS, *SPREAD)}
    columns["psnr"] = [math.inf if one["exact"] else one["psnr"] for one in known]
    mean = {name: fmean(columns[name]) if columns[name] else None for name in MEANS}
    row = {
        "codec": choice.word,
        "name": choice.name or choice.word,
        "kind": choice.kind,
        "steps": choice.steps,
        "vocabulary": choice.vocabulary,
        **mean,
        **_used(choice, tally, mean["tokens"], mean["bits"]),
        "mse": tally.squares / tally.values,
        "psnr": number(10 * math.log10(255**2 * tally.values / tally.squares) if tally.squares else math.inf),
        "exact": mean["exact_values"],
        "lossless": fmean(one["exact"] for one in known),
        "sharpness": tally.edges[0] / tally.edges[1] if tally.edges[1] else None,
    }
    row.pop("exact_values")
    if before is not None:
        after, enough = torch.cat(tally.features), len(each) >= FEW
        row |= {
            name: features.kid(after, before, paired) if enough else None
            for name, paired in (("kid", False), ("kid_paired", True))
        }
    row |= {
        "seconds": tally.seconds,
        "milliseconds": 1000 * tally.seconds / len(each),
        "padded": sum("padded" in one for one in known),
        "tiled": sum("tiles" in one for one in known),
        "over_budget": sum("over_budget" in one for one in known),
    }
    return {**row, "quantiles": {name: _quantiles(columns[name]) for name in SPREAD if columns[name]}}


def _spend(tally) -> None:
    """Into every picture's numbers the bits of its codes, -log2 of their shares among all codes of all these
    pictures."""
    if tally.counts is not None:
        cost = -(tally.counts.double() / tally.counts.sum()).log2()
        for known, one in tally.codes:
            known["used_bits"] = float(cost[one.long()].sum())


def _used(choice: Choice, tally, tokens: float, bits: float | None) -> dict:
    """Bits that codes told: of a file all that it has; of tokens their entropy over these pictures times
    L."""
    if choice.kind == "file":
        return {"used_bits": bits}
    if tally.counts is None:
        return {"used_bits": None}
    entropy = codes.entropy(tally.counts)
    return {
        "used_bits": entropy * tokens,
        "entropy": entropy,
        "codes_seen": int((tally.counts > 0).sum()),
        "enough_codes": codes.enough(tally.counts),
    }


def _quantiles(values: list[float]) -> dict:
    """The nearest that occurred: between a number and infinity there is nothing to interpolate."""
    return {
        name: number(float(np.percentile(values, share, method="nearest")))
        for name, share in QUANTILES.items()
    }


def _baseline(each: list[dict], again: list[int]) -> dict:
    """How well text was read before any codec."""
    known = [entry["clean"] for entry in each if "clean" in entry]
    right = [one["words"] for one in known if one["words"] is not None]
    return {
        "readable": sum(readable(entry["text"]) for entry in each),
        "read_twice": again[0],
        "same_twice": again[1],
        "known": len(known),
        "right_letters": fmean(one["survival"] for one in known) if known else None,
        "right_words": fmean(right) if right else None,
    }


def _spearman(rows: list[dict]) -> dict | None:
    """Rank correlation of nominal bits and text survival over tokenizers, where there are three or more."""
    pairs = [
        (row["bits"], row["text_survival"])
        for row in rows
        if row["kind"] == "tokenizer" and row["bits"] is not None and row["text_survival"] is not None
    ]
    found = number(spearman(*zip(*pairs))) if len(pairs) >= 3 else None
    return None if found is None else {"tokenizers": len(pairs), "correlation": found}


# ------------------------------------------------------------------------------------------------------ words


def findings(result: dict, choices: list[Choice]) -> list[str]:
    """What the numbers say, in sentences: what survived, then what looks better than it is, then what to know
    of the numbers."""
    rows = {row["codec"]: row for row in result["rows"]}
    lossless = [row["name"] for row in rows.values() if row["lossless"] == 1]
    said = [f"{_listed(lossless)} gave back every picture to the bit."] if lossless else []
    for choice in choices:
        if choice.budget in rows and not rows[choice.word]["over_budget"]:
            said.append(_beside(rows[choice.word], rows[choice.budget]))
    if text := result["text"]:
        said += _text(text, result["pictures"])
    if found := result["spearman"]:
        published = catalogue.text_survival().all
        said.append(
            f"Over {found['tokenizers']} tokenizers, bits and text survival have a rank correlation of "
            f"{found['correlation']:.2f} (Spearman); over the {published.tokenizers} of TokBench whose "
            f"bits are "
            f"known, {published.spearman:.2f}."
        )
    said += filter(None, (_invented(row, rows) for row in rows.values()))
    return [*said, *_fitted(rows.values()), *_smaller(rows.values()), *_few(rows.values())]


def _invented(row: dict, rows: dict[str, dict]) -> str | None:
    """A GAN never hides a loss."""

    def farther(other: dict) -> bool:
        return (
            (row["sharpness"] or 0) > SHARPER * (other["sharpness"] or math.inf)
            and row["psnr"] is not None
            and row["psnr"] < _psnr(other) - FARTHER
        )

    others = sorted(
        filter(farther, rows.values()), key=lambda other: (other["bits"] or math.inf, _psnr(other))
    )
    if not others:
        return None
    other = others[0]
    gap = (
        "that gave back everything"
        if other["psnr"] is None
        else f"whose PSNR is {other['psnr'] - row['psnr']:.1f} dB higher"
    )
    return (
        f"{row['name']} looks sharper than {other['name']} ({row['sharpness']:.2f} of the originals' edges "
        f"against "
        f"{other['sharpness']:.2f}), {gap}: part of what looks like detail is not the picture's."
    )


def _fitted(rows) -> list[str]:
    """What was done to pictures that did not fit."""
    done = [
        (what, [f"{row['name']} ({row[key]:,})" for row in rows if row[key]])
        for key, what in (("padded", "padded and cropped back"), ("tiled", "cut into tiles"))
    ]
    return [f"Pictures that do not fit were {what} by {_listed(names)}." for what, names in done if names]


def _smaller(rows) -> list[str]:
    named = [
        f"{row['name']} ({row['over_budget']:,}, {row['bits']:,.0f} bits a picture on average)"
        for row in rows
        if row["over_budget"]
    ]
    return [f"Where no file is so small the smallest stands in: {_listed(named)}."] if named else []


def _few(rows) -> list[str]:
    names = [f"{row['name']} ({row['vocabulary']:,})" for row in rows if not row.get("enough_codes", True)]
    return (
        [
            f"Fewer than {codes.ENOUGH} codes were seen for each of the vocabulary of {_listed(names)}: "
            f"used bits are a guess "
            "there."
        ]
        if names
        else []
    )


def _beside(file: dict, other: dict) -> str:
    """An image file and a tokenizer, at no more bits."""
    if file["psnr"] is None or other["psnr"] is None:
        gap = "as near" if file["psnr"] == other["psnr"] else "exact" if file["psnr"] is None else "not exact"
    else:
        side = "nearer" if file["psnr"] > other["psnr"] else "farther"
        gap = f"{abs(file['psnr'] - other['psnr']):.1f} dB {side}"
    text = (
        ""
        if file["text_survival"] is None or other["text_survival"] is None
        else f", and {file['text_survival']:.0%} of its text survives against {other['text_survival']:.0%}"
    )
    return f"At no more bits than {other['name']}, {file['name']} is {gap}{text}."


def _text(text: dict, count: int) -> list[str]:
    if not text["readable"]:
        return ["No text could be read on any original, so there is none that could survive."]
    words = "" if text["right_words"] is None else f", {text['right_words']:.1%} of words"
    clean = (
        ""
        if text["known"] == 0
        else f"; of the text known to be written on {text['known']:,}, "
        f"{text['right_letters']:.1%} of letters are read right{words}"
    )
    return [
        f"Clean baseline: on {text['readable']:,} of {count:,} originals text is read; read twice, "
        f"{text['same_twice']} of {text['read_twice']} say the same{clean}."
    ]


def _psnr(row: dict) -> float:
    return math.inf if row["psnr"] is None else row["psnr"]


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
