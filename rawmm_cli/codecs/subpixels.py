"""Sub-pixels: the codec of integers without parameters. Every red, green and blue value is a code of its own.

A picture of H x W pixels is H W tokens of G = 3 codes, red, green and blue in this order, each one of V = 256
values as it is in the picture. Pictures come back to the bit, and the probability of the codes is that of the
picture (van den Oord et al. 2016, arXiv 1601.06759)."""

from einops import rearrange
from torch import Tensor, nn


class SubPixels(nn.Module):
    """A token a pixel, of three codes."""

    discrete, vocabulary, codes = True, 256, 3

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of pixels. Raises ValueError for a picture without any."""
        if not height or not width:
            raise ValueError(f"a picture of {height}x{width} pixels has none")
        return height, width

    def tokens(self, height: int, width: int) -> int:
        """N, the pixels of an H x W picture."""
        return height * width

    def length(self, height: int, width: int) -> int:
        """Codes of an H x W picture, three a pixel."""
        return height * width * self.codes

    def bits(self, height: int, width: int) -> float:
        """8 for each code, as this codec is the identity."""
        return 8.0 * self.length(height, width)

    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, 3) int64."""
        return rearrange(images, "m c h w -> m (h w) c").long()

    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, 3) in `rows` rows of pixels -> (M, 3, H, W) uint8."""
        return rearrange(tokens.byte(), "m (h w) c -> m c h w", h=rows).contiguous()
