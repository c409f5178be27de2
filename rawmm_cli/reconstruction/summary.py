"""Measures of every picture -> a row for each codec, with quantiles, and findings in sentences.

Means are over pictures, except for PSNR (over all pixel values of all pictures) and sharpness (energy of all
edges). PSNR is infinite where nothing differs."""

import math
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ..information import catalogue
from ..metrics import codes, features
from ..metrics.text import readable, spearman
from .choices import Choice
from .results import Correlation, Measures, PictureResult, Quantiles, Row, TextBaseline, number

QUANTILES = (5, 50, 95)
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
)  # measures with quantiles
MEANS = (
    "tokens",
    "bits",
    "bits_per_pixel",
    "ssim",
    "exact_pixels",
    "feature_distance",
    "text_survival",
    "word_survival",
    "right_letters",
    "right_words",
)  # measures with a mean over pictures
FEW = 16  # pictures below which KID is noise
SHARPER, FARTHER = 1.05, 0.25  # factor of sharpness, dB of PSNR: smallest differences that are reported


@dataclass
class Tally:
    """Sums of one codec over all pictures. counts: of each code, (V,). squares: sum of squared errors over
    `values` values. codes: measures of each picture by codec, and its codes (L,). edges: energy of all edges,
    after and before. features: pooled, (n, d) each."""

    counts: Tensor | None = None
    seconds: float = 0.0
    squares: int = 0
    values: int = 0
    codes: list[tuple[dict[str, Measures], Tensor]] = field(default_factory=list)
    edges: list[float] = field(default_factory=lambda: [0.0, 0.0])
    features: list[Tensor] = field(default_factory=list)


def rows(
    each: list[PictureResult], choices: list[Choice], tallies: dict[str, Tally], before: Tensor | None
) -> list[Row]:
    """A row for each codec. before: features of all originals, (n, d)."""
    return [_row(each, choice, tallies[choice.word], before) for choice in choices]


def _row(each: list[PictureResult], choice: Choice, tally: Tally, before: Tensor | None) -> Row:
    measures = [result.codecs[choice.word] for result in each]
    columns = {name: _column(measures, name) for name in {*MEANS, *SPREAD}}
    means = {name: fmean(columns[name]) if columns[name] else None for name in MEANS}
    return Row(
        codec=choice.word,
        name=choice.name or choice.word,
        kind=choice.kind,
        steps=choice.steps,
        vocabulary=choice.vocabulary,
        **means,
        **_used(choice, tally, means),
        mse=tally.squares / tally.values,
        psnr=10 * math.log10(255**2 * tally.values / tally.squares) if tally.squares else math.inf,
        exact=fmean(one.exact_values for one in measures),
        lossless=fmean(one.exact for one in measures),
        sharpness=tally.edges[0] / tally.edges[1] if tally.edges[1] else None,
        **_kid(tally, before),
        seconds=tally.seconds,
        milliseconds=1000 * tally.seconds / len(each),
        padded=sum(one.padded is not None for one in measures),
        tiled=sum(one.tiles > 1 for one in measures),
        over_budget=sum(one.over_budget for one in measures),
        quantiles={name: _quantiles(columns[name]) for name in SPREAD if columns[name]},
    )


def _column(measures: list[Measures], name: str) -> list[float]:
    """Values of one measure, without None."""
    return [value for one in measures if (value := getattr(one, name)) is not None]


def _used(choice: Choice, tally: Tally, means: dict) -> dict:
    """Fields of a row for used bits: all bits of a file; of tokens L times their entropy over these
    pictures."""
    if tally.counts is None:
        used = means["bits"] if choice.kind == "file" else None
        return {"used_bits": used, "entropy": None, "codes_seen": None, "enough_codes": None}
    entropy = codes.entropy(tally.counts)
    return {
        "used_bits": entropy * means["tokens"],
        "entropy": entropy,
        "codes_seen": int((tally.counts > 0).sum()),
        "enough_codes": codes.enough(tally.counts),
    }


def _kid(tally: Tally, before: Tensor | None) -> dict:
    """Fields of a row for distances of features."""
    if before is None or len(before) < FEW:
        return {"kid": None, "kid_paired": None}
    after = torch.cat(tally.features)
    return {"kid": features.kid(after, before), "kid_paired": features.kid(after, before, paired=True)}


def _quantiles(values: list[float]) -> Quantiles:
    return Quantiles(*(float(np.percentile(values, share, method="nearest")) for share in QUANTILES))


def baseline(each: list[PictureResult], read_twice: int, same_twice: int) -> TextBaseline:
    """How well text is read before any codec."""
    known = [result.clean for result in each if result.clean]
    right = [clean.words for clean in known if clean.words is not None]
    return TextBaseline(
        readable=sum(readable(result.text) for result in each),
        read_twice=read_twice,
        same_twice=same_twice,
        known=len(known),
        right_letters=fmean(clean.survival for clean in known) if known else None,
        right_words=fmean(right) if right else None,
    )


def correlation(rows: list[Row]) -> Correlation | None:
    """Rank correlation of nominal bits and text survival; None for fewer than three tokenizers."""
    pairs = [
        (row.bits, row.text_survival)
        for row in rows
        if row.kind == "tokenizer" and row.bits is not None and row.text_survival is not None
    ]
    value = number(spearman(*zip(*pairs))) if len(pairs) >= 3 else None
    return None if value is None else Correlation(len(pairs), value)


# -------------------------------------------------------------------------------------------------- sentences


def findings(
    rows: list[Row],
    choices: list[Choice],
    text: TextBaseline | None,
    bits_and_text: Correlation | None,
    pictures: int,
) -> list[str]:
    """Findings in sentences: what survived, then what looks better than it is, then caveats."""
    by_word = {row.codec: row for row in rows}
    lossless = [row.name for row in rows if row.lossless == 1]
    sentences = [f"{_listed(lossless)} reconstructed every picture bit for bit."] if lossless else []
    sentences += [
        _beside(by_word[choice.word], by_word[choice.budget])
        for choice in choices
        if choice.budget in by_word and not by_word[choice.word].over_budget
    ]
    if text:
        sentences += _text(text, pictures)
    if bits_and_text:
        published = catalogue.text_survival().all
        sentences.append(
            f"Over {bits_and_text.tokenizers} tokenizers, bits and text survival have a rank correlation of "
            f"{bits_and_text.correlation:.2f} (Spearman); over the {published.tokenizers} of TokBench whose "
            f"bits are known, {published.spearman:.2f}."
        )
    sentences += filter(None, (_invented(row, rows) for row in rows))
    return [*sentences, *_unfitting(rows), *_over_budget(rows), *_few_codes(rows)]


def _invented(row: Row, rows: list[Row]) -> str | None:
    """A sentence where a codec looks sharper than another but is farther from the originals, as a GAN may
    be."""

    def nearer(other: Row) -> bool:
        sharper = (row.sharpness or 0) > SHARPER * (other.sharpness or math.inf)
        return sharper and row.psnr < other.psnr - FARTHER

    others = sorted(filter(nearer, rows), key=lambda other: (other.bits or math.inf, other.psnr))
    if not others:
        return None
    other = others[0]
    gap = f"whose PSNR is {other.psnr - row.psnr:.1f} dB higher"
    if math.isinf(other.psnr):
        gap = "which is exact"
    return (
        f"{row.name} looks sharper than {other.name} ({row.sharpness:.2f} of the originals' edges against "
        f"{other.sharpness:.2f}), {gap}: part of what looks like detail is not the picture's."
    )


def _unfitting(rows: list[Row]) -> list[str]:
    """Sentences on codecs that cannot take pictures as they are."""
    padded = [f"{row.name} ({row.padded:,})" for row in rows if row.padded]
    tiled = [f"{row.name} ({row.tiled:,})" for row in rows if row.tiled]
    ways = (("padded and cropped back", padded), ("cut into tiles", tiled))
    return [f"Pictures that do not fit were {way} by {_listed(names)}." for way, names in ways if names]


def _over_budget(rows: list[Row]) -> list[str]:
    names = [
        f"{row.name} ({row.over_budget:,}, {row.bits:,.0f} bits a picture on average)"
        for row in rows
        if row.over_budget
    ]
    return [f"Where no file fits the budget, the smallest is used: {_listed(names)}."] if names else []


def _few_codes(rows: list[Row]) -> list[str]:
    names = [f"{row.name} ({row.vocabulary:,})" for row in rows if row.enough_codes is False]
    if not names:
        return []
    return [
        f"There are fewer than {codes.ENOUGH} codes for each entry of the vocabulary of {_listed(names)}: "
        f"used bits are a rough estimate there."
    ]


def _beside(file: Row, other: Row) -> str:
    """A sentence that compares an image file with a codec of at least as many bits."""
    if math.isinf(file.psnr) or math.isinf(other.psnr):
        gap = "as near" if file.psnr == other.psnr else "exact" if math.isinf(file.psnr) else "not exact"
    else:
        side = "nearer" if file.psnr > other.psnr else "farther"
        gap = f"{abs(file.psnr - other.psnr):.1f} dB {side}"
    text = ""
    if file.text_survival is not None and other.text_survival is not None:
        text = f", and {file.text_survival:.0%} of its text survives against {other.text_survival:.0%}"
    return f"At no more bits than {other.name}, {file.name} is {gap}{text}."


def _text(text: TextBaseline, pictures: int) -> list[str]:
    if not text.readable:
        return ["No text could be read on any original, so there is none that could survive."]
    clean = ""
    if text.known:
        words = "" if text.right_words is None else f", {text.right_words:.1%} of words"
        clean = (
            f"; of the text known to be written on {text.known:,} of them, {text.right_letters:.1%} of "
            f"letters are read correctly{words}"
        )
    return [
        f"Clean baseline: text is read on {text.readable:,} of {pictures:,} originals; of {text.read_twice} "
        f"that were read twice, {text.same_twice} gave the same text{clean}."
    ]


def _listed(parts: list[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
