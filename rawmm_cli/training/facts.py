"""Facts of the sets of a run, which settings that are `auto` follow from (`config/rules.py`); among them the
deviation of the vectors of a codec."""

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..config import presets
from ..config.facts import Facts
from ..config.fields import AUTO
from ..config.model import Config
from ..config.rules import MARKS
from ..config.tokens import FrozenCodec
from ..core.text_tokenizer import train_pairs
from ..data import prepared, sets
from ..data.codes import kept
from ..data.prepared import Prepared, PreparedDocuments
from ..data.streamed import Streamed
from ..runs import loading
from ..runs.codec import load_codec
from ..system.activity import doing
from ..system.errors import ConfigError, DataError

SAMPLED = 2_000  # texts that are encoded, to know how long they are as learned pieces
ENCODED, TOGETHER = 20_000, 64  # pictures that a codec encodes to measure its vectors, in all and at a time
PEEK = 500  # pictures of a stream whose captions are looked at


def facts_of(config: Config, data: Path) -> Facts:
    """Facts of the sets of a run. Raises DataError where one is missing, ConfigError of a stream without
    data.size."""
    if config.data.stream:
        return _of_stream(config, data)
    splits = {
        name: [prepared.load(data / name, split) for split in prepared.SPLITS]
        for name in (config.data.set, *config.data.mix)
    }
    own, everything = splits[config.data.set], [split for both in splits.values() for split in both]
    areas, texts, marks = (np.concatenate(column) for column in zip(*map(_rows, everything)))
    sizes = [_sizes(split) for split in everything]
    return Facts(
        name=config.data.set,
        rows=len(own[0]),
        sizes=dict(sum(sizes[: len(own)], Counter())),
        common=math.gcd(*(side for counts in sizes for pair in counts for side in pair)),
        areas=areas,
        texts=texts,
        amount=sum(_amount(both) for both in splits.values()),
        marks=marks,
        captions=int(np.count_nonzero(texts[: sum(map(len, own))])),
        different=_different(own),
        documents=own[0].holds_documents,
        pieces=cache(lambda vocabulary: _pieces(everything, texts, vocabulary)),
    )


def _different(splits: list[Prepared | PreparedDocuments]) -> int:
    """How many texts of a set are different, as its card says."""
    stated = (splits[0].card.get("captions") or {}).get("different")
    return len({text for split in splits for text in split.all_texts()}) if stated is None else stated


def _amount(splits: list[Prepared | PreparedDocuments]) -> int:
    """Bytes of all texts of a set: by its card their number times the median, or counted."""
    stated = splits[0].card.get("captions") or {}
    if stated.get("bytes"):
        return stated["count"] * stated["bytes"]["median"]
    return sum(len(text.encode()) for split in splits for text in split.all_texts())


def _sizes(split: Prepared | PreparedDocuments) -> Counter:
    """{(height, width): pictures}."""
    if split.holds_documents:
        return Counter(pair for rows in zip(split.heights, split.widths) for pair in zip(*rows))
    pairs, counts = np.unique(np.stack([split.heights, split.widths]), axis=1, return_counts=True)
    return Counter(
        {(height, width): count for (height, width), count in zip(pairs.T.tolist(), counts.tolist())}
    )


def _rows(split: Prepared | PreparedDocuments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, bytes of text and special tokens of every row."""
    if not split.holds_documents:
        areas = split.heights.astype(np.int64) * split.widths
        return areas, split.captions.longest(), np.full(len(split), MARKS)
    pictures = [list(zip(*row)) for row in zip(split.heights, split.widths, split.draw)]
    # a picture that is drawn may need a clean copy behind it
    areas = [sum(height * width * (1 + draw) for height, width, draw in row) for row in pictures]
    texts = [sum(len(text.encode()) for text in row) for row in split.texts]
    return np.array(areas, np.int64), np.array(texts), np.array([2 + 2 * len(row) for row in pictures])


def _pieces(splits: list[Prepared | PreparedDocuments], lengths: np.ndarray, vocabulary: int) -> np.ndarray:
    """Tokens of the texts of every row, which have these lengths in bytes, as learned pieces: exact of the
    SAMPLED longest ones, by the worst of their ratios of the others."""
    texts = islice((text for split in splits for text in split.all_texts()), sets.TEXTS)
    encode, places = train_pairs(texts, vocabulary).encode, np.argsort(-lengths)[:SAMPLED]
    starts = np.cumsum([0, *map(len, splits)])
    exact = []
    for place in places.tolist():
        number = int(np.searchsorted(starts, place, "right")) - 1
        split, row = splits[number], place - int(starts[number])
        if split.holds_documents:
            exact.append(sum(len(encode(text)) for text in split.texts[row]))
        else:
            exact.append(max((len(encode(text)) for text in split.captions[row]), default=0))
    tokens = np.array(exact)
    ratio = float((tokens / np.maximum(lengths[places], 1)).max(initial=0.0))
    counts = np.ceil(lengths * ratio).astype(np.int64)
    counts[places] = tokens
    return counts


def _of_stream(config: Config, data: Path) -> Facts:
    """Facts of the first pictures of a stream, none of which is decoded."""
    size = config.data.size
    if size == AUTO:
        raise ConfigError(
            "data.size = auto: a stream has no card that says how large its pictures are; give the side of "
            "the pictures to draw, as in data.size=64"
        )
    unknown = {"codec.patch": 1} if config.codec.patch == AUTO else {}  # nothing is decoded yet
    streamed = Streamed(presets.changed(config, unknown), data)
    if streamed.holds_documents and config.train.length == AUTO:
        raise ConfigError(
            "train.length = auto: how long the documents of a stream are is not known before they are read; "
            "give the positions of a row, as in train.length=512"
        )
    texts = list(islice(streamed.all_texts(PEEK), PEEK))
    streamed.hand_over()
    lengths = np.array([len(text.encode()) for text in texts] or [0])
    aspect = 1 if config.data.stream.crop == "center" else 2
    return Facts(
        name=config.data.set,
        rows=len(streamed),
        sizes={(size, size): len(streamed)},
        common=size,
        areas=np.full(len(lengths), aspect * size**2),
        texts=lengths,
        amount=int(lengths.mean() * len(streamed)),
        marks=np.full(len(lengths), MARKS),
        captions=len(streamed) if any(texts) else 0,
        different=len(set(texts)),
        documents=streamed.holds_documents,
        exact=False,
        pieces=lambda vocabulary: np.array(
            [*map(len, map(train_pairs(texts, vocabulary).encode, texts))] or [0]
        ),
    )


# ---------------------------------------------------------------------------------------------- frozen codecs


def attach_kept(config: Config, sets_trained_on: list) -> list[str]:
    """Give the sets of a run the tokens of their pictures that are kept -> lines for the user about pictures
    that are encoded while training."""
    codec, lines = config.codec, []
    if not isinstance(codec, FrozenCodec):
        return []
    for data in sets_trained_on:
        if config.data.stream:
            lines.append("pictures of a stream are encoded while training")
        elif not kept.attach(data, codec.hash, codec):
            name, others = data.folder.name, ", ".join(kept.others(data.folder))
            lines.append(
                f"pictures of '{name}' are encoded while training; `rawmm prepare {name} --codec "
                f"{codec.run}` keeps their tokens"
                + f" (those kept are of other codecs: {others})"
                * bool(others)
            )
        elif config.data.shift and (config.data.read or data.holds_documents):
            lines.append(
                f"tokens of '{data.folder.name}' are kept; the {config.data.shift_share:.0%} of the pictures "
                f"read that move (data.shift = {config.data.shift}) are encoded while training"
            )
    return lines


def with_deviation(config: Config, sets_trained_on: list, run: Path, device: torch.device) -> Config:
    """Settings in which `codec.deviation` is that of the training set; others unchanged.

    Inside the model the vectors of a codec are divided by it, so that noise of deviation 1 covers them as it
    covers pixels. run: of the model, beside which that of the codec lies."""
    if getattr(config.codec, "deviation", None) != AUTO:
        return config
    with doing("measuring the deviation of the codec's vectors"):
        if all(getattr(data, "kept", None) for data in sets_trained_on):
            value = _deviation([data.kept.spread() for data in sets_trained_on])
        else:
            codec = load_codec(loading.codec_run(run.parent, config.codec.run), device)
            value = deviation(codec, sets_trained_on, device)
    return presets.changed(config, {"codec.deviation": value})


@torch.no_grad()
def deviation(codec: torch.nn.Module, sets_trained_on: list, device: torch.device) -> float:
    """Standard deviation of all numbers of the vectors of a codec about their mean, over at most ENCODED
    pictures of each set, evenly spread; to 7 digits."""
    parts = []
    for images in _pictures(sets_trained_on):
        tokens = codec.encode(images.to(device)).double()
        parts.append((tokens.numel(), tokens.sum().item(), tokens.square().sum().item()))
    return _deviation(parts)


def _deviation(parts: list[tuple[int, float, float]]) -> float:
    """From numbers of values, their sums and the sums of their squares."""
    count, total, squares = (sum(column) for column in zip(*parts)) if parts else (0, 0.0, 0.0)
    if not count:
        raise DataError("the training set has no pictures, and a codec needs some; name another set")
    return float(f"{math.sqrt(max(squares / count - (total / count) ** 2, 1e-12)):.7g}")


def _pictures(sets_trained_on: list) -> Iterator[torch.Tensor]:
    """Pictures (m, 3, H, W) uint8 of one size each, at most TOGETHER at a time."""
    for data in sets_trained_on:
        data = data.first_pictures("train", ENCODED // 10) if isinstance(data, Streamed) else data
        places = [(row,) for row in range(len(data))]
        if data.holds_documents:
            places = [(row, n) for row in range(len(data)) for n in range(len(data.heights[row]))]
        waiting: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for n in prepared.evenly_spaced(len(places), ENCODED) if places else ():
            picture = data.image(*places[n])
            group = waiting.setdefault(tuple(picture.shape), [])
            group.append(picture)
            if len(group) == TOGETHER:
                yield torch.stack(waiting.pop(tuple(picture.shape)))
        yield from (torch.stack(group) for group in waiting.values())
