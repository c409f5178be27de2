"""The masked head: codes of a picture are hidden, and the network learns to say what they were.

    a share m(r) of the codes is masked, r uniform in [0, 1]; m falls from 1, all, to 0, none
    maskgit: loss = mean of -log p(code) over the masked codes of a picture
    bound:   loss = m'(r) / m(r) times the sum of -log p(code) over them, of all codes

The second one is a bound on the likelihood of the codes (MD4, Shi et al. 2024, arXiv 2406.04329, equation 5),
the first one is none (MaskGIT, Chang et al. 2022, arXiv 2202.04200). Attention is bidirectional inside a
picture, one that is read has no masks, and predictions stand in place. Of a codec with G codes a token each
code is masked by itself, and the G of a token enter by a sum.

To draw, all codes are masked, and in each of T steps some of them become known: as many as the schedule says,
those that an order says. T does not depend on the size of the picture.

    here                     MD4                      MaskGIT
    r                        1 - t                    r
    m(r), masked             1 - alpha(t)             gamma(r)
    cosine                   cosine                   cosine"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...system import machine
from ...system.seeds import random
from ..blocks import Blocks, one_block
from ..codes import SCHEDULES, confidence, counts, order_of, pick, uniform
from ..document import Corrupted, Known, Pictures
from ..layers import multiplications
from ..noise import TIME_FEATURES, normal, time_features
from ..parts import Prediction, Work

EPSILON = 1e-4  # bound: m runs from 1 - EPSILON to EPSILON, so that its weight is finite (MD4)


@dataclass(frozen=True)
class Drawing:
    """How a masked head draws.

    order: confidence keeps the codes of which the network is most certain, with noise that ends at 0
    (MaskGIT); halton spreads them evenly over the picture (Besnier et al. 2025, arXiv 2503.17076); random is
    the order of learning. By the last two many steps draw from the model's own distribution; confidence
    prefers what is likely. order_temperature: of that noise; 0 takes the most certain codes, and pictures
    become alike. code_*: as in `codes.pick`."""

    steps: int = 8
    order: str = "confidence"
    order_temperature: float = 4.5
    code_temperature: float = 1.0
    code_top_k: int = 0
    code_top_p: float = 1.0


class MaskedHead(nn.Module):
    """`codes` integers a token, each below `vocabulary`, <-> hidden vectors of `width`.

    schedule: a name of `codes.SCHEDULES`. loss: maskgit or bound. smoothing: share of the targets that
    goes to all codes alike. time: how the masked share enters: none, added at the input, modulation of the
    layers."""

    reads_ahead = False

    def __init__(
        self,
        vocabulary: int,
        codes: int,
        width: int,
        *,
        schedule: str,
        loss: str,
        smoothing: float,
        time: str = "none",
    ):
        super().__init__()
        self.vocabulary, self.codes, self.schedule, self.form = vocabulary, codes, schedule, loss
        self.smoothing = smoothing
        self.time = time
        self.table = nn.Embedding((vocabulary + 1) * codes, width)  # rows of its own for each code of a token
        if time != "none":
            self.clock = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, vocabulary * codes)
        nn.init.normal_(self.table.weight, std=0.5 / math.sqrt(codes))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A block a picture."""
        return one_block(rows, columns)

    # ------------------------------------------------------------------------------------------- learning

    def corrupt(self, tokens: Tensor, pictures: Pictures) -> Corrupted:
        """Codes (T, G) -> masked where the picture is drawn, by the keys of the pictures.

        time: the share that is masked. weight: of a masked code in the loss."""
        keys, of = pictures.sources(), pictures.picture_of
        shares = [self._share(k, count * self.codes) for k, count in zip(keys, pictures.counts)]
        time, weight, many = machine.send(torch.tensor(shares).view(-1, 3).T, tokens.device)  # (M,) each
        noise = normal(keys, pictures.counts, self.codes, "masks", tokens.device)  # (T, G)
        if self.form == "bound":  # each code by itself
            masked = torch.special.ndtr(noise) < time[of][:, None]
        else:  # exactly so many
            masked = _rank(noise, of) < many[of][:, None]
        return Corrupted(tokens.masked_fill(masked, self.vocabulary), time, tokens, weight[of])

    def _share(self, key: int | None, length: int) -> tuple[float, float, int]:
        """Of a picture of `length` codes the share that is masked, the weight of each of them, their
        number."""
        if key is None:
            return 0.0, 0.0, 0
        r = random(key, "share").random()
        share, falls = (function(r) for function in SCHEDULES[self.schedule])
        if self.form == "bound":
            share = EPSILON + (1 - 2 * EPSILON) * share
            return share, (1 - 2 * EPSILON) * falls / share, 0
        many = max(1, math.ceil(length * share))
        return many / length, length / many, many

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Codes (T, G), of which masked ones are V, of pictures at times (M,), or (1,) for all -> (T, D)."""
        first = (self.vocabulary + 1) * torch.arange(self.codes, device=inputs.device)
        vectors = self.table(inputs + first).sum(1)
        if self.time != "added":
            return vectors
        clock = self.clock(time_features(time))
        if len(time) == len(pictures.drawn):
            clock = F.embedding(pictures.picture_of, clock)  # its backward adds in order, on a GPU too
        return vectors + clock

    def condition(self, time: Tensor) -> Tensor | None:
        """Masked shares (M,) -> (M, D) where they modulate the backbone, else None."""
        return self.clock(time_features(time)) if self.time == "modulation" else None

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Hidden (T, D) -> logits (T, G, V)."""
        return self.out(hidden).unflatten(-1, (self.codes, self.vocabulary))

    def nats(self, prediction: Tensor, codes: Tensor, smoothing: float = 0.0) -> Tensor:
        """Logits (T, G, V) and codes (T, G) -> -log p of each code (T, G), fp32.

        smoothing: share of the target that goes to all codes alike."""
        flat = prediction.float().flatten(0, 1), codes.flatten()
        return F.cross_entropy(*flat, reduction="none", label_smoothing=smoothing).view_as(codes)

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """Nats a code, a mean over all codes of drawn pictures, as the head's loss weighs those masked."""
        masked = corrupted.inputs == self.vocabulary  # (T, G)
        nats = (self.nats(prediction, corrupted.target, self.smoothing) * masked).mean(
            -1
        ) * corrupted.weight  # (T,)
        drawn = pictures.drawn[pictures.picture_of].float()
        if self.form == "bound":  # what is still masked at r = 1 is drawn from all codes alike
            nats = nats + EPSILON * math.log(self.vocabulary) * drawn
        return nats.sum() / drawn.sum().clamp_min(1)

    def work(self) -> Work:
        """The output, and the clock; codes come in by a table."""
        if self.time == "none":
            return Work(position=multiplications(self.out))
        whole, first = multiplications(self.clock), multiplications(self.clock[0])
        return Work(position=multiplications(self.out), picture=whole, first_picture=first)

    # -------------------------------------------------------------------------------------------- drawing

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
        """Draw M pictures of `grid` rows and columns from masked codes -> (M, N, G) int64.

        predict(codes (M, N, G), masked share) -> guided logits (M, N, G, V). learned has no effect. known:
        codes that are kept are never masked; of the others the share `strength`, by the key, the rest
        stays. watch(step, codes, estimate): masked codes are shown as random ones."""
        drawing, device = drawing or Drawing(), self.out.weight.device
        shape = len(keys), grid[0] * grid[1], self.codes
        state = self._begun(keys, shape, known, device)
        fixed = (
            None if drawing.order == "confidence" else order_of(drawing.order, keys, grid, self.codes, device)
        )
        free = int((state[:1] == self.vocabulary).sum())  # as many in each picture
        left = counts(free, drawing.steps, self.schedule)
        for step, (now, stay) in enumerate(zip([free, *left], left)):
            masked = state == self.vocabulary  # (M, N, G)
            logits = predict(state, now / (shape[1] * shape[2])).guided.float()
            number = uniform(keys, shape, f"codes of step {step}", device)
            chosen = drawing.code_temperature, drawing.code_top_k, drawing.code_top_p
            codes = torch.where(masked, pick(logits, number, *chosen), state)
            if watch is not None:
                watch(step, self._shown(state, keys), codes)
            later = fixed
            if later is None:
                cooled = drawing.order_temperature * (1 - (step + 1) / len(left))
                later = -confidence(
                    logits, codes, uniform(keys, shape, f"order of step {step}", device), cooled
                )
            order = later.where(masked, -math.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
            hidden = torch.zeros_like(masked).flatten(1).scatter(1, order[:, :stay], True)
            state = codes.masked_fill(hidden.view(shape), self.vocabulary)
        return state

    def _begun(
        self, keys: Sequence[int], shape: tuple[int, int, int], known: Known | None, device: torch.device
    ) -> Tensor:
        """Codes (M, N, G) before the first step: all masked, but for what is known and stays."""
        masked = torch.ones(shape, dtype=torch.bool, device=device)
        if known is None:
            return masked * self.vocabulary
        if known.keep is not None:
            masked &= ~known.keep
        if known.strength < 1:
            many = math.ceil(known.strength * int(masked[:1].sum()))
            place = uniform(keys, shape, "changed", device).where(masked, math.inf).flatten(1).argsort(dim=1)
            masked = torch.zeros_like(masked).flatten(1).scatter(1, place[:, :many], True).view(shape)
        return torch.where(masked, self.vocabulary, known.tokens.to(device))

    def _shown(self, state: Tensor, keys: Sequence[int]) -> Tensor:
        """Codes (M, N, G) with a random one where they are masked."""
        count, codes_of_token = state.shape[1:]
        shape = len(keys), count, codes_of_token
        codes = uniform(keys, shape, "shown", state.device) * self.vocabulary
        return torch.where(state == self.vocabulary, codes.long(), state)


def _rank(noise: Tensor, of: Tensor) -> Tensor:
    """Place of each number (T, G) among those of its picture, the least first; of: (T,), never falling."""
    flat, owner = noise.flatten(), of.repeat_interleave(noise.shape[1])
    order = flat.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]  # by picture, then by number
    first = torch.searchsorted(owner, owner)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return (rank - first).view_as(noise)
