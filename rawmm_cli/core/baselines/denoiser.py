"""A U-Net that learns to see clean pictures behind noise: path, loss, solvers and guidance are those of the
diffusion head (`denoising.py`), so that the network alone differs.

    caption -> backbone -> its state at <image>, one vector -> added to the time in every block of the U-Net

The vector is that of a small Transformer and not a mean of embeddings: "a red hat and blue eyes" and "a blue
hat and red eyes" have the same mean. In drawing it is computed once, and each step is the U-Net alone."""

from collections.abc import Callable
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ...system import machine
from ..blocks import Blocks
from ..denoising import Denoising
from ..document import Corrupted, Pictures
from ..noise import logit_normal, loss_factor, normal, target
from ..parts import Prediction, Work
from . import whole
from .unet import UNet


class Denoiser(Denoising):
    """Pictures of `values` numbers a token, learned with a grid of `grid` rows and columns; captions of
    `width` numbers."""

    reads_ahead = True

    def __init__(self, network: UNet, values: int, grid: tuple[int, int], width: int, **path: Any):
        """path: prediction, space, times, noise and clamp, as of `Denoising`."""
        super().__init__(values, **path)
        self.network, self.grid, self.width = network, grid, width

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A position a picture. Raises ValueError for one that cannot be halved often enough."""
        if rows % (stride := self.network.stride) or columns % stride:
            raise ValueError(
                f"a picture of {rows} x {columns} tokens cannot be halved {stride.bit_length() - 1} times by "
                f"the U-Net; allowed: multiples of {stride}"
            )
        return whole.one_position(rows, columns)

    def corrupt(self, clean: Tensor, pictures: Pictures) -> Corrupted:
        """Clean tokens (sum of N, P) -> noised where the picture is drawn, a row a picture; as by a diffusion
        head."""
        own, keys = whole.in_tokens(pictures), pictures.sources()
        eps = normal(keys, own.counts, self.values, device=clean.device)
        time = machine.send(logit_normal(keys, self.time_mean, self.time_spread), clean.device)
        inputs = self.noised(clean, eps, time[own.picture_of])
        wanted = target(self.prediction, clean, eps, self.noise_scale)
        inputs, wanted = (whole.to_rows(x, pictures) for x in (inputs, wanted))
        return Corrupted(inputs, time, wanted, pictures.drawn.float())

    def condition(self, time: Tensor) -> None:
        """None: the time enters the U-Net."""

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """(M, D) zeros: the sequence sees nothing of a picture."""
        return inputs.new_zeros(len(pictures.drawn), self.width)

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """The states before pictures (M, D), as they are: what the U-Net knows of the caption."""
        return hidden

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """That of the diffusion head, a mean over drawn pictures, of what the U-Net makes of the noised ones
        behind the captions `prediction` (M, D)."""
        inputs, wanted = (
            whole.to_tokens(x, pictures, self.values) for x in (corrupted.inputs, corrupted.target)
        )
        error = self.predicted(prediction, inputs, corrupted.time, pictures).float() - wanted
        factor = loss_factor(self.prediction, self.space, corrupted.time, self.noise_scale, self.clamp)
        each = [
            error[at].square().view(of.stop - of.start, -1).mean(1) for of, at, _ in whole.of_a_size(pictures)
        ]
        of_each = torch.cat([*each, error.flatten()[:0]])  # (M,)
        weight = corrupted.weight
        return (of_each * factor.square() * weight).sum() / weight.sum().clamp_min(1)

    def predicted(self, outputs: Tensor, z: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Captions (M, D), noised tokens z (sum of N, P) at times (M,) -> the U-Net's prediction (sum of N,
        P)."""
        parts = [
            self._of_a_size(outputs[of], z[at], time[of], grid) for of, at, grid in whole.of_a_size(pictures)
        ]
        if not parts:  # all parameters have a gradient, as ranks that share a step expect
            one = z.new_zeros(self.grid[0] * self.grid[1], self.values)
            parts = [self._of_a_size(z.new_zeros(1, self.width), one, time.new_zeros(1), self.grid)[:0]]
        return torch.cat(parts)

    def _of_a_size(self, captions: Tensor, z: Tensor, time: Tensor, grid: tuple[int, int]) -> Tensor:
        images = rearrange(z, "(m h w) c -> m c h w", h=grid[0], w=grid[1])
        return rearrange(self.network(images, time, captions), "m c h w -> (m h w) c")

    def work(self) -> Work:
        """The U-Net over a picture of the grid that is learned; pixels and times need no gradient."""
        first = self.network.into.weight.numel() * self.grid[0] * self.grid[1]
        clock = cast(nn.Linear, self.network.clock[0]).weight.numel()
        return Work(picture=self.network.multiplications(*self.grid), first_picture=first + clock)

    def kept(self) -> int:
        """Bytes that the U-Net keeps of a picture for its backward pass, in fp32."""
        one = next(self.network.parameters()).new_zeros
        return whole.kept(self.network, one(1, self.values, *self.grid), one(1), one(1, self.width))

    def to_positions(self, patches: Tensor, pictures: Pictures) -> Tensor:
        """Tokens (sum of N, P) -> a row a picture."""
        return whole.to_rows(patches, pictures)

    def to_patches(self, rows: Tensor, pictures: Pictures) -> Tensor:
        """What is said of each picture (M, ...) -> of each of its tokens (sum of N, ...)."""
        return rows[whole.in_tokens(pictures).picture_of]

    def of_patches(
        self, predict: Callable[..., Prediction], grid: tuple[int, int]
    ) -> Callable[..., Prediction]:
        """predict(z (M, N, P), t, share): the U-Net behind the captions, which are read once and give its
        precision."""
        captions: list[whole.Captions] = []

        def output(z: Tensor, t: float, vectors: Tensor) -> Tensor:
            time = torch.full((len(z),), float(t), device=z.device)
            half = torch.autocast(z.device.type, torch.bfloat16, captions[0].half, cache_enabled=False)
            with half:
                said = self._of_a_size(vectors, z.flatten(0, 1), time, grid)
            return said.float().view_as(z)

        def predicted(z: Tensor, t: float, share: float = 1.0) -> Prediction:
            if not captions:
                captions.append(whole.captions(predict, len(z), z.device))
            if (scale := captions[0].scale_at(share)) == 1:
                alone = output(z, t, captions[0].conditional)
                return Prediction(alone, alone, alone, 1.0)
            with_, without = output(torch.cat([z, z]), t, captions[0].both()).chunk(2)
            return Prediction(without + scale * (with_ - without), with_, without, scale)

        return predicted
