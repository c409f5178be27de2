"""Training on documents, mixtures and streams as on any set: killed and resumed bit for bit, evaluated,
estimated, sampled."""

import json
import math
import shutil
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from forking import dying, forked
from helpers import randomised
from shard_files import parquet, tars
from sources import interleaved, numbers, png, prepare_source
from training_runs import assert_same_bits, command, go, settings, step_of

from rawmm_cli.config import build, presets
from rawmm_cli.core.batch import pack
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.text import text
from rawmm_cli.data.items import Item, Source
from rawmm_cli.data.stream import Stream
from rawmm_cli.evaluation import losses as held_out_losses
from rawmm_cli.runs import records
from rawmm_cli.system import machine
from rawmm_cli.system.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread", "quick")
CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch):
    """The matmul rate is not measured: it would take longer than the run."""
    monkeypatch.setattr(machine, "matmul_rate", lambda *arguments: 1e11)


@pytest.fixture(scope="module")
def data(few_digits, tmp_path_factory):
    """A data folder: digits, documents with several pictures, text alone, pictures with attributes, and
    shards to stream."""
    folder = tmp_path_factory.mktemp("all")
    shutil.copytree(few_digits / "digits", folder / "digits")
    prepare_source(folder / "interleaved", interleaved(60), held_out=0.2)
    prepare_source(folder / "numbers", numbers(60), held_out=0.2)
    (folder / "text").mkdir()
    for n in range(30):
        (folder / "text" / f"{n}.txt").write_text(f"the seven nines of {n} and one more\n" * 3)
    prepare_source(folder / "words", text(path=folder / "text"), held_out=0.2)
    parquet(folder / "parquet", range(200))
    tars(folder / "tars", range(200), bad=(33, 77))
    several = {
        "images": [[png(n), png(n + 1)] for n in range(200)],
        "text": [f"picture {n}" for n in range(200)],
    }
    (folder / "rows").mkdir()
    pq.write_table(pa.table(several), folder / "rows" / "0.parquet", row_group_size=20)
    for n in range(200):
        (folder / "pictures" / f"{n % 2}").mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / f"{n % 2}" / f"{n:03}.png").write_bytes(b"bad" if n == 33 else png(n))
        (folder / "pictures" / f"{n % 2}" / f"{n:03}.txt").write_text(f"picture {n}")
    return folder


@pytest.fixture(scope="module")
def kinds(data):
    return {
        "documents": ("data.set=interleaved",),
        "mixture": (
            "data.set=digits",
            "data.mix={interleaved: 0.3, words: 0.3, numbers: 0.2}",
            "text_tokenizer=bpe",
            "text_tokenizer.vocabulary=300",
            "train.workers=2",
        ),
        "parquet": (
            "data.stream=true",
            f"data.stream.path={data / 'parquet'}",
            "data.set=shards",
            "data.stream.held_out=0.1",
        ),
        "tar": (
            "data.stream=true",
            f"data.stream.path={data / 'tars'}",
            "data.set=shards",
            "data.stream.held_out=0.1",
            "train.workers=2",
        ),
        "rows": (
            "data.stream=true",
            f"data.stream.path={data / 'rows'}",
            "data.set=shards",
            "data.stream.held_out=0.1",
            "train.length=96",
        ),
        "folder": (
            "data.stream=true",
            f"data.stream.path={data / 'pictures'}",
            "data.set=shards",
            "data.stream.held_out=0.1",
            "train.workers=2",
        ),
    }


@pytest.mark.parametrize("kind", ["documents", "mixture", "parquet", "tar", "rows", "folder"])
@pytest.mark.process
def test_killed_and_resumed_bit_for_bit(kind, kinds, data, tmp_path, rawmm):
    """kill -9 where the disk changes, twice; the run ends as one that was never stopped, and is evaluated."""
    run, note = tmp_path / "run", tmp_path / "note"
    overrides = (*kinds[kind], "train.save_every=16", "train.log_every=16", "train.sample_every=80")
    words = command(data, run, *overrides)
    for number in (30, 34):
        process = forked(tmp_path, words, dying(run, number, note))
        process.join(60)
        assert process.exitcode == -signal.SIGKILL and 0 < step_of(run) < 5
    assert rawmm(*words)[0] == 0
    go(settings(*overrides), data, tmp_path / "whole")
    assert [record["step"] for record in records.read(run / "records.jsonl")] == list(range(1, 11))
    assert_same_bits(run, tmp_path / "whole")
    place = ("--runs-dir", tmp_path, "--data-dir", data, "--device", "cpu", "--json")
    code, out, err = rawmm("evaluate", "run", *place)
    assert code == 0, err
    losses = json.loads(out)["held_out"]
    assert all(math.isfinite(value) for value in losses.values()) and losses["count"] > 0
    assert (run / "samples" / "step_00000010.png").is_file()


def test_every_set_of_a_mixture_is_seen_by_its_share(data, kinds):
    """Of 4,000 documents: data.mix gives the shares of the other sets, data.set has the rest."""
    chosen = settings(*kinds["mixture"])
    sets = [prepared.load(data / name, "train") for name in ("digits", "interleaved", "words", "numbers")]
    stream = Stream(sets, 0, chosen.data, shares=(0.2, *chosen.data.mix.values()), length=40)
    counts = [0] * 4
    for number in range(4000):
        counts[stream.place(number)[0]] += 1
    assert all(abs(count - 4000 * share) <= 4 for count, share in zip(counts, (0.2, 0.3, 0.3, 0.2)))


def test_losses_of_documents_by_hand(data):
    """Every held-out document by itself, weighted by the number of its learned positions."""
    chosen = settings("data.set=interleaved")
    model = randomised(build.model(chosen), std=0.1).eval()
    held_out = prepared.load(data / "interleaved", "held_out")
    stream = Stream([held_out], 3, chosen.data, length=40)
    sums, counts = [0.0, 0.0], [0, 0]
    for n in range(len(held_out)):
        batch = pack([stream.finish(stream.plan_of(0, n, n))], 40, model.blocks)
        with torch.no_grad():
            losses = joint_loss(model, batch)
        for part, (loss, learned) in enumerate(zip((losses.text, losses.image), batch.learned)):
            sums[part] += loss.item() * learned if learned else 0.0
            counts[part] += learned
    measured = held_out_losses.document_losses(model, chosen, held_out, 3)
    assert measured.count == len(held_out) >= 5 and counts[1] > 0
    assert measured.text == pytest.approx(sums[0] / counts[0], rel=1e-5)
    assert measured.image == pytest.approx(sums[1] / counts[1], rel=1e-5)


@pytest.mark.parametrize("kind", ["documents", "mixture", "parquet", "tar"])
def test_a_dry_run_counts_the_real_documents(kind, kinds, data, tmp_path, rawmm):
    code, out, err = rawmm(
        "train",
        "--preset",
        "tiny",
        "--dry-run",
        "--json",
        "--device",
        "cpu",
        "--data-dir",
        data,
        "--runs-dir",
        tmp_path,
        *kinds[kind],
    )
    estimate = json.loads(out)
    assert code == 0, err
    assert estimate["positions_from"] == "data" and 0.3 < estimate["fill"] <= 1


def test_text_alone_can_be_trained(data, tmp_path):
    """Without any picture, the loss is that of the text."""
    last = go(settings("data.set=words", "train.documents=32"), data, tmp_path / "run")[-1]
    assert math.isfinite(last["loss"]) and last["image"] == 0.0
    assert last["loss"] == pytest.approx(last["text"] * presets.load("tiny").loss.text, rel=1e-4)


def test_other_sets_may_have_other_sizes(data, tmp_path, few_digits):
    """data.size is that of data.set, which is drawn while training."""
    prepare_source(data / "large", numbers_of(16), held_out=0.2)
    steps = go(
        settings("data.set=digits", "data.mix={large: 0.5}", "train.documents=32", "train.length=64"),
        data,
        tmp_path / "run",
    )
    assert math.isfinite(steps[-1]["loss"])
    with pytest.raises(DataError, match="'large' holds pictures of 16x16 pixels and data.size is 8"):
        go(settings("data.set=large", "train.length=64"), data, tmp_path / "other")


def numbers_of(side: int) -> Source:
    """Source of pictures of another size."""
    pixels = np.zeros((side, side, 3), np.uint8)
    return Source(
        items=lambda start: (Item(f"{n}.png", n, (f"number {n}",)) for n in range(start, 30)),
        state="",
        card={},
        open=lambda content, background: pixels + np.uint8(content),
    )
