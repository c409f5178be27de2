"""From settings to objects, by `match`. With `build_codec.py` the only file that knows all parts."""

import math
from typing import Any

import torch
from torch import nn

from ..core import mask
from ..core.drawing import Sampling
from ..core.model import RawModel
from ..system import machine
from .automatic import check_settled
from .build_codec import check_room, check_stored, codec, unknown
from .codecs import CodecConfig, CodecData
from .fields import AUTO
from .model import Config


def model(
    config: Config,
    device: str | torch.device = "cpu",
    mask_form: str = "dense",
    stored: int | None = None,
) -> RawModel:
    """Settings -> model with fresh weights, a function of train.seed alone. On the meta device nothing is
    allocated.

    mask_form: "dense" works everywhere; "flex" wants compiled layers and pays for long rows. stored: bytes of
    the weights that will be loaded. Raises OutOfMemoryError before anything is built where the weights alone
    do not fit into this machine, CheckpointError where those that are stored are fewer."""
    device = torch.device(device)
    check_settled(config)
    if device.type != "meta":
        _check_size(config, device, stored)
    _drawing(config)  # a head that could not draw is an error before it is trained
    with torch.random.fork_rng(devices=[]), torch.device("meta" if device.type == "meta" else "cpu"):
        torch.manual_seed(config.train.seed)
        width = config.backbone.width
        codec = _codec(config)
        built = RawModel(
            codec,
            _head(config, codec) if config.baseline is None else _baseline(config, codec),
            _backbone(config),
            {"dense": mask.dense, "flex": mask.flex}[mask_form],
            config.text_tokenizer.size,
            width,
        )
    return built if device.type == "meta" else built.to(device)


def _check_size(config: Config, device: torch.device, stored: int | None) -> None:
    """Raise as `model` does. Layers are alike, so that models of few layers tell; where there is plenty of
    room, a bound does: what builds a model without memory takes torch a second to import."""
    room = machine.memory(device) if stored is None else min(machine.memory(device), 4 * stored + (1 << 28))
    if 4 * _at_most(config) <= room:
        return

    def count(depth: int) -> int:
        part = config.backbone.model_copy(update={"depth": depth})
        built = model(config.model_copy(update={"backbone": part}), "meta")
        return sum(p.numel() for p in built.parameters())

    depth = config.backbone.depth
    few = 2 - depth % 2  # with skips, two more layers are one of each half
    check_stored(least := count(few), stored)
    total = least + (depth - few) // 2 * (count(few + 2) - least)
    check_room(total, _large(config), device)


def _large(config: Config) -> str:
    """The settings by which a model becomes smaller."""
    if config.baseline is None:
        return "backbone.width, backbone.depth or codec.patch"
    return "baseline.channels" if config.baseline.kind == "unet" else "baseline.width or baseline.blocks"


def _at_most(config: Config) -> float:
    """A bound on the number of parameters, from sizes alone; of parts that have other sizes, infinity."""
    if (config.codec.kind, config.head.kind, config.baseline) != ("raw", "diffusion", None):
        return math.inf
    b, width, values = config.backbone, config.backbone.width, 3 * config.codec.patch**2
    inner = b.hidden if b.kind == "transformer" else b.expansion * width + b.key
    layer = width * (16 * width + 4 * inner) + 16 * (width + inner)  # with modulation and a skip
    narrow = getattr(config.head, "bottleneck", None) or width
    edges = 4 * (values + narrow) * (width + narrow) + 4 * config.text_tokenizer.size * width
    return b.depth * layer + edges + 16 * width * width + 4096 * width


def _codec(config: Config) -> nn.Module:
    match config.codec.kind:
        case "raw":
            from ..codecs.raw import RawPatches

            return RawPatches(config.codec.patch)
        case "shrunk":
            from ..codecs.shrunk import ShrunkPatches

            return ShrunkPatches(config.codec.factor, config.codec.patch)
        case "subpixels":
            from ..codecs.subpixels import SubPixels

            return SubPixels()
        case "vq" | "fsq" | "lfq" | "rvq" | "kl" | "query" | "multiscale":
            from ..codecs.frozen import Frozen

            frozen = config.codec
            learned = CodecConfig(codec=frozen.learned, data=CodecData(size=frozen.size))
            # head and backbone begin as beside any other codec; libraries compute with what is built
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):
                return Frozen(codec(learned), _deviation(frozen))
        case kind:
            raise unknown("codec", kind)


def _deviation(frozen: Any) -> float:
    """By which the vectors of a codec are divided; 1 while it is not known."""
    deviation = getattr(frozen, "deviation", 1.0)
    return 1.0 if deviation == AUTO else deviation


def _head(config: Config, codec: Any) -> nn.Module:
    head, width = config.head, config.backbone.width
    match head.kind:
        case "diffusion":
            from ..core.heads.diffusion import DiffusionHead

            return DiffusionHead(
                codec.values,
                width,
                prediction=head.prediction,
                space=head.loss,
                time_mean=head.time_mean,
                time_spread=head.time_spread,
                noise_scale=head.noise_scale,
                clamp=head.clamp,
                bottleneck=head.bottleneck,
                time=head.time,
                convolution=getattr(config.codec, "patch", 1) if head.convolution else None,
            )
        case "autoregressive":
            from ..core.heads.autoregressive import AutoregressiveHead

            return AutoregressiveHead(codec.vocabulary, codec.codes, width, z_loss=head.z_loss)
        case "masked":
            from ..core.heads.masked import MaskedHead

            own = head.model_dump(exclude={"kind"})
            return MaskedHead(codec.vocabulary, codec.codes, width, **own)
        case "scales":
            from ..core.heads.scales import ScalesHead

            return ScalesHead(codec.inner, width)
        case "reading":
            from ..core.heads.reading import ReadingHead

            ordered = head.order == "raster"
            return ReadingHead(codec.values, width, ordered=ordered, line_ends=head.line_ends)
        case kind:
            raise unknown("head", kind)


def _baseline(config: Config, codec: Any) -> nn.Module:
    """A network that knows no sequence, in the place of a head."""
    settings, side, width = config.baseline, config.data.size, config.backbone.width
    grid = codec.grid(side, side)
    if settings.kind == "unet":
        return _denoiser(config, codec.values, grid)
    from ..core.baselines.density import Density
    from ..core.baselines.flow import Flow

    tokens = grid[0] * grid[1]
    flow = Flow(codec.values, tokens, settings.width, settings.heads, settings.depth, settings.blocks, width)
    patch = config.codec.patch if config.codec.kind == "raw" else None
    noise = settings.deviation if settings.noise == "gaussian" else None
    return Density(flow, codec.values, grid, width, patch, noise)


def _denoiser(config: Config, values: int, grid: tuple[int, int]) -> nn.Module:
    from ..core.baselines.denoiser import Denoiser
    from ..core.baselines.unet import UNet

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


def _backbone(config: Config) -> nn.Module:
    b = config.backbone
    match b.kind:
        case "gau":
            from ..core.backbones.gau import GAU

            return GAU(b.width, b.depth, b.key, b.expansion)
        case "transformer":
            from ..core.backbones.transformer import Transformer

            return Transformer(
                b.width,
                b.depth,
                b.heads,
                b.hidden,
                modulated=b.condition == "modulation",
                skips=b.skips,
                isolated=b.isolated_layers,
                strided=b.strided,
            )
        case kind:
            raise unknown("backbone", kind)


def sampling(config: Config, **choices: Any) -> Sampling:
    """Settings -> how to draw and write, the one place where they meet.

    choices: settings of `Sampling`, or of the head's drawing, that win over `config.sample`, as in steps=4.
    Pictures have the side data.size unless `size` (height, width) is among them; then `learned` is the
    trained size. Text is greedy unless `temperature` is among them."""
    s, trained = config.sample, (config.data.size,) * 2
    usual = Sampling(
        guidance=s.guidance,
        top_p=s.top_p,
        precision=s.precision,
        max_text=s.max_text,
        size=trained,
        context=s.context,
        drawing=_drawing(config),
    )
    chosen = usual.changed(**choices)
    return chosen.changed(learned=None if chosen.size == trained else trained)


def _drawing(config: Config) -> Any:
    """The head's own settings of drawing."""
    s = config.sample
    if config.baseline is not None and config.baseline.kind == "flow":
        from ..core.baselines.density import Drawing as OfFlow

        return OfFlow(config.baseline.guide)
    match config.head.kind:
        case "diffusion":
            from ..core.denoising import Drawing

            return Drawing(s.steps, s.solver, s.grid, s.interval, s.rescale)
        case "autoregressive":
            from ..core.heads.autoregressive import Drawing

            return Drawing(s.code_temperature, s.code_top_k, s.code_top_p)
        case "masked":
            from ..core.heads.masked import Drawing

            order = s.steps, s.order, s.order_temperature
            return Drawing(*order, s.code_temperature, s.code_top_k, s.code_top_p)
        case "scales":
            from ..core.heads.scales import Drawing

            return Drawing(s.code_temperature, s.code_top_k, s.code_top_p, s.rising)
        case "reading":
            return None
        case kind:
            raise unknown("head", kind, "_drawing")
