"""Evaluator: losses on held-out documents, each packed as it was in training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ..config.model import Config
from ..core.batch import pack
from ..core.document import Batch, Document
from ..core.generate import CHUNK
from ..core.loss import joint_loss
from ..core.model import RawModel
from ..core.text_tokenizer import IMAGE
from ..data import lengths
from ..data.prepared import Prepared, PreparedDocuments
from ..data.stream import Stream, cut_text, drawing, reading
from ..information import flow_bits, masked_bits
from ..information.exact_bits import is_exact
from ..system.errors import DataError
from ..system.seeds import key
from .results import Values, of_ratio
from .subject import HELD_OUT, Subject, evenly, ids_of


@dataclass(frozen=True)
class PictureLosses:
    """image: the head's loss, where it draws. caption: nats per token of the captions that are read, and
    bits_per_byte the same per byte of them, where there are captions. count: pictures. bits_per_dim: exact
    bits of a value of a picture after its caption, where the model writes codes of pixels;
    bits_per_dim_bound: at most so many, where it says masked ones; bits_per_dim_density: by the density of a
    flow."""

    count: int
    image: float | None = None
    caption: float | None = None
    bits_per_byte: float | None = None
    bits_per_dim: float | None = None
    bits_per_dim_bound: float | None = None
    bits_per_dim_density: float | None = None
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class DocumentLosses:
    """text: nats per predicted token. image: the head's loss, where pictures are drawn. count: documents."""

    text: float
    count: int
    image: float | None = None


def measure(subject: Subject) -> dict[str, PictureLosses | DocumentLosses]:
    """Losses on the held-out split."""
    of = document_losses if subject.held_out.holds_documents else picture_losses
    loaded = subject.loaded
    return {"held_out": of(loaded.model, loaded.config, subject.held_out, subject.seed)}


@torch.inference_mode()
def picture_losses(model: RawModel, config: Config, held_out: Prepared, seed: int) -> PictureLosses:
    """Each picture once to read, where it has a caption, and once to draw."""
    rows, encode = evenly(_fitting(model, config, held_out), HELD_OUT), model.tokenizer.encode
    drawn = patches = tokens = bits = values = 0.0
    read: list[tuple[int, float, int]] = []  # row, nats and bytes of a caption
    bounds, flow = masked_bits.is_bound(model), flow_bits.is_flow(model)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        chunk = [(held_out.image(row), _caption(model, config, held_out, row)) for row in part]
        reads = [
            reading(pixels, caption, encode, config.data)
            for pixels, caption in chunk
            if caption and config.baseline is None  # which reads nothing
        ]
        draws = [
            drawing(caption, pixels, key(seed, "held out", start + n), encode=encode, settings=config.data)
            for n, (pixels, caption) in enumerate(chunk)
        ]
        if reads:
            nats, count = _caption_nats(model, _packed(model, config, reads), len(reads))
            captions = [(row, len(text.encode())) for row, (_, text) in zip(part, chunk) if text]
            read += [(row, one, size) for one, (row, size) in zip(nats, captions)]
            tokens += count
        if config.head.draws:
            batch = _packed(model, config, draws)
            drawn += joint_loss(model, batch).image.item() * len(batch.patch_at)
            patches += len(batch.patch_at)
        bits += sum(_bounds(model, chunk, seed, start)) if bounds or flow else 0
        values += sum(pixels.numel() for pixels, _ in chunk)
    image = drawn / patches if patches else None
    exact = image / math.log(2) if image is not None and is_exact(model) else None
    pixels = {"bits_per_dim": exact, "bits_per_dim_bound": bits / values if bounds else None}
    pixels["bits_per_dim_density"] = bits / values if flow else None
    if not read:
        return PictureLosses(len(rows), image, **pixels)
    numbers, nats, sizes = zip(*read)
    each = of_ratio(ids_of(held_out, numbers), [one / math.log(2) for one in nats], sizes)
    caption, a_byte = sum(nats) / tokens, sum(nats) / sum(sizes) / math.log(2)
    return PictureLosses(len(rows), image, caption, a_byte, **pixels, values={"bits_per_byte": each})


def _bounds(
    model: RawModel, chunk: Sequence[tuple[torch.Tensor, str]], seed: int, start: int
) -> Iterator[float]:
    """Bits of each picture after its caption, at most; those of one size together."""
    sizes = {pixels.shape for pixels, _ in chunk}
    for members in ([n for n, (pixels, _) in enumerate(chunk) if pixels.shape == size] for size in sizes):
        images, captions = torch.stack([chunk[n][0] for n in members]), [chunk[n][1] for n in members]
        keys = [key(seed, "held out", start + n) for n in members]
        bits = flow_bits if flow_bits.is_flow(model) else masked_bits
        yield from bits.of_pictures(model, images, captions, keys).tolist()


@torch.inference_mode()
def document_losses(
    model: RawModel, config: Config, held_out: PreparedDocuments, seed: int
) -> DocumentLosses:
    """Documents as they are, with as many pictures to draw as they have."""
    tokens = model.tokenizer.encode
    as_they_are = config.data.model_copy(update={"shift": 0, "finished": 0.0})
    stream = Stream(
        [held_out], seed, as_they_are, length=config.train.length, encode=tokens, blocks=model.blocks
    )
    rows, sums, counts = evenly(_fitting(model, config, held_out), HELD_OUT), [0.0, 0.0], [0, 0]
    for start in range(0, len(rows), CHUNK):
        documents = [stream.finish(stream.plan_of(0, row, row)) for row in rows[start : start + CHUNK]]
        batch = _packed(model, config, documents)
        losses = joint_loss(model, batch)
        for n, (loss, learned) in enumerate(zip((losses.text, losses.image), batch.learned)):
            sums[n], counts[n] = sums[n] + loss.item() * learned, counts[n] + learned
    image = sums[1] / counts[1] if counts[1] else None
    return DocumentLosses(sums[0] / max(1, counts[0]), len(rows), image)


def _fitting(model: RawModel, config: Config, held_out: Prepared | PreparedDocuments) -> Sequence[int]:
    """Rows that are evaluated: with data.long = cut all, else those that fit into train.length.

    Raises DataError where `data.long` says nothing about those that do not, or none does."""
    long = lengths.too_long(config, held_out, model.tokenizer.encode, model.blocks)
    if not long or config.data.long == "cut":
        return range(len(held_out))
    if lengths.policy(config) == "error" or len(long) == len(held_out):
        raise DataError(f"{lengths.first(config, held_out, long)}; {lengths.REMEDY}")
    return [row for row in range(len(held_out)) if row not in long]


def _caption(model: RawModel, config: Config, held_out: Prepared, row: int) -> str:
    """The first caption of a picture, "" where it has none; with data.long = cut what fits of it."""
    caption = held_out.captions[row][0] if held_out.captions[row] else ""
    picture = len(model.blocks(int(held_out.heights[row]), int(held_out.widths[row])).block)
    room = config.train.length - picture - lengths.PICTURE
    if config.data.long != "cut" or len(caption.encode()) <= room:
        return caption
    tokens = cut_text(model.tokenizer.encode(caption), room)
    while len(model.tokenizer.encode(text := model.tokenizer.decode(tokens))) > room:
        tokens = tokens[:-1]  # the beginning of a text may have another spelling than the whole
    return text


def _packed(model: RawModel, config: Config, documents: Sequence[Document]) -> Batch:
    batch = pack(documents, config.train.length, model.blocks)
    return batch.to(model.words.weight.device)


def _caption_nats(model: RawModel, batch: Batch, documents: int) -> tuple[list[float], int]:
    """Nats of each document, and the count, of all predicted tokens but the first of a document, `<image>`,
    which says nothing of the picture."""
    logits = model.text(model.read(batch), batch.predict_at)
    nats = torch.nn.functional.cross_entropy(logits, batch.predict, reduction="none")
    counted, of = batch.predict != IMAGE, batch.labels.document.flatten()[batch.predict_at + 1]
    sums = torch.zeros(documents, dtype=torch.float64)
    sums.index_add_(0, of[counted].cpu(), nats[counted].double().cpu())
    return sums.tolist(), int(counted.sum())
