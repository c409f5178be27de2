"""Classes of diffusers and transformers, each with one interface: pixels <-> tokens.

A continuous codec encodes to the mean of its posterior. AutoencoderTiny is used as in its own `forward`,
which stores each number of a latent in 8 bits: its tokens are integers up to 255."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Family(NamedTuple):
    """Interface of one class. encode(model, pixels) -> tokens (M, h, w) long, or numbers (M, C, h, w);
    decode(model, tokens) -> pixels. vocabulary, halvings: functions of its config."""

    package: str
    encode: Callable[[nn.Module, Tensor], Tensor]
    decode: Callable[[nn.Module, Tensor], Tensor]
    vocabulary: Callable[[object], int | None]
    halvings: Callable[[object], int]
    discrete: bool = True


def _vq_encode(model: Any, pixels: Tensor) -> Tensor:
    latents = model.encode(pixels).latents
    return model.quantize(latents)[2][2].view(len(pixels), *latents.shape[-2:])


def _vq_decode(model: Any, tokens: Tensor) -> Tensor:
    shape = (*tokens.shape, model.quantize.vq_embed_dim)
    if model.config.lookup_from_codebook:
        return model.decode(tokens.flatten(), force_not_quantize=True, shape=shape).sample
    return model.decode(
        model.quantize.get_codebook_entry(tokens.flatten(), shape), force_not_quantize=True
    ).sample


def _emu3_encode(model: Any, pixels: Tensor) -> Tensor:
    sizes = torch.tensor(pixels.shape[-2:]).expand(len(pixels), 2)
    return torch.stack(model.encode(pixels, sizes).image_tokens)


def _janus_encode(model: Any, pixels: Tensor) -> Tensor:
    """The code nearest in direction, as in the original (github.com/deepseek-ai/Janus, `l2_norm`) and as
    `decode` looks codes up; transformers' own search compares latents and codes of any length."""
    latents = F.normalize(model.quant_conv(model.encoder(pixels)), dim=1)
    book = F.normalize(model.quantize.embedding.weight, dim=1)
    return torch.einsum("mdhw,vd->mhwv", latents, book).argmax(-1)


def tiny_encode(model: Any, pixels: Tensor) -> Tensor:
    """Latents in 8 bits, as AutoencoderTiny stores them: (M, C, h, w) long up to 255."""
    return (model.scale_latents(model.encode(pixels).latents) * 255).round().long()


KL = Family(
    "diffusers",
    lambda model, pixels: model.encode(pixels).latent_dist.mode(),
    lambda model, latents: model.decode(latents).sample,
    lambda c: None,
    lambda c: len(c.block_out_channels) - 1,
    discrete=False,
)
FAMILIES = {
    "VQModel": Family(
        "diffusers",
        _vq_encode,
        _vq_decode,
        lambda c: c.num_vq_embeddings,
        lambda c: len(c.block_out_channels) - 1,
    ),
    "AutoencoderKL": KL,
    "AutoencoderKLFlux2": KL,
    "AutoencoderDC": Family(
        "diffusers",
        lambda model, pixels: model.encode(pixels).latent,
        lambda model, latents: model.decode(latents).sample,
        lambda c: None,
        lambda c: len(c.encoder_block_out_channels) - 1,
        discrete=False,
    ),
    "AutoencoderTiny": Family(
        "diffusers",
        tiny_encode,
        lambda model, tokens: model.decode(model.unscale_latents(tokens / 255.0)).sample,
        lambda c: 256,
        lambda c: len(c.encoder_block_out_channels) - 1,
    ),
    "Emu3VQVAE": Family(
        "transformers",
        _emu3_encode,
        lambda model, tokens: model.decode(tokens),
        lambda c: c.codebook_size,
        lambda c: len(c.channel_multiplier) - 1,
    ),
    "JanusVQVAE": Family(
        "transformers",
        _janus_encode,
        lambda model, tokens: model.decode(tokens.flatten(1)),
        lambda c: c.num_embeddings,
        lambda c: len(c.channel_multiplier) - 1,
    ),
}
MODELS = {  # model_type in config.json -> class
    "emu3_vqgan": "Emu3VQVAE",
    "emu3": "Emu3VQVAE",
    "janus_vqgan": "JanusVQVAE",
    "janus": "JanusVQVAE",
}
