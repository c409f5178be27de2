"""Rows of several pictures in a stream: the documents that `prepare` makes of them, and what happens to long
and bad ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sources import pixels, png, prepare_source
from test_streamed import open_steps, settings

from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, decode
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.parquet import parquet
from rawmm_cli.data.images import ImageError
from rawmm_cli.data.loader import StreamedSteps
from rawmm_cli.system.errors import DataError

COUNT = 60
WORDS = ["data.size=8", "codec.patch=4", "train.length=96"]
MARKS = (BOS, IMAGE, END_IMAGE, EOS)


def row(number: int) -> tuple[list[bytes], str]:
    """Two, one or three pictures, and their caption."""
    return [png(3 * number + n) for n in range((2, 1, 3)[number % 3])], f"row {number}"


def truth(number: int) -> tuple[str, list[bytes]]:
    """Caption and pixels of a row."""
    images, text = row(number)
    return text, [pixels(3 * number + n).tobytes() for n in range(len(images))]


def write(folder: Path, changed: Mapping[int, tuple[list[bytes], str]] = MappingProxyType({})) -> Path:
    """COUNT rows in two files. changed: {number: another row}."""
    folder.mkdir(parents=True)
    for part in range(2):
        own = [changed.get(n, row(n)) for n in range(part, COUNT, 2)]
        table = pa.table({"images": [images for images, _ in own], "text": [text for _, text in own]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=5)
    return folder


def shown(document: list) -> tuple[str, list[bytes]]:
    """Text and pictures of a document, which draws each of its pictures."""
    pictures = [item for item in document if isinstance(item, Picture)]
    assert document[0] == BOS and document[-1] == EOS and all(picture.draw for picture in pictures)
    text = decode([item for item in document if not isinstance(item, Picture) and item not in MARKS])
    return text, [picture.pixels.permute(1, 2, 0).numpy().tobytes() for picture in pictures]


def epoch(steps: StreamedSteps) -> dict[str, list[bytes]]:
    """The documents of 32 steps, {text: pictures}; they fit into batches."""
    documents = {}
    for seen in range(0, 16 * 32, 16):
        documents |= dict(shown(steps._document(number)) for number in steps.numbers(seen))
        assert all(batch.tokens.shape[1] == steps.config.train.length for batch in steps[seen])
    return documents


def test_a_row_of_several_pictures_is_a_document(tmp_path):
    """Its caption, then each picture, to be drawn; whole rows are held out."""
    steps = open_steps(settings(write(tmp_path / "in"), *WORDS))
    held_out = steps.streamed.first_pictures("held_out", COUNT)
    others = {held_out.pieces(n)[0] for n in range(len(held_out))}
    assert epoch(steps) == {text: images for text, images in map(truth, range(COUNT)) if text not in others}
    assert held_out.holds_documents and held_out.pieces(0)[1] == (8, 8, True)
    first = held_out.image(0, 0).permute(1, 2, 0).numpy().tobytes()
    assert (held_out.pieces(0)[0], first) in {(text, images[0]) for text, images in map(truth, range(COUNT))}
    assert set(steps.streamed.all_texts()) == {text for text, _ in map(truth, range(COUNT))}
    assert "each drawn after its caption" in steps.streamed.shards.lines()[0]


def test_documents_are_those_of_prepare(tmp_path):
    prepare_source(tmp_path / "set", parquet(path=write(tmp_path / "in")), size=8)
    stored = {}
    for split in prepared.SPLITS:
        data = prepared.load(tmp_path / "set", split)
        for n in range(len(data)):
            pieces = data.pieces(n)
            stored[pieces[0]] = pieces, [data.image(n, picture) for picture in range(len(pieces) - 1)]
    steps = open_steps(settings(tmp_path / "in", *WORDS))
    steps.numbers(0)
    window = steps.stream.sets[0]
    for number in window.items:
        pieces, pictures = stored[window.pieces(number)[0]]
        assert window.pieces(number) == pieces and len(pictures) == len(pieces) - 1
        assert all(torch.equal(window.image(number, n), picture) for n, picture in enumerate(pictures))


def test_bad_and_long_documents(tmp_path):
    """Left out like bad pictures, cut, or an error, as data.long says."""
    bad = {7: ([png(0), b"bad"], "row 7"), 9: ([png(1), png(2)], "x" * 100)}
    chosen = settings(write(tmp_path / "in", bad), *WORDS)
    steps = open_steps(chosen)
    steps.streamed.report = tmp_path / "skipped.jsonl"
    assert len(epoch(steps)) == len(steps.streamed) - 2
    entries = {line["file"]: line["reason"] for line in map(json.loads, open(tmp_path / "skipped.jsonl"))}
    assert set(entries) == {"1.parquet/3", "1.parquet/4"}
    assert entries["1.parquet/4"].startswith("it needs 1") and "train.length is 96" in entries["1.parquet/4"]
    assert "its content is damaged" in entries["1.parquet/3"]
    cut = epoch(open_steps(settings(tmp_path / "in", *WORDS, "data.long=cut")))
    assert [images for text, images in cut.items() if text.startswith("xx")] == [
        []
    ]  # its text fills the length
    with pytest.raises(DataError, match="^document 1.parquet/4: it needs 1.*; set a larger train.length"):
        epoch(open_steps(settings(tmp_path / "in", *WORDS, "data.long=error")))


def test_a_damaged_shard_of_documents(tmp_path):
    """Its rows are documents that cannot be used."""
    data = open_steps(settings(write(tmp_path / "in"), *WORDS)).streamed
    (tmp_path / "in" / "1.parquet").unlink()
    items = data._read(next(block for block in data.shards.blocks if block.file == 1), [True] * 5)
    assert [item.name for item in items] == [f"1.parquet/{n}" for n in range(5)]
    for item in items:
        with pytest.raises(ImageError, match="1.parquet cannot be read"):
            data.fitting(item)
