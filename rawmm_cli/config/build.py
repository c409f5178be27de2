"""From settings to objects, by `match`. The only file that knows all parts."""

import math
from typing import Any

import torch
from torch import nn

from ..core import mask
from ..core.drawing import Sampling
from ..core.model import RawModel
from ..system import machine
from ..system.errors import CheckpointError, ConfigError, OutOfMemoryError
from ..system.figures import counted, size
from .automatic import check_settled
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
        codec = _codec(config, device)
        built = RawModel(
            codec,
            _head(config, codec),
            _backbone(config),
            {"dense": mask.dense, "flex": mask.flex}[mask_form],
            config.text_tokenizer.size,
            width,
        )
    return built if device.type == "meta" else built.to(device)


def _check_size(config: Config, device: torch.device, stored: int | None) -> None:
    """Raise as `model` does. Layers are alike, so that models of one and of two layers tell; where there is
    plenty of room, a bound does: what builds a model without memory takes torch a second to import."""
    room = machine.memory(device) if stored is None else min(machine.memory(device), 4 * stored + (1 << 28))
    if 4 * _at_most(config) <= room:
        return

    def count(depth: int) -> int:
        part = config.backbone.model_copy(update={"depth": depth})
        built = model(config.model_copy(update={"backbone": part}), "meta")
        return sum(p.numel() for p in built.parameters())

    one, depth = count(1), config.backbone.depth
    _check_stored(one, stored)
    total = one + (depth - 1) * (count(2) - one)
    _check_room(total, "backbone.width, backbone.depth or codec.patch", device)


def _at_most(config: Config) -> float:
    """A bound on the number of parameters, from sizes alone; of parts that have other sizes, infinity."""
    if (config.codec.kind, config.head.kind) != ("raw", "diffusion"):
        return math.inf
    b, width, values = config.backbone, config.backbone.width, 3 * config.codec.patch**2
    inner = b.hidden if b.kind == "transformer" else b.expansion * width + b.key
    layer = width * (8 * width + 4 * inner) + 16 * (width + inner)
    narrow = getattr(config.head, "bottleneck", None) or width
    edges = 4 * (values + narrow) * (width + narrow) + 4 * config.text_tokenizer.size * width
    return b.depth * layer + edges + 16 * width * width + 4096 * width


def _check_stored(count: int, stored: int | None) -> None:
    """Raise CheckpointError where stored weights are far fewer than `count`; others are compared one by
    one."""
    if stored is not None and 4 * count > 4 * stored + (1 << 28):
        raise CheckpointError(
            f"the weights do not fit the settings: these describe {counted(count, 'parameter')} and "
            "more, and the "
            f"stored weights have {stored:,} bytes; bring back those of these settings"
        )


def _check_room(count: int, settings: str, device: torch.device) -> None:
    """Raise OutOfMemoryError where `count` fp32 numbers are more than this machine can hold."""
    if 4 * count > (most := machine.memory(device)):
        raise OutOfMemoryError(
            f"the settings describe {counted(count, 'parameter')}, {size(4 * count)}; allowed: at most "
            f"{size(most)}, "
            f"the memory of this machine's {device.type}; choose a smaller {settings}"
        )


def _codec(config: Config, device: torch.device) -> nn.Module:
    match config.codec.kind:
        case "raw":
            from ..codecs.raw import RawPatches

            return RawPatches(config.codec.patch)
        case "vq" | "fsq" | "lfq" | "rvq" | "kl" | "query" | "multiscale":
            from ..codecs.frozen import Frozen

            frozen = config.codec
            learned = CodecConfig(codec=frozen.learned, data=CodecData(size=frozen.size))
            with torch.random.fork_rng(devices=[]):  # head and backbone begin as beside any other codec
                inner = codec(learned, "meta" if device.type == "meta" else "cpu")
            return Frozen(inner, _deviation(frozen))
        case kind:
            raise _unknown("codec", kind)


def _deviation(frozen: Any) -> float:
    """By which the vectors of a codec are divided; 1 while it is not known."""
    deviation = getattr(frozen, "deviation", 1.0)
    return 1.0 if deviation == AUTO else deviation


def codec(
    config: CodecConfig, device: str | torch.device = "cpu", stored: int | None = None
) -> torch.nn.Module:
    """Settings -> a codec that learns, with fresh weights, a function of train.seed alone. Raises
    as `model` does."""
    settings, side = config.codec, config.data.size
    _check_codec(config, torch.device(device), stored)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        encoder, decoder = _coders(config)
        match settings.kind:
            case "kl":
                from ..codecs.kl import KLCodec

                return KLCodec(encoder, decoder, settings.channels).to(device)
            case "query":
                quantized = settings.quantizer
            case _:
                quantized = settings
        from ..codecs.discrete import DiscreteCodec

        tokens = config.train.batch * settings.tokens(side, side)
        return DiscreteCodec(encoder, _quantizer(quantized, settings.width, tokens), decoder).to(device)


def _check_codec(config: CodecConfig, device: torch.device, stored: int | None) -> None:
    """Raise as `model` does; the same in two steps."""
    if device.type == "meta":
        return
    c, books = config.codec, getattr(config.codec, "quantizer", config.codec)
    book = getattr(books, "codes", 0) * getattr(books, "dimension", 0) * getattr(books, "quantizers", 1)
    layers, places = getattr(c, "blocks", 0) + getattr(c, "depth", 0) + 3, (config.data.size // c.patch) ** 2
    most = (
        128 * layers * c.width**2 + 4 * c.width * (places + getattr(c, "queries", 0) + 3 * c.patch**2) + book
    )
    room = machine.memory(device) if stored is None else min(machine.memory(device), 4 * stored + (1 << 28))
    if 4 * most > room:
        with torch.device("meta"):
            count = book + sum(p.numel() for part in _coders(config) for p in part.parameters())
        _check_stored(count, stored)
        _check_room(count, "codec.width or codebook", device)


def _coders(config: CodecConfig) -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder."""
    c = config.codec
    match c.kind:
        case "query":
            from ..codecs.query import QueryDecoder, QueryEncoder

            return (
                QueryEncoder(config.data.size, c.patch, c.queries, c.width, c.depth, c.heads, c.causal),
                QueryDecoder(config.data.size, c.patch, c.queries, c.width, c.depth, c.heads),
            )
        case "vq" | "fsq" | "lfq" | "rvq" | "kl":
            from ..codecs.convolutional import Decoder, Encoder

            return (
                Encoder(c.factor, c.patch, c.width, c.blocks),
                Decoder(c.factor, c.patch, c.width, c.blocks),
            )
        case kind:
            raise _unknown("codec", kind)


def _quantizer(q: Any, width: int, tokens: int) -> nn.Module:
    """tokens: those of a batch."""
    from ..codecs import quantizers

    def codebook() -> dict:
        return {
            "cosine": q.cosine,
            "from_data": q.from_data,
            "decay": q.decay,
            "restart": q.restart,
            "mean": tokens / q.codes,
        }

    match q.kind:
        case "fsq":
            return quantizers.FiniteScalarQuantizer(width, q.levels, q.groups, q.even)
        case "lfq":
            return quantizers.LookupFreeQuantizer(width, q.bits, q.groups, q.spherical)
        case "vq":
            return quantizers.VectorQuantizer(width, q.codes, q.dimension, q.rotation, **codebook())
        case "rvq":
            return quantizers.ResidualQuantizer(width, q.codes, q.dimension, q.quantizers, **codebook())
        case kind:
            raise _unknown("quantizer", kind)


def _head(config: Config, codec: Any) -> nn.Module:
    head = config.head
    match head.kind:
        case "diffusion":
            from ..core.heads.diffusion import DiffusionHead

            return DiffusionHead(
                codec.values,
                config.backbone.width,
                prediction=head.prediction,
                space=head.loss,
                time_mean=head.time_mean,
                time_spread=head.time_spread,
                noise_scale=head.noise_scale,
                clamp=head.clamp,
                bottleneck=head.bottleneck,
            )
        case kind:
            raise _unknown("head", kind)


def _backbone(config: Config) -> nn.Module:
    b = config.backbone
    match b.kind:
        case "gau":
            from ..core.backbones.gau import GAU

            return GAU(b.width, b.depth, b.key, b.expansion)
        case "transformer":
            from ..core.backbones.transformer import Transformer

            return Transformer(b.width, b.depth, b.heads, b.hidden)
        case kind:
            raise _unknown("backbone", kind)


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
    match config.head.kind:
        case "diffusion":
            from ..core.heads.diffusion import Drawing

            return Drawing(s.steps, s.solver, s.grid, s.interval, s.rescale)
        case kind:
            raise _unknown("head", kind, "_drawing")


def _unknown(part: str, kind: str, function: str | None = None) -> ConfigError:
    place = f"config/build.py: {function or '_' + part}"
    return ConfigError(f"{part}.kind = {kind} is known to the settings, but not to {place}; add its case")
