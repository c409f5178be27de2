"""The generator without a cache: the whole document is computed again for every token and at every denoising
step.

It is the reference: simple to read, and what `generate.py` must equal.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..system.seeds import key
from .batch import pack, size
from .document import Batch, Canvas, Document, Picture
from .drawing import Predict, Sampling, guide, pictures_of, placed
from .generate import Work, choose, pictures
from .model import RawModel
from .parts import Prediction
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
        logits = model.text(model.read(batch), batch.last).cpu()  # (documents, V)
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
    """As `drawing.draw`."""
    predict = predictor(model, documents, sampling)
    images = pictures_of(model, predict, keys, sampling, None, canvas)
    return [placed(model, sampling, image, False, k) for k, image in zip(keys, images)]


def predictor(model: RawModel, documents: list[Document], sampling: Sampling) -> Predict:
    """As `drawing.predictor`."""
    blank = placed(model, sampling, torch.zeros(3, *sampling.size, dtype=torch.uint8), True)
    behind = _outputs(model, _pack(model, [[*document, blank] for document in documents]))
    without = _outputs(model, _pack(model, [[BOS, IMAGE, blank] for _ in documents]))
    whole = slice(0, len(model.blocks(*sampling.size).block))

    def predict(inputs: Tensor, time: float = 0.0, share: float = 1.0, at: slice = whole) -> Prediction:
        conditional = behind(inputs, time, at)
        if sampling.guidance == 1:
            return Prediction(conditional, conditional, conditional, 1.0)
        return guide(conditional, without(inputs, time, at), sampling.guidance, share)

    return predict


def _outputs(model: RawModel, batch: Batch) -> Callable[[Tensor, float, slice], Tensor]:
    """-> output(inputs (M, n, ...), time, at) of the drawn pictures of `batch`; the others are read clean."""
    pictures, ahead = batch.pictures, int(model.head.reads_ahead)
    drawn = pictures.drawn[pictures.picture_of]  # (T,)
    full = model.head.corrupt(model.encode(batch), pictures.read()).inputs  # (T, ...)

    def output(inputs: Tensor, time: float, at: slice) -> Tensor:
        known = full[drawn].unflatten(0, (len(inputs), -1))  # (M, N, ...)
        known[:, max(0, at.start - ahead) : at.stop - ahead] = inputs
        full[drawn] = known.flatten(0, 1)
        hidden = model(batch, full, pictures.drawn.float() * time)
        return model.predictions(hidden, batch)[drawn].float().unflatten(0, (len(inputs), -1))[:, at]

    return output


def _pack(model: RawModel, documents: list[Document]) -> Batch:
    length = max(size(document, model.blocks) for document in documents)
    return pack(documents, length, model.blocks).to(model.words.weight.device)
