"""TiTok by its published names (yucornetto/tokenizer_titok_*): 256 px only, pixels in [0, 1].

The first three (L-32, B-64, S-128) draw by MaskGIT's decoder, from a mixture of its codes; they also read the
encoder's output transposed, as they were trained (`is_legacy`). The later ones (BL, SL) draw pixels."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .layers import Tower, nearest, to_bytes
from .maskgit import Decoder, sizes
from .weights import children, read


class TiTok(nn.Module):
    """An adapter (`adapter.py`). values: names and shapes of the weights, from which all sizes follow."""

    def __init__(self, values: dict[str, Tensor], unit: bool):
        super().__init__()
        self.unit, self.legacy = unit, "pixel_quantize.embedding.weight" in values
        self.vocabulary, latent = values["quantize.embedding.weight"].shape
        (self.count, inside), towers = values["latent_tokens"].shape, []
        self.patch = values["encoder.patch_embed.weight"].shape[-1]
        for name in ("encoder", "decoder"):
            places, width = values[f"{name}.positional_embedding"].shape
            layers = len(children(values, f"{name}.transformer"))
            towers.append(Tower(width, layers, places - 1, self.count))
        self.encoder, self.decoder = towers
        self.rows, outside = round((places - 1) ** 0.5), width
        self.latent_tokens = nn.Parameter(torch.empty(self.count, inside))
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(self.vocabulary, latent)})
        self.encoder.patch_embed = nn.Conv2d(3, inside, self.patch, stride=self.patch)
        self.encoder.conv_out = nn.Conv2d(inside, latent, 1)
        self.decoder.decoder_embed = nn.Linear(latent, outside)
        self.decoder.mask_token = nn.Parameter(torch.empty(1, 1, outside))
        if self.legacy:
            codes, mixed = values["pixel_quantize.embedding.weight"].shape
            self.pixel_quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, mixed)})
            self.pixel_decoder = Decoder(*sizes(values, "pixel_decoder"))
            last = [nn.Conv2d(outside, 2 * outside, 1), nn.Tanh(), nn.Conv2d(2 * outside, codes, 1)]
        else:
            last = [nn.Conv2d(outside, 3 * self.patch**2, 1)]
            self.decoder.conv_out = nn.Conv2d(3, 3, 3, padding=1)
        self.decoder.ffn = nn.Sequential(*last)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        side = self.rows * self.patch
        if (height, width) != (side, side):
            raise ValueError(f"{height}x{width} pixels do not fit: this codec takes {side}x{side}")
        return 1, self.count

    def length(self, height: int, width: int) -> int:
        return self.count

    def encode(self, images: Tensor) -> Tensor:
        patches = self.encoder.patch_embed(images.float() / 255).flatten(2).transpose(1, 2)
        hidden = self.encoder.ln_post(self.encoder(patches, self.latent_tokens)[:, -self.count :])
        if self.legacy:  # (M, L, D) is read as (M, D, L), as in training
            hidden = hidden.reshape(len(hidden), -1, self.count).transpose(1, 2)
        latents = self.encoder.conv_out(hidden.transpose(1, 2)[..., None])
        return nearest(F.normalize(latents, dim=1) if self.unit else latents, self._book())

    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        latents = self.decoder.decoder_embed(self._book()[tokens])
        places = self.decoder.mask_token.expand(len(tokens), self.rows**2, -1)
        hidden = self.decoder.ln_post(self.decoder(places, latents)[:, 1 : self.rows**2 + 1])
        logits = self.decoder.ffn(rearrange(hidden, "m (h w) d -> m d h w", h=self.rows))
        if self.legacy:
            codes = self.pixel_quantize["embedding"].weight
            return to_bytes(self.pixel_decoder(torch.einsum("mvhw,vd->mdhw", logits.softmax(1), codes)))
        pixels = rearrange(logits, "m (p q c) h w -> m c (h p) (w q)", p=self.patch, q=self.patch)
        return to_bytes(self.decoder.conv_out(pixels))

    def _book(self) -> Tensor:
        weight = self.quantize["embedding"].weight
        return F.normalize(weight, dim=-1) if self.unit else weight


def load(file: Path, device: torch.device) -> TiTok:
    """An adapter in eval mode, of model.safetensors beside its config.json. Raises RuntimeError or KeyError
    where weights are missing or of other shapes."""
    config, weights = json.loads((file.parent / "config.json").read_text(encoding="utf-8")), read(file)
    codec = TiTok(weights, unit=bool(config["model"]["vq_model"]["use_l2_norm"]))
    codec.load_state_dict(weights)
    return codec.to(device).eval().requires_grad_(False)
