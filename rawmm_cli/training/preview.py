"""Previews while training: fixed prompts drawn with fixed noise, and fixed held-out pictures read greedily.

    samples/step_00000500.png       a contact sheet, a column for each prompt
    samples/step_00000500.json      {"documents": ..., "prompts": [...],
                                     "held_out": {"held_out_text", "held_out_image"},
                                     "read": [{"picture", "truth", "written"}, ...]}
    samples/held_out.png            the pictures that are read, in that order

The same weights give the same bytes. Each file appears by a rename, whole or not at all, and the sheet before
its JSON. The report shows all of them as a timeline."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Union

import numpy as np
from torch import Tensor

from ..config import build
from ..config.data import Data
from ..config.model import Config
from ..core.document import Document
from ..core.drawing import Sampling, draw
from ..core.generate import in_chunks
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, IMAGE
from ..data import images
from ..data.prepared import Prepared, PreparedDocuments
from ..data.sets import class_captions
from ..data.stream import reading
from ..system import disk
from ..system.seeds import key
from .held_out import losses as held_out_losses

PROMPT = 200  # characters of a text that begins a document
COLUMN = 48  # pixels of a picture on a sheet, about
Beginning = list[Union[str, Tensor]]  # text, and pictures (3, H, W) uint8 that are read
ROWS = 4  # drawings of each prompt


def preview(
    config: Config,
    model: RawModel,
    data: Prepared,
    held_out: Prepared,
    folder: Path | None,
    at: tuple[int, int],
    lines: int = ROWS,
) -> tuple[Path | None, dict[str, float]]:
    """Draw, read and measure losses, and write all into `folder` (samples/) -> the path of the contact sheet,
    and the losses on held-out documents.

    at: documents and steps so far. lines: drawings of each prompt. folder None: do the same work and write
    nothing; a sharded model needs every rank, and one of them writes."""
    documents, step = at
    prompts, rows = sheet_prompts(data) if config.head.draws else {}, []
    sheet = sample_sheet(config, model, list(prompts.values()), lines) if prompts else _nothing_drawn(config)
    if config.data.read and not held_out.holds_documents:
        rows = rows_to_read(held_out, fits=partial(_has_room, config, model, held_out))
    pictures = [held_out.image(row) for row in rows]
    truth = [[caption for caption in held_out.captions[row] if caption] for row in rows]
    written = write_captions(model, pictures, _settings_for(config, model, truth), config.data)
    losses = held_out_losses(model, config, held_out)
    if folder is None:
        return None, losses
    folder.mkdir(parents=True, exist_ok=True)
    if rows:
        images.save_png(_sheet(config, pictures, len(rows)), folder / "held_out.png")
    path = folder / f"step_{step:08d}.png"
    images.save_png(sheet, path)
    read = [
        {"picture": row, "truth": captions, "written": text}
        for row, captions, text in zip(rows, truth, written)
    ]
    note = {"documents": documents, "step": step, "prompts": list(prompts), "held_out": losses, "read": read}
    disk.write_json(path.with_suffix(".json"), note)
    return path, losses


def cost(config: Config, data: Prepared, documents: int) -> tuple[float, float]:
    """What a sheet is expected to take: as many seconds as so many training steps take, and so many more. A
    forward pass is a third of a step; calls of one network with few rows cost about 20 ms each. documents:
    whose losses are measured beside it."""
    settings = build.sampling(config)
    passes = settings.flat().get("steps") or 1
    drawings = ROWS * len(sheet_prompts(data)) if config.head.draws else 0
    each = 2 if settings.guidance != 1 else 1
    forward = drawings * each * passes / 2 + documents / 3
    return forward / config.train.batch, 0.02 * (passes + 32)


def _settings_for(config: Config, model: RawModel, truth: list[list[str]]) -> Sampling:
    """Settings of reading: twice the longest caption is enough, for a young model does not know when to
    end."""
    lengths = [len(model.tokenizer.encode(caption)) for captions in truth for caption in captions]
    return build.sampling(config, max_text=min(config.sample.max_text, 2 * max(lengths, default=0) + 8))


def sheet_prompts(data: Prepared | PreparedDocuments, most: int = 10) -> dict[str, Beginning]:
    """Fixed prompts by what they are called: captions of the classes, or else the first different captions;
    of documents what stands before the first picture that they draw."""
    if data.holds_documents:
        beginnings = map(_beginning, [data] * len(data), range(len(data)))
        if not hasattr(data, "pieces"):  # a stream
            beginnings = ([text[:PROMPT]] for text in data.all_texts())
    elif (labels := data.card.get("labels")) and hasattr(data, "labels"):
        beginnings = ([caption] for caption in class_captions(data, labels))
    else:
        beginnings = ([caption] for caption in data.all_texts() if caption)
    prompts: dict[str, Beginning] = {}
    for beginning in islice(beginnings, 1000):
        prompts.setdefault(
            "".join(part if isinstance(part, str) else "[picture]" for part in beginning), beginning
        )
        if len(prompts) == most:
            break
    return prompts or {"": [""]}


def _beginning(data: PreparedDocuments, row: int) -> Beginning:
    """Text and pictures of a document before the first picture that it draws; of one that draws none its
    first text."""
    parts: Beginning = []
    for piece in data.pieces(row):
        if isinstance(piece, str):
            parts.append(piece[:PROMPT])
        elif piece[2]:
            return parts
        else:
            parts.append(data.image(row, sum(isinstance(part, Tensor) for part in parts)))
    return [next((part for part in parts if isinstance(part, str)), "")]


def sample_sheet(
    config: Config, model: RawModel, beginnings: Sequence[Beginning], rows: int = ROWS
) -> np.ndarray:
    """The prompts, each drawn `rows` times with fixed noise -> one contact sheet (H, W, 3) uint8, a column
    for each prompt."""
    prompts = [_prompt(config, model, beginning) for _ in range(rows) for beginning in beginnings]
    keys = [key(0, "sheet", n) for n in range(len(prompts))]
    pictures = draw(model, prompts, keys, build.sampling(config))
    return _sheet(config, [picture.pixels for picture in pictures], len(beginnings))


def _prompt(config: Config, model: RawModel, beginning: Beginning) -> Document:
    document: Document = [BOS]
    for part in beginning:
        if isinstance(part, str):
            document += model.tokenizer.encode(part)
        else:
            document += reading(part, "", settings=config.data)[1:-1]
    return [*document, IMAGE]


def _nothing_drawn(config: Config) -> np.ndarray:
    """The sheet of a model that only reads: one white picture."""
    return np.full((config.data.size, config.data.size, 3), 255, np.uint8)


def _sheet(config: Config, pictures: list[Tensor], columns: int) -> np.ndarray:
    return images.contact_sheet(pictures, columns, zoom=max(1, COLUMN // config.data.size))


def rows_to_read(
    held_out: Prepared, most: int = 8, fits: Callable[[int], bool] = lambda row: True
) -> list[int]:
    """Fixed pictures that have a caption: the first of every different caption, then the first of the
    others. fits(row): whether the model has room for a picture."""
    captions = {
        row: next(filter(None, captions))
        for row, captions in enumerate(held_out.captions)
        if any(captions) and fits(row)
    }
    first = {caption: row for row, caption in reversed(captions.items())}.values()
    return (sorted(first) + sorted(set(captions) - set(first)))[:most]


def _has_room(config: Config, model: RawModel, held_out: Prepared, row: int) -> bool:
    """Whether the context has room for a text after a picture."""
    picture = model.blocks(int(held_out.heights[row]), int(held_out.widths[row]))
    return len(picture.block) + 3 < config.sample.context  # <bos>, <image>, </image>


def write_captions(
    model: RawModel, pictures: list[Tensor], settings: Sampling, data: Data = Data()
) -> list[str]:
    """What the model writes after reading each picture (3, H, W) uint8, without control tokens. data:
    settings of the run, which place the pictures."""
    prompts: list[Document] = [reading(pixels, "", settings=data)[:-1] for pixels in pictures]
    keys = [key(0, "caption", n) for n in range(len(prompts))]
    documents = in_chunks(model, prompts, keys, replace(settings, max_pictures=0))
    return [
        model.tokenizer.decode([item for item in document[4:] if isinstance(item, int)])
        for document in documents
    ]
