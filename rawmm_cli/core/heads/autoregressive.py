"""The autoregressive head: the codes of a picture are written one after the other, as text is.

    -log p(picture | before) = sum over i of -log p(code i | before, codes 1 to i - 1)

A codec gives G integers a token; they stand side by side, tokens in reading order: red, green and blue of a
pixel, or the codebooks of a residual quantizer. The prediction of a code stands one position before it, that
of the first at `<image>`. Pictures have an output of their own, over V codes, so that no word can stand among
codes, and a picture has exactly N G of them.

There is neither noise nor time, and a picture that is drawn has the same inputs as one that is read. A fresh
head gives every code the same probability: its loss is ln V.

LlamaGen (Sun et al. 2024, arXiv 2406.06525); Chameleon (arXiv 2405.09818); of pixels PixelRNN (van den Oord
et al. 2016, arXiv 1601.06759) and the Sparse Transformer (Child et al. 2019, arXiv 1904.10509)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...system.errors import ConfigError
from ...system.seeds import random
from ..blocks import Blocks, block_a_token
from ..codes import pick
from ..document import Corrupted, Known, Pictures
from ..layers import multiplications
from ..parts import Prediction, Work

FRAMES = 32  # a drawing is shown so many times, at most


@dataclass(frozen=True)
class Drawing:
    """How codes are chosen by their probabilities; text has settings of its own.

    code_temperature: 1 draws what was learned; 0 takes the likeliest code, so that pictures of one prompt are
    all the same. code_top_k: only so many of the likeliest; 0: all. code_top_p: only the likeliest, of this
    probability together (nucleus sampling, Holtzman et al. 2019, arXiv 1904.09751)."""

    code_temperature: float = 1.0
    code_top_k: int = 0
    code_top_p: float = 1.0


class AutoregressiveHead(nn.Module):
    """Codes, `codes` a token and each below `vocabulary` <-> hidden vectors of `width`.

    z_loss: weight of log^2 Z in the loss, which holds logits near 0 (Chameleon has 1e-5)."""

    reads_ahead = True

    def __init__(self, vocabulary: int, codes: int, width: int, *, z_loss: float = 0.0):
        super().__init__()
        self.vocabulary, self.codes, self.z_loss = vocabulary, codes, z_loss
        self.table = nn.Embedding(vocabulary * codes, width)  # rows of its own for each code of a token
        self.which = nn.Embedding(codes, width)  # of the code that is predicted
        self.out = nn.Linear(width, vocabulary)
        nn.init.normal_(self.table.weight, std=0.5)
        nn.init.zeros_(self.which.weight)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A block a code."""
        return block_a_token(rows, columns, self.codes)

    def corrupt(self, tokens: Tensor, pictures: Pictures) -> Corrupted:
        """Codes (M N, G) -> the same (T,) as inputs and as what is predicted."""
        codes, drawn = tokens.flatten(), pictures.drawn
        return Corrupted(codes, torch.zeros(len(drawn), device=codes.device), codes, self._learned(pictures))

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Codes (T,) -> (T, D)."""
        return self.table(inputs + self.vocabulary * (pictures.index % self.codes))

    def condition(self, time: Tensor) -> None:
        """None: there is no time."""

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Hidden (T, D), each one position before its code -> logits (T, V)."""
        return self.out(hidden + self.which(pictures.index % self.codes))

    def nats(self, prediction: Tensor, codes: Tensor) -> Tensor:
        """Logits (T, V) and codes (T,) -> -log p of each code (T,), fp32."""
        return F.cross_entropy(prediction.float(), codes, reduction="none")

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """Mean nats of a code over all codes of drawn pictures; in training with `z_loss` times the mean of
        log^2 Z."""
        nats, weight = self.nats(prediction, corrupted.target), corrupted.weight
        if self.z_loss and self.training:
            nats = nats + self.z_loss * prediction.float().logsumexp(-1).square()
        return (nats * weight).sum() / weight.sum().clamp_min(1)

    def work(self) -> Work:
        """The output; codes come in by a table."""
        return Work(position=multiplications(self.out))

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
        """Write the codes of a picture of `grid` rows and columns for each of M keys -> (M, N, G) int64.

        predict(codes (M, 0 or 1), at=slice(i, i + 1)) -> logits (M, 1, V) of code i behind the one before it;
        guidance acts on logits. learned has no effect. Raises ConfigError where a picture is `known`: what
        stands after a code has no influence on it."""
        if known is not None:
            raise ConfigError(
                "a picture is to be drawn on, and head.kind = autoregressive writes codes in order, each "
                "without knowing those after it; allowed: head.kind=diffusion or masked; choose another model"
            )
        drawing, length = drawing or Drawing(), grid[0] * grid[1] * self.codes
        chosen = drawing.code_temperature, drawing.code_top_k, drawing.code_top_p
        device, every = self.out.weight.device, max(1, length // FRAMES)
        uniform = np.stack([random(k, "codes").random(length) for k in keys])
        uniform = torch.from_numpy(uniform).to(device)  # (M, N G): codes of a picture depend on its own key
        codes = torch.zeros(len(keys), length, dtype=torch.long, device=device)
        for at in range(length):
            logits = predict(codes[:, max(0, at - 1) : at], at=slice(at, at + 1)).guided[:, 0]  # (M, V)
            codes[:, at] = pick(logits, uniform[:, at], *chosen)
            if watch is not None and ((at + 1) % every == 0 or at + 1 == length):
                tokens = codes.unflatten(1, (-1, self.codes))
                watch(at // every, tokens, tokens)
        return codes.unflatten(1, (-1, self.codes))

    def _learned(self, pictures: Pictures) -> Tensor:
        """(T,) 1 where a picture is drawn, else 0."""
        return pictures.drawn[pictures.picture_of].float()
