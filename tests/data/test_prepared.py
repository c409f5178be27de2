"""Prepared sets: rows come back exactly, nothing else is ever replaced, and the built-in split never
changes."""

import hashlib
import json
import threading

import numpy as np
import pytest
import torch
from helpers import as_loaded
from sources import interleaved, numbers, prepare_source

from rawmm_cli.commands.prepare import command as prepare
from rawmm_cli.config import build, presets
from rawmm_cli.data import card, prepared
from rawmm_cli.data.entries import entries
from rawmm_cli.data.images import save_png
from rawmm_cli.data.rows import picture_row
from rawmm_cli.evaluation.evaluate import evaluate
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import CheckpointError, ConfigError, DataError
from rawmm_cli.training.train import train

CARD = {"name": "x", "labels": []}


def rows(count, size=8, caption="one", first=0):
    rng = np.random.default_rng(first)
    return [
        picture_row(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), [caption], source=str(n))
        for n in range(count)
    ]


def holiday(folder, count=8):
    folder.mkdir(parents=True)
    for n in range(count):
        save_png(np.full((8, 8, 3), 30 * n, np.uint8), folder / f"{n}.png")
        (folder / f"{n}.txt").write_text(f"grey {n}")
    return folder


def listing(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_rows_come_back_exactly(tmp_path):
    train_rows, held_out = rows(5), rows(2, size=16, first=1)
    card = prepared.write(tmp_path / "set", {"train": train_rows, "held_out": held_out}, CARD)
    loaded = prepared.load(tmp_path / "set", "held_out")
    assert len(loaded) == 2 and loaded.card == card and card["count"] == {"train": 5, "held_out": 2}
    for n, row in enumerate(held_out):
        assert loaded.image(n).permute(1, 2, 0).numpy().tobytes() == row["pixels"]
        assert loaded.captions[n] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_is_replaced_by_a_new_one_of_its_name(tmp_path):
    for count in (5, 3):
        prepared.write(tmp_path / "set", {"train": rows(count), "held_out": rows(1)}, CARD)
    assert len(prepared.load(tmp_path / "set", "train")) == 3 and [p.name for p in tmp_path.iterdir()] == [
        "set"
    ]


@pytest.mark.parametrize(
    "source, name, data",
    [
        ("data/holiday", None, "data"),
        ("holiday", None, "."),
        ("holiday", "inside", "holiday"),
        ("all/holiday", "all", "."),
        ("holiday", "notes", "."),
    ],
)
def test_no_folder_of_the_user_is_ever_replaced(source, name, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = holiday(tmp_path / source)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("ten years")
    before = listing(tmp_path)
    with pytest.raises(DataError, match="choose another --name or --data-dir"):
        prepare.run("folder", {"path": path.relative_to(tmp_path)}, name=name, data_dir=tmp_path / data)
    assert listing(tmp_path) == before


def test_the_name_of_the_built_in_set_is_taken(tmp_path):
    with pytest.raises(ConfigError, match="built-in"):
        prepare.run(
            "folder", {"path": holiday(tmp_path / "holiday")}, name="digits", data_dir=tmp_path / "data"
        )


def test_concurrent_writers_leave_one_whole_set(tmp_path):
    problems = []

    def work():
        try:
            prepared.write(tmp_path / "set", {"train": rows(4), "held_out": rows(2)}, CARD)
        except OSError as error:  # two renames at the same moment: one may fail, none may do damage
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(problems) < 3 and len(prepared.load(tmp_path / "set", "train")) == 4


def test_the_split_of_the_digits_never_changes(prepared_digits):
    """Any change of scikit-learn's data or shuffling would make held-out figures incomparable."""
    split = {
        part: prepared.read_split(prepared_digits / "digits", part).to_pylist() for part in prepared.SPLITS
    }
    names = [[row["source"] for row in split[part]] for part in ("train", "held_out")]
    assert [len(part) for part in names] == [1437, 360] and not set(names[0]) & set(names[1])
    assert hashlib.sha256(json.dumps(names).encode()).hexdigest() == DIGITS
    counts = np.bincount([row["label"] for row in split["held_out"]])
    assert counts.min() >= 34 and counts.max() <= 38


def tiny_on(tmp_path, held_out_rows):
    prepared.write(tmp_path / "digits", {"train": rows(20), "held_out": held_out_rows}, CARD)
    return presets.load("tiny", ["train.documents=16", "train.threads=1", "sample.steps=1"])


def test_held_out_pictures_are_checked_before_training(tmp_path):
    chosen = tiny_on(tmp_path, rows(2, caption="x" * 300))
    with pytest.raises(DataError, match="train.length is 40; .*set train.length=308"):
        next(train(chosen, tmp_path, tmp_path / "run", torch.device("cpu"), lambda message: None))
    assert not (tmp_path / "run").exists()


def test_a_set_that_changed_is_not_evaluated(tmp_path):
    chosen = tiny_on(tmp_path, rows(2))
    before = prepared.load(tmp_path / "digits", "train").card["fingerprint"]
    trained = as_loaded(build.model(chosen), chosen, before)
    assert evaluate(trained, Request(), tmp_path)["held_out"]["count"] == 2
    prepared.write(tmp_path / "digits", {"train": rows(18), "held_out": rows(4)}, CARD)
    with pytest.raises(CheckpointError, match="has changed since the run was trained"):
        evaluate(trained, Request(), tmp_path)


DIGITS = "8d86806dd1bfc16cfc240acfcf71f200a7cbac21adf9f8482e24b820f66914c3"


@pytest.mark.parametrize("source", [numbers(20), interleaved(20)], ids=["pictures", "documents"])
def test_a_bit_that_flips_is_damage_of_a_file(source, tmp_path):
    """Anywhere in a file of rows: all goes on, or one line says that the set is damaged, with the file."""
    prepare_source(tmp_path / "set", source, held_out=0.3)
    path = tmp_path / "set" / "train" / "data-00000-of-00001.arrow"
    rng, messages = np.random.default_rng(0), []
    whole = path.read_bytes()
    for position in rng.integers(0, len(whole), 60).tolist() + list(range(0, 3000, 25)):
        data = bytearray(whole)
        data[position] ^= 1 << int(rng.integers(8))
        path.unlink()  # a new file: the old one may be mapped
        path.write_bytes(data)
        for use in (card.verify, lambda folder: entries(folder, "train", range(3), []), _read_all):
            try:
                use(tmp_path / "set")
            except DataError as error:
                messages.append(str(error))
    told = [" is damaged (" in line or " lacks the columns [" in line for line in messages]
    assert len(messages) > 50 and all(told) and not any("\n" in line for line in messages)
    assert sum("(train/data-00000-of-00001.arrow: " in line for line in messages) > len(messages) // 2


def _read_all(folder):
    """Everything that training reads of a split."""
    data = prepared.load(folder, "train")
    for index in range(len(data)):
        data.source(index)
        if data.holds_documents:
            pictures = [piece for piece in data.pieces(index) if not isinstance(piece, str)]
            assert all(data.image(index, n).shape[0] == 3 for n in range(len(pictures)))
        else:
            assert data.image(index).shape[0] == 3
            data.captions[index], data.attributes(index)
