"""Bits of pictures under a model that says masked codes: a bound.

Of L codes let k be masked, each k from 1 to L as likely, and each choice of k codes too. Then

    -log p(codes) <= E over k and masks of (L / k) sum over the masked codes of -log p(code | the others)

(Uria et al. 2014, arXiv 1310.1757; Hoogeboom et al. 2022, arXiv 2110.02037). It is MD4's bound (arXiv
2406.04329) in its limit, where all are masked at the start and none at the end; that of training stops 1e-4
before both. Where the codec is exact to the bit (sub-pixels), it bounds the bits of the picture. The estimate
takes k from strata, and after each k the k that mirrors it, with a mask that mirrors the first."""

import math
from typing import cast

import torch
from torch import Tensor

from ..codecs.subpixels import SubPixels
from ..core.batch import pack, size
from ..core.document import Picture
from ..core.heads.masked import MaskedHead
from ..core.model import RawModel
from ..core.noise import normal
from ..core.text_tokenizer import BOS, IMAGE
from ..system.seeds import random


def is_bound(model: RawModel) -> bool:
    """Whether the bound of the codes is one of the pixels."""
    return isinstance(model.head, MaskedHead) and isinstance(model.codec, SubPixels)


@torch.no_grad()
def of_pictures(
    model: RawModel, images: Tensor, captions: list[str], keys: list[int], strata: int = 8
) -> Tensor:
    """Bits of each picture (M, 3, H, W) uint8 after its caption, at most: (M,) fp64.

    strata: equal parts of the numbers of masked codes, with two masks in each. Masks depend on the keys
    alone."""
    documents = [
        [BOS, *(model.tokenizer.encode(text) if text else []), IMAGE, Picture(image, True)]
        for image, text in zip(images, captions)
    ]
    length = max(size(document, model.blocks) for document in documents)
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)
    codes, head = model.encode(batch), cast(MaskedHead, model.head)  # codes (M N, G)
    total, each = torch.zeros(len(keys), dtype=torch.float64), codes.numel() // len(keys)
    for stratum in range(strata):
        share = [(stratum + random(key, f"share {stratum}").random()) / strata for key in keys]
        many = 1 + (torch.tensor(share, dtype=torch.float64) * each).long()  # 1 .. L, as likely each
        noise = normal(keys, [each] * len(keys), 1, f"masks {stratum}", codes.device).view(len(keys), each)
        place = noise.argsort(1).argsort(1)  # of each code in a random order
        for count, first in ((many, place), (each + 1 - many, each - 1 - place)):
            masked = first < count.to(codes.device)[:, None]  # (M, L)
            inputs = codes.masked_fill(masked.view_as(codes), head.vocabulary)
            time = (count / each).float().to(codes.device)
            logits = model.predictions(model(batch, inputs, time), batch)
            nats = (head.nats(logits, codes).view_as(masked) * masked).sum(1).double().cpu()
            total += nats * each / count
    return total / (2 * strata) / math.log(2)
