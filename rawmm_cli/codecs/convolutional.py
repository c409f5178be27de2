"""The convolutional encoder and decoder of all learned codecs but the query codec.

    encoder   squares of patch x patch pixels -> blocks, half the side, blocks, ... until a position covers
              factor x factor pixels
    decoder   the reverse; each doubling of the side is a 1x1 convolution to four times the channels, then a
              pixel shuffle
    block     x + conv1x1(silu(norm(conv3x3(silu(norm(x)))))), the block of VQ-VAE (arXiv 1711.00937) with
              GroupNorm

The first convolution takes whole squares, so nothing is computed at the resolution of pixels, which makes it
fast on a CPU. The last convolution of a block starts at 0, so a fresh network is linear. Next:
`discrete.py`."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Encoder(nn.Module):
    """Pictures (M, 3, H, W) in [-1, 1] -> latents (M, N, width), N = rows * columns in reading order."""

    def __init__(self, factor: int, patch: int, width: int, blocks: int):
        super().__init__()
        self.factor, self.width = factor, width
        widths = scales(factor, patch, width)
        layers = [Convolution(3, widths[0], patch, patch)]
        for number, channels in enumerate(widths):
            if number:
                layers.append(Convolution(widths[number - 1], channels, 2, 2))
            layers += [Block(channels) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, norm(width))

    def hidden(self) -> list[nn.Parameter]:
        """Matrices between the first convolution and the latents (for Muon)."""
        return [module.weight for module in self.layers[1:].modules() if isinstance(module, Convolution)]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where a side is no multiple of `factor`."""
        if height % self.factor or width % self.factor or not height or not width:
            raise ValueError(
                f"a picture of {height}x{width} pixels does not divide into positions of {self.factor}"
            )
        return height // self.factor, width // self.factor

    def forward(self, pixels: Tensor) -> Tensor:
        return rearrange(
            self.layers(pixels.contiguous(memory_format=torch.channels_last)), "m d h w -> m (h w) d"
        )


class Decoder(nn.Module):
    """Latents (M, N, width) in `rows` rows -> pictures (M, 3, H, W), about in [-1, 1]."""

    def __init__(self, factor: int, patch: int, width: int, blocks: int):
        super().__init__()
        self.patch = patch
        widths = scales(factor, patch, width)[::-1]
        layers = [Convolution(width, width, 3)]
        for number, channels in enumerate(widths):
            layers += [Block(channels) for _ in range(blocks)]
            if number + 1 < len(widths):
                layers += [Convolution(channels, 4 * widths[number + 1], 1), PixelShuffle(2)]
        self.layers = nn.Sequential(*layers, norm(widths[-1]), nn.SiLU())
        self.last = Convolution(widths[-1], 3 * patch**2, 3)

    def hidden(self) -> list[nn.Parameter]:
        """Matrices between the latents and the last convolution (for Muon)."""
        return [module.weight for module in self.layers.modules() if isinstance(module, Convolution)]

    def forward(self, latents: Tensor, rows: int) -> Tensor:
        positions = rearrange(latents, "m (h w) d -> m d h w", h=rows)
        return pixel_shuffle(
            self.last(self.layers(positions.contiguous(memory_format=torch.channels_last))), self.patch
        )


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.first = norm(width), Convolution(width, width, 3)
        self.second_norm, self.second = norm(width), Convolution(width, width, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(F.silu(self.norm(x)))
        return x + self.second(F.silu(self.second_norm(hidden)))


class Convolution(nn.Module):
    """nn.Conv2d whose weights are a matrix (out, channels side^2), so that Muon can update them.

    With stride 1 it pads, so that H and W stay; otherwise not."""

    def __init__(self, channels: int, out: int, side: int, stride: int = 1):
        super().__init__()
        self.channels, self.side, self.stride = channels, side, stride
        self.weight, self.bias = (
            nn.Parameter(torch.empty(out, channels * side**2)),
            nn.Parameter(torch.zeros(out)),
        )
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.weight.view(-1, self.channels, self.side, self.side)
        return F.conv2d(x, kernels, self.bias, self.stride, self.side // 2 if self.stride == 1 else 0)


class PixelShuffle(nn.Module):
    """(M, D side^2, H, W) -> (M, D, H side, W side) (Shi et al. 2016, arXiv 1609.05158)."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(x, self.side)


def pixel_shuffle(x: Tensor, side: int) -> Tensor:
    """(M, D side^2, H, W) -> (M, D, H side, W side)."""
    return rearrange(x, "m (d p q) h w -> m d (h p) (w q)", p=side, q=side)


def norm(width: int) -> nn.GroupNorm:
    """GroupNorm of about 8 groups (Wu and He 2018, arXiv 1803.08494)."""
    return nn.GroupNorm(8 if width % 8 == 0 else 1, width)


def scales(factor: int, patch: int, width: int) -> list[int]:
    """Channels at every scale, from the finest to the coarsest, which has `width`: they double each time."""
    halvings = (factor // patch).bit_length() - 1
    return [width >> halvings - n for n in range(halvings + 1)]
