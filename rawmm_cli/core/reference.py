"""The generator without a cache: the whole document is computed again for every token and at every denoising
step.

It is the reference: simple to read, and what `generate.py` must equal.
"""

import torch
from torch import Tensor

from ..system.seeds import key
from .batch import pack, size
from .document import Batch, Canvas, Document, Picture
from .generate import Sampling, Work, choose, guide, pictures, pictures_of, stretched
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
    predict = predictor(model, documents, sampling)
    images = pictures_of(model, predict, keys, sampling, None, canvas)
    return [Picture(image, False, k, stretched(model, sampling)) for k, image in zip(keys, images)]


def predictor(model: RawModel, documents: list[Document], sampling: Sampling):
    """As `generate.predictor`."""
    blank = Picture(torch.zeros(3, *sampling.size, dtype=torch.uint8), True, 0, stretched(model, sampling))
    seen = _outputs(model, _pack(model, [document + [blank] for document in documents]))
    unseen = _outputs(model, _pack(model, [[BOS, IMAGE, blank] for _ in documents]))

    def predict(inputs: Tensor, time: float = 0.0, share: float = 1.0) -> tuple[Tensor, Tensor]:
        plain = seen(inputs, time)
        if sampling.guidance == 1 or share == 0:
            return plain, plain
        return guide(plain, unseen(inputs, time), sampling.guidance, share), plain

    return predict


def _outputs(model: RawModel, batch: Batch):
    """-> output(inputs (M, N, ...), time) of the drawn pictures of `batch`; those that are read stay clean at
    time 0."""
    of = batch.pictures.picture_of
    drawn = batch.pictures.drawn[of]  # (T,)
    clean = model.clean(batch)  # (T, P)

    def output(inputs: Tensor, time: float) -> Tensor:
        full = clean.clone()
        full[drawn] = inputs.flatten(0, 1)
        hidden = model(batch, full, batch.pictures.drawn.float() * time)
        return model.patches(hidden, batch)[drawn].float().unflatten(0, inputs.shape[:2])

    return output


def _pack(model: RawModel, documents: list[Document]) -> Batch:
    length = max(size(document, model.codec.grid, model.head.causal) for document in documents)
    return pack(documents, length, model.codec.grid, model.head.causal).to(model.words.weight.device)
