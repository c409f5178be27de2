"""Measures of every picture -> a row for each codec, with quantiles.

Means are over pictures, except for PSNR (over all pixel values of all pictures) and sharpness (energy of all
edges). PSNR is infinite where nothing differs."""

import math
from dataclasses import replace
from statistics import fmean, median

import numpy as np
import torch
from torch import Tensor

from ..codecs.base import collapsed, usage
from ..metrics import codes, features
from ..metrics.text import readable, spearman
from .choices import Choice
from .measure import After, Before
from .results import (
    Correlation,
    MeanColour,
    Measures,
    PictureResult,
    Quantiles,
    Row,
    Section,
    TextBaseline,
    number,
)

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
    "scale",
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


def rows(
    each: list[PictureResult],
    choices: list[Choice],
    after: dict[str, list[After]],
    before: list[Before],
) -> list[Row]:
    """A row for each codec. after: measurements of all pictures by codec, with `used_bits` where there are
    codes; before: those of the originals."""
    return [_row(each, choice, after[choice.word], before) for choice in choices]


def counted_codes(choice: Choice, after: list[After]) -> Tensor | None:
    """How often each code occurs over all pictures, (V,); None for codecs without codes."""
    codes_seen = [one.codes for one in after if one.codes is not None]
    return torch.bincount(torch.cat(codes_seen), minlength=choice.vocabulary) if codes_seen else None


def with_used_bits(choice: Choice, after: list[After]) -> list[After]:
    """The measurements with the used bits of each picture: the sum of -log2 of the frequencies of its codes
    over all pictures."""
    if (counts := counted_codes(choice, after)) is None:
        return after
    cost = -(counts.double() / counts.sum()).log2()
    used = [float(cost[one.codes.long()].sum()) for one in after]
    return [replace(one, measures=replace(one.measures, used_bits=bits)) for one, bits in zip(after, used)]


def _row(each: list[PictureResult], choice: Choice, after: list[After], before: list[Before]) -> Row:
    measures = [result.codecs[choice.word] for result in each]
    values = [one.values for one in before]
    squares = sum(one.mse * count for one, count in zip(measures, values))
    edges, edges_before = sum(one.edges for one in after), sum(one.edges for one in before)
    columns = {name: _column(measures, name) for name in {*MEANS, *SPREAD}}
    means = {name: fmean(columns[name]) if columns[name] else None for name in MEANS}
    return Row(
        codec=choice.word,
        name=choice.name or choice.word,
        kind=choice.kind,
        steps=choice.steps,
        vocabulary=choice.vocabulary,
        **means,
        **_used(choice, counted_codes(choice, after), means),
        sections=_sections(choice, after),
        mse=squares / sum(values),
        psnr=_psnr(squares, sum(values)),
        exact=fmean(one.exact_values for one in measures),
        lossless=fmean(one.exact for one in measures),
        sharpness=edges / edges_before if edges_before else None,
        **_kid(after, before),
        seconds=sum(one.milliseconds for one in measures) / 1000,
        milliseconds=fmean(one.milliseconds for one in measures),
        padded=sum(one.padded is not None for one in measures),
        tiled=sum(one.tiles > 1 for one in measures),
        over_budget=sum(one.over_budget for one in measures),
        scale=median(columns["scale"]) if columns["scale"] else None,
        quantiles={name: _quantiles(columns[name]) for name in SPREAD if columns[name]},
    )


def _column(measures: list[Measures], name: str) -> list[float]:
    """Values of one measure, without None."""
    return [value for one in measures if (value := getattr(one, name)) is not None]


def _psnr(squares: float, values: int) -> float:
    """PSNR in dB of a sum of squared errors over `values` values."""
    return 10 * math.log10(255**2 * values / squares) if squares else math.inf


def mean_colour(before: list[Before]) -> MeanColour:
    """Measures of the mean colour of each original."""
    values, similar = [one.values for one in before], [one.flat_ssim for one in before]
    squares = sum(one.flat_mse * count for one, count in zip(before, values))
    known = [one for one in similar if one is not None]
    return MeanColour(_psnr(squares, sum(values)), fmean(known) if known else None)


def _used(choice: Choice, counts: Tensor | None, means: dict) -> dict:
    """Fields of a row for used bits: all bits of a file; of tokens L times their entropy over these
    pictures."""
    if counts is None:
        used = means["bits"] if choice.kind == "file" else None
        return {"used_bits": used, "entropy": None, "codes_seen": None, "enough_codes": None}
    entropy = codes.entropy(counts)
    return {
        "used_bits": entropy * means["tokens"],
        "entropy": entropy,
        "codes_seen": int((counts > 0).sum()),
        "enough_codes": codes.enough(counts),
    }


def _sections(choice: Choice, after: list[After]) -> dict[str, Section] | None:
    """Which codes each codebook or scale uses, where there are several; a picture has the codes of all its
    tiles."""
    counts: dict[str, Tensor] = {}
    for one in after:
        for name, *at in one.sections:
            part = one.codes.view(one.measures.tiles, -1)[:, slice(*at)].flatten()
            counted = torch.bincount(part, minlength=choice.vocabulary)
            counts[name] = counts.get(name, 0) + counted
    return {
        name: Section(int((one > 0).sum()), usage(one[None])["perplexity"], collapsed(one))
        for name, one in counts.items()
    } or None


def _kid(after: list[After], before: list[Before]) -> dict:
    """Fields of a row for distances of features."""
    if before[0].features is None or len(before) < FEW:
        return {"kid": None, "kid_paired": None}
    ours, originals = (torch.stack([one.features for one in group]) for group in (after, before))
    return {"kid": features.kid(ours, originals), "kid_paired": features.kid(ours, originals, paired=True)}


def _quantiles(values: list[float]) -> Quantiles:
    return Quantiles(*(float(np.percentile(values, share, method="nearest")) for share in QUANTILES))


def baseline(each: list[PictureResult], before: list[Before]) -> TextBaseline:
    """How well text is read before any codec."""
    known = [result.clean for result in each if result.clean]
    right = [clean.words for clean in known if clean.words is not None]
    again = [one.again for one in before if one.again is not None]
    return TextBaseline(
        readable=sum(readable(result.text) for result in each),
        read_twice=len(again),
        same_twice=sum(again),
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
