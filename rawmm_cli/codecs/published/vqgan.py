"""VQGANs of taming's kind by their published names, as `diffusers.VQModel`: LlamaGen, Chameleon, IBQ.

All sizes follow from the weights. `search`: which code is a latent's. Of Chameleon the nearest, of LlamaGen
the nearest in direction (latents and codes have length 1), of IBQ the one with the largest product, which
need not be the nearest."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .families import FAMILIES
from .model import Pretrained
from .weights import children, part, read

NAMES = (
    (r"^encoder\.(?:down|conv_blocks)\.", "encoder.down_blocks."),
    (r"^decoder\.conv_blocks\.", "decoder.up_blocks."),  # LlamaGen counts from the latents up
    (r"\.mid\.(?:block_1|0)\.", ".mid_block.resnets.0."),
    (r"\.mid\.(?:attn_1|1)\.", ".mid_block.attentions.0."),
    (r"\.mid\.(?:block_2|2)\.", ".mid_block.resnets.1."),
    (r"\.(?:block|res)\.(\d+)\.", r".resnets.\1."),
    (r"\.attn\.(\d+)\.", r".attentions.\1."),
    (r"\.(down|up)sample\.conv\.", r".\1samplers.0.conv."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


def load(file: Path, device: torch.device, search: str) -> Pretrained:
    """A codec in eval mode. Raises RuntimeError or KeyError where weights are missing or of other shapes."""
    from diffusers import VQModel

    weights = _renamed(
        part(read(file), "encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.e")
    )
    levels = [f"encoder.down_blocks.{level}" for level in children(weights, "encoder.down_blocks")]
    attends = [bool(children(weights, f"{level}.attentions")) for level in levels]
    codes, width = weights["quantize.embedding.weight"].shape
    model = VQModel(
        block_out_channels=[len(weights[f"{level}.resnets.0.conv1.weight"]) for level in levels],
        down_block_types=["AttnDownEncoderBlock2D" if each else "DownEncoderBlock2D" for each in attends],
        up_block_types=["AttnUpDecoderBlock2D" if each else "UpDecoderBlock2D" for each in attends[::-1]],
        layers_per_block=len(children(weights, f"{levels[0]}.resnets")),
        latent_channels=len(weights["encoder.conv_out.weight"]),
        num_vq_embeddings=codes,
        vq_embed_dim=width,
    )
    model.load_state_dict(weights)
    if search == "cosine":
        model.quantize.embedding.weight.data = F.normalize(model.quantize.embedding.weight.data, dim=-1)
    family = FAMILIES["VQModel"]._replace(encode=lambda model, pixels: _encode(model, pixels, search))
    return Pretrained(model, family, [0.5] * 3, [0.5] * 3).to(device).eval().requires_grad_(False)


def _encode(model: nn.Module, pixels: Tensor, search: str) -> Tensor:
    latents, book = model.encode(pixels).latents, model.quantize.embedding.weight
    if search == "cosine":
        latents = F.normalize(latents, dim=1)
    scores = torch.einsum("mdhw,vd->mhwv", latents, book)
    return (scores - book.square().sum(-1) / 2 if search == "nearest" else scores).argmax(-1)


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    last, renamed = len(children(weights, "decoder.up")) - 1, {}
    for key, value in weights.items():
        key = re.sub(r"^decoder\.up\.(\d+)", lambda match: f"decoder.up_blocks.{last - int(match[1])}", key)
        for old, new in NAMES:
            key = re.sub(old, new, key)
        renamed[key] = value[..., 0, 0] if ".attentions." in key and value.ndim == 4 else value
    return renamed
