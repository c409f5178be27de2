"""The law of noise: which training times, and which weight of the image loss, a set of pictures needs.

Larger and smoother pictures show themselves through more noise: many pixels say the same and agree in the
mean. What must be learned lies between the noise that hides next to nothing of what tells the pictures apart,
and the noise that hides next to all of it. Both follow from the power spectrum of the set
(`metrics/spectrum.py`):

    logit t = ln(noise) of a training time is normal; its middle is the noise that hides half, and a tenth of
    the times lies below the noise that hides a tenth, a tenth above the noise that hides nine tenths
    the image loss of the best linear denoiser at these times, times the weight, is the same for every set

`head.time_mean`, `head.time_spread` and `loss.image` are `auto` by default and follow from it."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ..metrics.spectrum import Spectrum
from .model import Config

TENTH = NormalDist().inv_cdf(0.9)  # standard deviations above which a tenth lies
MEANS, SPREADS, WEIGHTS = (-1.0, 1.2), (0.8, 1.6), (1.0, 4.0)  # as far as the law is measured
LOSS = 0.45  # of the best linear denoiser, times the weight
CLAMP = 0.05


class Noise(NamedTuple):
    """t = sigmoid(N(mean, spread^2)); weight of the image loss beside a text loss of weight 1."""

    mean: float
    spread: float
    weight: float

    @property
    def reason(self) -> str:
        """Why these numbers, in a line."""
        if self == UNMEASURED:
            return "usual numbers; there were no pictures to measure"
        low, middle, high = (
            1 / (1 + math.exp(-self.mean - place * self.spread)) for place in (-TENTH, 0, TENTH)
        )
        return f"these pictures show themselves between t = {low:.2f} and {high:.2f}, half at {middle:.2f}"


UNMEASURED = Noise(0.0, 1.0, 1.0)  # where there are no pictures that differ


def law(spectrum: Spectrum | None) -> Noise:
    """Spectrum of the pictures of a set -> its training times and weight, two decimals each."""
    if spectrum is None:
        return UNMEASURED
    low, middle, high = (math.log(spectrum.visible_to(share)) for share in (0.1, 0.5, 0.9))
    mean, spread = _within(middle, MEANS), _within((high - low) / (2 * TENTH), SPREADS)
    return Noise(mean, spread, _within(LOSS / linear_loss(spectrum, mean, spread), WEIGHTS))


def linear_loss(spectrum: Spectrum, mean: float, spread: float) -> float:
    """The mean loss in velocity space, a value of a picture, of the best linear denoiser at these times."""
    places = np.linspace(-4, 4, 81)
    chances = np.exp(-(places**2) / 2)
    losses = []
    for logit in mean + spread * places:
        time, noise = 1 / (1 + math.exp(-logit)), math.exp(logit)
        error = spectrum.hidden(noise) * spectrum.power.sum() / spectrum.values
        losses.append(error / max(time, CLAMP) ** 2)
    return float(np.average(losses, weights=chances))


def is_settled(config: Config) -> bool:
    """Whether no number is left to the law."""
    return "auto" not in (config.head.time_mean, config.head.time_spread, config.loss.image)


def settle(config: Config, noise: Noise = UNMEASURED) -> Config:
    """The settings with the numbers of the law in place of `auto`."""
    if is_settled(config):
        return config
    head, loss = config.head, config.loss
    mean = noise.mean if head.time_mean == "auto" else head.time_mean
    spread = noise.spread if head.time_spread == "auto" else head.time_spread
    weight = noise.weight if loss.image == "auto" else loss.image
    return config.model_copy(
        update={
            "head": head.model_copy(update={"time_mean": mean, "time_spread": spread}),
            "loss": loss.model_copy(update={"image": weight}),
        }
    )


def _within(value: float, limits: tuple[float, float]) -> float:
    return round(min(max(value, limits[0]), limits[1]), 2)
