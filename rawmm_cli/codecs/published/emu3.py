"""Emu3's tokenizer by its published names (BAAI/Emu3-VisionTokenizer), as `transformers.Emu3VQVAE`, which
expects those of its own conversion."""

import json
import re
from pathlib import Path

import torch

from .families import FAMILIES
from .model import Pretrained
from .weights import read

SETTINGS = {
    "ch": "base_channels",
    "ch_mult": "channel_multiplier",
    "z_channels": "latent_channels",
    "double_z": "double_latent",
}
SAME = (
    "codebook_size",
    "embed_dim",
    "in_channels",
    "out_channels",
    "temporal_downsample_factor",
    "num_res_blocks",
    "attn_resolutions",
)
NAMES = (
    (r"\.down\.", ".down_block.down."),
    (r"\.up\.", ".up_block.up."),
    (r"\.mid\.", ".middle_block."),
    (r"\.attn_1\.norm\.", ".attn_norm."),
    (r"\.attn\.(\d+)\.norm\.", r".attn_norms.\1."),
    (r"\.([qkv])\.", r".\1_proj."),
    (r"\.proj_out\.", ".out_proj."),
)


def load(file: Path, device: torch.device) -> Pretrained:
    """A codec in eval mode, of model.safetensors beside its config.json. Raises RuntimeError where weights
    are missing or of other shapes, KeyError where the config lacks a size."""
    from transformers import Emu3VQVAE, Emu3VQVAEConfig

    config = json.loads((file.parent / "config.json").read_text(encoding="utf-8"))
    settings = {new: config[old] for old, new in SETTINGS.items()} | {key: config[key] for key in SAME}
    model = Emu3VQVAE(Emu3VQVAEConfig(**settings, hidden_size=config["ch"] * config["ch_mult"][-1]))
    weights = {}
    for key, value in read(file).items():
        for old, new in NAMES:
            key = re.sub(old, new, key)
        weights[key] = value[..., 0, 0] if re.search(r"(_proj)\.weight$", key) else value
    model.load_state_dict(weights)
    codec = Pretrained(model, FAMILIES["Emu3VQVAE"], [0.5] * 3, [0.5] * 3)
    return codec.to(device).eval().requires_grad_(False)
