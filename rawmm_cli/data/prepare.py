"""Source -> prepared set: rows from worker processes are written in parts, and the parts become the set.

    data/.NAME.partial/plan.json           source and options
    data/.NAME.partial/part-00000/         rows of the first PART items (`parts.py`)
    data/NAME/                             appears whole, by a rename

A part appears by a rename too. So whatever stops the work, the same command continues after the last
complete part and ends with the same bytes. Only one record batch and a few chunks of rows are in memory at
a time. Next: `card.py` describes the set."""

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

from ..system import disk
from ..system.errors import DataError, LockedError
from ..system.figures import counted
from ..system.workers import Workers
from . import card, prepared, tables
from .items import NO_CAPTION, DocumentItem, Item, Source
from .parts import Part, read_notes
from .rows import DOCUMENTS, PICTURES, Fitting, Result, Skipped, row_maker
from .shapes.originals import Originals, gather

PART = 2048  # items of a part
CHUNK = 16  # items that a worker gets at a time
BAD_IN_A_ROW = 100  # consecutive bad items that end the preparation
FORMAT = 2


@dataclass(frozen=True)
class Options:
    """How a source is prepared."""

    fitting: Fitting = field(default_factory=Fitting)
    held_out: float = 0.1  # share of held-out items, chosen by their names, where the source has no splits
    limit: int | None = None  # number of items; None for all
    max_bad: float = 0.05  # largest share of items that may be skipped
    workers: int = 2  # worker processes; 0 prepares in this process


def prepare(
    source: Source,
    folder: Path,
    options: Options,
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, skipped: None,
    write_page: Callable[[Path, dict], None] = lambda folder, card: None,
) -> dict:
    """Prepare `source` in `folder`, or continue an interrupted preparation -> the card.

    notify(line): receives lines for the user. progress(items, skipped): called after every item.
    write_page(folder, card): called before the set gets its name, so a set appears with its page or not at
    all. Raises DataError where too many items are bad or too few are left, LockedError where another
    process prepares the same set."""
    prepared.check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, lock = _beside(folder, "partial"), FileLock(_beside(folder, "lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise LockedError(f"another process prepares {folder}; wait for it, or give another --name") from None
    try:
        sweep(folder.parent)
        with disk.room_for(f"the prepared set {folder}"):
            parts = _begin(partial, folder, source, options, notify)
            _write_parts(partial, source, options, parts, progress)
            pa.default_memory_pool().release_unused()  # or it keeps the memory of the rows
            return _assemble(partial, folder, source, options, write_page)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def sweep(data_folder: Path) -> None:
    """Delete what preparations that were killed after their set was whole have left beside it. What another
    one has done of a set that is not whole stays, for the same command to go on."""
    for partial in data_folder.glob(".*.partial"):
        folder = partial.with_name(partial.name[1 : -len(".partial")])
        first, own = partial / "part-00000", folder / "train"
        with suppress(OSError, Timeout), FileLock(_beside(folder, "lock"), timeout=0) as lock:
            files = [file for file in first.glob("*.arrow") if any(map(file.samefile, own.glob("*.arrow")))]
            if files:
                shutil.rmtree(partial)
            Path(lock.lock_file).unlink(missing_ok=True)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


# ------------------------------------------------------------------------------------------------------ parts


def _begin(
    partial: Path, folder: Path, source: Source, options: Options, notify: Callable[[str], None]
) -> list[dict]:
    """Notes of the parts that an interrupted preparation of the same source has left; everything else in the
    folder `partial` is removed."""
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
            notify("the interrupted preparation is of other data or options; starting from the beginning")
            shutil.rmtree(partial)
    partial.mkdir(exist_ok=True)
    disk.write(partial / "plan.json", json.dumps(plan))
    notes = []
    while (part := partial / f"part-{len(notes):05d}").is_dir():
        notes.append(read_notes(part))
    for leftover in [*partial.glob(".part-*"), *partial.glob("new"), *partial.glob("old")]:
        shutil.rmtree(leftover)
    if notes:
        notify(f"continuing after the {sum(note['items'] for note in notes):,} items that are done")
    return notes


def _write_parts(
    partial: Path, source: Source, options: Options, parts: list[dict], progress: Callable[[int, int], None]
) -> None:
    """Write the rows of all items that are not in `parts` (their notes) yet. Raises DataError."""
    if parts and parts[-1]["last"]:
        return
    done = sum(note["items"] for note in parts)
    skipped = sum(len(note["skipped"]) for note in parts)
    bad_in_a_row = parts[-1]["in_a_row"] if parts else 0
    results = _results(source, done, options)
    schema = DOCUMENTS if source.holds_documents else PICTURES
    number, ended = len(parts), False
    while not ended:
        originals = Originals(source.open, options.fitting)
        with Part(partial, number, schema, options.held_out) as part:
            for item, (result, split) in islice(results, PART):
                bad = isinstance(result, Skipped)
                bad_in_a_row = bad_in_a_row + 1 if bad else 0
                if bad_in_a_row >= BAD_IN_A_ROW:
                    raise DataError(
                        f"{BAD_IN_A_ROW} items in a row cannot be used, the last '{result.name}': "
                        f"{result.reason}; mend the source{_keeping([result.reason])}"
                    )
                part.skip(result) if bad else part.add(result, split)
                if not bad:
                    originals.add(item, result)
                skipped += bad
                done += 1
                progress(done, skipped)
            ended = part.items < PART
            originals.write(part.folder)
            part.close(ended, bad_in_a_row, source.unused.card())
        number += 1


def _results(source: Source, start: int, options: Options) -> Iterator[tuple[Item | DocumentItem, Result]]:
    """All items from `start` on with their results, in order; only a few chunks are in memory at a time."""
    make = row_maker(source, options.fitting)
    items = source.items(start)
    if options.limit is not None:
        items = islice(items, max(0, options.limit - start))
    chunks = iter(lambda: list(islice(items, CHUNK)), [])
    if not options.workers:
        for chunk in chunks:
            yield from zip(chunk, make(chunk))
        return
    waiting = deque()

    def tasks() -> Iterator[tuple]:
        for chunk in chunks:
            waiting.append(chunk)
            yield (chunk,)

    remedy = "run the same command again to go on, with fewer --workers if it happens again"
    with Workers(options.workers, "worker process", remedy) as workers:
        for results in workers.map(make, tasks()):
            yield from zip(waiting.popleft(), results)


# ---------------------------------------------------------------------------------------------- the whole set


def _assemble(
    partial: Path, folder: Path, source: Source, options: Options, write_page: Callable[[Path, dict], None]
) -> dict:
    """Turn the parts into the prepared set -> its card. Raises DataError."""
    parts = sorted(partial.glob("part-*"))
    notes = [read_notes(part) for part in parts]
    skipped = [entry for note in notes for entry in note["skipped"]]
    _check_bad(skipped, sum(note["items"] for note in notes), options.max_bad)
    new = partial / "new"
    new.mkdir()
    files = {
        split: [part / f"{split}.arrow" for part, note in zip(parts, notes) if note["count"][split]]
        for split in prepared.SPLITS
    }
    if not all(files.values()):
        files = _fill_empty_split(new, files)
    for split, split_files in files.items():
        prepared.write_split(new / split, split_files)
    settings = {
        "size": options.fitting.size,
        "crop": options.fitting.crop,
        "background": list(options.fitting.background),
        "limit": options.limit,
    }
    unused = notes[-1].get("unused", {}) | source.unused.card()
    about = {"name": folder.name, **source.card, "unused": unused, **_scaled(notes)}
    about |= gather(parts, new, options.fitting)
    full = card.describe(new, about, skipped, settings)
    write_page(new, full)
    card.write(new, full)
    prepared.swap(new, folder)
    shutil.rmtree(partial, ignore_errors=True)
    return full


def _scaled(notes: list[dict]) -> dict:
    """`scaled` of the card: bits that samples use by their files -> pictures that were scaled by them."""
    scaled = sum((Counter(note.get("scaled", {})) for note in notes), Counter())
    return {"scaled": dict(sorted(scaled.items()))} if scaled else {}


def _check_bad(skipped: list[dict], items: int, max_bad: float) -> None:
    """Raise DataError where more than the share `max_bad` of the items was skipped."""
    if len(skipped) > max_bad * items:
        first = skipped[0]
        which, them = (": ", "it") if len(skipped) == 1 else (", the first ", "them")
        raise DataError(
            f"{len(skipped):,} of {counted(items, 'item')} cannot be used{which}'{first['file']}' "
            f"({first['reason']}); repair {them}, or allow a larger share with --max-bad-fraction (now "
            f"{max_bad:g}){_keeping([entry['reason'] for entry in skipped])}; what is done is kept for the "
            "same command"
        )


def _keeping(reasons: list[str]) -> str:
    """What else to do where captions are missing: "" where none is."""
    count = sum(reason.startswith(NO_CAPTION) for reason in reasons)
    if not count:
        return ""
    which = f"the {count:,} without a caption" if len(reasons) > 1 else "such pictures"
    return f", or keep {which} with --keep-uncaptioned"


def _fill_empty_split(new: Path, files: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Files of both splits where one of them is empty: one item moves there, the first or last by the hash of
    its name. Raises DataError where there are not two items."""
    full = next((split for split in prepared.SPLITS if files[split]), None)
    table = pa.concat_tables([tables.table(file) for file in files[full]]) if full else None
    if table is None or len(table) < 2:
        raise DataError(
            f"only {0 if table is None else 1} usable item; allowed: at least 2, one to train and one held "
            "out; add some"
        )
    fractions = [prepared.hash_fraction(name) for name in table["source"].to_pylist()]
    moving = fractions.index(min(fractions) if full == "train" else max(fractions))
    kept = [n for n in range(len(table)) if n != moving]
    empty = next(split for split in prepared.SPLITS if split != full)
    both = {}
    for split, rows in ((full, kept), (empty, [moving])):
        both[split] = [new.parent / f".{split}.arrow"]
        with pa.ipc.new_stream(str(both[split][0]), table.schema) as writer:
            writer.write_table(table.take(rows).combine_chunks())
    return both
