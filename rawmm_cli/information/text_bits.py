"""Bits of text under a model, by its next-token loss: captions alone, or given their pictures.

Both count the text and its end (`<image>` or `<eos>`), given that there is a text: the probability of the
first token is renormalised over text tokens."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.batch import pack, size
from ..core.document import Document
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
from ..data.stream import reading
from ..runs.models import Loaded

BATCH = 16  # documents in a batch


@dataclass(frozen=True)
class TextBits:
    """Bits a byte of UTF-8 text. standard_error: of a ratio of sums over texts; None of a single text. kind:
    exact for a model of bytes; an upper bound for learned pieces, as only one of several spellings counts."""

    bits_per_byte: float
    standard_error: float | None
    kind: str
    texts: int
    bytes: int


@torch.inference_mode()
def of_texts(loaded: Loaded, images: list[Tensor] | None, captions: list[str]) -> TextBits | None:
    """Bits of captions given their pictures (3, H, W) uint8, or alone where `images` is None. None where
    there are no captions."""
    written = [n for n, text in enumerate(captions) if text]
    if not written:
        return None
    encode = loaded.model.tokenizer.encode
    documents = [
        [BOS, *encode(captions[n]), IMAGE] if images is None else reading(images[n], captions[n], encode)
        for n in written
    ]
    groups = [documents[start : start + BATCH] for start in range(0, len(documents), BATCH)]
    nats = torch.cat([_nats(loaded.model, group) for group in groups])
    counts = torch.tensor([len(captions[n].encode()) for n in written], dtype=torch.float64)
    ratio = float(nats.sum() / counts.sum())
    spread = (nats - ratio * counts).square().mean().sqrt() / counts.mean()
    error = float(spread / math.sqrt(max(1, len(written) - 1)))
    return TextBits(
        bits_per_byte=ratio / math.log(2),
        standard_error=error / math.log(2) if len(written) > 1 else None,
        kind="exact" if loaded.model.tokenizer.stored is None else "upper bound",
        texts=len(written),
        bytes=int(counts.sum()),
    )


def _nats(model: RawModel, documents: list[Document]) -> Tensor:
    """Nats of the text of each document and of its end, (n,) fp64."""
    length = max(size(document, model.blocks) for document in documents)
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)
    logits = model.text(model.read(batch), batch.predict_at)
    before = batch.tokens.flatten()[batch.predict_at]
    first = torch.isin(before, torch.tensor([BOS, END_IMAGE], device=logits.device))
    special = torch.zeros_like(logits[0], dtype=torch.bool).index_fill(
        0, torch.tensor([BOS, EOS, IMAGE, END_IMAGE], device=logits.device), True
    )
    logits = logits.masked_fill(first[:, None] & special, -math.inf)
    losses = F.cross_entropy(logits, batch.predict, reduction="none")
    losses = losses.masked_fill(first & (batch.predict == IMAGE), 0)  # of the picture that is read
    of = batch.labels.document.flatten()[batch.predict_at + 1]
    return torch.zeros(len(documents), dtype=torch.float64).index_add(0, of.cpu(), losses.double().cpu())
