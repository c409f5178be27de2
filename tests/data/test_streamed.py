"""Streamed sets: the same documents for any ranks and workers and after any restart, every picture once an
epoch, and bad pictures that do not end a run."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from shard_files import parquet, tars
from sources import pixels, png

from rawmm_cli.config import build, presets
from rawmm_cli.config.data import Streaming
from rawmm_cli.config.model import Config
from rawmm_cli.data import sets, streamed
from rawmm_cli.data.layout import streams
from rawmm_cli.data.layout.unused import Unused
from rawmm_cli.data.loader import WINDOW, StreamedSteps, batches, check_shares, steps_of
from rawmm_cli.data.stream import Stream
from rawmm_cli.system.distributed import Ranks
from rawmm_cli.system.errors import ConfigError, DataError

SETTINGS = [
    "data.stream=true",
    "data.set=pictures",
    "data.stream.held_out=0.1",
    "train.batch=16",
    "data.size=8",
    "train.length=64",
]


def settings(path: Path, *words: str) -> Config:
    return presets.load("tiny", [*SETTINGS, f"data.stream.path={path}", *words])


def open_steps(chosen: Config, ranks: Ranks = Ranks()) -> StreamedSteps:
    data, _ = sets.load(chosen, Path("nowhere"))
    return steps_of(chosen, data, build.model(chosen, "meta"), ranks)


def documents_of(steps: StreamedSteps, seen: int) -> list[tuple[int, str]]:
    """(number of the picture, number of the document) of a step, after checking that pixels and caption
    match."""
    documents = []
    for number in steps.numbers(seen):
        item = steps.stream.sets[0].items[number]
        assert (steps.stream.sets[0].pixels[number] == pixels(int(item.captions[0]))).all()
        documents.append((int(item.captions[0]), number))
    return documents


def same(one, other) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(
            (one.tokens, one.predict, one.patch_at, *one.images),
            (other.tokens, other.predict, other.patch_at, *other.images),
        )
    )


@pytest.mark.parametrize("make", [parquet, tars])
def test_every_picture_once_an_epoch(make, tmp_path):
    """A lane repeats a picture only after all others, in another order; held-out pictures never appear."""
    steps = open_steps(settings(make(tmp_path / "in", range(300))))
    data = steps.streamed
    seen = Counter()
    for lane, size in enumerate(data.sizes):
        first, second = (
            [int(data.item(lane, position).captions[0]) for position in range(low, low + size)]
            for low in (0, size)
        )
        assert sorted(first) == sorted(second) and len(set(first)) == size and (size < 5 or first != second)
        seen.update(first)
    held_out = {int(texts[0]) for texts in data.first_pictures("held_out", 300).captions}
    assert set(seen.values()) == {1} and not held_out & set(seen) and held_out | set(seen) == set(range(300))
    assert 10 < len(held_out) < 60 and data.card["count"] == {"train": len(seen), "held_out": len(held_out)}
    assert max(data.sizes) - min(data.sizes) <= 20


@pytest.mark.parametrize("make", [parquet, tars])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_share_the_same_documents(make, size, tmp_path):
    """Step by step all ranks together have exactly the documents of one process, none twice."""
    chosen = settings(make(tmp_path / "in", range(300)), "train.parallel=ddp")
    alone, parts = open_steps(chosen), [open_steps(chosen, Ranks(rank, size, rank)) for rank in range(size)]
    for step in range(2 * WINDOW + 1):
        whole = documents_of(alone, 16 * step)
        shared = [document for part in parts for document in documents_of(part, 16 * step)]
        assert sorted(whole) == sorted(shared) and len({number for _, number in whole}) == len(whole)
    for rank, part in enumerate(parts):
        read = {key[0] for key in part.streamed.cache if isinstance(key[0], int)}
        assert read and {lane % 4 % size for lane in read} == {rank}  # no rank reads the lanes of another


def test_any_restart_gives_the_same_batches(tmp_path):
    chosen = settings(parquet(tmp_path / "in", range(300)), "train.documents=640")
    whole = [batch for (batch,) in batches(chosen, open_steps(chosen), 0)]
    assert len(whole) == 40
    for seen in (16, 112, 128, 304, 624):
        rest = [batch for (batch,) in batches(chosen, open_steps(chosen), seen)]
        assert len(rest) == 40 - seen // 16 and all(map(same, rest, whole[seen // 16 :]))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.process
def test_workers_change_nothing(workers, tmp_path):
    chosen = settings(tars(tmp_path / "in", range(300)), "train.documents=400")
    with_workers = settings(tmp_path / "in", "train.documents=400", f"train.workers={workers}")
    for seen in (0, 48):
        one = [batch for (batch,) in batches(chosen, open_steps(chosen), seen)]
        other = [batch for (batch,) in batches(with_workers, open_steps(with_workers), seen)]
        assert len(one) == len(other) == 25 - seen // 16 and all(map(same, one, other))


def test_workers_read_different_lanes(tmp_path):
    """A worker of two makes every other window, and so only every other turn's lanes."""
    chosen = settings(parquet(tmp_path / "in", range(300)))
    for worker in range(2):
        steps = open_steps(chosen)
        for window in range(worker, 8, 2):
            steps.rows(window * WINDOW * 16)
        assert {key[0] // 4 % 2 for key in steps.streamed.cache if isinstance(key[0], int)} == {worker}


@pytest.mark.parametrize("make", [parquet, tars])
def test_bad_pictures_are_skipped_and_reported(make, tmp_path):
    """Each is reported once, the next one of its lane takes its place, and the same happens after a
    restart."""
    bad = set(range(5, 300, 9))
    chosen = settings(make(tmp_path / "in", range(300), bad=bad), "train.documents=640")
    steps = open_steps(chosen)
    steps.streamed.report = tmp_path / "skipped.jsonl"
    used = [number for seen in range(0, 640, 16) for number, _ in documents_of(steps, seen)]
    assert len(used) == 640 and not bad & set(used)
    lines = [json.loads(line) for line in steps.streamed.report.read_text().splitlines()]
    trained = 300 - steps.streamed.card["count"]["held_out"]
    assert (
        len({line["file"] for line in lines}) == len(lines)
        and abs(len(lines) - len(bad) * trained / 300) < 12
    )
    assert all("its content is damaged or of another format" in line["reason"] for line in lines)
    again = open_steps(chosen)
    assert [documents_of(again, seen) for seen in (0, 160, 320)] == [
        documents_of(open_steps(chosen), seen) for seen in (0, 160, 320)
    ]


def test_bad_pictures_alone_are_an_error(tmp_path):
    steps = open_steps(settings(parquet(tmp_path / "in", range(400), bad=set(range(100, 400)))))
    with pytest.raises(
        DataError, match="100 pictures in a row of pictures cannot be used, the last '.*parquet/.*': its"
    ):
        for seen in range(0, 1600, 16):
            steps.numbers(seen)


def test_a_shard_that_breaks_later_does_not_end_the_run(tmp_path):
    """Its pictures count as bad; others take their place."""
    chosen = settings(tars(tmp_path / "in", range(300), files=12))
    steps = open_steps(chosen)
    steps.streamed.report = tmp_path / "skipped.jsonl"
    (tmp_path / "in" / "4.tar").unlink()
    used = {number for seen in range(0, 960, 16) for number, _ in documents_of(steps, seen)}
    assert len(used) > 200 and not used & set(range(100, 125))
    assert all(
        "4.tar cannot be read (" in json.loads(line)["reason"]
        for line in steps.streamed.report.read_text().splitlines()
    )


def test_pictures_and_captions_that_do_not_fit(tmp_path):
    """A picture that is too small and a caption that is too long are reported like bad pictures."""
    small = io.BytesIO()
    Image.fromarray(pixels(0)[:4]).save(small, "PNG")
    (tmp_path / "in").mkdir()
    data = [png(n) for n in range(60)]
    texts = [str(n) for n in range(60)]
    data[7], texts[9] = small.getvalue(), "x" * 100
    pq.write_table(pa.table({"image": data, "text": texts}), tmp_path / "in" / "a.parquet", row_group_size=4)
    steps = open_steps(settings(tmp_path / "in"))
    for seen in range(0, 160, 16):
        steps.numbers(seen)
    assert steps.streamed.skipped == {
        "a.parquet/7": "it is 8 x 4 pixels; allowed: at least 8 x 8; choose a smaller size",
        "a.parquet/9": "it and its caption need 108 positions; train.length is 64",
    }


def test_pictures_are_whole(tmp_path):
    """The whole picture; sizes may differ in a batch."""
    (tmp_path / "in").mkdir()
    data = []
    for n in range(60):
        file = io.BytesIO()
        Image.fromarray(np.full((32, 16 + 16 * (n % 3), 3), n, np.uint8)).save(file, "PNG")
        data.append(file.getvalue())
    pq.write_table(
        pa.table({"image": data, "text": ["t"] * 60}), tmp_path / "in" / "a.parquet", row_group_size=4
    )
    steps = open_steps(settings(tmp_path / "in", "data.size=16", "train.length=400", "codec.patch=4"))
    shapes = {
        tuple(image.shape[1:])
        for seen in range(0, 128, 16)
        for batch in steps[seen]
        for image in batch.images
    }
    assert shapes == {(3, 32, 16), (3, 16, 16), (3, 16, 24)}


def test_the_order_is_shuffled(tmp_path):
    """Neighbours in the source are hardly ever neighbours in training."""
    data = open_steps(settings(tars(tmp_path / "in", range(600), files=2))).streamed
    order = [int(data.item(0, position).captions[0]) for position in range(data.sizes[0])]
    assert (np.abs(np.diff(order)) == 1).mean() < 0.2


def test_a_document_is_the_same_as_from_a_prepared_set(tmp_path):
    """Direction, dropped caption and noise key follow from the number of the document."""
    steps = open_steps(settings(parquet(tmp_path / "in", range(300)), "data.read=0.5", "data.drop=0.3"))
    steps.numbers(0)
    window = steps.stream.sets[0]
    for number in sorted(window.items):
        assert steps.plans[number] == Stream([window], 0, steps.config.data).plan_of(0, number, number)
    plans = list(steps.plans.values())
    assert (
        0.3 < sum(plan.reads for plan in plans) / len(plans) < 0.7
        and len({plan.key for plan in plans if plan.key}) > 40
    )


def test_resizing_is_that_of_prepare(tmp_path):
    from rawmm_cli.data.images import fit

    (tmp_path / "in").mkdir()
    whole = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "PNG")
    pq.write_table(pa.table({"image": [file.getvalue()] * 60}), tmp_path / "in" / "a.parquet")
    data = open_steps(settings(tmp_path / "in")).streamed
    _, resized = data.picture(0, 0)
    assert (resized == fit(whole, 8)).all()


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["data.stream.lanes=3"],
            "data.stream.lanes = 3 must be a multiple of the 1 rank and divide train.batch = 16",
        ),
        (["data.mix.other=0.5"], "data.mix cannot be combined with data.stream"),
        (["data.stream.held_out=0"], "data.stream.held_out = 0"),
        (["data.stream.crop=left"], "data.stream.crop = left; allowed: center, none"),
        (["data.stream.lane=3"], "unknown key 'data.stream.lane' (did you mean data.stream.lanes?)"),
    ],
)
def test_settings_that_are_wrong(words, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        check_shares(settings(tmp_path, *words), Ranks())
    assert message in str(caught.value)


def test_short_forms():
    assert presets.load("tiny", ["data.stream=true"]).data.stream == Streaming()
    assert (
        presets.load("tiny", ["data.stream=true", "data.stream.lanes=8", "data.stream=false"]).data.stream
        is None
    )


def test_sources_that_cannot_stream(tmp_path, monkeypatch):
    def refused(message):
        with pytest.raises(DataError, match=message) as caught:
            open_steps(settings(tmp_path / "in"))
        assert "\n" not in str(caught.value)

    refused("in does not exist; data.stream.path allows: a folder of .parquet files, archives or")
    (tmp_path / "in").mkdir()
    refused("holds none of them; allowed for data.stream: .parquet files alone or .tar files alone")
    tars(tmp_path / "in", range(30), files=1)
    path = tmp_path / "in" / "0.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    refused("0.tar cannot be read ")
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("../out.png"))
    refused("is refused: its member '../out.png' leads out")
    path.write_bytes(whole)
    parquet(tmp_path / "in", range(10))
    refused("holds .parquet, .tar; allowed for data.stream")
    for file in (tmp_path / "in").glob("*.tar"):
        file.unlink()
    refused(r"has \d+ pictures to train on; data.stream.lanes = 4 needs at least 16; set fewer lanes")


def test_another_source_is_another_fingerprint(tmp_path):
    one = open_steps(settings(parquet(tmp_path / "in", range(100)))).streamed.card["fingerprint"]
    assert open_steps(settings(tmp_path / "in")).streamed.card["fingerprint"] == one
    assert open_steps(settings(tmp_path / "in", "data.stream.lanes=2")).streamed.card["fingerprint"] != one
    parquet(tmp_path / "in", range(101))
    assert open_steps(settings(tmp_path / "in")).streamed.card["fingerprint"] != one


def test_files_of_the_hub_are_listed_by_datasets(tmp_path, monkeypatch):
    """They are read; without a network one line says how to fetch the set."""
    import datasets

    parquet(tmp_path / "repo" / "data", range(100), files=1)
    (tmp_path / "repo" / "data" / "0.parquet").rename(
        tmp_path / "repo" / "data" / "train-00000-of-00001.parquet"
    )
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    real = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda repo: real(str(tmp_path / "repo")))
    files = streams.find("hf:some/one")
    assert files.ending == ".parquet" and files.names == ["data/train-00000-of-00001.parquet"]
    steps = open_steps(settings("hf:some/one"))
    assert len(documents_of(steps, 0)) == 16

    def unreachable(repo):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    with pytest.raises(
        DataError, match="some/one cannot be reached .no network.*`hf download --repo-type dataset some/one"
    ):
        streams.find("hf:some/one")


def test_files_elsewhere_are_opened_by_fsspec(tmp_path):
    """As on the hub: the same pictures through a file system other than the disk."""
    import fsspec

    parquet(tmp_path / "in", range(60), files=1)
    memory = fsspec.filesystem("memory")
    memory.pipe("/shard/0.parquet", (tmp_path / "in" / "0.parquet").read_bytes())
    there, here = (
        streamed.shards_of(
            streams.Files(".parquet", [path], ["0.parquet"], None, Unused()), Streaming(), "it"
        )
        for path in ("memory:///shard/0.parquet", str(tmp_path / "in" / "0.parquet"))
    )
    others = [there.read(block, [True] * block.count) for block in there.blocks]
    assert others == [here.read(block, [True] * block.count) for block in here.blocks]
    assert streamed.Block(0, 0, 0, 20) == here.blocks[0]
