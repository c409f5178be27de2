"""A codec whose tokens are integers: an encoder, a quantizer and a decoder. `build.codec` builds it.

    pixels (M, 3, H, W) -> latents (M, N, D) -> codes (M, N, G) -> values (M, N, D) -> pixels

`encode` and `decode` compute no gradients; `train_codec.py` trains by `forward`."""

from math import log2

import torch
from torch import Tensor, nn

from .base import Reconstruction, Section, to_images, to_unit


class DiscreteCodec(nn.Module):
    """VQ, FSQ, LFQ or residual VQ, on a grid or by queries."""

    discrete = True

    def __init__(self, encoder: nn.Module, quantizer: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder
        self.vocabulary, self.codes = quantizer.vocabulary, quantizer.tokens

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where the size does not fit."""
        return self.encoder.grid(height, width)

    def tokens(self, height: int, width: int) -> int:
        """N of an H x W picture."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def length(self, height: int, width: int) -> int:
        """L = N G, the integers of an H x W picture."""
        return self.tokens(height, width) * self.codes

    def sections(self, height: int, width: int) -> tuple[Section, ...]:
        """The codebooks of a position, which take turns among the L codes of a picture."""
        if self.codes == 1:
            return (Section("", slice(None)),)
        return tuple(Section(f"codebook_{n + 1}", slice(n, None, self.codes)) for n in range(self.codes))

    def bits(self, height: int, width: int) -> float:
        """L log2 V, the nominal bits of an H x W picture."""
        return self.length(height, width) * log2(self.vocabulary)

    def forward(self, pixels: Tensor) -> Reconstruction:
        rows, _ = self.grid(*pixels.shape[-2:])
        values, codes, losses = self.quantizer(self.encoder(pixels))
        return Reconstruction(self.decoder(values, rows).float(), losses, codes)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, G) int64."""
        self.grid(*images.shape[-2:])
        return self.quantizer(self.encoder(to_unit(images)))[1]

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, G) in `rows` rows -> (M, 3, H, W) uint8."""
        return to_images(self.decoder(self.quantizer.values(tokens), rows))
