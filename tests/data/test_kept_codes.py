"""Tokens of a set, kept on disk: those of the codec, of that codec and set alone, and read in training."""

import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from frozen_runs import go, settings, train_codec
from training_runs import CPU

from rawmm_cli.codecs.frozen import Frozen
from rawmm_cli.config.data import Data
from rawmm_cli.config.fields import CodecSettings
from rawmm_cli.core.document import Picture
from rawmm_cli.data import prepared
from rawmm_cli.data.codes import keeping, kept
from rawmm_cli.data.loader import steps_of
from rawmm_cli.data.rows import DOCUMENTS, document_row, picture_row
from rawmm_cli.data.stream import Plan, Stream
from rawmm_cli.runs import loading
from rawmm_cli.runs.codec import look_up, with_hash
from rawmm_cli.system.errors import DataError

HASH = "0123456789abcdef" * 4


class Squares(CodecSettings):
    """Settings of a codec of squares of 2 pixels."""

    cell = "side"
    side: int = 2


class Means(torch.nn.Module):
    """Red of the upper left pixel of each square of 2 pixels, and its row: two codes a token."""

    discrete, vocabulary, codes = True, 300, 2
    calls = 0

    def grid(self, height, width):
        if height % 2 or width % 2:
            raise ValueError(f"a picture of {height}x{width} pixels does not divide into positions of 2")
        return height // 2, width // 2

    def encode(self, images):
        self.calls += 1
        red = images[:, 0, ::2, ::2].long()
        rows = torch.arange(red.shape[1])[:, None].expand(red.shape) + 256
        return torch.stack([red, rows], -1).flatten(1, 2)


@pytest.fixture
def mixed(tmp_path):
    """A set of pictures of three sizes."""
    random = np.random.default_rng(0)

    def row(n):
        sides = [(4, 4), (6, 4), (2, 8)][n % 3]
        return picture_row(random.integers(0, 256, (*sides, 3), dtype=np.uint8), ["a"], source=str(n))

    rows = {split: [row(n) for n in range(count)] for split, count in (("train", 7), ("held_out", 2))}
    prepared.write(tmp_path / "mixed", rows, {"name": "mixed"})
    return tmp_path / "mixed"


def splits_of(folder):
    return {name: prepared.load(folder, name) for name in prepared.SPLITS}


def keep(folder, codec=None, digest=HASH):
    return keeping.keep(
        folder, splits_of(folder), codec or Means(), Squares(), {"run": "squares", "hash": digest}
    )


def test_tokens_are_those_of_the_codec(mixed):
    facts = keep(mixed)
    assert facts["pictures"] == {"train": 7, "held_out": 2} and not facts["kept_before"]
    tokens = 0
    for data in splits_of(mixed).values():
        assert kept.attach(data, HASH, Squares())
        for row in range(len(data)):
            expected = Means().encode(data.image(row)[None])[0]
            assert torch.equal(data.kept.picture(row), expected) and expected.dtype == torch.int64
            tokens += len(expected)
        assert torch.equal(pickle.loads(pickle.dumps(data)).kept.picture(1), data.kept.picture(1))
    assert (
        facts["tokens"] == tokens and facts["bytes"] == 2 * (2 * tokens) + 2 * 128
    )  # uint16, and two headers


def test_what_is_kept_is_not_encoded_again(mixed):
    codec = Means()
    keep(mixed, codec)
    calls = codec.calls
    assert keep(mixed, codec)["kept_before"] and codec.calls == calls
    with open(mixed / "codes" / HASH[:16] / "train.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert kept.problems(mixed) == [f"codes/{HASH[:16]}/train.npy does not match its checksum"]
    assert not keep(mixed, codec)["kept_before"] and codec.calls == 2 * calls and not kept.problems(mixed)


def test_tokens_of_another_codec_or_another_set_do_not_count(mixed):
    keep(mixed)
    data = prepared.load(mixed, "train")
    assert not kept.attach(data, "f" * 64, Squares())
    data.card = {**data.card, "fingerprint": "another"}
    assert not kept.attach(data, HASH, Squares()) and data.kept is None


def test_a_file_that_is_cut_short_is_told(mixed):
    keep(mixed)
    file = mixed / "codes" / HASH[:16] / "train.npy"
    np.save(file, np.load(file)[:-1])
    total = 3 * 4 + 2 * 6 + 2 * 4  # of pictures of 4x4, 6x4 and 2x8 pixels
    with pytest.raises(DataError, match=f"holds {total - 1} tokens and the set needs {total}; delete "):
        kept.attach(prepared.load(mixed, "train"), HASH, Squares())


def test_pictures_that_the_codec_does_not_take_are_told_before_anything_is_written(tmp_path):
    rows = {split: [picture_row(np.zeros((3, 4, 3), np.uint8), [])] for split in prepared.SPLITS}
    prepared.write(tmp_path / "odd", rows, {"name": "odd"})
    with pytest.raises(DataError, match="set 'odd': a picture of 3x4 pixels does not divide"):
        keep(tmp_path / "odd")
    assert not (tmp_path / "odd" / "codes").exists()


def test_pictures_of_documents(tmp_path):
    """Picture n of a document by its own place; documents without pictures have none."""
    random = np.random.default_rng(1)
    drawn = [random.integers(0, 256, (side, 4, 3), dtype=np.uint8) for side in (2, 4, 6)]
    pieces = [[("", drawn[0], True), ("and", None, False), ("", drawn[1], False)], [("words", None, False)]]
    rows = [document_row(each) for each in (*pieces, [("", drawn[2], True)])]
    table = pa.Table.from_pylist(rows, DOCUMENTS)
    data = prepared.PreparedDocuments(tmp_path, "train", table, {"fingerprint": "its own"})
    of = {"run": "squares", "hash": HASH}
    assert keeping.keep(tmp_path, {"train": data}, Means(), Squares(), of)["pictures"] == {"train": 3}
    assert kept.attach(data, HASH, Squares())
    for number, place in enumerate([(0, 0), (0, 1), (2, 0)]):
        pixels = torch.from_numpy(drawn[number]).permute(2, 0, 1)
        assert torch.equal(data.kept.picture(*place), Means().encode(pixels[None])[0])
    document = Stream([data], 0, Data()).document(0)
    assert all(item.tokens is not None for item in document if isinstance(item, Picture))


# -------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def place(few_pictures, once):
    """A data folder, and a folder of runs with a codec, whose tokens of the set are kept."""

    def make(folder):
        shutil.copytree(few_pictures, folder / "data")
        train_codec(few_pictures, folder / "runs")
        codec, learned, digest = with_hash(folder / "runs", "tokens", CPU)
        of = {"run": "tokens", "hash": digest}
        keeping.keep(folder / "data" / "few", splits_of(folder / "data" / "few"), codec, learned, of)

    return once("tokens on disk", make)


def batches(config, data, model):
    return steps_of(config, data, model)[0]


def test_a_batch_of_kept_tokens_is_the_batch_of_pixels(place, monkeypatch):
    go(settings(), place / "data", place / "runs" / "first", 16)
    model, config, _ = loading.load_model(place / "runs" / "first", CPU)
    plain, own = (prepared.load(place / "data" / "few", "train") for _ in range(2))
    assert kept.attach(own, config.codec.hash, config.codec)
    own.kept.deviation = config.codec.deviation
    (pixels,), (tokens,) = (batches(config, data, model) for data in (plain, own))
    assert all(images.ndim == 4 for images in pixels.images)
    assert all(images.ndim == 3 for images in tokens.images)
    expected = model.encode(pixels)
    monkeypatch.setattr(Frozen, "encode", lambda *_: pytest.fail("nothing is encoded"))
    torch.testing.assert_close(model.encode(tokens), expected)
    assert pixels.pictures.keys == tokens.pictures.keys and torch.equal(pixels.patch_at, tokens.patch_at)


def test_a_run_reads_what_is_kept_and_says_so_where_nothing_is(place, few_pictures):
    told = (
        "pictures of 'few' are encoded while training; `rawmm prepare few --codec tokens` keeps their tokens"
    )
    lines, others = [], []
    (record, *_) = go(settings(), few_pictures, place / "runs" / "encoding", 8, lines.append)
    (other, *_) = go(settings(), place / "data", place / "runs" / "reading", 8, others.append)
    assert told in lines and told not in others
    keeping.keep(
        few_pictures / "few", splits_of(few_pictures / "few"), Means(), Squares(), {"run": "x", "hash": HASH}
    )
    lines.clear()
    go(settings(), few_pictures, place / "runs" / "others", 8, lines.append)
    assert f"{told} (those kept are of other codecs: x)" in lines
    assert other["loss"] == pytest.approx(record["loss"], rel=1e-4)


def test_pictures_that_move_are_encoded_and_the_rest_is_read(place):
    """data.shift moves pixels, which no kept token has."""
    config = look_up(settings("data.shift=2"), place / "runs" / "new")
    data = prepared.load(place / "data" / "few", "train")
    kept.attach(data, config.codec.hash, config.codec)
    stream = Stream([data], 0, config.data)
    for shift, encoded in (((0, 0), True), ((1, 0), False)):
        picture = stream.finish(Plan(0, 0, 3, [65], True, False, shift, 0))[2]
        assert (picture.tokens is not None) == encoded and picture.pixels.shape == (3, 16, 16)


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def words(place):
    return map(str, ("--data-dir", place / "data", "--runs-dir", place / "runs"))


def test_the_command_keeps_tokens_and_verifies_them(rawmm, place, words):
    words = list(words)
    shutil.rmtree(place / "data" / "few" / "codes")
    code, _, err = rawmm("prepare", "few", "--codec", "tokens", *words)
    assert code == 0 and "120 tokens of 30 pictures are kept in " in err
    facts = json.loads(rawmm("prepare", "few", "--codec", "tokens", "--json", *words)[1])
    assert facts["kept_before"] and facts["pictures"] == {"train": 24, "held_out": 6}
    assert facts["tokens"] == 30 * 4 and facts["vocabulary"] is None
    (place / "data" / "few" / "codes" / facts["hash"][:16] / "held_out.npy").write_bytes(b"")
    problems = json.loads(rawmm("prepare", "few", "--verify", "--json", *words)[1])["problems"]
    assert any(
        line.startswith(f"codes/{facts['hash'][:16]}/held_out.npy has 0 bytes, not ") for line in problems
    )
    rawmm("prepare", "few", "--codec", "tokens", *words)


@pytest.mark.parametrize(
    "arguments, code, line",
    [
        (("few", "--codec", "nothing"), 4, "error: codec.run = nothing: there is no run "),
        (("digits", "--codec", "tokens"), 3, "error: data set 'digits' is not prepared in "),
    ],
)
def test_bad_input(rawmm, words, arguments, code, line):
    result, _, err = rawmm("prepare", *arguments, *words)
    assert result == code and err.splitlines()[-1].startswith(line)
