"""What learned codecs share: ranges of pixels, positions, what a training step gets, counts of codes, and how
tables of codes of vector-quantize-pytorch are used."""

from math import log
from types import ModuleType
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

NOISE = 0.01  # of first codes that share a latent, in standard deviations of the latents
Quantized = tuple[Tensor, Tensor, dict[str, Tensor]]  # values, codes, losses


class Reconstruction(NamedTuple):
    """What `forward` of a learned codec returns, for training.

    pixels: (M, 3, H, W) fp32, about in [-1, 1]. losses: {name: scalar}. codes: (M, N, G) long, or None."""

    pixels: Tensor
    losses: dict[str, Tensor]
    codes: Tensor | None


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> fp32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_images(pixels: Tensor) -> Tensor:
    """About [-1, 1] -> uint8, clipped and rounded."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def positions(height: int, width: int, factor: int) -> tuple[int, int]:
    """Rows and columns of positions of `factor` pixels. Raises ValueError where the sides do not divide."""
    if height % factor or width % factor or not height or not width:
        raise ValueError(f"a picture of {height}x{width} pixels does not divide into positions of {factor}")
    return height // factor, width // factor


class Section(NamedTuple):
    """Codes that have a meaning of their own: a codebook of several, or a scale. name: '' where all have one.
    at: which of the L codes of a picture they are."""

    name: str
    at: slice


def counted(codes: Tensor, sections: tuple[Section, ...], vocabulary: int) -> Tensor:
    """Counts of each code: (M, N, G) -> (R, V) long, a row for each section."""
    flat = codes.flatten(1)  # (M, L)
    return torch.stack([torch.bincount(flat[:, one.at].flatten(), minlength=vocabulary) for one in sections])


def counts(codes: Tensor, vocabulary: int) -> Tensor:
    """Counts of each code: (M, N, G) -> (G, V) long, a row for each code of a position."""
    return torch.stack(
        [torch.bincount(row, minlength=vocabulary) for row in rearrange(codes, "m n g -> g (m n)")]
    )


def usage(counted: Tensor) -> dict[str, float]:
    """Statistics of counts (R, V), as means over the rows.

    usage: share of codes that occur. perplexity: exp of their entropy. used_bits: that entropy in bits."""
    share = counted.double() / counted.sum(-1, keepdim=True).clamp_min(1)
    entropy = torch.special.entr(share).sum(-1)
    return {
        "usage": (counted > 0).double().mean().item(),
        "perplexity": entropy.exp().mean().item(),
        "used_bits": entropy.mean().item() / log(2),
    }


def collapsed(counted: Tensor) -> bool:
    """Whether counts (V,) have a perplexity of at most a tenth of the codes, or of the counts where those are
    fewer. Of less than 16 nothing can be said."""
    codes = min(len(counted), int(counted.sum()))
    return codes >= 16 and usage(counted[None])["perplexity"] <= codes / 10


# ------------------------------------------------------------------------------------------ tables of codes


def spread(numbers: int) -> nn.BatchNorm1d:
    """Normalisation of each number over all positions of a batch; in eval mode by moving averages."""
    return nn.BatchNorm1d(numbers, affine=False, momentum=0.05)


def normalised(by: nn.BatchNorm1d, z: Tensor) -> Tensor:
    """(M, N, D) -> (M, N, D), each of the D numbers with mean 0 and variance 1."""
    return by(z.flatten(0, 1)).view_as(z)


def codebook(cosine: bool, from_data: bool, decay: float, restart: float, mean: float) -> dict:
    """Options of a codebook, by the names that the library has for them."""
    return {
        "use_cosine_sim": cosine,
        "kmeans_init": from_data,
        "decay": decay,
        "threshold_ema_dead_code": restart * mean,
    }


def prepare(codebook: Any, mean: float) -> None:
    """Change two defaults of the library: the count of a replaced code, which is the threshold and would have
    it replaced again, and first codes that stand for no latent, which are zero."""
    codebook.reset_cluster_size = mean
    codebook.register_forward_pre_hook(start)


def start(codebook: Any, inputs: tuple) -> None:
    """The first codes, where they come from data: k-means centres of the batch and, for centres without
    latents, as where latents are fewer than codes, latents of the batch with a little noise."""
    if codebook.initted:
        return
    latents = codebook.transform_input(inputs[0].detach().float().flatten(0, -2))  # (n, D)
    codebook.init_embed_(latents[None])
    empty = codebook.cluster_size[0] == 0
    drawn = latents[torch.randint(len(latents), (int(empty.sum()),), device=latents.device)]
    drawn = codebook.transform_input(drawn + NOISE * latents.std(0, correction=0) * torch.randn_like(drawn))
    codebook.embed[0, empty] = drawn
    codebook.embed_avg[0, empty] = drawn * codebook.reset_cluster_size
    codebook.cluster_size[0, empty] = codebook.reset_cluster_size


def library() -> ModuleType:
    """vector_quantize_pytorch, imported when needed: it takes a second."""
    import vector_quantize_pytorch
    from loguru import logger

    logger.disable("vector_quantize_pytorch")
    return vector_quantize_pytorch
