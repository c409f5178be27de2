"""The diffusion head: pictures to be drawn are noised, and the network learns to see the clean patches
through it.

    z = (1 - t) clean + t s eps,   t = sigmoid(N(mean, spread^2))
    loss = |error|^2 in clean, noise or velocity space

A picture that is only read keeps t = 0 and has no loss. By default the network outputs the clean patches and
the loss is measured in velocity space (JiT, arXiv 2511.13720). Time enters by addition at the patch input, as
in the post."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..document import Pictures
from ..noise import logit_normal, loss_factor, normal, rectified, target, to_clean

TIME_FEATURES = 64


class Corrupted(NamedTuple):
    """What the network sees (inputs (T, P), time (M,)) and what it should say (target (T, P)), with weight
    (T,)."""

    inputs: Tensor
    time: Tensor
    target: Tensor
    weight: Tensor


class DiffusionHead(nn.Module):
    """Patches of `values` numbers <-> hidden vectors of `width`."""

    causal = False

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
    ):
        super().__init__()
        self.values, self.prediction, self.space = values, prediction, space
        self.time_mean, self.time_spread, self.noise_scale, self.clamp = (
            time_mean,
            time_spread,
            noise_scale,
            clamp,
        )
        self.into = (
            nn.Linear(values, width)
            if bottleneck is None
            else nn.Sequential(nn.Linear(values, bottleneck, bias=False), nn.Linear(bottleneck, width))
        )
        self.clock = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, values)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def corrupt(self, clean: Tensor, pictures: Pictures) -> Corrupted:
        """Clean patches (T, P) -> noised where the picture is drawn. Noise and time come from the pictures'
        keys."""
        of, drawn = pictures.picture_of, pictures.drawn
        counts = torch.bincount(of, minlength=len(drawn)).tolist()
        keys, counts = (
            zip(*[(k, n) for k, n, d in zip(pictures.keys, counts, drawn.tolist()) if d])
            if drawn.any()
            else ((), ())
        )
        eps = torch.zeros_like(clean)
        eps[drawn[of]] = normal(keys, counts, self.values, device=clean.device)
        time = torch.zeros(len(drawn), device=clean.device)
        time[drawn] = logit_normal(keys, self.time_mean, self.time_spread).to(clean.device)
        inputs = self.noised(clean, eps, time[of])
        return Corrupted(
            inputs, time, target(self.prediction, clean, eps, self.noise_scale), drawn[of].float()
        )

    def noised(self, clean: Tensor, eps: Tensor, time: Tensor) -> Tensor:
        """(T, P), (T, P), (T,) -> z (T, P)."""
        signal, noise = rectified(time[:, None])
        return signal * clean + noise * self.noise_scale * eps

    def embed(self, inputs: Tensor, time: Tensor, picture_of: Tensor) -> Tensor:
        """Patches (T, P) of pictures (T,) that are at times (M,) -> (T, D)."""
        return self.into(inputs) + self.clock(time_features(time)).index_select(0, picture_of)

    def output(self, hidden: Tensor) -> Tensor:
        """Hidden (T, D) -> prediction (T, P)."""
        return self.out(hidden)

    def loss(self, prediction: Tensor, corrupted: Corrupted, picture_of: Tensor) -> Tensor:
        """Mean over the values of all drawn patches, in the chosen space, fp32."""
        factor = loss_factor(self.prediction, self.space, corrupted.time, self.noise_scale, self.clamp)[
            picture_of
        ]
        error = (prediction.float() - corrupted.target).square().mean(-1)  # (T,)
        weight = corrupted.weight
        return (error * factor.square() * weight).sum() / weight.sum().clamp_min(1)

    def clean(self, output: Tensor, z: Tensor, time: Tensor) -> Tensor:
        """Network output (T, P) -> clean estimate (T, P), fp32."""
        return to_clean(self.prediction, output.float(), z, time[:, None], self.noise_scale, self.clamp)

    def generate(
        self, denoise, keys, counts, solver, times, device="cpu", begin: Tensor | None = None
    ) -> Tensor:
        """Draw M pictures: noise from their keys, `counts` (M) patches each -> clean patches (T, P) in [-1,
        1].

        `denoise(z (T, P), t) -> clean (T, P)`; `solver` is one of `solvers.py`, `times` falls to 0. begin:
        clean patches (T, P) that are noised to the first time; without them it is 1, and all is noise."""

        def noise(word: str) -> Tensor:
            return normal(keys, counts, self.values, word).to(device)

        eps = noise("noise")
        z = (
            self.noise_scale * eps
            if begin is None
            else self.noised(begin, eps, torch.tensor(times[:1], device=device))
        )
        fresh = lambda step: self.noise_scale * noise(f"noise of step {step}")  # noqa: E731
        return solver(denoise, rectified, z, times, fresh).clamp(-1, 1)


def time_features(time: Tensor) -> Tensor:
    """(T,) in [0, 1] -> (T, TIME_FEATURES): cosines and sines of 1000 t at frequencies from 1 to 1 /
    10000."""
    half = TIME_FEATURES // 2
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half, device=time.device) / half)
    angle = 1000.0 * time[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)
