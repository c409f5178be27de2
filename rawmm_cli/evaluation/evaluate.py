"""Evaluate: what a run can draw and what it can read, judged by something that never saw the model.

On a set with labels the judge is a support vector machine (scikit-learn) trained on the real training
pictures only and checked on the real held-out ones. Text -> image: the model gets a caption, must itself
write `<image>` and draw; right means that the judge sees the captioned class. Image -> text: the model gets a
held-out picture and writes greedily; right means that its text names the class, and no other. Where a grammar
wrote the captions, attributes are judged one by one (`attributes.py`). On any set: losses on held-out
documents."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..config import build
from ..config.model import Config
from ..core.batch import pack
from ..core.document import Document, Picture
from ..core.generate import CHUNK, Sampling, in_chunks
from ..core.loss import joint_loss
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
from ..data import images, prepared, sets
from ..data.stream import Stream, drawing, reading
from ..system import disk
from ..system.errors import CheckpointError, DataError
from ..system.seeds import key
from ..training.preview import captions_of, write_captions
from . import attributes

JUDGED = 10_000  # training pictures that the judge learns from, at most; its time grows with their square
HELD_OUT = 2_000  # held-out documents that are looked at, at most


def evaluate(
    model: RawModel,
    config: Config,
    data_folder: Path,
    *,
    trained_on: str | None = None,
    seed: int = 0,
    per_label: int = 100,
    prompts: int = 1000,
    keep: Path | None = None,
    settings: Sampling | None = None,
    told=lambda line: None,
) -> dict:
    """-> the results as one mapping (see `rawmm evaluate --json`). keep: folder for a sheet of pictures and
    captions.

    settings: other ones than the preset's. per_label, prompts: drawings of each class, or of captions where a
    grammar wrote them. trained_on: fingerprint of the run's data; raises CheckpointError where the prepared
    set is another by now."""
    data, held_out = sets.load(config, data_folder)
    if trained_on not in (None, prepared.joint_fingerprint(data)):
        raise CheckpointError(
            f"the set '{config.data.set}' has changed since the run was trained: what is held out now may "
            "have been learned; prepare the old data again, or train a new run"
        )
    train = data[0].first_pictures("train", JUDGED) if config.data.stream else data[0]
    settings = settings or build.sampling(config)
    started = time.perf_counter()
    if train.holds_documents:
        result = {"data": config.data.set, "held_out": document_losses(model, config, held_out, seed)}
        return {**result, "seconds": round(time.perf_counter() - started, 2)}
    result = {"data": config.data.set, "held_out": held_out_losses(model, config, held_out, seed)}
    labels = train.card.get("labels") or []
    if labels:
        judge = Judge(train)
        result["text_to_image"] = _draw(
            model, judge, captions_of(train, labels), labels, settings, seed, per_label, keep
        )
        result["image_to_text"] = _read(model, held_out, settings, keep, labels)
        result["judge"] = {
            "held_out_accuracy": judge.accuracy(held_out),
            "kind": "SVM on the real training pictures",
        }
    elif train.card.get("grammar"):
        result |= attributes.evaluate(
            model, settings, train, data_folder, seed=seed, count=prompts, keep=keep, told=told
        )
    elif any(held_out.captions):
        result["image_to_text"] = _read(model, held_out, settings, keep, None)
    result["seconds"] = round(time.perf_counter() - started, 2)
    return result


class Judge:
    """A classifier of real pictures: RBF support vector machine on the pixels, 0 to 1."""

    def __init__(self, train: prepared.Prepared):
        from sklearn.svm import SVC

        if len(set(zip(train.heights, train.widths))) != 1:
            raise DataError("the judge needs pictures of one size; prepare the set again with --size")
        at = some([i for i in range(len(train)) if train.labels[i] >= 0], JUDGED)
        self.classifier = SVC(C=10, gamma="scale").fit(
            _vectors([train.image(i) for i in at]), train.labels[at]
        )

    def __call__(self, pictures: list[torch.Tensor]) -> np.ndarray:
        """(3, H, W) uint8 pictures -> labels."""
        return self.classifier.predict(_vectors(pictures))

    def accuracy(self, data: prepared.Prepared) -> float:
        """Share of real pictures named right."""
        at = some([i for i in range(len(data)) if data.labels[i] >= 0], HELD_OUT)
        return float((self([data.image(i) for i in at]) == data.labels[at]).mean())


def some(rows: list[int], most: int) -> list[int]:
    """At most so many of them, at equal distances."""
    return [rows[n] for n in prepared.evenly_spaced(len(rows), most)]


def _vectors(pictures: list[torch.Tensor]) -> np.ndarray:
    return torch.stack(list(pictures)).flatten(1).numpy() / 255.0


def _draw(
    model,
    judge: Judge,
    prompted: list[str],
    labels: list[str],
    settings: Sampling,
    seed: int,
    per_label: int,
    keep,
) -> dict:
    wanted = np.repeat(np.arange(len(labels)), per_label)
    prompts = [[BOS, *model.tokenizer.encode(prompted[label])] for label in wanted]
    keys = [key(seed, "evaluate", n) for n in range(len(prompts))]
    # the model must open the picture itself; a few tokens more than it needs are allowed, and lose nothing if
    # unused
    documents = list(in_chunks(model, prompts, keys, replace(settings, max_text=4)))
    drawn = [picture_of(document) for document in documents]
    ended = float(np.mean([document[-2:] == [END_IMAGE, EOS] for document in documents]))
    blank = torch.zeros(3, *settings.size, dtype=torch.uint8)
    right = judge([blank if pixels is None else pixels for pixels in drawn]) == wanted
    right &= np.array([pixels is not None for pixels in drawn])
    if keep is not None:
        shown = [
            drawn[label * per_label + n] for n in range(min(6, per_label)) for label in range(len(labels))
        ]
        shown = [blank if pixels is None else pixels for pixels in shown]
        images.save_png(
            images.contact_sheet(shown, len(labels), zoom=max(1, 64 // settings.size[0])), keep / "drawn.png"
        )
        disk.write(keep / "drawn.json", json.dumps({"columns": len(labels), "captions": prompted}) + "\n")
    by_label = {labels[i]: round(float(right[wanted == i].mean()), 4) for i in range(len(labels))}
    return {
        "accuracy": float(right.mean()),
        "steps": settings.flat().get("steps"),
        "count": len(wanted),
        "solver": settings.flat().get("solver"),
        "guidance": settings.guidance,
        "without_picture": sum(p is None for p in drawn),
        "ended_after_picture": ended,
        "by_label": by_label,
    }


def _read(model, held_out: prepared.Prepared, settings: Sampling, keep, labels: list[str] | None) -> dict:
    at = some([i for i in range(len(held_out)) if any(held_out.captions[i])], HELD_OUT)
    said = write_captions(model, [held_out.image(i) for i in at], replace(settings, temperature=0.0))
    if labels:
        right = [named(text, labels) == held_out.labels[i] for i, text in zip(at, said)]
    else:
        right = [text.strip() in held_out.captions[i] for i, text in zip(at, said)]
    if keep is not None:
        _keep_read(keep, held_out, at, said, right)
    return {
        "accuracy": float(np.mean(right)),
        "count": len(at),
        "right_means": "names the class" if labels else "exact",
    }


def _keep_read(
    keep: Path, held_out: prepared.Prepared, at: list[int], said: list[str], right: list[bool], most: int = 40
):
    """The first held-out pictures, and up to a quarter of `most` that were read wrong."""
    (keep / "read").mkdir(parents=True, exist_ok=True)
    chosen = sorted(
        sorted(range(len(at)), key=lambda n: (right[n], n))[: most // 4] + list(range(most - most // 4))
    )
    entries = []
    for n in dict.fromkeys(n for n in chosen if n < len(at)):
        name = f"read/{n:04d}.png"
        images.save_png(held_out.image(at[n]), keep / name)
        entries.append(
            {"image": name, "truth": held_out.captions[at[n]][0], "said": said[n], "right": bool(right[n])}
        )
    disk.write_json(keep / "read.json", entries)


def named(text: str, labels: list[str]) -> int | None:
    """The one label whose name stands in the text as a word, or None where there is none or more than one."""
    found = [n for n, label in enumerate(labels) if re.search(rf"\b{re.escape(label)}\b", text)]
    return found[0] if len(found) == 1 else None


def held_out_losses(model: RawModel, config: Config, held_out: prepared.Prepared, seed: int) -> dict:
    """Losses on held-out documents, each picture once to read (with a caption) and once to draw.

    caption: nats per token of the captions that are read; bits_per_byte: the same per caption byte; image:
    the head's loss."""
    at = some(list(range(len(held_out))), HELD_OUT)
    read_sum = read_tokens = caption_bytes = drawn_sum = drawn_patches = 0.0
    for start in range(0, len(at), CHUNK):
        chunk = [
            (held_out.image(i), held_out.captions[i][0] if held_out.captions[i] else "")
            for i in at[start : start + CHUNK]
        ]
        reads = [reading(pixels, caption, model.tokenizer.encode) for pixels, caption in chunk if caption]
        draws = [
            drawing(caption, pixels, key(seed, "held out", start + n), encode=model.tokenizer.encode)
            for n, (pixels, caption) in enumerate(chunk)
        ]
        if reads:
            # the first predicted token of a reading document is <image> itself, which says nothing of the
            # picture
            nats, tokens = _text_nats(model, reads, config.train.length)
            read_sum, read_tokens = read_sum + nats, read_tokens + tokens
            caption_bytes += sum(len(caption.encode()) for _, caption in chunk)
        with torch.inference_mode():
            batch = pack(draws, config.train.length, model.blocks).to(model.words.weight.device)
            patches = len(batch.patch_at)
            drawn_sum, drawn_patches = (
                drawn_sum + joint_loss(model, batch).image.item() * patches,
                drawn_patches + patches,
            )
    result = {"image": drawn_sum / drawn_patches, "count": len(at)}
    if read_tokens:
        result |= {
            "caption": read_sum / read_tokens,
            "bits_per_byte": read_sum / caption_bytes / float(np.log(2)),
        }
    return result


@torch.inference_mode()
def document_losses(model: RawModel, config: Config, held_out: prepared.PreparedDocuments, seed: int) -> dict:
    """Losses on held-out documents as they are. text: nats per predicted token; image: the head's loss, where
    some are drawn."""
    stream = Stream([held_out], seed, config.data, length=config.train.length, encode=model.tokenizer.encode)
    at, sums, counts = some(list(range(len(held_out))), HELD_OUT), [0.0, 0.0], [0, 0]
    for start in range(0, len(at), CHUNK):
        documents = [stream.finish(stream.sketch_of(0, i, i)) for i in at[start : start + CHUNK]]
        batch = pack(documents, config.train.length, model.blocks)
        losses = joint_loss(model, batch.to(model.words.weight.device))
        for n, (loss, learned) in enumerate(zip((losses.text, losses.image), batch.learned)):
            sums[n], counts[n] = sums[n] + loss.item() * learned, counts[n] + learned
    result = {"text": sums[0] / max(1, counts[0]), "count": len(at)}
    return result | ({"image": sums[1] / counts[1]} if counts[1] else {})


@torch.inference_mode()
def _text_nats(model: RawModel, documents: list[Document], length: int) -> tuple[float, int]:
    """Nats and count of all predicted tokens but `<image>`."""
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)
    logits = model.text(model.read(batch), batch.predict_at)
    nats = torch.nn.functional.cross_entropy(logits, batch.predict, reduction="none")
    counted = batch.predict != IMAGE
    return nats[counted].sum().item(), int(counted.sum())


def picture_of(document: Document) -> torch.Tensor | None:
    """The pixels of the first picture, or None."""
    return next((item.pixels for item in document if isinstance(item, Picture)), None)
