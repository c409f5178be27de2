"""Exact bits of pictures under a model that writes codes one after the other.

The probability of the codes of a picture is the product of the probabilities of each after those before it.
Where the codec is exact to the bit and each picture has its own codes (sub-pixels), it is that of the
picture. Nothing is estimated: no noise, no steps."""

import math

import torch
from torch import Tensor

from ..codecs.subpixels import SubPixels
from ..core.batch import pack, size
from ..core.document import Picture
from ..core.heads.autoregressive import AutoregressiveHead
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, IMAGE
from ..runs.models import Loaded
from ..system.errors import ConfigError


def is_exact(model: RawModel) -> bool:
    """Whether the probabilities of the codes are those of the pixels."""
    return isinstance(model.head, AutoregressiveHead) and isinstance(model.codec, SubPixels)


def check(loaded: Loaded, what: str) -> None:
    """Raise ConfigError where the model writes codes that say less than the picture."""
    if loaded.model.codec.discrete and not isinstance(loaded.model.codec, SubPixels):
        raise ConfigError(
            f"{what} needs a codec that loses nothing; {loaded.name} has codec.kind = "
            f"{loaded.config.codec.kind}, and bits of its codes are not those of the pictures; choose a "
            "model of codec.kind=subpixels or raw"
        )


@torch.no_grad()
def of_pictures(model: RawModel, images: Tensor, captions: list[str]) -> Tensor:
    """Bits of each picture (M, 3, H, W) uint8 after its caption -> (M,) fp64."""
    documents = [
        [BOS, *(model.tokenizer.encode(text) if text else []), IMAGE, Picture(image, True)]
        for image, text in zip(images, captions)
    ]
    length = max(size(document, model.blocks) for document in documents)
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)
    seen, head = model.head.corrupt(model.encode(batch), batch.pictures), model.head
    logits = model.predictions(model(batch, seen.inputs, seen.time), batch)
    nats = head.nats(logits, seen.target).double().cpu().view(len(images), -1)  # (M, N G)
    return nats.sum(1) / math.log(2)
