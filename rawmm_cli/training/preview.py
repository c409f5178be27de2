"""What a model can do now: fixed prompts drawn with fixed noise, and fixed held-out pictures read greedily.

    samples/step_00000500.png       a contact sheet, a column a prompt
    samples/step_00000500.json      {"documents": ..., "prompts": [...],
                                     "read": [{"picture", "truth", "written"}, ...]}
    samples/held_out.png            the pictures that are read, in that order

Nothing is drawn by lot: the same weights give the same bytes. Each file appears by a rename, whole or not at
all, and the picture before its JSON. The report shows all of them as a timeline."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from ..config import build
from ..config.model import Config
from ..core.document import Document, Picture
from ..core.generate import Sampling, draw, in_chunks
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE
from ..data import images, prepared
from ..data.stream import drawing
from ..system import disk
from ..system.seeds import key

PROMPT = 200  # characters of a text that begins a document
COLUMN = 48  # pixels of a small picture on a sheet, about


def preview(
    config: Config,
    model: RawModel,
    data: prepared.Prepared,
    held_out: prepared.Prepared,
    folder: Path | None,
    documents: int,
    step: int,
) -> Path | None:
    """Draw and read, and write all of it into `folder` (samples/) -> the path of the contact sheet.

    folder None: do the same work and write nothing; a sharded model needs every rank, and one of them
    writes."""
    settings = build.sampling(config)
    captions = sheet_captions(data)
    sheet = sample_sheet(config, model, captions)
    shown = to_read(held_out) if config.data.read and not held_out.holds_documents else []
    truth = [[caption for caption in held_out.captions[index] if caption] for index in shown]
    longest = max(
        (len(model.tokenizer.encode(caption)) for captions in truth for caption in captions), default=0
    )
    enough = replace(
        settings, max_text=min(settings.max_text, 2 * longest + 8)
    )  # a young model does not know when to end
    written = write_captions(model, [held_out.image(index) for index in shown], enough)
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if shown:
        zoom = max(1, COLUMN // config.data.size)
        images.save_png(
            images.contact_sheet([held_out.image(index) for index in shown], len(shown), zoom=zoom),
            folder / "held_out.png",
        )
    path = folder / f"step_{step:08d}.png"
    images.save_png(sheet, path)
    read = [
        {"picture": index, "truth": told, "written": text} for index, told, text in zip(shown, truth, written)
    ]
    note = {"documents": documents, "step": step, "prompts": captions, "read": read}
    disk.write_json(path.with_suffix(".json"), note)
    return path


def sheet_captions(data: prepared.Prepared, most: int = 10) -> list[str]:
    """Fixed prompts: captions of the classes, or else the first different captions, or beginnings of
    texts."""
    if data.holds_documents:
        found = (texts[0][:PROMPT] for texts in data.texts if texts)
    elif (labels := data.card.get("labels")) and hasattr(data, "labels"):
        found = captions_of(data, labels)
    else:
        found = data.all_texts()
    return list(dict.fromkeys(filter(None, islice(found, 1000))))[:most] or [""]


def captions_of(train: prepared.Prepared, labels: list[str]) -> list[str]:
    """A caption of every class: what its first training picture says, or its name where that says nothing."""
    first = {int(label): row for row, label in reversed(list(enumerate(train.labels)))}
    said = [
        next(filter(None, train.captions[first[n]]), None) if n in first else None for n in range(len(labels))
    ]
    return [caption or label for caption, label in zip(said, labels)]


def sample_sheet(config: Config, model: RawModel, captions: list[str], rows: int = 4):
    """The fixed prompts, drawn `rows` times with fixed noise -> one contact sheet (H, W, 3) uint8, a column a
    prompt."""
    blank = torch.zeros(3, config.data.size, config.data.size, dtype=torch.uint8)
    prompts = [
        drawing(caption, blank, 0, encode=model.tokenizer.encode) for _ in range(rows) for caption in captions
    ]
    prompts = [prompt[: prompt.index(IMAGE) + 1] for prompt in prompts]
    pictures = draw(model, prompts, [key(0, "sheet", n) for n in range(len(prompts))], build.sampling(config))
    return images.contact_sheet(
        [picture.pixels for picture in pictures], len(captions), zoom=max(1, COLUMN // config.data.size)
    )


def to_read(held_out: prepared.Prepared, most: int = 8) -> list[int]:
    """Fixed pictures: the first of every different caption, then the first of the others; each has a
    caption."""
    having = {
        index: next(filter(None, captions))
        for index, captions in enumerate(held_out.captions)
        if any(captions)
    }
    first = {caption: index for index, caption in reversed(having.items())}.values()
    return (sorted(first) + sorted(set(having) - set(first)))[:most]


def write_captions(
    model: RawModel, pictures: list[torch.Tensor], settings: Sampling, seed: int = 0
) -> list[str]:
    """What the model writes after reading each picture (3, H, W); control tokens are left out."""
    prompts: list[Document] = [[BOS, IMAGE, Picture(pixels, False), END_IMAGE] for pixels in pictures]
    keys = [key(seed, "caption", n) for n in range(len(prompts))]
    documents = in_chunks(model, prompts, keys, replace(settings, max_pictures=0))
    return [
        model.tokenizer.decode([item for item in document[4:] if isinstance(item, int)])
        for document in documents
    ]
