"""Layers of MaskGIT's, Open-MAGVIT2's and TiTok's networks, with their published names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions without biases. own: whether a shortcut between widths is a 1x1 convolution of the
    branch itself, as in MaskGIT's published weights, and not of the input."""

    def __init__(self, inside: int, outside: int, own: bool = False):
        super().__init__()
        self.own = own
        self.norm1, self.norm2 = (nn.GroupNorm(32, width, eps=1e-6) for width in (inside, outside))
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        if inside != outside:
            self.nin_shortcut = nn.Conv2d(outside if own else inside, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        if hasattr(self, "nin_shortcut"):
            x = self.nin_shortcut(branch if self.own else x)
        return branch + x


def blocks(inside: int, outside: int, layers: int, own: bool = False) -> nn.Sequential:
    """`layers` blocks, the first of which changes the width."""
    return nn.Sequential(*[Block(inside if n == 0 else outside, outside, own) for n in range(layers)])


class Adaptive(nn.Module):
    """GroupNorm whose scale and shift follow from deviation and mean of the latents."""

    def __init__(self, latent: int, width: int):
        super().__init__()
        self.gamma, self.beta = nn.Linear(latent, width), nn.Linear(latent, width)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        values = latents.flatten(2)
        scale = self.gamma((values.var(-1) + 1e-6).sqrt())[..., None, None]
        return scale * F.group_norm(x, 32, eps=1e-6) + self.beta(values.mean(-1))[..., None, None]


class Layer(nn.Module):
    """A Transformer layer of CLIP's kind, with heads of 64."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Tower(nn.Module):
    """Encoder or decoder: a class token and `places` positions, then `length` latent tokens."""

    def __init__(self, width: int, layers: int, places: int, length: int):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(1, width))
        self.positional_embedding = nn.Parameter(torch.empty(places + 1, width))
        self.latent_token_positional_embedding = nn.Parameter(torch.empty(length, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Sequential(*[Layer(width) for _ in range(layers)])

    def forward(self, patches: Tensor, latents: Tensor) -> Tensor:
        first = self.class_embedding.expand(len(patches), 1, -1)
        patches = torch.cat([first, patches], 1) + self.positional_embedding
        latents = (latents + self.latent_token_positional_embedding).expand(len(patches), -1, -1)
        return self.transformer(self.ln_pre(torch.cat([patches, latents], 1)))


def nearest(latents: Tensor, book: Tensor) -> Tensor:
    """Indices (M, N) of the codes (V, D) that are nearest to latents (M, D, h, w)."""
    scores = torch.einsum("mdhw,vd->mhwv", latents, book) - book.square().sum(-1) / 2
    return scores.argmax(-1).flatten(1)


def to_bytes(pixels: Tensor) -> Tensor:
    """About [0, 1] -> uint8, clipped and rounded."""
    return (255 * pixels.clamp(0, 1)).round().to(torch.uint8)
