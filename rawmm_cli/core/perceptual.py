"""Features of pictures for a perceptual loss: MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), in plain torch.

Weights are the caller's: a .safetensors file with torchvision's names, `features.0.0.weight` and so on. Distances are taken
between features at four depths, each with unit norm over its channels, as LPIPS does (Zhang et al. 2018, arXiv 1801.03924),
without its learned weights.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .errors import ConfigError

BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))    # expansion, channels, layers, stride
DEPTHS = (1, 3, 6, 10)                                  # layers whose outputs are compared
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)                             # of ImageNet's pixels in [0, 1]


class Features(nn.Module):
    """Pictures (M, 3, H, W) in [-1, 1] -> (M, F): features at all depths, scaled so that squared distances average over
    depths and places."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, 32, 3, 2)]
        channels = 32
        for expansion, out, count, stride in BLOCKS:
            for number in range(count):
                layers.append(Inverted(channels, out, expansion, stride if number == 0 else 1))
                channels = out
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x, found = ((pixels + 1) / 2 - self.mean) / self.spread, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in DEPTHS:
                unit = F.normalize(x, dim=1)
                found.append(unit.flatten(1) * (unit[0, 0].numel() * len(DEPTHS)) ** -0.5)
        whole = torch.cat(found, 1)
        return whole * whole.shape[1] ** 0.5            # a mean of squares over F is then a sum over depths of means over places


class Inverted(nn.Module):
    """Wide, each channel by itself, narrow; beside the identity where the shape stays."""

    def __init__(self, channels: int, out: int, expansion: int, stride: int):
        super().__init__()
        wide = channels * expansion
        self.same = stride == 1 and channels == out
        self.conv = nn.Sequential(*([_convolution(channels, wide, 1)] if expansion > 1 else []),
                                  _convolution(wide, wide, 3, stride, wide), nn.Conv2d(wide, out, 1, bias=False),
                                  nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.same else self.conv(x)


def _convolution(channels: int, out: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, side, stride, side // 2, groups=groups, bias=False), nn.BatchNorm2d(out),
                         nn.ReLU6())


def features_of(loss, device: torch.device) -> Features | None:
    """The network of loss.features, frozen, where loss.perceptual asks for it. Raises ConfigError where the file is none."""
    if not loss.perceptual:
        return None
    made = Features()
    try:
        values = load_file(str(Path(loss.features)))
        made.load_state_dict({name: value for name, value in values.items() if name in made.state_dict()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"loss.features = {loss.features} cannot be used ({str(error).splitlines()[0]}); give a .safetensors "
                          "file of torchvision's MobileNetV2, or set loss.perceptual=0") from None
    return made.to(device).eval().requires_grad_(False)
