"""Shrunk pictures: raw patches of a picture with fewer pixels, and the simplest codec that loses something.

A picture is shrunk `factor` times (bicubic, antialiased, rounded to 8 bits), cut into patches, and enlarged
again (bicubic), as the control `resize@N` of `rawmm reconstruct` does. Nothing is learned, and no tokenizer
should be worse at the same number of bits."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .base import to_images, to_unit


class ShrunkPatches(nn.Module):
    """Patches of `patch` x `patch` pixels of a picture that is `factor` times as small."""

    discrete, vocabulary = False, 256  # levels of a pixel value

    def __init__(self, factor: int, patch: int):
        super().__init__()
        self.factor, self.patch = factor, patch
        self.values = 3 * patch**2

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where a side is no multiple of `factor`
        times `patch`."""
        if height % (stride := self.factor * self.patch) or width % stride:
            raise ValueError(
                f"a picture of {height}x{width} pixels does not divide into patches of {stride}, of "
                f"{self.patch} once it is shrunk"
            )
        return height // stride, width // stride

    def tokens(self, height: int, width: int) -> int:
        """N, the patches of an H x W picture."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def length(self, height: int, width: int) -> int:
        """Pixel values of an H x W picture once it is shrunk, each one of `vocabulary`."""
        return self.tokens(height, width) * self.values

    def bits(self, height: int, width: int) -> float:
        """8 for each pixel value that is left."""
        return 8.0 * self.length(height, width)

    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, P) fp32 in [-1, 1]."""
        height, width = images.shape[2:]
        rows, columns = self.grid(height, width)
        sides = rows * self.patch, columns * self.patch
        small = F.interpolate(images.float(), sides, mode="bicubic", antialias=True).round().clamp(0, 255)
        return rearrange(to_unit(small), "m c (h p) (w q) -> m (h w) (p q c)", p=self.patch, q=self.patch)

    def decode(self, patches: Tensor, rows: int) -> Tensor:
        """(M, N, P) in `rows` rows of patches -> (M, 3, H, W) uint8. Values outside [-1, 1] are clipped."""
        pixels = rearrange(
            patches.float(), "m (h w) (p q c) -> m c (h p) (w q)", h=rows, p=self.patch, q=self.patch
        )
        small = to_images(pixels)  # (M, 3, H / factor, W / factor)
        sides = self.factor * small.shape[2], self.factor * small.shape[3]
        return F.interpolate(small.float(), sides, mode="bicubic").round().clamp(0, 255).to(small.dtype)
