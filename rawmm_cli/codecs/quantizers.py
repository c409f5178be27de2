"""Latents <-> integers: four quantizers of `vector-quantize-pytorch` behind one signature.

    quantizer(latents (M, N, D) fp32)   -> values (M, N, D), codes (M, N, G) long, losses {name: scalar}
    quantizer.values(codes (M, N, G))   -> the same values (M, N, D)
    vocabulary, tokens                  V of a code, G codes a position

Gradients pass from values to latents: straight through, or by a rotation. Losses are not weighted here;
`CodecLoss` weights them. The library's classes differ in the layout of indices, and some drop the last axis
where G is 1; here all have (M, N, G). The library is imported when a quantizer is built, without its log."""

from typing import Any

import torch
from torch import Tensor, nn

from .base import Quantized, codebook, library, normalised, prepare, spread


class Quantizer(nn.Module):
    """What the four share: codes always have the axis G, and the arithmetic is fp32 also under autocast."""

    def __init__(self, inner: nn.Module, vocabulary: int, tokens: int):
        super().__init__()
        self.inner, self.vocabulary, self.tokens = inner, vocabulary, tokens

    def forward(self, latents: Tensor) -> Quantized:
        with torch.autocast(latents.device.type, enabled=False):
            values, codes, losses = self.quantize(latents.float())
        return values, codes.reshape(*latents.shape[:2], self.tokens).long(), losses

    def values(self, codes: Tensor) -> Tensor:
        """(M, N, G) -> (M, N, D)."""
        with torch.autocast(codes.device.type, enabled=False):
            return self.look_up(codes if self.tokens > 1 else codes[..., 0])


class VectorQuantizer(Quantizer):
    """Codes of `dimension` numbers that follow the latents they stand for, by moving averages.

    mean: the mean count of a code in a batch. A code whose count falls below `restart` times that is replaced
    by a latent of the batch, with the mean count, so that it is not replaced again at once."""

    def __init__(
        self, width: int, codes: int, dimension: int, rotation: bool, mean: float = 1.0, **options: Any
    ):
        inner = library().VectorQuantize(
            dim=width,
            codebook_size=codes,
            codebook_dim=dimension,
            commitment_weight=1.0,
            rotation_trick=rotation,
            **codebook(mean=mean, **options),
        )
        prepare(inner._codebook, mean)
        super().__init__(inner, codes, 1)

    def quantize(self, latents: Tensor) -> Quantized:
        values, codes, commitment = self.inner(latents)
        return values, codes, {"commitment": commitment}

    def look_up(self, codes: Tensor) -> Tensor:
        return self.inner.get_output_from_indices(codes)


class FiniteScalarQuantizer(Quantizer):
    """len(levels) numbers a token, each rounded to its number of levels.

    even: a number z is normalised over the batch, and u = 2 Phi(z) - 1 is cut into equal parts, one a level,
    so that a normal z takes all levels equally often (the idea of iFSQ, arXiv 2601.17124). Otherwise tanh
    bounds z, as in the paper (arXiv 2309.15505), and the middle levels are the most frequent."""

    def __init__(self, width: int, levels: tuple[int, ...], groups: int, even: bool):
        numbers = len(levels) * groups
        symmetric = even or 2 in levels  # the library's other form does not allow two levels
        inner = library().FSQ(
            levels=list(levels), num_codebooks=groups, preserve_symmetry=symmetric, bound_hard_clamp=even
        )
        super().__init__(inner, inner.codebook_size, groups)
        self.into, self.out = nn.Linear(width, numbers), nn.Linear(numbers, width)
        self.spread = spread(numbers) if even else None
        stretch = torch.tensor([level / (level - 1) for level in levels]).repeat(groups)
        self.register_buffer("stretch", stretch, persistent=False)

    def quantize(self, latents: Tensor) -> Quantized:
        z = self.into(latents)
        if self.spread is None:
            values, codes = self.inner(z)
            return self.out(values), codes, {}
        z = torch.erf(normalised(self.spread, z) / 2**0.5)
        z = z * self.stretch  # the outermost codes are at -1 and 1
        with torch.no_grad():
            values, codes = self.inner(z)
        return self.out(z + (values - z).detach()), codes, {}

    def look_up(self, codes: Tensor) -> Tensor:
        return self.out(self.inner.indices_to_codes(codes))


class LookupFreeQuantizer(Quantizer):
    """The signs of `bits` numbers a token, normalised over the batch (arXiv 2310.05737).

    Losses: commitment; entropy, the mean entropy of a latent's code minus that of the mean distribution over
    all latents, in nats. spherical: binary spherical quantization (arXiv 2406.07548)."""

    def __init__(self, width: int, bits: int, groups: int, spherical: bool):
        inner = library().LFQ(
            codebook_size=2**bits,
            num_codebooks=groups,
            spherical=spherical,
            commitment_loss_weight=1.0,
            entropy_loss_weight=1.0,
        )
        super().__init__(inner, 2**bits, groups)
        self.into, self.out = nn.Linear(width, bits * groups), nn.Linear(bits * groups, width)
        self.spread = spread(bits * groups)

    def quantize(self, latents: Tensor) -> Quantized:
        (values, codes, _), parts = self.inner(
            normalised(self.spread, self.into(latents)), return_loss_breakdown=True
        )
        losses = {"commitment": parts.commitment, "entropy": parts.per_sample_entropy - parts.batch_entropy}
        return self.out(values), codes, losses

    def look_up(self, codes: Tensor) -> Tensor:
        return self.out(self.inner.indices_to_codes(codes))


class ResidualQuantizer(Quantizer):
    """`quantizers` codebooks, each for the residual that those before it leave.

    The gradient passes straight through the sum once. The library passes it through every codebook, which
    makes it as many times too large."""

    def __init__(
        self, width: int, codes: int, dimension: int, quantizers: int, mean: float = 1.0, **options: Any
    ):
        inner = library().ResidualVQ(
            dim=dimension,
            codebook_size=codes,
            num_quantizers=quantizers,
            commitment_weight=1.0,
            rotation_trick=False,
            **codebook(mean=mean, **options),
        )
        for layer in inner.layers:
            prepare(layer._codebook, mean)
        super().__init__(inner, codes, quantizers)
        self.into, self.out = nn.Linear(width, dimension), nn.Linear(dimension, width)

    def quantize(self, latents: Tensor) -> Quantized:
        latents = self.into(latents)
        values, codes, commitment = self.inner(latents)
        return self.out(latents + (values - latents).detach()), codes, {"commitment": commitment.mean()}

    def look_up(self, codes: Tensor) -> Tensor:
        return self.out(self.inner.get_output_from_indices(codes[..., None] if self.tokens == 1 else codes))
