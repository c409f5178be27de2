"""Source -> prepared set: rows made by worker processes, written in parts, put together at the end.

    data/.NAME.partial/plan.json           what is being prepared
    data/.NAME.partial/part-00000/         rows of the first PART items, and notes.json: what was skipped
    data/NAME/                             appears whole, by a rename

A part appears by a rename too. So whatever stops the work, the same command goes on behind the last whole
part and ends with the same bytes. Only one part and a few chunks of rows are ever in memory. Next: `card.py`
says what is in the set."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

from ..system import disk
from ..system.errors import DataError, LockedError
from ..system.workers import Workers
from . import card, prepared, tables
from .items import Source
from .rows import DOCUMENTS, PICTURES, Fitting, Skipped, maker

PART = 2048  # items
CHUNK = 16  # items that a worker gets at a time
BATCH_BYTES = 8 << 20  # of rows that are written together
BAD_IN_A_ROW = 100
FORMAT = 1


@dataclass(frozen=True)
class Options:
    """held_out: share of the items, by their names, where the source has no splits of its own. max_bad: share
    of items that may be left out. workers 0: everything in this process."""

    fitting: Fitting = Fitting()
    held_out: float = 0.1
    limit: int | None = None
    max_bad: float = 0.05
    workers: int = 2


def prepare(
    source: Source,
    folder: Path,
    options: Options,
    told: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, skipped: None,
    write_page: Callable[[Path, dict], None] = lambda folder, card: None,
) -> dict:
    """Prepare `source` in `folder`, or go on where that was interrupted -> the card.

    `progress(items, skipped)` is called as it goes, and `write_page(folder, card)` before the set gets its
    name: a set appears with its page or not at all. Raises DataError where too many items are bad or too few
    are left, and LockedError where another process prepares the same set."""
    prepared.check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, lock = _beside(folder, "partial"), FileLock(_beside(folder, "lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise LockedError(f"another process prepares {folder}; wait for it, or give another --name") from None
    try:
        with disk.room_for(f"the prepared set {folder}"):
            parts = _begin(partial, folder, source, options, told)
            _write_parts(partial, source, options, parts, progress)
            pa.default_memory_pool().release_unused()  # it would keep what the rows needed
            return _put_together(partial, folder, source, options, write_page)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


# ------------------------------------------------------------------------------------------------------ parts


def _begin(
    partial: Path, folder: Path, source: Source, options: Options, told: Callable[[str], None]
) -> list[dict]:
    """-> notes of the parts that an interrupted run of the same work has left; anything else is removed."""
    plan = {
        "format": FORMAT,
        "part": PART,
        "state": source.state,
        "fitting": asdict(options.fitting),
        "held_out": options.held_out,
        "limit": options.limit,
    }
    plan, old = json.loads(json.dumps(plan)), partial / "old"
    if old.exists() and not folder.exists():  # stopped between the two renames of `prepared.swap`
        old.rename(folder)
    if partial.exists():
        try:
            same = json.loads((partial / "plan.json").read_text(encoding="utf-8")) == plan
        except (OSError, ValueError):
            same = False
        if not same:
            told("an interrupted preparation is there, of other data or with other options; starting anew")
            shutil.rmtree(partial)
    partial.mkdir(exist_ok=True)
    disk.write(partial / "plan.json", json.dumps(plan))
    notes = []
    while (made := partial / f"part-{len(notes):05d}").is_dir():
        notes.append(json.loads((made / "notes.json").read_text(encoding="utf-8")))
    for left in [*partial.glob(".part-*"), *partial.glob("new"), *partial.glob("old")]:
        shutil.rmtree(left)
    if notes:
        told(f"going on behind the {sum(note['items'] for note in notes):,} items that are done")
    return notes


def _write_parts(
    partial: Path, source: Source, options: Options, parts: list[dict], progress: Callable[[int, int], None]
) -> None:
    """Rows of the items that are not done yet."""
    if parts and parts[-1]["last"]:
        return
    done = sum(note["items"] for note in parts)
    skipped = sum(len(note["skipped"]) for note in parts)
    in_a_row = parts[-1]["in_a_row"] if parts else 0
    results = _results(source, done, options)
    number, ended = len(parts), False
    while not ended:
        with _Part(
            partial, number, DOCUMENTS if source.holds_documents else PICTURES, options.held_out
        ) as part:
            for result, split in islice(results, PART):
                bad = isinstance(result, Skipped)
                in_a_row = in_a_row + 1 if bad else 0
                if in_a_row >= BAD_IN_A_ROW:
                    raise DataError(
                        f"{BAD_IN_A_ROW} items in a row cannot be used, the last '{result.name}': "
                        f"{result.reason}; "
                        "mend the source"
                    )
                part.skip(result) if bad else part.add(result, split)
                skipped += bad
                done += 1
                progress(done, skipped)
            ended = part.items < PART
            part.close(last=ended, in_a_row=in_a_row)
        number += 1


class _Part:
    """Rows of up to PART items, written batch by batch; the folder gets its name when it is whole."""

    def __init__(self, partial: Path, number: int, schema: pa.Schema, held_out: float):
        self.final, self.folder = partial / f"part-{number:05d}", partial / f".part-{number:05d}"
        self.folder.mkdir()
        self.schema, self.share = schema, held_out
        self.writers = {
            split: pa.ipc.new_stream(str(self.folder / f"{split}.arrow"), schema) for split in prepared.SPLITS
        }
        self.rows, self.bytes = {split: [] for split in prepared.SPLITS}, dict.fromkeys(prepared.SPLITS, 0)
        self.items, self.skipped, self.counts = 0, [], dict.fromkeys(prepared.SPLITS, 0)

    def add(self, row: dict, split: str | None) -> None:
        split = split or ("held_out" if prepared.hash_fraction(row["source"]) < self.share else "train")
        self.rows[split].append(row)
        self.bytes[split] += (
            sum(map(len, row["pixels"])) if isinstance(row["pixels"], list) else len(row["pixels"])
        )
        self.items, self.counts[split] = self.items + 1, self.counts[split] + 1
        if self.bytes[split] >= BATCH_BYTES or len(self.rows[split]) >= 512:
            self._flush(split)

    def skip(self, skipped: Skipped) -> None:
        self.items += 1
        self.skipped.append({"file": skipped.name, "reason": skipped.reason})

    def _flush(self, split: str) -> None:
        if self.rows[split]:
            self.writers[split].write_batch(pa.RecordBatch.from_pylist(self.rows[split], self.schema))
            self.rows[split], self.bytes[split] = [], 0

    def close(self, last: bool, in_a_row: int) -> None:
        for split, writer in self.writers.items():
            self._flush(split)
            writer.close()
        notes = {
            "items": self.items,
            "last": last,
            "in_a_row": in_a_row,
            "count": self.counts,
            "skipped": self.skipped,
        }
        disk.write(self.folder / "notes.json", json.dumps(notes))
        for file in self.folder.iterdir():
            disk.sync(file)
        self.folder.rename(self.final)
        disk.sync(self.final.parent)

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # there is nothing left of it where all went well


# ---------------------------------------------------------------------------------------------------- workers


def _results(source: Source, start: int, options: Options) -> Iterator[tuple]:
    """(row or Skipped, split) of every item from `start` on, in order. Only a few chunks are on their way at
    a time."""
    make = maker(source, options.fitting)
    items = source.items(start)
    if options.limit is not None:
        items = islice(items, max(0, options.limit - start))
    chunks = iter(lambda: list(islice(items, CHUNK)), [])
    if not options.workers:
        for chunk in chunks:
            yield from make(chunk)
        return
    remedy = "run the same command again to go on, with fewer --workers if it happens again"
    with Workers(options.workers, "worker process", remedy) as workers:
        for results in workers.map(make, ((chunk,) for chunk in chunks)):
            yield from results


# ------------------------------------------------------------------------------------------------------ whole


def _put_together(
    partial: Path, folder: Path, source: Source, options: Options, write_page: Callable[[Path, dict], None]
) -> dict:
    """Parts -> the set, with its card."""
    parts = sorted(partial.glob("part-*"))
    notes = [json.loads((part / "notes.json").read_text(encoding="utf-8")) for part in parts]
    skipped = [entry for note in notes for entry in note["skipped"]]
    _check_bad(skipped, sum(note["items"] for note in notes), options.max_bad)
    new = partial / "new"
    new.mkdir()
    files = {
        split: [part / f"{split}.arrow" for part, note in zip(parts, notes) if note["count"][split]]
        for split in prepared.SPLITS
    }
    if not all(files.values()):
        files = _share_out(new, files)
    for split, made in files.items():
        prepared.write_split(new / split, made)
    full = card.describe(new, {"name": folder.name, **source.card}, skipped, options)
    write_page(new, full)
    card.write(new, full)
    prepared.swap(new, folder)
    shutil.rmtree(partial, ignore_errors=True)
    return full


def _check_bad(skipped: list[dict], items: int, most: float) -> None:
    if len(skipped) > most * items:
        first = skipped[0]
        more = f" (and {len(skipped) - 1:,} more)" if len(skipped) > 1 else ""
        raise DataError(
            f"'{first['file']}'{more} of {items:,} cannot be used: {first['reason']}; mend them, or allow "
            f"to leave "
            f"out a larger share with --max-bad-fraction (now {most:g}); what is done is kept for the same "
            f"command"
        )


def _share_out(new: Path, files: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """A set so small that one split is empty: the item whose name comes first (or last) by its hash changes
    sides."""
    have = next(split for split in prepared.SPLITS if files[split]) if any(files.values()) else None
    table = pa.concat_tables([tables.table(file) for file in files[have]]) if have else None
    if table is None or len(table) < 2:
        raise DataError(
            f"only {0 if table is None else 1} usable item; allowed: at least 2, one to train and one held "
            f"out; "
            "add some"
        )
    places = [prepared.hash_fraction(name) for name in table["source"].to_pylist()]
    moving = places.index(min(places)) if have == "train" else places.index(max(places))
    kept = [n for n in range(len(table)) if n != moving]
    empty = next(split for split in prepared.SPLITS if split != have)
    made = {}
    for split, rows in ((have, kept), (empty, [moving])):
        made[split] = [new.parent / f".{split}.arrow"]
        with pa.ipc.new_stream(str(made[split][0]), table.schema) as writer:
            writer.write_table(table.take(rows).combine_chunks())
    return made
