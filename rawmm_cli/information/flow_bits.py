"""Bits of pictures under a flow: its exact density of their values with uniform noise within their levels.

The mean of the density over a level is the probability of the level, so that the mean of its logarithm, which
is measured, is at most the logarithm of that (Theis et al. 2016, arXiv 1511.01844). Nothing else is
estimated."""

import torch
from torch import Tensor

from ..core.baselines.density import Density
from ..core.batch import pack, size
from ..core.document import Picture
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, IMAGE


def is_flow(model: RawModel) -> bool:
    """Whether the model has a density of pixels."""
    return isinstance(model.head, Density) and model.head.levels


@torch.no_grad()
def of_pictures(model: RawModel, images: Tensor, captions: list[str], keys: list[int]) -> Tensor:
    """Bits of each picture (M, 3, H, W) uint8 after its caption, at most: (M,) fp64. Noise depends on the
    keys alone."""
    documents = [
        [BOS, *(model.tokenizer.encode(text) if text else []), IMAGE, Picture(image, True)]
        for image, text in zip(images, captions)
    ]
    length = max(size(document, model.blocks) for document in documents)
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)
    tokens = model.encode(batch).unflatten(0, (len(images), -1))
    seen = model.head.corrupt(tokens.flatten(0, 1), batch.pictures)
    vectors = model.predictions(model(batch, seen.inputs, seen.time), batch)
    return model.head.bits(vectors, tokens, keys).double().cpu() * images[0].numel()
