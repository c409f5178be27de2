"""Cosmos' discrete image tokenizers: two TorchScript programs, encoder.jit and decoder.jit, which are run.

Pixels are in [-1, 1]. An encoder returns its indices first; a decoder takes them."""

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from ..base import positions, to_images, to_unit

VOCABULARY = 8 * 8 * 8 * 5 * 5 * 5  # levels of its FSQ


class Cosmos(nn.Module):
    """An adapter (`adapter.py`). factor: pixels a position."""

    vocabulary = VOCABULARY

    def __init__(self, encoder: nn.Module, decoder: nn.Module, factor: int):
        super().__init__()
        self.encoder, self.decoder, self.factor = encoder, decoder, factor

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return positions(height, width, self.factor)

    def length(self, height: int, width: int) -> int:
        return (height // self.factor) * (width // self.factor)

    def encode(self, images: Tensor) -> Tensor:
        outputs = self.encoder(to_unit(images))
        return (outputs[0] if isinstance(outputs, (tuple, list)) else outputs).long().flatten(1)

    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        return to_images(self.decoder(rearrange(tokens, "m (h w) -> m h w", h=rows)))


def load(folder: Path, device: torch.device, factor: int) -> Cosmos:
    """An adapter in eval mode, with fp32 weights, of the folder of the two programs. Raises RuntimeError
    where they are not TorchScript."""
    parts = [
        torch.jit.load(str(folder / f"{name}.jit"), map_location=device) for name in ("encoder", "decoder")
    ]
    return Cosmos(*parts, factor).float().eval().requires_grad_(False)
