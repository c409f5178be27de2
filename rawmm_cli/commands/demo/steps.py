"""Steps that both demos share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...evaluation.subject import Subject
    from ...reconstruction.results import Comparison

CODECS = ("raw", "webp@12288", "webp@3584", "resize@16")  # of which only the first keeps every bit
KEPT, LARGEST = 4, 256  # pictures that go through them, and their longer side at most


class Stopwatch:
    """Names of what was done, and seconds."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds.append((what, time.perf_counter() - started))


def look(folder: Path, data_dir: Path) -> "Subject":
    """The run, ready to draw and to read, with its set."""
    from ...data import sets
    from ...evaluation.subject import Subject
    from ...sampling.request import Request
    from ..common import load_model

    loaded = load_model(folder.parent, str(folder), None, "auto")
    (train, *_), held_out = sets.load(loaded.config, data_dir)
    return Subject(loaded, Request(), train, held_out, data_dir)


def reconstruct(path: Path, out: Path) -> "tuple[Comparison, Path]":
    """Some pictures through CODECS -> the comparison, and the folder of its files."""
    from ...data import pictures
    from ...data.prepared import evenly_spaced
    from ...reconstruction import choices, files, reconstruct, results
    from ...system import disk, machine

    locations = pictures.find([path], Path())
    chosen_files = [locations[n] for n in evenly_spaced(len(locations), KEPT)]
    files.check_out(out, chosen_files)
    chosen = choices.choices(list(CODECS), Path(), machine.device("cpu"), None, [])
    result = reconstruct.run(chosen_files, chosen, reconstruct.Plan(out=out, size=LARGEST))
    disk.write_json(out / pictures.RESULTS, results.as_json(result))
    return result, out
