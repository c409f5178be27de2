"""Raw patches: the codec with no parameters. Pictures go in and come out bit for bit.

A patch of side p is the vector of its 3 p^2 pixel values, uint8 mapped to [-1, 1] by x / 127.5 - 1. In fp32
the inverse rounds to the same uint8 (tested for all 256 values)."""

from einops import rearrange
from torch import Tensor, nn

from .base import to_images, to_unit


class RawPatches(nn.Module):
    """Patches of `patch` x `patch` RGB pixels."""

    discrete, vocabulary = False, 256  # levels of a pixel value

    def __init__(self, patch: int):
        super().__init__()
        self.patch = patch
        self.values = 3 * patch**2

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where a side is no multiple of `patch`."""
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"a picture of {height}x{width} pixels does not divide into patches of {self.patch}"
            )
        return height // self.patch, width // self.patch

    def tokens(self, height: int, width: int) -> int:
        """N, the patches of an H x W picture."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def length(self, height: int, width: int) -> int:
        """Pixel values of an H x W picture, each one of `vocabulary`."""
        return self.tokens(height, width) * self.values

    def bits(self, height: int, width: int) -> float:
        """8 for each pixel value, as this codec is the identity."""
        return 8.0 * self.length(height, width)

    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, P) fp32 in [-1, 1]."""
        return rearrange(to_unit(images), "m c (h p) (w q) -> m (h w) (p q c)", p=self.patch, q=self.patch)

    def decode(self, patches: Tensor, rows: int) -> Tensor:
        """(M, N, P) in `rows` rows of patches -> (M, 3, H, W) uint8. Values outside [-1, 1] are clipped."""
        pixels = rearrange(
            patches.float(), "m (h w) (p q c) -> m c (h p) (w q)", h=rows, p=self.patch, q=self.patch
        )
        return to_images(pixels)
