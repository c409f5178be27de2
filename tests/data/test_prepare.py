"""Preparing: nothing lost, nothing half done, and the same bytes after any interruption."""

import json
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
from forking import alive, die_before_change, fork, until
from sources import card_of, interleaved, listing, numbers, pixels_of, prepare_source, rows

from rawmm_cli.data import card, prepare, prepared
from rawmm_cli.data.images import fit
from rawmm_cli.data.items import Source
from rawmm_cli.pages import card as card_page
from rawmm_cli.system.errors import DataError, LockedError, RankError


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(prepare, "PART", 16)
    monkeypatch.setattr(prepare, "CHUNK", 4)


def names(entries) -> list[str]:
    return [row["source"] for row in entries]


# ------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("count", [2, 15, 16, 17, 50])
def test_every_item_is_there_once_in_order_with_its_exact_pixels(tmp_path, count):
    prepare_source(tmp_path / "set", numbers(count), held_out=0.3)
    stored = rows(tmp_path / "set")
    assert sorted(names(stored["train"] + stored["held_out"])) == sorted(f"{n}.png" for n in range(count))
    for entries in stored.values():
        assert names(entries) == sorted(names(entries), key=lambda name: int(name[:-4])) and entries
        for row in entries:
            n = int(row["source"][:-4])
            assert row["pixels"] == pixels_of(n).tobytes() and (row["height"], row["width"]) == (8, 8)
            assert row["captions"] == [f"number {n}"] and row["label"] == n % 3
            assert prepared.json.loads(row["attributes"]) == {"even": n % 2 == 0}
    assert [path.name for path in tmp_path.iterdir()] == ["set"], "nothing else is left"


def test_loading_gives_what_was_written(tmp_path):
    prepare_source(tmp_path / "set", numbers(40), held_out=0.3)
    for split in prepared.SPLITS:
        data = prepared.load(tmp_path / "set", split)
        for index, row in enumerate(rows(tmp_path / "set")[split]):
            n = int(row["source"][:-4])
            assert np.array_equal(data.image(index).permute(1, 2, 0).numpy(), pixels_of(n))
            assert data.captions[index] == [f"number {n}"] and data.labels[index] == n % 3
            assert data.source(index) == f"{n}.png" and data.attributes(index) == {"even": n % 2 == 0}


def test_datasets_can_read_it(tmp_path):
    import datasets

    prepare_source(tmp_path / "set", numbers(40), held_out=0.3)
    for split, entries in rows(tmp_path / "set").items():
        table = datasets.load_from_disk(str(tmp_path / "set" / split))
        assert table["source"] == names(entries) and table[0]["pixels"] == entries[0]["pixels"]


def test_documents_keep_their_order_and_pictures(tmp_path):
    prepare_source(tmp_path / "set", interleaved(20), held_out=0.3)
    for split in prepared.SPLITS:
        data = prepared.load(tmp_path / "set", split)
        for index in range(len(data)):
            n = int(data.source(index).split()[1])
            pictures = [(8, 8, bool((n + m) % 2)) for m in range(n % 3)]
            assert data.pieces(index) == [f"it was {n}", *pictures, "the end"]
            for m in range(n % 3):
                assert np.array_equal(data.image(index, m).permute(1, 2, 0).numpy(), pixels_of(10 * n + m))


def test_size_crop_and_limit(tmp_path):
    card = prepare_source(tmp_path / "set", numbers(40), size=4, limit=10, held_out=0.3)
    stored = rows(tmp_path / "set")
    assert sorted(names(stored["train"] + stored["held_out"])) == sorted(f"{n}.png" for n in range(10))
    first = stored["train"][0]
    assert first["pixels"] == fit(pixels_of(int(first["source"][:-4])), 4).tobytes()
    assert card["size"] == [4, 4] and card["options"]["limit"] == 10


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.process
def test_workers_change_nothing(tmp_path, workers):
    for count, folder in ((0, "alone"), (workers, "helped")):
        prepare_source(tmp_path / folder / "set", numbers(60, bad={7, 8}), workers=count)
    assert listing(tmp_path / "alone") == listing(tmp_path / "helped")


# ----------------------------------------------------------------------------------------------------- splits


def test_the_split_depends_on_the_name_alone(tmp_path):
    for count in (40, 60):
        prepare_source(tmp_path / str(count), numbers(count), held_out=0.2)
    few, many = (set(names(rows(tmp_path / count)["held_out"])) for count in ("40", "60"))
    assert few == {name for name in many if int(name[:-4]) < 40}
    assert few == {f"{n}.png" for n in range(40) if prepared.hash_fraction(f"{n}.png") < 0.2}


def test_splits_of_the_source_are_kept(tmp_path):
    prepare_source(tmp_path / "set", numbers(30, splits=True), held_out=0.9)
    assert names(rows(tmp_path / "set")["held_out"]) == [f"{n}.png" for n in range(0, 30, 5)]


@pytest.mark.parametrize("share", [0.0001, 0.9999])
def test_a_small_set_has_both_splits(tmp_path, share):
    prepare_source(tmp_path / "set", numbers(4), held_out=share)
    stored = rows(tmp_path / "set")
    assert {len(entries) for entries in stored.values()} == {1, 3}
    fractions = {split: [prepared.hash_fraction(name) for name in names(stored[split])] for split in stored}
    assert max(fractions["held_out"]) < min(fractions["train"])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_are_refused(tmp_path, count):
    with pytest.raises(DataError, match="at least 2"):
        prepare_source(tmp_path / "set", numbers(count))
    assert not (tmp_path / "set").exists()


# -------------------------------------------------------------------------------------------------- bad items


def test_skipped_items_are_listed(tmp_path):
    card = prepare_source(tmp_path / "set", numbers(60, bad={3, 20, 59}), max_bad=0.05)
    assert card["skipped"] == [{"file": f"{n}.png", "reason": f"it is bad {n}"} for n in (3, 20, 59)]
    assert card["skipped_count"] == 3 and sum(card["count"].values()) == 57
    lines = (tmp_path / "set" / "skipped.jsonl").read_text().splitlines()
    assert [prepared.json.loads(line)["file"] for line in lines] == ["3.png", "20.png", "59.png"]


def test_too_many_bad_items_stop_it_and_a_larger_share_continues(tmp_path, monkeypatch):
    source = numbers(60, bad={3, 20, 59, 40})
    with pytest.raises(
        DataError, match=r"4 of 60 items cannot be used, the first '3.png' \(it is bad 3\); repair them"
    ):
        prepare_source(tmp_path / "set", source, max_bad=0.05)
    assert not (tmp_path / "set").exists()
    monkeypatch.setattr(prepare, "_results", None)  # all parts are there already
    assert sum(prepare_source(tmp_path / "set", source, max_bad=0.1)["count"].values()) == 56


@pytest.mark.parametrize("first", [0, 7, 30])
def test_a_hundred_bad_items_in_a_row_stop_it(tmp_path, first):
    opened = []
    source = numbers(200, bad=set(range(first, first + 100)))
    counted = Source(
        items=lambda start: (opened.append(item) or item for item in source.items(start)),
        open=pixels_of,
        state="",
        card={},
    )
    with pytest.raises(DataError, match=f"100 items in a row cannot be used, the last '{first + 99}.png'"):
        prepare_source(tmp_path / "set", counted, max_bad=1)
    assert len(opened) <= first + 104
    fewer = numbers(200, bad=set(range(first, first + 99)))
    assert prepare_source(tmp_path / "other", fewer, max_bad=1)["skipped_count"] == 99


def test_a_hundred_in_a_row_are_counted_across_an_interruption(tmp_path):
    with pytest.raises(DataError):
        prepare_source(tmp_path / "set", numbers(200, bad=set(range(10, 110))), max_bad=1)
    with pytest.raises(DataError, match="the last '109.png'"):
        prepare_source(tmp_path / "set", numbers(200, bad=set(range(10, 110))), max_bad=1)


# ---------------------------------------------------------------------------------------------- interruptions


class Broken(Exception):
    pass


def broken_after(source: Source, count: int) -> Source:
    def items(start):
        for n, item in enumerate(source.items(start), start):
            if n == count:
                raise Broken
            yield item

    return Source(items=items, open=source.open, state=source.state, card=source.card)


def test_an_interrupted_preparation_continues_and_ends_the_same(tmp_path):
    source = numbers(70, bad={5, 33})
    prepare_source(tmp_path / "unbroken" / "set", source)
    for count in (3, 20, 37, 69):
        with pytest.raises(Broken):
            prepare_source(tmp_path / "broken" / "set", broken_after(source, count))
    starts, messages = [], []
    last = Source(
        items=lambda start: starts.append(start) or source.items(start),
        open=source.open,
        state=source.state,
        card=source.card,
    )
    target, options = tmp_path / "broken" / "set", prepare.Options(workers=0)
    prepare.prepare(last, target, options, messages.append, write_page=card_page.write)
    assert starts == [64] and messages == ["continuing after the 64 items that are done"]
    assert listing(tmp_path / "broken") == listing(tmp_path / "unbroken")


@pytest.mark.parametrize("change", [{"state": "other"}, {"held_out": 0.5}, {"size": 4}, {"limit": 30}])
def test_other_data_or_options_start_from_the_beginning(tmp_path, change):
    source = numbers(40)
    with pytest.raises(Broken):
        prepare_source(tmp_path / "set", broken_after(source, 35))
    other = numbers(40, state=change["state"]) if "state" in change else source
    options = {key: value for key, value in change.items() if key != "state"}
    prepare_source(tmp_path / "set", other, **options)
    prepare_source(tmp_path / "fresh", other, **options)
    assert rows(tmp_path / "set") == rows(tmp_path / "fresh")


def prepare_until_change(folder, count, workers, number, note, group):
    """In a process of its own: prepare, and die before a change of the disk."""
    multiprocessing.set_start_method("spawn", force=True)
    prepare.PART, prepare.CHUNK = 16, 4
    die_before_change(folder.parent, number, note, group)
    prepare_source(folder, numbers(count, bad={9, 77}), workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.process
def test_kill_9_before_a_change_of_the_disk_and_the_same_bytes_in_the_end(tmp_path, workers):
    """Killed again and again, each time later: in the parts, and while they become the set. Workers end
    with the process, whether they are killed too or not."""
    prepare_source(tmp_path / "unbroken" / "set", numbers(100, bad={9, 77}))
    folder, note, changes, helpers = tmp_path / "broken" / "set", tmp_path / "note", [], set()
    for number in range(3, 60, 9 if workers else 2):
        process = fork(prepare_until_change, folder, 100, workers, number, note, len(changes) % 2 == 1)
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        change, *started = note.read_text().splitlines()
        changes.append(change.split("/")[-1])
        helpers |= set(map(int, started))
    assert len(changes) >= (3 if workers else 8) and len(helpers) >= 2 * workers
    until(lambda: not alive(helpers))
    prepare_source(folder, numbers(100, bad={9, 77}))
    assert listing(tmp_path / "broken") == listing(tmp_path / "unbroken")


def dies(content, background):
    os._exit(9)


@pytest.mark.process
def test_a_worker_that_dies_is_an_error(tmp_path):
    source = numbers(20)
    with pytest.raises(RankError, match="a worker process died"):
        prepare_source(tmp_path / "set", Source(items=source.items, open=dies, state="", card={}), workers=1)


def test_two_preparations_at_a_time_are_refused(tmp_path):
    source = numbers(20)

    def items(start):
        with pytest.raises(LockedError, match="another process prepares"):
            prepare_source(tmp_path / "set", source)
        yield from source.items(start)

    prepare_source(tmp_path / "set", Source(items=items, open=pixels_of, state="", card={}))


# ------------------------------------------------------------------------------------------------------- card


def test_the_card_counts(tmp_path):
    counts = prepare_source(tmp_path / "set", numbers(50, bad={4}), held_out=0.2)
    assert counts == card_of(tmp_path / "set")
    assert sum(counts["count"].values()) == counts["pictures"] == 49 and counts["size"] == [8, 8]
    captions = counts["captions"]
    assert captions["count"] == 49 and captions["vocabulary"] == 50
    assert dict(captions["frequent"])["number"] == 49 and captions["bytes"]["max"] == len("number 49")
    assert sum(counts["label_counts"].values()) == 49
    assert counts["attributes"]["even"] == {"False": 25, "True": 24}
    assert counts["duplicates"]["exact"]["groups"] == 0 == counts["without_caption"]
    assert "number 1" in (tmp_path / "set" / "card.html").read_text()


def test_what_a_kill_left_of_whole_sets_is_swept(tmp_path, monkeypatch):
    """The next preparation, of any set, deletes it; work that can go on, and that of others, stays."""
    with pytest.raises(DataError):  # stopped
        prepare_source(tmp_path / "unfinished", numbers(40, bad=range(20)))
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)  # killed after the set got its name
    for name in ("one", "busy"):
        prepare_source(tmp_path / name, numbers(40))
    monkeypatch.undo()
    names = [".one.partial", ".busy.partial", ".unfinished.partial"]
    assert all((tmp_path / name).is_dir() for name in names)
    before = {name: listing(tmp_path / name) for name in ("one", "busy", ".unfinished.partial")}
    with prepare.FileLock(tmp_path / ".busy.lock"):
        prepare_source(tmp_path / "two", numbers(30))
    assert [(tmp_path / name).is_dir() for name in names] == [False, True, True]
    assert {name: listing(tmp_path / name) for name in before} == before
    assert not (tmp_path / ".one.lock").exists()


def test_verify_reports_nothing_for_an_intact_set(tmp_path):
    prepare_source(tmp_path / "set", numbers(40, bad={4}), max_bad=0.1)
    prepare_source(tmp_path / "interleaved", interleaved(20))
    assert card.verify(tmp_path / "set") == [] == card.verify(tmp_path / "interleaved")


@pytest.mark.parametrize("split", prepared.SPLITS)
def test_verify_finds_a_changed_pixel_and_names_the_picture(tmp_path, split):
    prepare_source(tmp_path / "set", numbers(40), held_out=0.3)
    row = rows(tmp_path / "set")[split][5]
    changed = 0
    for file in sorted((tmp_path / "set" / split).glob("*.arrow")):
        data = bytearray(file.read_bytes())
        if (offset := data.find(row["pixels"])) >= 0:
            data[offset + 100] ^= 1
            os.unlink(file)
            file.write_bytes(data)
            changed += 1
    assert changed == 1
    assert card.verify(tmp_path / "set") == [
        f"{split} row 5 ({row['source']}): its pixels do not match their checksum"
    ]


@pytest.mark.parametrize("name", ["source", "look", "means"])
def test_verify_finds_a_change_in_what_nobody_learns_from(tmp_path, name):
    prepare_source(tmp_path / "set", numbers(40), held_out=0.3)
    row = rows(tmp_path / "set")["train"][5]
    value = {"source": row["source"].encode(), "look": row["look"].to_bytes(8, "little")}.get(
        name, row["means"]
    )
    files = (tmp_path / "set" / "train").glob("*.arrow")
    file, data = next(
        (file, data) for file in files if row["pixels"] in (data := bytearray(file.read_bytes()))
    )
    data[data.rindex(value)] ^= 1
    os.unlink(file)
    file.write_bytes(data)
    assert card.verify(tmp_path / "set") == [f"column {name} does not match its checksum in card.json"]
    written = json.loads((tmp_path / "set" / "card.json").read_text())
    del written["columns"]  # as earlier versions wrote it
    (tmp_path / "set" / "card.json").write_text(json.dumps(written))
    assert card.verify(tmp_path / "set") == []


@pytest.mark.parametrize("name", ["label_counts", "attributes", "duplicates"])
def test_verify_counts_classes_and_duplicates(tmp_path, name):
    prepare_source(tmp_path / "set", numbers(40), held_out=0.3)
    written = json.loads((tmp_path / "set" / "card.json").read_text())
    changed = {
        "label_counts": {"0": 40},
        "attributes": {},
        "duplicates": {"exact": {"groups": 1, "across_splits": 0}},
    }
    (tmp_path / "set" / "card.json").write_text(json.dumps(written | {name: changed[name]}))
    (problem,) = card.verify(tmp_path / "set")
    assert problem.startswith(f"card.json says {name} = ")


@pytest.mark.parametrize(
    "change",
    [
        ("number 1", "number 2"),
        ('"held_out": ', '"held_out": 1'),
        ('"vocabulary": ', '"vocabulary": 1'),
        ('"fingerprint": "', '"fingerprint": "0'),
    ],
)
def test_verify_finds_a_changed_caption_or_card(tmp_path, change):
    prepare_source(tmp_path / "set", numbers(40), held_out=0.3)
    in_rows = change[0] == "number 1"
    file = min((tmp_path / "set/train").glob("*.arrow")) if in_rows else tmp_path / "set/card.json"
    text = file.read_bytes()
    assert change[0].encode() in text
    os.unlink(file)
    file.write_bytes(text.replace(change[0].encode(), change[1].encode(), 1))
    assert len(card.verify(tmp_path / "set")) >= 1
