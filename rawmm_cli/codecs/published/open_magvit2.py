"""Open-MAGVIT2 by its published names (TencentARC): the sign of each number of a latent is a bit of its
token."""

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..base import positions, to_images, to_unit
from .layers import Adaptive, blocks
from .weights import children, part, read


class Half(nn.Module):
    """What encoder and decoder share."""

    def __init__(self, widths: list[int], layers: int, first: tuple[int, int], last: tuple[int, int]):
        super().__init__()
        self.conv_in = nn.Conv2d(*first, 3, padding=1, bias=first[0] != 3)
        self.mid_block = blocks(widths[-1], widths[-1], layers)
        self.norm_out = nn.GroupNorm(32, last[0], eps=1e-6)
        self.conv_out = nn.Conv2d(*last, 3, padding=1) if last[1] == 3 else nn.Conv2d(*last, 1)


class OpenMagvit2(nn.Module):
    """An adapter (`adapter.py`)."""

    def __init__(self, widths: list[int], layers: int, bits: int):
        super().__init__()
        self.vocabulary, self.bit_count, self.factor = 2**bits, bits, 2 ** (len(widths) - 1)
        low, high, levels = widths[0], widths[-1], range(len(widths))
        self.encoder = Half(widths, layers, (3, low), (high, bits))
        self.decoder = Half(widths, layers, (bits, high), (low, 3))
        self.encoder.down, self.decoder.up = (nn.ModuleList([nn.Module() for _ in levels]) for _ in range(2))
        self.decoder.adaptive = nn.ModuleList([Adaptive(bits, width) for width in [*widths[1:], high]])
        for n, width in enumerate(widths):
            self.encoder.down[n].block = blocks(widths[max(n - 1, 0)], width, layers)
            self.decoder.up[n].block = blocks([*widths[1:], high][n], width, layers)
            if n < len(widths) - 1:
                self.encoder.down[n].downsample = nn.Conv2d(width, width, 3, stride=2, padding=1)
            if n:
                self.decoder.up[n].upsample = nn.ModuleDict(
                    {"conv1": nn.Conv2d(width, 4 * width, 3, padding=1)}
                )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return positions(height, width, self.factor)

    def length(self, height: int, width: int) -> int:
        return (height // self.factor) * (width // self.factor)

    def encode(self, images: Tensor) -> Tensor:
        net = self.encoder
        x = net.conv_in(to_unit(images))
        for level in net.down:
            x = level.block(x)
            x = level.downsample(x) if hasattr(level, "downsample") else x
        latents = net.conv_out(F.silu(net.norm_out(net.mid_block(x))))
        return ((latents > 0).long() * self._powers()).sum(1).flatten(1)

    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        net, grid = self.decoder, rearrange(tokens, "m (h w) -> m 1 h w", h=rows)
        latents = 2.0 * ((grid & self._powers()) > 0) - 1
        x = net.mid_block(net.conv_in(latents))
        for n, level in reversed([*enumerate(net.up)]):
            x = level.block(net.adaptive[n](x, latents))
            if n:
                x = level.upsample["conv1"](x)
                x = rearrange(x, "m (p q c) h w -> m c (h p) (w q)", p=2, q=2)
        return to_images(net.conv_out(F.silu(net.norm_out(x))))

    def _powers(self) -> Tensor:
        device = self.decoder.conv_out.weight.device
        return 2 ** torch.arange(self.bit_count, device=device)[:, None, None]


def load(file: Path, device: torch.device) -> OpenMagvit2:
    """An adapter in eval mode. Raises RuntimeError or KeyError where weights are missing or of other
    shapes."""
    weights = part(read(file), "encoder.", "decoder.")
    levels = children(weights, "encoder.down")
    widths = [len(weights[f"encoder.down.{level}.block.0.conv1.weight"]) for level in levels]
    layers, bits = len(children(weights, "encoder.down.0.block")), len(weights["encoder.conv_out.weight"])
    codec = OpenMagvit2(widths, layers, bits)
    codec.load_state_dict(weights)
    return codec.to(device).eval().requires_grad_(False)
