"""Pictures of a batch, as they are and after a codec, in numbers.

`Before` and `After` hold all that a summary needs of a picture, so that they can be kept (`kept.py`): sums
over pictures are made of them."""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..metrics import features, pixels
from ..metrics.mobilenet import MobileNetV2
from ..system.errors import DataError
from ..system.figures import counted
from .choices import Choice
from .results import Measures, number
from .round_trip import Trip


@dataclass(frozen=True)
class Originals:
    """Original pictures (n, 3, H, W) of a batch. features, layers: outputs of the feature network."""

    images: Tensor
    edges: Tensor
    features: Tensor | None
    layers: list[Tensor] | None


@dataclass(frozen=True)
class Before:
    """An original. flat_mse, flat_ssim: of the picture of its mean colour. edges: their energy, over all
    pixels. features: pooled, (d,). text: what is read on it, in its words; again: whether a second reading
    gave the same, None where there was none."""

    height: int
    width: int
    flat_mse: float
    flat_ssim: float | None
    edges: float
    features: Tensor | None = None
    text: str | None = None
    again: bool | None = None

    @property
    def values(self) -> int:
        """Values of its pixels."""
        return 3 * self.height * self.width


@dataclass(frozen=True)
class After:
    """A picture after a codec. edges: their energy, over all pixels. codes: (L,) int32, of a discrete codec.
    sections: as in `Trip`. features: pooled, (d,)."""

    measures: Measures
    edges: float
    vocabulary: int | None
    codes: Tensor | None = None
    sections: tuple = ()
    features: Tensor | None = None


def originals(images: Tensor, network: MobileNetV2 | None) -> Originals:
    """Pictures (n, 3, H, W) uint8 with what all codecs are compared with."""
    return Originals(images, pixels.edges(images), *(network(images) if network else (None, None)))


def before(batch: Originals) -> list[Before]:
    """Each original of a batch, measured."""
    images = batch.images
    height, width = images.shape[2:]
    flat = images.float().mean((2, 3), keepdim=True).round().to(torch.uint8).expand_as(images)
    mse, ssim = pixels.mse(flat, images).tolist(), pixels.ssim(flat, images).tolist()
    edges = (height * width * batch.edges).tolist()
    pooled = batch.features if batch.features is not None else [None] * len(images)
    return [
        Before(height, width, error, number(similar), energy, vector)
        for error, similar, energy, vector in zip(mse, ssim, edges, pooled)
    ]


def after(choice: Choice, batch: Originals, network: MobileNetV2 | None) -> tuple[list[After], Tensor]:
    """Each picture of a batch after a codec, measured, and the reconstructions. Raises DataError where the
    results of the codec have the wrong shape, type or values."""
    images, trip = batch.images, _trip(choice, batch.images)
    edges, error, area = pixels.edges(trip.back), pixels.mse(trip.back, images), images[0, 0].numel()
    distance, pooled = torch.full_like(error, torch.nan), [None] * len(images)
    if network:
        pooled, layers = network(trip.back)
        distance = features.layers(layers, batch.layers)
    columns = (
        error,
        pixels.psnr_of(error),
        pixels.ssim(trip.back, images),
        pixels.exact_values(trip.back, images),
        pixels.exact_pixels(trip.back, images),
        pixels.sharpness_of(edges, batch.edges),
        distance,
    )
    measured = [
        After(
            measures=_measures(trip, n, area, values),
            edges=area * float(edges[n]),
            vocabulary=choice.vocabulary,
            codes=None if trip.codes is None else trip.codes[n].int().clone(),
            sections=trip.sections,
            features=pooled[n],
        )
        for n, values in enumerate(zip(*(column.tolist() for column in columns)))
    ]
    return measured, trip.back


def _trip(choice: Choice, images: Tensor) -> Trip:
    """Encode and decode, with the time, and check what comes back."""
    height, width = images.shape[2:]
    with choice.lock:
        began = time.perf_counter()
        try:
            trip = choice.go(images)
        except ValueError as error:
            raise DataError(
                f"--codec {choice.word} cannot take a picture of {width}x{height} pixels: {error}"
            ) from None
        trip = replace(trip, seconds=time.perf_counter() - began)
    if trip.back.shape != images.shape or trip.back.dtype != torch.uint8:
        raise DataError(
            f"--codec {choice.word} returned {trip.back.dtype} of shape {tuple(trip.back.shape)}; allowed: "
            f"torch.uint8 of shape {tuple(images.shape)}"
        )
    if trip.codes is not None:
        _check_codes(choice, trip)
    return trip


def _check_codes(choice: Choice, trip: Trip) -> None:
    """Raise DataError where the number or range of a trip's codes is not what the codec declares."""
    low, high, count = int(trip.codes.min()), int(trip.codes.max()), trip.codes[0].numel()
    if low < 0 or high >= choice.vocabulary or count != trip.tokens[0]:
        raise DataError(
            f"--codec {choice.word} returned {counted(count, 'code')} from {low} to {high}; allowed by "
            "its own length "
            f"and vocabulary: {trip.tokens[0]:,} from 0 to {choice.vocabulary - 1}"
        )


def _measures(trip: Trip, n: int, area: int, values: tuple[float, ...]) -> Measures:
    """Measures of picture `n` of a trip, of `area` pixels. values: in the order of the columns of `after`."""
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
        scale=trip.scales[n] if trip.scales else None,
    )
