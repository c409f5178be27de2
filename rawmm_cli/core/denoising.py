"""What networks have in common that learn to see clean patches behind noise: the path, and drawing by a
solver. The network stands in the sequence (`heads/diffusion.py`) or beside it (`baselines/denoiser.py`).

    z = (1 - t) clean + t s eps,   t = sigmoid(N(mean, spread^2))"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .document import Known
from .noise import normal, rectified, to_clean
from .parts import Prediction
from .solvers import SOLVERS
from .solvers import grid as time_grid


@dataclass(frozen=True)
class Drawing:
    """How a diffusion head draws."""

    steps: int = 10
    solver: str = "euler"
    grid: str | tuple[float, ...] = "uniform"  # times of the steps: a name (`solvers.py`), or the times
    interval: tuple[float, float] = (0.0, 1.0)  # times inside which guidance acts
    rescale: float = 0.0  # share by which guided pictures get back the contrast of unguided ones


class Denoising(nn.Module):
    """Patches of `values` numbers that are noised, and drawn from noise.

    prediction, space: what the network outputs, and where the error is measured. time_mean, time_spread: of
    the times that are learned. noise_scale: deviation of the noise. clamp: t and 1 - t are at least this
    where they divide."""

    def __init__(
        self,
        values: int,
        *,
        prediction: str,
        space: str,
        time_mean: float,
        time_spread: float,
        noise_scale: float,
        clamp: float,
    ):
        super().__init__()
        self.values, self.prediction, self.space = values, prediction, space
        self.time_mean, self.time_spread = time_mean, time_spread
        self.noise_scale, self.clamp = noise_scale, clamp

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return next(self.parameters()).device

    def noised(self, clean: Tensor, eps: Tensor, time: Tensor) -> Tensor:
        """(T, P), (T, P), (T,) -> z (T, P)."""
        signal, noise = rectified(time[:, None])
        return signal * clean + noise * self.noise_scale * eps

    def clean(self, output: Tensor, z: Tensor, time: Tensor) -> Tensor:
        """Network output (T, P) -> clean estimate (T, P), fp32."""
        return to_clean(self.prediction, output.float(), z, time[:, None], self.noise_scale, self.clamp)

    def of_patches(
        self, predict: Callable[..., Prediction], grid: tuple[int, int]
    ) -> Callable[..., Prediction]:
        """The function predict(z (M, N, P), t, share) of patches alone, in a grid of rows and columns, from
        that of all positions."""
        return predict

    def draw(
        self,
        predict: Callable[..., Prediction],
        keys: Sequence[int],
        grid: tuple[int, int],
        drawing: Drawing | None = None,
        learned: tuple[int, int] | None = None,
        known: Known | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Draw M pictures of `grid` rows and columns from the noise of their keys -> clean patches (M, N, P).

        predict(z (M, N, P), t, share) -> the network's output, guided as far as `share`.
        learned: rows and columns of the pictures that were learned, where they are others.
        known: what is drawn on. watch(step, z, clean) is called for every estimate."""
        drawing, count, patches = drawing or Drawing(), len(keys), grid[0] * grid[1]
        predict = self.of_patches(predict, grid)
        strength = 1.0 if known is None else known.strength
        larger = 1.0 if learned is None else (patches / (learned[0] * learned[1])) ** 0.5
        times = step_times(drawing, self, strength, larger)
        device = self.device

        def noise(word: str) -> Tensor:
            eps = normal(keys, [patches] * count, self.values, word, device)
            return eps.unflatten(0, (count, patches))

        def fresh(step: int) -> Tensor:
            return self.noise_scale * noise(f"noise of step {step}")

        def denoise(z: Tensor, t: float) -> Tensor:
            clean = self._estimate(predict, z, t, drawing)
            if known is not None and known.keep is not None:  # the path then ends at what is known
                clean = torch.where(known.keep, known.tokens, clean)
            if watch is not None:
                watch(times.index(t), z, clean)
            return clean

        z = noise("noise")
        if known is not None and strength < 1:
            z = self.noised(known.tokens, z, torch.tensor(times[:1], device=device))
        else:
            z = self.noise_scale * z
        return SOLVERS[drawing.solver](denoise, rectified, z, times, fresh)

    def _estimate(self, predict: Callable[..., Prediction], z: Tensor, t: float, drawing: Drawing) -> Tensor:
        """Clean patches (M, N, P) behind z at time t, guided where t lies in the interval.

        rescale: pictures get back this share of the contrast that they had unguided (Lin et al. 2023, arXiv
        2305.08891)."""
        inside = drawing.interval[0] <= t <= drawing.interval[1]
        time = torch.full((1,), float(t), device=z.device)
        prediction = predict(z, t, float(inside))
        clean = self.clean(prediction.guided, z, time)
        if drawing.rescale and prediction.scale != 1:
            unguided = self.clean(prediction.conditional, z, time)
            contrast, wanted = (x.std((1, 2), keepdim=True) for x in (clean, unguided))
            clean = clean * (1 + drawing.rescale * (wanted / contrast.clamp_min(1e-6) - 1))
        return clean


def step_times(drawing: Drawing, head: Denoising, strength: float = 1.0, larger: float = 1.0) -> list[float]:
    """The drawing's grid of times, from `strength` down to 0.

    larger: side of the picture in sides of those learned. A larger one says more of itself through the same
    noise: times are shifted by that ratio (Hoogeboom et al. 2023, arXiv 2301.11093).

    No step begins below the head's `clamp`, where it has hardly learned and its estimate is worse than its
    input: the times are then shrunk towards the first one, and the last step goes from `clamp` to 0."""
    times = time_grid(drawing.grid, drawing.steps, head)
    if larger != 1:
        times = [larger * t / (1 + (larger - 1) * t) for t in times]
    times = [t * strength for t in times]
    first, last, least = times[0], times[-2], head.clamp
    if last >= least:
        return times
    if first <= least:
        return [first, 0.0]
    return [first - (first - t) * (first - least) / (first - last) for t in times[:-1]] + [0.0]
