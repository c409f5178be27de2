"""The generator without a cache: the whole document is computed again for every token and at every denoising
step.

It is the reference: simple to read, and what `generate.py` must equal.
"""

import torch
from torch import Tensor

from ..system.seeds import key
from .batch import pack, size
from .document import Batch, Document, Picture
from .generate import Canvas, Sampling, Work, choose, guide, paint, pictures, stretched
from .model import RawModel
from .text_tokenizer import BOS, END_IMAGE, IMAGE


@torch.inference_mode()
def generate(model: RawModel, prompts: list[Document], keys: list[int], sampling: Sampling) -> list[Document]:
    """As `generate.generate`."""
    work = Work(model, prompts, sampling)
    while open_ones := [
        i for i, document in enumerate(work.documents) if document[-1] == IMAGE or work.writes(i)
    ]:
        drawing = [i for i in open_ones if work.documents[i][-1] == IMAGE]
        if drawing:
            seeds = [key(keys[i], "picture", pictures(work.documents[i])) for i in drawing]
            for i, picture in zip(
                drawing, draw(model, [work.documents[i] for i in drawing], seeds, sampling)
            ):
                work.documents[i] += [picture, END_IMAGE]
            continue
        batch = _pack(model, [work.documents[i] for i in open_ones])
        still = torch.zeros(len(batch.pictures.drawn), device=batch.tokens.device)
        logits = model.text(model(batch, model.clean(batch), still), batch.last).cpu()  # (documents, V)
        tokens = choose(
            logits,
            [work.full(i) for i in open_ones],
            [key(keys[i], "text", work.written[i]) for i in open_ones],
            sampling,
        )
        for i, token in zip(open_ones, tokens):
            work.add(i, token)
    return work.documents


@torch.inference_mode()
def draw(
    model: RawModel,
    documents: list[Document],
    keys: list[int],
    sampling: Sampling,
    canvas: Canvas | None = None,
) -> list[Picture]:
    """As `generate.draw`."""
    stretch = stretched(model, sampling)
    blank = Picture(torch.zeros(3, *sampling.size, dtype=torch.uint8), True, 0, stretch)
    seen = _denoiser(model, _pack(model, [document + [blank] for document in documents]))
    unseen = _denoiser(model, _pack(model, [[BOS, IMAGE, blank] for _ in keys]))
    (low, high), (rows, columns) = sampling.interval, model.codec.grid(*sampling.size)

    def denoise(z: Tensor, t: float) -> Tensor:
        clean = seen(z, t)
        return (
            clean
            if sampling.guidance == 1 or not low <= t <= high
            else guide(clean, unseen(z, t), sampling, rows * columns)
        )

    found = paint(model, denoise, keys, sampling, model.words.weight.device, None, canvas)
    return [Picture(image, False, k, stretch) for k, image in zip(keys, found)]


def _denoiser(model: RawModel, batch: Batch):
    """-> denoise(z (T drawn, P), t) over the drawn patches of `batch`; patches that are read stay clean at t
    = 0."""
    of = batch.pictures.picture_of
    drawn = batch.pictures.drawn[of]  # (T,)
    inputs = model.clean(batch)  # (T, P)

    def denoise(z: Tensor, t: float) -> Tensor:
        time = batch.pictures.drawn.float() * t  # (M,)
        full = inputs.clone()
        full[drawn] = z
        output = model.patches(model(batch, full, time), batch)[drawn]
        return model.head.clean(output, z, time[of[drawn]])

    return denoise


def _pack(model: RawModel, documents: list[Document]) -> Batch:
    length = max(size(document, model.codec.grid, model.head.causal) for document in documents)
    return pack(documents, length, model.codec.grid, model.head.causal).to(model.words.weight.device)
