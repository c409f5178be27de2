"""The model: fill the sequence with words and image tokens, run the backbone, read the two outputs.

text tokens   -> embedding    -> backbone (causal over text, blocks in a picture) -> next token
image tokens  -> head.embed   ->                                                  -> head.output
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..system import machine
from ..system.errors import ConfigError
from .blocks import Blocks
from .document import Batch, Condition
from .layers import RMSNorm, Rows
from .parts import Codec, ContinuousCodec, DiscreteCodec, Head
from .text_tokenizer import Bytes


class RawModel(nn.Module):
    """A codec, an image head and a backbone of `width`, joined by one sequence."""

    def __init__(
        self,
        codec: Codec,
        head: Head,
        backbone: nn.Module,
        make_mask: Callable[..., Any],
        vocabulary: int,
        width: int,
    ):
        super().__init__()
        _check_condition(head, backbone)
        self.codec, self.head, self.backbone = codec, head, backbone
        self.sparse = {name: True for name in ("isolated", "strided") if getattr(backbone, name)}
        self.make_mask = partial(make_mask, **self.sparse) if self.sparse else make_mask
        self.blocks_of: dict[tuple[int, int], Blocks] = {}  # for every document that is packed
        self.tokenizer = Bytes()  # or BytePairs, given by who loads or trains the model
        self.words = nn.Embedding(vocabulary, width)
        self.norm = RMSNorm(width)
        self.text_out = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.words.weight, std=0.5)
        nn.init.zeros_(self.text_out.weight)

    def blocks(self, height: int, width: int) -> Blocks:
        """How a picture of H x W pixels stands in the sequence. Raises ValueError for a size that does not
        fit."""
        sides = height, width
        if sides not in self.blocks_of:
            self.blocks_of[sides] = self.head.blocks(*self.codec.grid(height, width))
        return self.blocks_of[sides]

    def encode(self, batch: Batch) -> Tensor:
        """The batch's pictures as image tokens (M N, P) or (M N, G), in flat order."""
        groups = [
            (images if images.ndim == 3 else self.codec.encode(images)).flatten(0, 1)  # or tokens already
            for images in batch.images
        ]
        if groups:
            return torch.cat(groups)
        device = batch.tokens.device
        if self.codec.discrete:
            return torch.zeros(0, cast(DiscreteCodec, self.codec).codes, dtype=torch.long, device=device)
        return torch.zeros(0, cast(ContinuousCodec, self.codec).values, device=device)

    def forward(self, batch: Batch, inputs: Tensor | None, time: Tensor | None, cache: Any = None) -> Tensor:
        """Inputs (T, ...) of pictures at times (M,) fill their positions -> hidden (B L, D).

        time: (1,) is that of all pictures. cache: what was computed before of the same documents
        (`cache.py`); the batch then holds new positions alone."""
        x, condition = self.words(batch.tokens), None  # (B, L, D)
        if inputs is not None and time is not None:  # what is written token by token has none
            patches = self.head.embed(inputs, time, batch.pictures).to(x.dtype)  # (T, D)
            with machine.unordered():
                filled = x.flatten(0, 1).index_copy(0, batch.patch_at, patches)
            x = filled.view_as(x).clone()  # a view would compile a second time
            condition = self._condition(batch, time)
        mask = self.make_mask(batch.labels) if cache is None else cache.mask[: len(x)]
        x = self.backbone(x, batch.position, mask, condition, cache and cache.layers)  # (B, L, D)
        return self.norm(x.flatten(0, 1))

    def _condition(self, batch: Batch, time: Tensor) -> Condition | None:
        vectors = self.head.condition(time)
        if vectors is None:
            return None
        number = 1 + batch.pictures.picture_of.clamp_max(max(0, len(vectors) - 1))  # (T,)
        with machine.unordered():
            of = torch.zeros_like(batch.tokens).flatten().index_copy(0, batch.patch_at, number)
        return Condition(vectors, of.view_as(batch.tokens))

    def read(self, batch: Batch, cache: Any = None) -> Tensor:
        """All pictures clean, as they are when they are read -> hidden (B L, D). cache: as in `forward`."""
        if cache is not None and not len(batch.patch_at):  # a token of text each
            return self(batch, None, None, cache)
        pictures = batch.pictures.read()
        corrupted = self.head.corrupt(self.encode(batch), pictures)
        return self(replace(batch, pictures=pictures), corrupted.inputs, corrupted.time, cache)

    def text(self, hidden: Tensor, at: Tensor) -> Tensor:
        """Hidden (B L, D) at flat positions (K,) -> logits of the next token (K, V), fp32."""
        return self.text_out(Rows.apply(hidden, at)).float()

    def predictions(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Hidden (B L, D) -> the head's prediction for every position of a picture (T, ...).

        A head that reads ahead needs a token before each picture, as `<image>` is."""
        at = (batch.patch_at - 1).clamp_min(0) if self.head.reads_ahead else batch.patch_at
        return self.head.output(Rows.apply(hidden, at), batch.pictures)


def _check_condition(head: Head, backbone: nn.Module) -> None:
    """Raise ConfigError where one of them modulates and the other does not."""
    gives, takes = head.condition(torch.zeros(1)) is not None, backbone.conditional
    if gives and not takes:
        raise ConfigError(
            f"{type(head).__name__} modulates the backbone by the time, and the layers of "
            f"{type(backbone).__name__} cannot be modulated"
        )
    if takes and not gives:
        raise ConfigError(
            f"the layers of {type(backbone).__name__} are modulated, and {type(head).__name__} gives nothing "
            "to modulate them by"
        )


def count_parameters(model: RawModel) -> dict[str, int]:
    """Parameters by part, and their total."""

    def size(module: Any) -> int:
        return sum(p.numel() for p in module.parameters())

    parts = {
        "text": size(model.words) + size(model.text_out),
        "image": size(model.head),
        "backbone": size(model.backbone) + size(model.norm),
        "codec": size(model.codec),
    }
    return {"total": size(model), **parts}
