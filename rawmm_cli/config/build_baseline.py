"""From settings to a baseline: a network that knows no sequence, in the place of a head."""

from typing import Any

from torch import nn

from ..core.baselines.denoiser import Denoiser
from ..core.baselines.density import Density
from ..core.baselines.flow import Flow
from ..core.baselines.unet import UNet
from . import baselines
from .model import Config


def baseline(config: Config, codec: Any) -> nn.Module:
    """The baseline of these settings, for the tokens of a codec."""
    settings, side, width = config.baseline, config.data.size, config.backbone.width
    grid = codec.grid(side, side)
    if isinstance(settings, baselines.UNet):
        return _denoiser(config, codec.values, grid)
    tokens = grid[0] * grid[1]
    flow = Flow(codec.values, tokens, settings.width, settings.heads, settings.depth, settings.blocks, width)
    patch = config.codec.patch if config.codec.kind == "raw" else None
    noise = settings.deviation if settings.noise == "gaussian" else None
    return Density(flow, codec.values, grid, width, patch, noise)


def _denoiser(config: Config, values: int, grid: tuple[int, int]) -> Denoiser:
    b, head, width = config.baseline, config.head, config.backbone.width
    network = UNet(values, b.channels, b.multipliers, b.blocks, b.levels(grid[0]), b.groups, width)
    return Denoiser(
        network,
        values,
        grid,
        width,
        prediction=head.prediction,
        space=head.loss,
        time_mean=head.time_mean,
        time_spread=head.time_spread,
        noise_scale=head.noise_scale,
        clamp=head.clamp,
    )
