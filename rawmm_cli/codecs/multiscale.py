"""A codec of several scales: each says what the coarser ones have left (VAR, Tian et al. 2024, arXiv
2404.02905).

    rest = latents                                                   (M, C, rows, columns)
    for every scale, the coarsest first:
        codes = the nearest codes of the rest, averaged down to the scale
        rest  = rest - grown(codes)      grown: bilinear up to full size, then x + blend (conv(x) - x)
    values = sum of all grown codes

Tables, convolution and growing are those of `HierarchicalVQ` of vector-quantize-pytorch; the walk over the
scales is here, for pictures of any size. On a grid of the trained size both are the same, by test.
What differs from the published VAR: bilinear instead of bicubic growth, tables that follow the latents by
moving averages, and gradients that pass straight through every scale, which sum up to those of the latents.

Tokens of a picture: all scales one after the other, each in reading order. A token of -1 says nothing."""

from functools import lru_cache
from itertools import accumulate
from math import log2
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from .base import (
    Quantized,
    Reconstruction,
    Section,
    codebook,
    library,
    normalised,
    prepare,
    spread,
    start,
    to_images,
    to_unit,
)

Shape = tuple[int, int]  # rows and columns


class MultiscaleQuantizer(nn.Module):
    """Latents (M, N, width) <-> codes of all scales (M, N', 1).

    codes: V, of `dimension` numbers C. sides: of the scales on a square grid, rising to that of the grid;
    those of another grid are in proportion. shared: one table for all scales, else one each. blend: share of
    the convolution. pictures: of a batch. Other options: those of the codebooks in `quantizers.py`."""

    tokens = 1

    def __init__(
        self,
        width: int,
        codes: int,
        dimension: int,
        sides: tuple[int, ...],
        *,
        shared: bool,
        blend: float,
        pictures: int = 1,
        **options: Any,
    ):
        super().__init__()
        self.sides, self.vocabulary, self.dimension = sides, codes, dimension
        self.into, self.out = nn.Linear(width, dimension), nn.Linear(dimension, width)
        self.spread = spread(dimension)
        places = [pictures * side**2 / codes for side in sides]  # mean count of a code, by scale
        means = [sum(places) / len(sides)] if shared else places
        options = codebook(cosine=False, mean=1.0, **options)
        del options["use_cosine_sim"]
        self.inner = library().HierarchicalVQ(
            dim=dimension,
            codebook_size=codes,
            scales=sides,
            shared_codebook=shared,
            quant_resi=blend,
            accept_image_fmap=True,
            **options,
        )
        for mean, table in zip(means, [self.inner.vq] if shared else self.inner.vqs):
            table._codebook.threshold_ema_dead_code *= mean
            prepare(table._codebook, mean)

    def shapes(self, rows: int, columns: int) -> tuple[Shape, ...]:
        """Rows and columns of every scale of a grid, the coarsest first; the last one is the grid."""
        largest = self.sides[-1]
        return tuple((-(-rows * side // largest), -(-columns * side // largest)) for side in self.sides)

    def columns(self, tokens: int, rows: int) -> int:
        """Columns of a grid of `rows` whose scales have so many tokens together."""
        columns = 1
        while count(self.shapes(rows, columns)) < tokens:
            columns += 1
        return columns

    def forward(self, latents: Tensor, rows: int) -> Quantized:
        """Latents (M, N, width) in `rows` rows -> values (M, N, width), codes (M, N', 1), losses."""
        with torch.autocast(latents.device.type, enabled=False):
            rest = _as_map(normalised(self.spread, self.into(latents.float())), rows)
            shapes, full, total = self.shapes(*rest.shape[2:]), rest.shape[2:], torch.zeros_like(rest)
            if self.inner.vq is not None:  # else its first codes would be those of the coarsest scale alone
                start(
                    self.inner.vq._codebook,
                    (torch.cat([self._averaged(rest, shape) for shape in shapes], 1),),
                )
            codes, commitment = [], []
            for level, shape in enumerate(shapes):
                values, nearest, loss = self.inner.get_vq(level)(self._averaged(rest, shape))
                grown = self._grown(values, level, shape, full)
                rest, total = rest - grown, total + grown
                codes.append(nearest)
                commitment.append(loss)
            losses = {"commitment": torch.stack(commitment).mean()}
            return self.out(_flat(total)), torch.cat(codes, 1)[..., None].long(), losses

    def values(self, codes: Tensor, rows: int) -> Tensor:
        """Codes (M, N', 1) -> values (M, N, width)."""
        with torch.autocast(codes.device.type, enabled=False):
            return self.out(_flat(self._sums(codes, rows)[1]))

    def context(self, codes: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Codes (M, N', 1) -> what a model may see of them, (M, N', C) each: the sum of the scales below,
        averaged down to the own scale; and the vectors of the codes themselves."""
        with torch.autocast(codes.device.type, enabled=False):
            below, _, own = self._sums(codes, rows)
            return torch.cat(below, 1), torch.cat(own, 1)

    def _sums(self, codes: Tensor, rows: int) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """-> the sum of the scales below for each scale (M, n, C), of all (M, C, rows, columns), and the
        vectors of all codes (M, n, C)."""
        full = rows, self.columns(codes.shape[1], rows)
        shapes = self.shapes(*full)
        total = torch.zeros(len(codes), self.dimension, *full, device=codes.device)
        below, own = [], []
        for level, (shape, part) in enumerate(zip(shapes, codes.split([r * c for r, c in shapes], 1))):
            vectors = self.inner.get_vq(level).codebook[part[..., 0].clamp_min(0)] * (part >= 0)
            below.append(self._averaged(total, shape))
            own.append(vectors)
            total = total + self._grown(vectors, level, shape, full)
        return below, total, own

    def _averaged(self, x: Tensor, shape: Shape) -> Tensor:
        """(M, C, rows, columns) -> (M, n, C)."""
        return _flat(averaged(x, shape))

    def _grown(self, values: Tensor, level: int, shape: Shape, full: Shape) -> Tensor:
        """Values (M, n, C) of a scale -> (M, C, rows, columns), through the convolution."""
        return self.inner.upsample_to_full(_as_map(values, shape[0]), tuple(full), level)


class MultiscaleCodec(nn.Module):
    """An encoder, a quantizer over scales and a decoder. N = the tokens of all scales."""

    discrete, codes = True, 1

    def __init__(self, encoder: nn.Module, quantizer: MultiscaleQuantizer, decoder: nn.Module):
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder
        self.vocabulary, self.dimension = quantizer.vocabulary, quantizer.dimension

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the finest scale of an H x W picture. Raises ValueError where the size does not
        fit."""
        return self.encoder.grid(height, width)

    def shapes(self, rows: int, columns: int) -> tuple[Shape, ...]:
        """Rows and columns of every scale of a grid, the coarsest first."""
        return self.quantizer.shapes(rows, columns)

    def tokens(self, height: int, width: int) -> int:
        """N of an H x W picture."""
        return count(self.shapes(*self.grid(height, width)))

    length = tokens  # L = N, as G is 1

    def bits(self, height: int, width: int) -> float:
        """N log2 V, the nominal bits of an H x W picture."""
        return self.tokens(height, width) * log2(self.vocabulary)

    def sections(self, height: int, width: int) -> tuple[Section, ...]:
        """The scales, by their sides on the trained grid."""
        ends = list(accumulate(r * c for r, c in self.shapes(*self.grid(height, width))))
        sides = zip(self.quantizer.sides, [0, *ends], ends)
        return tuple(Section(f"{side}x{side}", slice(first, end)) for side, first, end in sides)

    def forward(self, pixels: Tensor) -> Reconstruction:
        rows, _ = self.grid(*pixels.shape[-2:])
        values, codes, losses = self.quantizer(self.encoder(pixels), rows)
        return Reconstruction(self.decoder(values, rows).float(), losses, codes)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, 1) int64."""
        rows, _ = self.grid(*images.shape[-2:])
        return self.quantizer(self.encoder(to_unit(images)), rows)[1]

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, 1), the finest scale in `rows` rows -> (M, 3, H, W) uint8."""
        return to_images(self.decoder(self.quantizer.values(tokens, rows), rows))

    @torch.no_grad()
    def context(self, tokens: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """(M, N, 1) -> (M, N, C), the sum of the scales below each token, averaged down to its scale, and (M,
        N, C), the vectors of the tokens themselves."""
        return self.quantizer.context(tokens, rows)


def count(shapes: tuple[Shape, ...]) -> int:
    """Tokens of all scales."""
    return sum(rows * columns for rows, columns in shapes)


def averaged(x: Tensor, shape: Shape) -> Tensor:
    """(M, C, H, W) -> (M, C, *shape), means of areas, which overlap where sides do not divide.

    As `adaptive_avg_pool2d`, whose backward pass has no reproducible form on a GPU."""
    down, across = (
        torch.from_numpy(_areas(*sides)).to(x) for sides in zip(x.shape[2:], shape)
    )  # (r, H), (c, W)
    return down @ x @ across.T


@lru_cache(maxsize=256)
def _areas(side: int, parts: int) -> np.ndarray:
    """(parts, side), the share that each of `side` places has in each of `parts` means."""
    places, part = np.arange(side), np.arange(parts)[:, None]
    inside = (places >= part * side // parts) & (places < -(-(part + 1) * side // parts))
    return inside / inside.sum(1, keepdims=True)


def _as_map(x: Tensor, rows: int) -> Tensor:
    return rearrange(x, "m (h w) c -> m c h w", h=rows)


def _flat(x: Tensor) -> Tensor:
    return rearrange(x, "m c h w -> m (h w) c")
