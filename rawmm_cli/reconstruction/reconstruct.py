"""Round trips of pictures through codecs, and what each codec loses.

    pictures.find -> Location                           pictures on the command line
    pictures.read, batches -> (n, 3, H, W) uint8        batches of pictures of one size
    choices.Choice.go -> Trip                           encoded and decoded, with bits and codes
    metrics -> Measures of each picture                 pixels, edges, features
    ocr.Reader -> text before and after                 what can still be read
    summary.rows, summary.findings                      over all pictures, and in sentences

While a picture is in memory it goes through every codec; measures are kept, and files with --out. Next:
`summary.py`, and `pages/reconstruct.py`, which shows the files side by side."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.pictures import Location, NamedPicture, Skipped, batches, none_left, read
from ..metrics import features, pixels
from ..metrics.mobilenet import MobileNetV2
from ..metrics.text import plain, readable, survival, words
from ..system.errors import DataError
from . import summary
from .choices import Choice
from .files import Files, array
from .results import Clean, Comparison, Measures, PictureResult, number
from .round_trip import Trip
from .summary import Tally

AGAIN = 16  # pictures that are read twice, to measure how often the engine gives the same text
ReadTexts = Callable[[list[np.ndarray]], list[str]]  # (H, W, 3) uint8 each -> texts


@dataclass(frozen=True)
class Originals:
    """Original pictures (n, 3, H, W) of a batch. features, layers: outputs of the feature network."""

    images: Tensor
    edges: Tensor
    features: Tensor | None
    layers: list[Tensor] | None


def run(
    locations: list[Location],
    choices: list[Choice],
    out: Path | None = None,
    reader: ReadTexts | None = None,
    network: MobileNetV2 | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Send pictures through all codecs, and measure. out: folder for files. reader: reads text. network:
    gives features. progress: called with the number of pictures done. Raises DataError where no picture can
    be read, or a codec does not take one."""
    skipped: list[Skipped] = []
    each: list[PictureResult] = []
    tallies = {choice.word: Tally() for choice in choices}
    before: list[Tensor] = []
    files = None  # made with the first pictures, so that an error before leaves no folder
    texts = Texts(reader) if reader else None
    for group in batches(read(locations, skipped)):
        originals = _originals(torch.stack([picture.pixels for picture in group]), network)
        before += [originals.features] if network else []
        results, backs = [_result(picture) for picture in group], {}
        for choice in choices:
            tally = tallies[choice.word]
            trip = _trip(choice, originals.images, tally)
            _measure(results, choice.word, trip, originals, tally, network)
            backs[choice.word] = trip.back
        each += texts.read(results, originals.images, backs) if texts else results
        if out:
            files = files or Files(out, [choice.word for choice in choices])
            files.write(group, backs)
        progress(len(each))
    if not each:
        raise none_left(skipped)
    each.sort(key=lambda result: result.number)
    for choice in choices:
        _add_used_bits(choice.word, tallies[choice.word])
    rows = summary.rows(each, choices, tallies, torch.cat(before) if network else None)
    text = summary.baseline(each, texts.read_twice, texts.same_twice) if texts else None
    correlation = summary.correlation(rows)
    findings = summary.findings(rows, choices, text, correlation, len(each))
    return Comparison(skipped, rows, text, correlation, findings, each, network and network.name)


def _originals(images: Tensor, network: MobileNetV2 | None) -> Originals:
    return Originals(images, pixels.edges(images), *(network(images) if network else (None, None)))


def _result(picture: NamedPicture) -> PictureResult:
    height, width = picture.pixels.shape[1:]
    return PictureResult(picture.index, picture.name, picture.file, height, width, picture.text)


def _trip(choice: Choice, images: Tensor, tally: Tally) -> Trip:
    """Encode and decode, with the time, and count codes. Raises DataError where the results of the codec have
    the wrong shape, type or values."""
    began = time.perf_counter()
    height, width = images.shape[2:]
    try:
        trip = choice.go(images)
    except ValueError as error:
        raise DataError(
            f"--codec {choice.word} cannot take a picture of {width}x{height} pixels: {error}"
        ) from None
    trip = replace(trip, seconds=time.perf_counter() - began)
    tally.seconds += trip.seconds
    if trip.back.shape != images.shape or trip.back.dtype != torch.uint8:
        raise DataError(
            f"--codec {choice.word} returned {trip.back.dtype} of shape {tuple(trip.back.shape)}; allowed: "
            f"torch.uint8 of shape {tuple(images.shape)}"
        )
    if trip.codes is not None:
        counts = torch.bincount(_checked(choice, trip).flatten(), minlength=choice.vocabulary)
        tally.counts = counts if tally.counts is None else tally.counts + counts
    return trip


def _checked(choice: Choice, trip: Trip) -> Tensor:
    """Codes of a trip. Raises DataError where their number or range is not what the codec declares."""
    low, high, count = int(trip.codes.min()), int(trip.codes.max()), trip.codes[0].numel()
    if low < 0 or high >= choice.vocabulary or count != trip.tokens[0]:
        raise DataError(
            f"--codec {choice.word} returned {count:,} codes from {low} to {high}; allowed by its own length "
            f"and vocabulary: {trip.tokens[0]:,} from 0 to {choice.vocabulary - 1}"
        )
    return trip.codes


def _measure(
    results: list[PictureResult],
    word: str,
    trip: Trip,
    originals: Originals,
    tally: Tally,
    network: MobileNetV2 | None,
) -> None:
    """Add the measures of a batch to the results of its pictures and to the codec's tally."""
    images, after = originals.images, pixels.edges(trip.back)
    error, area = pixels.mse(trip.back, images), images[0, 0].numel()
    distance = torch.full_like(error, torch.nan)
    if network:
        pooled, layers = network(trip.back)
        tally.features.append(pooled)
        distance = features.layers(layers, originals.layers)
    columns = (
        error,
        pixels.psnr_of(error),
        pixels.ssim(trip.back, images),
        pixels.exact_values(trip.back, images),
        pixels.exact_pixels(trip.back, images),
        pixels.sharpness_of(after, originals.edges),
        distance,
    )
    for n, (result, values) in enumerate(zip(results, zip(*(column.tolist() for column in columns)))):
        result.codecs[word] = _measures(trip, n, area, values)
    if trip.codes is not None:
        tally.codes += zip([result.codecs for result in results], trip.codes.int())
    tally.squares += round(float(error.sum()) * images[0].numel())
    tally.values += images.numel()
    energies = after, originals.edges
    tally.edges = [total + area * float(energy.sum()) for total, energy in zip(tally.edges, energies)]


def _measures(trip: Trip, n: int, area: int, values: tuple[float, ...]) -> Measures:
    """Measures of picture `n` of a trip, of `area` pixels. values: in the order of `_measure`'s columns."""
    mse, psnr, ssim, exact_values, exact_pixels, sharpness, distance = values
    bits = trip.bits[n]
    return Measures(
        tokens=trip.tokens[n],
        bits=bits,
        milliseconds=1000 * trip.seconds / len(trip.tokens),
        bits_per_pixel=None if bits is None else bits / area,
        mse=mse,
        psnr=psnr,
        ssim=number(ssim),
        exact_values=exact_values,
        exact_pixels=exact_pixels,
        sharpness=number(sharpness),
        feature_distance=number(distance),
        exact=mse == 0,
        padded=trip.padded,
        tiles=trip.tiles,
        over_budget=bool(trip.over and trip.over[n]),
    )


def _add_used_bits(word: str, tally: Tally) -> None:
    """Add used bits to every picture: the sum of -log2 of the frequencies of its codes."""
    if tally.counts is not None:
        cost = -(tally.counts.double() / tally.counts.sum()).log2()
        for codecs, codes in tally.codes:
            codecs[word] = replace(codecs[word], used_bits=float(cost[codes.long()].sum()))


class Texts:
    """Reads text before and after codecs. The first AGAIN originals are read twice, to measure how reliable
    the engine is."""

    def __init__(self, reader: ReadTexts) -> None:
        self.reader, self.read_twice, self.same_twice = reader, 0, 0

    def read(
        self, results: list[PictureResult], images: Tensor, backs: dict[str, Tensor]
    ) -> list[PictureResult]:
        """Read the originals and the reconstructions of a batch -> its results, with texts."""
        count, twice = len(images), max(0, min(len(images), AGAIN - self.read_twice))
        pictures = [array(picture) for picture in chain(images, images[:twice], *backs.values())]
        texts = [plain(text) for text in self.reader(pictures)]
        first, second, after = texts[:count], texts[count : count + twice], texts[count + twice :]
        self.read_twice += twice
        self.same_twice += sum(one == other for one, other in zip(first, second))
        for m, word in enumerate(backs):
            for n, result in enumerate(results):
                text = _survival(after[m * count + n], first[n], result.written)
                result.codecs[word] = replace(result.codecs[word], **text)
        return [
            replace(result, text=text, clean=None if result.written is None else _clean(text, result.written))
            for result, text in zip(results, first)
        ]


def _survival(text: str, original: str, written: str | None) -> dict:
    """Fields of `Measures` for the text after a codec. original: the text before it."""
    fields = {"text": text}
    if readable(original):
        fields |= {"text_survival": survival(text, original), "word_survival": words(text, original)}
    if written is not None:
        clean = _clean(text, written)
        fields |= {"right_letters": clean.survival, "right_words": clean.words}
    return fields


def _clean(text: str, written: str) -> Clean:
    return Clean(survival(text, written), words(text, written) if written.split() else None)
