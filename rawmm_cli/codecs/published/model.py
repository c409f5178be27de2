"""A ready-made model of one of the families, as a codec (`core/parts.py`)."""

from math import log2

import torch
from einops import rearrange
from torch import Tensor, nn

from ..base import positions, to_images
from .families import Family, tiny_encode


class Pretrained(nn.Module):
    """A ready-made model as a codec (`core/parts.py`). mean, spread: by which it normalises pixels in [0,
    1]."""

    def __init__(self, model: nn.Module, family: Family, mean: list[float], spread: list[float]):
        super().__init__()
        self.model, self.family, self.discrete = model, family, family.discrete
        self.vocabulary, self.factor = family.vocabulary(model.config), 2 ** family.halvings(model.config)
        self.side = self.factor * model.config.num_patches if hasattr(model.config, "num_patches") else None
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(spread).view(-1, 1, 1), persistent=False)
        latents = getattr(model.config, "latent_channels", 1)  # numbers a position
        if self.discrete:
            self.codes = latents if family.encode is tiny_encode else 1
        else:
            self.values = latents

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where the size does not fit."""
        if self.side and (height, width) != (self.side, self.side):
            raise ValueError(
                f"a picture of {height}x{width} pixels does not fit: this codec takes "
                f"{self.side}x{self.side} only"
            )
        return positions(height, width, self.factor)

    def tokens(self, height: int, width: int) -> int:
        """N of an H x W picture."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def length(self, height: int, width: int) -> int:
        """L = N G, the integers of an H x W picture; N where latents are continuous."""
        return self.tokens(height, width) * (self.codes if self.discrete else 1)

    def bits(self, height: int, width: int) -> float | None:
        """L log2 V, the nominal bits of an H x W picture; None where latents are continuous."""
        length = self.length(height, width)
        return length * log2(self.vocabulary) if self.discrete else None

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, G) int64, or (M, N, P) fp32."""
        self.grid(*images.shape[-2:])
        latents = self.family.encode(self.model, (images.float() / 255 - self.mean) / self.spread)
        if latents.ndim == 3:
            latents = latents[:, None]  # (M, 1, h, w)
        tokens = rearrange(latents, "m c h w -> m (h w) c")
        return tokens.long() if self.discrete else tokens.float()

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, G) or (M, N, P) in `rows` rows -> (M, 3, H, W) uint8."""
        grid = rearrange(tokens, "m (h w) c -> m c h w", h=rows)
        if self.discrete and self.family.encode is not tiny_encode:
            grid = grid[:, 0]
        pixels = self.family.decode(self.model, grid).float() * self.spread + self.mean
        return to_images(2 * pixels - 1)
