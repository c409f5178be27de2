"""From the settings of a codec that learns to the codec, and what all that is built is checked by."""

from typing import Any

import torch
from torch import nn

from ..system import machine
from ..system.errors import CheckpointError, ConfigError, OutOfMemoryError
from ..system.figures import counted, size
from .codecs import CodecConfig


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
            case "multiscale":
                from ..codecs.multiscale import MultiscaleCodec

                return MultiscaleCodec(encoder, _scales(config), decoder).to(device)
            case "query":
                quantized = settings.quantizer
            case _:
                quantized = settings
        from ..codecs.discrete import DiscreteCodec

        tokens = config.train.batch * settings.tokens(side, side)
        return DiscreteCodec(encoder, _quantizer(quantized, settings.width, tokens), decoder).to(device)


def _check_codec(config: CodecConfig, device: torch.device, stored: int | None) -> None:
    """Raise as `model` does; the same in two steps."""
    c, books = config.codec, getattr(config.codec, "quantizer", config.codec)
    book = getattr(books, "codes", 0) * getattr(books, "dimension", 0) * getattr(books, "quantizers", 1)
    layers, places = getattr(c, "blocks", 0) + getattr(c, "depth", 0) + 3, (config.data.size // c.patch) ** 2
    queries = getattr(c, "queries", 0)
    biases = 2 * layers * queries * places * getattr(c, "heads", 0)
    most = 128 * layers * c.width**2 + 4 * c.width * (places + queries + 3 * c.patch**2) + biases + book
    room = machine.memory(device) if stored is None else min(machine.memory(device), 4 * stored + (1 << 28))
    if 4 * most > room:
        with torch.device("meta"):
            count = book + sum(p.numel() for part in _coders(config) for p in part.parameters())
        check_stored(count, stored)
        check_room(count, "codec.width or codebook", device)


def _coders(config: CodecConfig) -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder."""
    c = config.codec
    match c.kind:
        case "query":
            from ..codecs.query import QueryDecoder, QueryEncoder, Shape

            shape = Shape(config.data.size, c.patch, c.queries, c.width, c.depth, c.heads, c.local)
            return QueryEncoder(shape, c.causal), QueryDecoder(shape)
        case "vq" | "fsq" | "lfq" | "rvq" | "kl" | "multiscale":
            from ..codecs.convolutional import Decoder, Encoder

            return (
                Encoder(c.factor, c.patch, c.width, c.blocks),
                Decoder(c.factor, c.patch, c.width, c.blocks),
            )
        case kind:
            raise unknown("codec", kind)


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
            raise unknown("quantizer", kind)


def _scales(config: CodecConfig) -> nn.Module:
    """The quantizer over scales."""
    from ..codecs.multiscale import MultiscaleQuantizer

    c = config.codec
    return MultiscaleQuantizer(
        c.width,
        c.codes,
        c.dimension,
        c.scales,
        shared=c.shared,
        blend=c.blend,
        pictures=config.train.batch,
        from_data=c.from_data,
        decay=c.decay,
        restart=c.restart,
    )


def check_stored(count: int, stored: int | None) -> None:
    """Raise CheckpointError where stored weights are far fewer than `count`; others are compared one by
    one."""
    if stored is not None and 4 * count > 4 * stored + (1 << 28):
        raise CheckpointError(
            f"the weights do not fit the settings: these describe {counted(count, 'parameter')} and "
            "more, and the "
            f"stored weights have {stored:,} bytes; bring back those of these settings"
        )


def check_room(count: int, settings: str, device: torch.device) -> None:
    """Raise OutOfMemoryError where `count` fp32 numbers are more than this machine can hold."""
    if 4 * count > (most := machine.memory(device)):
        raise OutOfMemoryError(
            f"the settings describe {counted(count, 'parameter')}, {size(4 * count)}; allowed: at most "
            f"{size(most)}, "
            f"the memory of this machine's {device.type}; choose a smaller {settings}"
        )


def unknown(part: str, kind: str, function: str | None = None) -> ConfigError:
    """The error where settings have a kind that cannot be built."""
    place = f"config/build.py: {function or '_' + part}"
    return ConfigError(f"{part}.kind = {kind} is known to the settings, but not to {place}; add its case")
