"""Bits of a tokenizer's codes, compared with the bits of the pictures.

    nominal       L log2 V
    used          L times the entropy of the codes over these pictures, pooled over positions, with the
                  correction of Miller and Madow
    conditional   bits under a small autoregressive Transformer, for pictures that it was not trained on
                  (`code_model.py`): an upper bound of the entropy of the codes

Bits of codes are not bits of pixels: n bits of codes determine at most n bits of a picture, and do not say
which. The test of losslessness is the share of pictures that are reconstructed bit for bit."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from ..data.images import ImageError, fit
from ..data.pictures import Location, NamedPicture, Skipped, area, batches, none_left, read
from ..information import bounds
from ..metrics import pixels
from ..metrics.codes import enough, entropy
from ..system.errors import ConfigError
from .choices import Choice
from .code_model import conditional_bits


@dataclass(frozen=True)
class Codes:
    """Statistics of codes. entropy: bits a code. dead_codes: entries of the vocabulary that do not occur.
    enough_codes: whether there are enough codes to estimate the entropy. conditional_missing: why there are
    no conditional bits."""

    entropy: float
    dead_codes: int
    enough_codes: bool
    conditional_missing: str | None


@dataclass(frozen=True)
class Row:
    """A tokenizer, or raw pixels (codes: None). Bits are means over pictures. share, used_share: nominal and
    used bits over the lowest bound of H. psnr: dB over all pixel values; infinite where all are exact."""

    codec: str
    tokens: float
    vocabulary: int
    nominal_bits: float
    used_bits: float
    conditional_bits: float | None
    share: float
    used_share: float
    exact_rate: float
    psnr: float
    codes: Codes | None = None


@dataclass(frozen=True)
class CodecBits:
    """A tokenizer and raw pixels. bounds: upper bounds of the bits of the pictures by lossless codecs."""

    codec: Row
    raw: Row
    bounds: bounds.Summary
    skipped: list[Skipped]


def as_json(result: CodecBits) -> dict:
    """The object of `rawmm entropy-budget codec --json`."""
    return {
        "rows": [_row_as_json(result.codec), _row_as_json(result.raw)],
        "pictures": result.bounds.pictures,
        "best_bound_bits": result.bounds.bound.bits,
        "best_bound_by": result.bounds.bound.by,
        "bounds": [asdict(row) for row in result.bounds.rows],
        "skipped": [asdict(one) for one in result.skipped],
    }


def _row_as_json(row: Row) -> dict:
    codes, conditional = row.codes, {"conditional_bits": row.conditional_bits}
    usage = {}
    if codes:
        usage = {
            "entropy": codes.entropy,
            "perplexity": 2**codes.entropy,
            "dead_codes": codes.dead_codes,
            "enough_codes": codes.enough_codes,
        }
        conditional["conditional_missing"] = codes.conditional_missing
    return {
        "codec": row.codec,
        "tokens": row.tokens,
        "vocabulary": row.vocabulary,
        "nominal_bits": row.nominal_bits,
        "used_bits": row.used_bits,
        **usage,
        **conditional,
        "share": row.share,
        "used_share": row.used_share,
        "exact_rate": row.exact_rate,
        "psnr": row.psnr if math.isfinite(row.psnr) else None,
    }


def measure(
    choice: Choice,
    locations: list[Location],
    size: int | None,
    progress: Callable[[int], None] = lambda done: None,
    learning: Callable[[int], None] = lambda step: None,
) -> CodecBits:
    """Measure a tokenizer on pictures, which are cropped and shrunk to `size` unless that is None.

    Codes are kept in memory, pixels are not. progress: called with the number of pictures done; learning:
    with the step of the model over codes. Raises ConfigError where the codec has no codes, DataError where
    no picture is left."""
    trips, coded, skipped = _Trips(), [], []
    tasks = _through(choice, _sized(locations, size, skipped), _slow(locations, size), trips)
    for measured in bounds.over(bounds.measure, tasks):
        coded.append(measured.own)
        progress(len(coded))
    if not coded:
        raise none_left(skipped, "used")
    summary = bounds.summed(coded)
    row = _codec_row(choice, trips, summary.bound.bits, learning)
    return CodecBits(row, _raw_row(coded, summary.bound.bits), summary, skipped)


@dataclass
class _Trips:
    """Sums over the round trips of all pictures. codes: (n, L) each, by L. tokens, bits: of each picture.
    squares: sum of squared errors over `values` values. exact: number of exact pictures."""

    codes: dict[int, list[Tensor]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    squares: float = 0.0
    values: int = 0
    exact: int = 0


def _through(choice: Choice, pictures: Iterator[NamedPicture], slow: bool, trips: _Trips) -> Iterator[tuple]:
    """Send pictures through the codec -> tasks of `bounds.measure`."""
    for group in batches(pictures):
        images = torch.stack([picture.pixels for picture in group])
        trip = choice.go(images)
        if trip.codes is None:
            raise ConfigError(
                f"codec {choice.word} has no codes whose bits could be counted; allowed: a tokenizer of "
                f"integers (a run, public:NAME, hf:OWNER/NAME, python:MODULE:FACTORY)"
            )
        error = pixels.mse(trip.back, images)
        trips.squares += float(error.sum()) * images[0].numel()
        trips.values += images.numel()
        trips.exact += int((error == 0).sum())
        trips.codes.setdefault(trip.codes.shape[1], []).append(trip.codes)
        trips.tokens += trip.tokens
        trips.bits += trip.bits
        yield from ((picture.pixels.permute(1, 2, 0).numpy(), None, (slow, slow)) for picture in group)


def _slow(locations: list[Location], size: int | None) -> bool:
    return (len(locations) * size**2 if size else area(locations)) <= bounds.SLOW


def _sized(locations: list[Location], size: int | None, skipped: list[Skipped]) -> Iterator[NamedPicture]:
    for picture in read(locations, skipped):
        if size is None or tuple(picture.pixels.shape[1:]) == (size, size):
            yield picture
            continue
        try:
            yield _fitted(picture, size)
        except ImageError as error:
            skipped.append(Skipped(picture.file, error.reason))


def _fitted(picture: NamedPicture, size: int) -> NamedPicture:
    smaller = fit(picture.pixels.permute(1, 2, 0).numpy(), size, "center")
    return replace(picture, pixels=torch.from_numpy(smaller.copy()).permute(2, 0, 1).contiguous())


def _codec_row(choice: Choice, trips: _Trips, bound: float, learning: Callable[[int], None]) -> Row:
    """Row of the tokenizer. bound: the lowest bound of H."""
    codes = {length: torch.cat(groups) for length, groups in trips.codes.items()}
    counts = sum(torch.bincount(group.flatten(), minlength=choice.vocabulary) for group in codes.values())
    bits, reason = None, f"pictures have {len(codes):,} different numbers of tokens"
    if len(codes) == 1:
        bits, reason = conditional_bits(next(iter(codes.values())), choice.vocabulary, progress=learning)
    error, tokens, nominal = trips.squares / trips.values, _mean(trips.tokens), _mean(trips.bits)
    used = entropy(counts) * tokens
    return Row(
        codec=choice.word,
        tokens=tokens,
        vocabulary=choice.vocabulary,
        nominal_bits=nominal,
        used_bits=used,
        conditional_bits=bits and bits * tokens,
        share=nominal / bound,
        used_share=used / bound,
        exact_rate=trips.exact / len(trips.tokens),
        psnr=10 * math.log10(255**2 / error) if error else math.inf,
        codes=Codes(entropy(counts), int((counts == 0).sum()), enough(counts), reason),
    )


def _raw_row(coded: list[bounds.Coded], bound: float) -> Row:
    """Row of raw pixels: order-0 entropy as used bits, the lowest bound of H as conditional bits."""
    raw, order0 = _mean([8.0 * one.bytes for one in coded]), _mean([one.bits["order-0"] for one in coded])
    return Row("raw", raw / 8, 256, raw, order0, bound, raw / bound, order0 / bound, 1.0, math.inf)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
