"""The diffusion head: pictures to be drawn are noised, and the network learns to see the clean patches behind
the noise.

    z = (1 - t) clean + t s eps,   t = sigmoid(N(mean, spread^2))
    loss = |error|^2 in clean, noise or velocity space

A picture that is only read keeps t = 0 and has no loss. By default the network outputs the clean patches, the
loss is measured in velocity space (JiT, arXiv 2511.13720), and time enters by addition at the patch input, as
in the post.

    here                      JiT, Tuna-2, flow matching    EDM (arXiv 2206.00364)
    t                         1 - t                         sigma = t s / (1 - t)
    clean                     x, x_1                        y
    z                         z, x_t                        (1 - t) x
    velocity, s eps - clean   -v                            s dx/dsigma - y"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...system import machine
from ..blocks import Blocks, behind_one_more, one_block
from ..document import Corrupted, Known, Pictures
from ..layers import OverPictures, Rows, multiplications
from ..noise import (
    TIME_FEATURES,
    logit_normal,
    loss_factor,
    normal,
    rectified,
    target,
    time_features,
    to_clean,
)
from ..parts import Prediction, Work
from ..solvers import SOLVERS
from ..solvers import grid as time_grid


@dataclass(frozen=True)
class Drawing:
    """How a diffusion head draws."""

    steps: int = 10
    solver: str = "euler"
    grid: str | tuple[float, ...] = "uniform"  # times of the steps: a name (`solvers.py`), or the times
    interval: tuple[float, float] = (0.0, 1.0)  # times inside which guidance acts
    rescale: float = 0.0  # share by which guided pictures get back the contrast of unguided ones


class DiffusionHead(nn.Module):
    """Patches of `values` numbers <-> hidden vectors of `width`.

    time: how the noise level enters. added: to every patch, as in the post. token: at a position of its own
    before the patches (U-ViT). modulation: it modulates the layers (DiT). none: not at all; the network sees
    it in the patches.
    convolution: side of a patch in places of `values` (1 where a patch is a place), or None. A 3 x 3
    convolution over the whole picture then ends the prediction (U-ViT, arXiv 2209.12152), so that patches
    agree at their seams; it starts as the identity."""

    reads_ahead = False

    def __init__(
        self,
        values: int,
        width: int,
        *,
        prediction: str,
        space: str,
        time_mean: float,
        time_spread: float,
        noise_scale: float,
        clamp: float,
        bottleneck: int | None,
        time: str = "added",
        convolution: int | None = None,
    ):
        super().__init__()
        self.values, self.prediction, self.space = values, prediction, space
        self.time_mean, self.time_spread, self.noise_scale, self.clamp = (
            time_mean,
            time_spread,
            noise_scale,
            clamp,
        )
        self.time = time
        self.into = (
            nn.Linear(values, width)
            if bottleneck is None
            else nn.Sequential(nn.Linear(values, bottleneck, bias=False), nn.Linear(bottleneck, width))
        )
        if time != "none":
            self.clock = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, values)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.over = None if convolution is None else OverPictures(values // convolution**2, convolution)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return next(self.parameters()).device

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A block a picture, behind a position for the time where it has one."""
        return behind_one_more(rows, columns) if self.time == "token" else one_block(rows, columns)

    def corrupt(self, clean: Tensor, pictures: Pictures) -> Corrupted:
        """Clean patches (M N, P) -> noised where the picture is drawn, noise and times by the keys of the
        pictures."""
        patches, keys = self._patches(pictures)[0], pictures.sources()
        of = patches.picture_of
        eps = normal(keys, patches.counts, self.values, device=clean.device)
        time = machine.send(logit_normal(keys, self.time_mean, self.time_spread), clean.device)
        inputs = self.noised(clean, eps, time[of])
        wanted, learned = target(self.prediction, clean, eps, self.noise_scale), pictures.drawn[of].float()
        if self.time == "token":  # the loss of a picture stays the mean over its patches
            more = torch.tensor([whole / part for whole, part in zip(pictures.counts, patches.counts)])
            learned = learned * machine.send(more, clean.device)[of]
        inputs, wanted, learned = (self.to_positions(x, pictures) for x in (inputs, wanted, learned))
        return Corrupted(inputs, time, wanted, learned)

    def noised(self, clean: Tensor, eps: Tensor, time: Tensor) -> Tensor:
        """(T, P), (T, P), (T,) -> z (T, P)."""
        signal, noise = rectified(time[:, None])
        return signal * clean + noise * self.noise_scale * eps

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Patches (T, P) of pictures at times (M,), or (1,) for all -> (T, D)."""
        patches = self.into(inputs)
        if self.time in ("modulation", "none"):
            return patches
        clock = self.clock(time_features(time))
        if len(time) == len(pictures.drawn):
            clock = F.embedding(pictures.picture_of, clock)  # its backward adds in order, on a GPU too
        if self.time == "added":
            return patches + clock
        return torch.where(pictures.index[:, None] == 0, clock, patches)

    def condition(self, time: Tensor) -> Tensor | None:
        """Times (M,) -> (M, D) where they modulate the backbone, else None."""
        return self.clock(time_features(time)) if self.time == "modulation" else None

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Hidden (T, D) of whole pictures -> prediction (T, P)."""
        out = self.out(hidden)
        if self.over is None:
            return out
        whole = self.over(self.to_patches(out, pictures), self._patches(pictures)[0])
        return self.to_positions(whole, pictures)

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """Mean over the values of all drawn patches, in the chosen space, fp32."""
        factor = loss_factor(self.prediction, self.space, corrupted.time, self.noise_scale, self.clamp)
        factor = factor[pictures.picture_of]
        error = (prediction.float() - corrupted.target).square().mean(-1)  # (T,)
        drawn = pictures.drawn[pictures.picture_of].sum()
        return (error * factor.square() * corrupted.weight).sum() / drawn.clamp_min(1)

    def clean(self, output: Tensor, z: Tensor, time: Tensor) -> Tensor:
        """Network output (T, P) -> clean estimate (T, P), fp32."""
        return to_clean(self.prediction, output.float(), z, time[:, None], self.noise_scale, self.clamp)

    def work(self) -> Work:
        """Patches in and out, and the clock; neither patches nor times need a gradient. A time's own position
        is not convolved."""
        first = self.into if isinstance(self.into, nn.Linear) else self.into[0]
        over = 0 if self.over is None else self.over.multiplications
        clock = 0 if self.time == "none" else multiplications(self.clock)
        return Work(
            position=multiplications(self.into, self.out) + over,
            picture=clock - over * (self.time == "token"),
            first_position=multiplications(first),
            first_picture=multiplications(self.clock[0]) if clock else 0,
        )

    def _patches(self, pictures: Pictures) -> tuple[Pictures, Tensor | None]:
        """The pictures without the positions of times, and the places of patches; None: all are patches."""
        return pictures.behind_first() if self.time == "token" else (pictures, None)

    def to_positions(self, patches: Tensor, pictures: Pictures) -> Tensor:
        """Rows of patches (K, ...) -> rows of all positions (T, ...), zeros at those of times."""
        at = self._patches(pictures)[1]
        if at is None:
            return patches
        wide = patches.new_zeros(len(pictures.index), *patches.shape[1:])
        with machine.unordered():
            return wide.index_copy(0, at, patches)

    def to_patches(self, rows: Tensor, pictures: Pictures) -> Tensor:
        """Rows of all positions (T, ...) -> those of patches (K, ...)."""
        at = self._patches(pictures)[1]
        return rows if at is None else Rows.apply(rows, at)

    def predicted(self, outputs: Tensor, z: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """What `output` says of noised patches z (K, P) at times (M,) -> predictions of patches (K, P)."""
        return self.to_patches(outputs, pictures)

    def of_patches(
        self, predict: Callable[..., Prediction], grid: tuple[int, int]
    ) -> Callable[..., Prediction]:
        """The function predict(z (M, N, P), t, share) of patches alone, in a grid of rows and columns, from
        that of all positions."""
        if self.time != "token":
            return predict

        def patches(z: Tensor, t: float, share: float = 1.0) -> Prediction:
            *outputs, scale = predict(F.pad(z, (0, 0, 1, 0)), t, share)
            return Prediction(*(output[:, 1:] for output in outputs), scale)

        return patches

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


def step_times(
    drawing: Drawing, head: DiffusionHead, strength: float = 1.0, larger: float = 1.0
) -> list[float]:
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
