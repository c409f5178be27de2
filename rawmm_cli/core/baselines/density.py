"""A flow that learns the likelihood of pictures, exactly, and draws by its inverse (`flow.py`).

    caption -> backbone -> its state at <image>, one vector -> added to every token in every block of the flow

A level v of 0 to 255 becomes x = (v + u) / 128 - 1 with u uniform in [0, 1), so that the density of x bounds
the probability of v (Theis et al. 2016, arXiv 1511.01844), with z of n numbers, in bits a value

    -log2 p(v) / n  <=  log2(128) + (log(2 pi) / 2 + mean(z^2) / 2 - log |det dz/dx| / n) / log(2)

which is the loss, and 8.3257 + 0.7213 mean(x^2) at initialisation. With Gaussian noise in place of u what is
learned is the density of noised pictures: its loss is no bits of pixels, and a picture that is drawn is
cleaned at the end, x + noise^2 d log p(x) / dx (Robbins 1956; TarFlow does so). `bits` always measures with
u.

Patches are first turned by a fixed rotation, cosines over places and luma before two colours, as scale and
shift of a value never depend on its own patch: what the values of a patch have in common would cost blocks. A
rotation has determinant 1."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...system.errors import ConfigError
from ..blocks import Blocks
from ..document import Corrupted, Known, Pictures
from ..noise import normal
from ..parts import Prediction, Work
from . import whole
from .flow import Flow, in_full

LEVELS = 128  # levels of a pixel in a unit of x


@dataclass(frozen=True)
class Drawing:
    """How a flow draws. guide: on what guidance acts, scales and shifts (`ab`), scales or shifts alone."""

    guide: str = "ab"


class Density(nn.Module):
    """Pictures of N tokens of `values` numbers in a grid, captions of `width` numbers.

    patch: side of patches of pixels; None: tokens are latents, which have no levels. noise: deviation of the
    Gaussian noise; None: uniform noise of one level."""

    reads_ahead = True
    turn: Tensor

    def __init__(
        self,
        network: Flow,
        values: int,
        grid: tuple[int, int],
        width: int,
        patch: int | None,
        noise: float | None,
    ):
        super().__init__()
        if patch is None and noise is None:
            raise ConfigError(
                "latents have no levels, between which uniform noise would lie; give a deviation"
            )
        self.network, self.values, self.grid, self.width = network, values, grid, width
        self.levels, self.noise = patch is not None, noise
        turn = torch.eye(values) if patch is None else rotation(patch)
        self.register_buffer("turn", turn, persistent=False)

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A position a picture. Raises ValueError for one of another size than those learned."""
        if (rows, columns) != self.grid:
            raise ValueError(
                f"a flow draws pictures of the size that it learned, {self.grid[0]} x {self.grid[1]} tokens, "
                f"not {rows} x {columns}"
            )
        return whole.one_position(rows, columns)

    def corrupt(self, clean: Tensor, pictures: Pictures) -> Corrupted:
        """Clean tokens (M N, P) -> x with noise by the keys of the pictures, a row a picture."""
        x = self.noised(clean, pictures.sources(), self.noise)
        x = x.view(len(pictures.keys), self.network.tokens * self.values)
        return Corrupted(x, x.new_zeros(len(x)), x, pictures.drawn.float())

    def noised(self, clean: Tensor, keys: Sequence[int | None], noise: float | None) -> Tensor:
        """Tokens (M N, P) -> x (M N, P), with Gaussian noise or, where `noise` is None, within their
        levels."""
        eps = normal(keys, [self.network.tokens] * len(keys), self.values, device=clean.device)
        if noise is not None:
            return self.to_x(clean) + noise * eps
        within = torch.special.ndtr(eps).clamp(max=1 - 2**-24)  # uniform
        return self.to_x(clean, within)

    def to_x(self, tokens: Tensor, within: float | Tensor = 0.5) -> Tensor:
        """Tokens -> x, at places `within` their levels."""
        return (((tokens + 1) * 127.5).round() + within) / LEVELS - 1 if self.levels else tokens

    def to_tokens(self, x: Tensor) -> Tensor:
        """x -> the tokens in whose levels it lies."""
        return ((x + 1) * LEVELS).floor() / 127.5 - 1 if self.levels else x

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """(M, D) zeros: the sequence sees nothing of a picture."""
        return inputs.new_zeros(len(pictures.drawn), self.width)

    def to_patches(self, rows: Tensor, pictures: Pictures) -> Tensor:
        """What is said of each picture (M, ...) -> of each of its tokens (M N, ...)."""
        return rows[whole.in_tokens(pictures).picture_of]

    def condition(self, time: Tensor) -> None:
        """None: a flow knows no time."""

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """The states before pictures (M, D), as they are: what the flow knows of the caption."""
        return hidden

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """Mean bits a value of x behind the captions `prediction` (M, D): bits/dim where noise is uniform."""
        weight = corrupted.weight
        bits = self._bits(corrupted.inputs, prediction.float())
        return (bits * weight).sum() / weight.sum().clamp_min(1)

    def bits(self, captions: Tensor, tokens: Tensor, keys: Sequence[int]) -> Tensor:
        """Bits a value (M,) of the tokens (M, N, P) of pictures behind captions (M, D), an upper bound on
        those of their levels. Raises ConfigError where tokens are latents."""
        if not self.levels:
            raise ConfigError("a flow over latents has a density of latents, and no bits of pixels")
        return self._bits(self.noised(tokens.flatten(0, 1), keys, None), captions)

    def _bits(self, x: Tensor, captions: Tensor) -> Tensor:
        x = x.reshape(-1, self.network.tokens, self.values)
        nats = -self._log_density(x, captions) / (self.network.tokens * self.values)
        return nats / math.log(2) + (math.log2(LEVELS) if self.levels else 0.0)

    def _log_density(self, x: Tensor, captions: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        with in_full(x):
            z, change = functional_call(self.network, weights or {}, (x @ self.turn.to(x.dtype), captions))
        constant = math.log(2 * math.pi) / 2 * self.network.tokens * self.values
        return change - z.square().flatten(1).sum(1) / 2 - constant

    def work(self) -> Work:
        """The flow over a picture, and the rotation, which needs no gradient; nor does x."""
        tokens, first = self.network.tokens, self.network.blocks[0].into.weight.numel()
        turn = tokens * self.values**2
        return Work(picture=self.network.multiplications() + turn, first_picture=(tokens - 1) * first + turn)

    def kept(self) -> int:
        """Bytes that the flow keeps of a picture for its backward pass."""
        one = self.turn.new_zeros
        return whole.kept(self.network, one(1, self.network.tokens, self.values), one(1, self.width))

    def draw(
        self,
        predict: Callable[..., Prediction],
        keys: Sequence[int],
        grid: tuple[int, int],
        drawing: Drawing | None = None,
        learned: tuple[int, int] | None = None,
        known: Known | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Draw M pictures from the noise of their keys -> tokens (M, N, P): K (N - 1) steps in turn.

        watch: called after each of the K blocks. Raises ConfigError where there is something to draw on."""
        if known is not None:
            raise ConfigError("a flow draws whole pictures and cannot draw on one; choose another model")
        captions = whole.captions(predict, len(keys), self.turn.device)
        z = normal(keys, [self.network.tokens] * len(keys), self.values, device=self.turn.device)
        z = z.unflatten(0, (len(keys), -1))

        def show(step: int, x: Tensor) -> None:
            if watch is not None:
                tokens = self.to_tokens(x @ self.turn.T)
                watch(step, tokens, tokens)

        if captions.scale == 1:
            x = self.network.inverse(z, captions.conditional, watch=show)
        else:
            guide = _guide(captions.scale, (drawing or Drawing()).guide)
            x = self.network.inverse(z, captions.both(), guide, show)
        x = x @ self.turn.T
        return self.to_tokens(x if self.noise is None else self._cleaned(x, captions.conditional))

    @torch.inference_mode(False)
    def _cleaned(self, x: Tensor, captions: Tensor) -> Tensor:
        """The mean of clean pictures behind x (M, N, P), by Tweedie's formula."""
        shared = self.network.named_parameters()  # FSDP may have gathered them in inference mode
        weights = {name: weight.detach().clone() for name, weight in shared if weight.is_inference()}
        with torch.enable_grad():
            x, captions = x.clone().requires_grad_(), captions.clone()
            (slope,) = torch.autograd.grad(self._log_density(x, captions, weights).sum(), x)
        return (x + (self.noise or 0.0) ** 2 * slope).detach()


def _guide(scale: float, on: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Scales and shifts behind the prompts and behind none -> those that are used."""

    def mixed(name: str, y: Tensor) -> Tensor:
        with_, without = y.chunk(2)
        return without + scale * (with_ - without) if name in on else with_

    return lambda a, b: (mixed("a", a), mixed("b", b))


def rotation(patch: int) -> Tensor:
    """(P, P) orthonormal, for patches whose values stand as row, column, channel: the cosine transform of
    their places (DCT-II), and luma and two differences of colours."""
    place = torch.arange(patch, dtype=torch.float64)
    cosines = torch.cos(math.pi / patch * (place[None] + 0.5) * place[:, None]) * (2 / patch) ** 0.5
    cosines[0] /= 2**0.5
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    colours /= colours.norm(dim=1, keepdim=True)
    return torch.kron(torch.kron(cosines, cosines), colours).T.float().contiguous()
