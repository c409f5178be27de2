"""The model: fill the sequence with words and patches, run the backbone, read the two outputs.

text tokens -> embedding          -> backbone (causal over text, bidirectional in a picture) -> next token
patches     -> linear (+ time)    ->                                                         -> clean patches
"""

import torch
from torch import Tensor, nn

from .document import Batch
from .layers import RMSNorm
from .text_tokenizer import Bytes


class RawModel(nn.Module):
    """A codec, an image head and a backbone of `width`, joined by one sequence."""

    def __init__(
        self, codec: nn.Module, head: nn.Module, backbone: nn.Module, make_mask, vocabulary: int, width: int
    ):
        super().__init__()
        self.codec, self.head, self.backbone, self.make_mask = codec, head, backbone, make_mask
        self.tokenizer = Bytes()  # or BytePairs, given by who loads or trains the model
        self.words = nn.Embedding(vocabulary, width)
        self.norm = RMSNorm(width)
        self.text_out = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.words.weight, std=0.5)
        nn.init.zeros_(self.text_out.weight)

    def clean(self, batch: Batch) -> Tensor:
        """The batch's pictures as clean patches (T, P), in flat order."""
        groups = [self.codec.encode(images).flatten(0, 1) for images in batch.images]
        return torch.cat(groups) if groups else torch.zeros(0, self.codec.values, device=batch.tokens.device)

    def forward(self, batch: Batch, inputs: Tensor, time: Tensor, cache=None) -> Tensor:
        """Patches (T, P) of pictures at times (M,) fill their places -> hidden (B L, D).

        cache: what was computed before of the same documents (`cache.py`); the batch then holds new positions
        alone."""
        x = self.words(batch.tokens)  # (B, L, D)
        if cache is None or len(batch.patch_at):  # what is written token by token has none
            patches = self.head.embed(inputs, time, batch.pictures.picture_of).to(x.dtype)  # (T, D)
            x = (
                x.flatten(0, 1).index_copy(0, batch.patch_at, patches).view_as(x).clone()
            )  # a view would compile a second time
        mask = self.make_mask(batch.labels) if cache is None else cache.mask[: len(x)]
        x = self.backbone(x, batch.position, mask, cache and cache.layers)  # (B, L, D)
        return self.norm(x.flatten(0, 1))

    def text(self, hidden: Tensor, at: Tensor) -> Tensor:
        """Hidden (B L, D) at flat positions (K,) -> logits of the next token (K, V), fp32."""
        return self.text_out(hidden.index_select(0, at)).float()

    def patches(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Hidden (B L, D) -> the head's prediction for every patch (T, P)."""
        return self.head.output(hidden.index_select(0, batch.patch_at))


def count_parameters(model: RawModel) -> dict[str, int]:
    """Parameters by part, and their total."""

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    parts = {
        "text": size(model.words) + size(model.text_out),
        "image": size(model.head),
        "backbone": size(model.backbone) + size(model.norm),
        "codec": size(model.codec),
    }
    return {"total": size(model), **parts}
