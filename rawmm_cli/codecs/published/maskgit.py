"""MaskGIT's VQGAN by the names of its PyTorch checkpoint (fun-research/TiTok). Pixels are in [0, 1]."""

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..base import positions
from .layers import blocks, nearest, to_bytes
from .weights import children, read


class Level(nn.Module):
    """Blocks of one resolution; `upsample`: with a convolution after pixels are repeated."""

    def __init__(self, inside: int, outside: int, layers: int, upsample: bool = False):
        super().__init__()
        self.block = blocks(inside, outside, layers, own=True)
        if upsample:
            self.upsample_conv = nn.Conv2d(outside, outside, 3, padding=1)


class Encoder(nn.Module):
    """(M, 3, H, W) -> (M, D, h, w)."""

    def __init__(self, widths: list[int], layers: int, latent: int):
        super().__init__()
        top = widths[-1]
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList([Level(*pair, layers) for pair in zip([widths[0], *widths], widths)])
        self.mid = blocks(top, top, layers)
        self.norm_out, self.conv_out = nn.GroupNorm(32, top, eps=1e-6), nn.Conv2d(top, latent, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for n, level in enumerate(self.down):
            x = level.block(F.avg_pool2d(x, 2) if n else x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """(M, D, h, w) -> (M, 3, H, W)."""

    def __init__(self, widths: list[int], layers: int, latent: int):
        super().__init__()
        top, pairs = widths[-1], zip([*widths[1:], widths[-1]], widths)
        self.conv_in, self.mid = nn.Conv2d(latent, top, 3, padding=1), blocks(top, top, layers)
        self.up = nn.ModuleList([Level(*pair, layers, upsample=n > 0) for n, pair in enumerate(pairs)])
        self.norm_out = nn.GroupNorm(32, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for n, level in reversed([*enumerate(self.up)]):
            x = level.block(x)
            x = level.upsample_conv(F.interpolate(x, scale_factor=2.0)) if n else x
        return self.conv_out(F.silu(self.norm_out(x)))


class MaskGIT(nn.Module):
    """An adapter (`adapter.py`)."""

    def __init__(self, widths: list[int], layers: int, latent: int, vocabulary: int):
        super().__init__()
        self.vocabulary, self.factor = vocabulary, 2 ** (len(widths) - 1)
        self.encoder, self.decoder = Encoder(widths, layers, latent), Decoder(widths, layers, latent)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(vocabulary, latent)})

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return positions(height, width, self.factor)

    def length(self, height: int, width: int) -> int:
        return (height // self.factor) * (width // self.factor)

    def encode(self, images: Tensor) -> Tensor:
        return nearest(self.encoder(images.float() / 255), self.quantize["embedding"].weight)

    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        latents = rearrange(self.quantize["embedding"](tokens), "m (h w) d -> m d h w", h=rows)
        return to_bytes(self.decoder(latents))


def sizes(weights: dict[str, Tensor], decoder: str) -> tuple[list[int], int, int]:
    """Widths, blocks a level and width of latents, from the weights of a decoder."""
    levels = children(weights, f"{decoder}.up")
    widths = [len(weights[f"{decoder}.up.{level}.block.0.conv1.weight"]) for level in levels]
    layers = len(children(weights, f"{decoder}.up.0.block"))
    return widths, layers, weights[f"{decoder}.conv_in.weight"].shape[1]


def load(file: Path, device: torch.device) -> MaskGIT:
    """An adapter in eval mode. Raises RuntimeError or KeyError where weights are missing or of other
    shapes."""
    weights = read(file)
    codec = MaskGIT(*sizes(weights, "decoder"), len(weights["quantize.embedding.weight"]))
    codec.load_state_dict(weights)
    return codec.to(device).eval().requires_grad_(False)
