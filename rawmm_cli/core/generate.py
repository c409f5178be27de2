"""Generate: prompt document -> text and pictures, in any order.

The model writes text until `<image>`; then all patches of the picture are drawn in parallel by a solver; the finished
picture takes its place, clean, and the model writes on. This generator recomputes the whole document at every step.
It is the reference: simple to read, and what any faster generator must equal.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .batch import pack
from .document import Batch, Document, Picture
from .errors import ConfigError
from .model import RawModel
from .noise import key, random
from .solvers import SOLVERS
from .text_tokenizer import BOS, END_IMAGE, EOS, IMAGE


@dataclass(frozen=True)
class Sampling:
    """How to draw and write. guidance 1 is none; interval: guide only at times inside it; temperature 0 is greedy."""

    steps: int = 10
    solver: str = "euler"
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    temperature: float = 0.0
    max_text: int = 64
    max_pictures: int = 1
    size: tuple[int, int] = (8, 8)
    context: int = 4096


@torch.inference_mode()
def generate(model: RawModel, prompts: list[Document], keys: list[int], sampling: Sampling) -> list[Document]:
    """Continue each prompt until `<eos>`, `max_text` written tokens or the end of the context -> the whole documents.

    keys: one seed a prompt. What a prompt becomes depends on its own key, never on the others in the batch."""
    if not all(prompts):
        raise ConfigError("an empty prompt document; allowed: at least <bos>")
    documents = [[_read(item) for item in prompt] for prompt in prompts]
    written = [0] * len(documents)
    rows, columns = model.codec.grid(*sampling.size)
    room = rows * columns + 2                                               # <image>, the picture, </image>

    def goes_on(i: int) -> bool:
        return documents[i][-1] == IMAGE or (documents[i][-1] != EOS and written[i] < sampling.max_text
                                             and _size(model, documents[i]) < sampling.context)

    while open_ones := [i for i in range(len(documents)) if goes_on(i)]:
        drawing = [i for i in open_ones if documents[i][-1] == IMAGE]
        if drawing:
            seeds = [key(keys[i], "picture", _pictures(documents[i])) for i in drawing]
            for i, picture in zip(drawing, draw(model, [documents[i] for i in drawing], seeds, sampling)):
                documents[i] += [picture, END_IMAGE]
            continue
        full = [_pictures(documents[i]) - _pictures(prompts[i]) >= sampling.max_pictures
                or _size(model, documents[i]) + room > sampling.context for i in open_ones]
        tokens = next_tokens(model, [documents[i] for i in open_ones], full,
                             [key(keys[i], "text", written[i]) for i in open_ones], sampling.temperature)
        for i, token in zip(open_ones, tokens):
            documents[i].append(token)
            written[i] += 1
    return documents


def _read(item):
    """Pictures of a prompt are there to be read."""
    return Picture(item.pixels, False, item.key) if isinstance(item, Picture) and item.draw else item


@torch.inference_mode()
def next_tokens(model: RawModel, documents: list[Document], no_picture: list[bool], keys: list[int],
                temperature: float) -> list[int]:
    """One more token for each document; `<image>` is not allowed where `no_picture`."""
    batch = _pack(model, documents)
    hidden = model(batch, model.clean(batch), torch.zeros(len(batch.pictures.drawn), device=batch.tokens.device))
    logits = model.text(hidden, batch.last).cpu()                           # (documents, V)
    logits[:, [BOS, END_IMAGE]] = -torch.inf
    logits[torch.tensor(no_picture), IMAGE] = -torch.inf
    if temperature == 0:
        return logits.argmax(-1).tolist()
    logits = logits.double() - logits.double().amax(-1, keepdim=True)      # so that a tiny temperature stays finite
    chances = (logits / temperature).softmax(-1).cumsum(-1).numpy()
    return [int(np.searchsorted(row, random(k).random() * row[-1], side="right")) for row, k in zip(chances, keys)]


@torch.inference_mode()
def draw(model: RawModel, documents: list[Document], keys: list[int], sampling: Sampling) -> list[Picture]:
    """Draw one picture at the end of each document (which ends with `<image>`) -> clean pictures to be read."""
    blank = torch.zeros(3, *sampling.size, dtype=torch.uint8)
    batch = _pack(model, [document + [Picture(blank, True, k)] for document, k in zip(documents, keys)])
    bare = _pack(model, [[BOS, IMAGE, Picture(blank, True, k)] for k in keys])
    seen, low, high = _denoiser(model, batch), *sampling.interval
    unseen = _denoiser(model, bare) if sampling.guidance != 1 else None

    def denoise(z: Tensor, t: float) -> Tensor:
        clean = seen(z, t)
        if unseen is None or not low <= t <= high:
            return clean
        other = unseen(z, t)
        return other + sampling.guidance * (clean - other)

    rows, columns = model.codec.grid(*sampling.size)
    times = [1 - step / sampling.steps for step in range(sampling.steps + 1)]
    patches = model.head.generate(denoise, keys, [rows * columns] * len(keys), SOLVERS[sampling.solver], times,
                                  batch.tokens.device)
    images = model.codec.decode(patches.unflatten(0, (len(keys), -1)), rows).cpu()
    return [Picture(image, False, k) for k, image in zip(keys, images)]


def _denoiser(model: RawModel, batch: Batch):
    """-> denoise(z (T drawn, P), t) over the drawn patches of `batch`; patches that are read stay clean at t = 0."""
    of = batch.pictures.picture_of
    drawn = batch.pictures.drawn[of]                                        # (T,)
    inputs = model.clean(batch)                                             # (T, P)

    def denoise(z: Tensor, t: float) -> Tensor:
        time = batch.pictures.drawn.float() * t                             # (M,)
        full = inputs.clone()
        full[drawn] = z
        output = model.patches(model(batch, full, time), batch)[drawn]
        return model.head.clean(output, z, time[of[drawn]])

    return denoise


def _pack(model: RawModel, documents: list[Document]) -> Batch:
    length = max(_size(model, document) for document in documents)
    return pack(documents, length, model.codec.grid, model.head.causal).to(model.words.weight.device)


def _size(model: RawModel, document: Document) -> int:
    grids = (model.codec.grid(*item.pixels.shape[1:]) for item in document if isinstance(item, Picture))
    return sum(1 for item in document if not isinstance(item, Picture)) + sum(rows * columns for rows, columns in grids)


def _pictures(document: Document) -> int:
    return sum(isinstance(item, Picture) for item in document)
