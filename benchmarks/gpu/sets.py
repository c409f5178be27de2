"""Prepared sets for the other parts: crops of photographs at 64 and 128 px, and drawn portraits at 64 px."""

import time
from typing import NamedTuple

from .parts import CommandError, finish, part, start


class Set(NamedTuple):
    """What is prepared, and by how many processes."""

    source: str
    count: int
    size: int
    workers: int


# Judges of drawn portraits, which `rawmm evaluate` would train on 10,000 of them.
JUDGES = """
from pathlib import Path
from rawmm_cli.evaluation import attributes
attributes.FRESH = {count}
attributes.judged(Path("{folder}"), {size}, {workers})
"""
FEW = 2_000  # portraits that the judges see
SETS = {
    "photos64": Set("photos", 20_000, 64, 3),
    "photos128": Set("photos", 4_000, 128, 2),
    "portraits64": Set("portraits", 6_000, 64, 6),
}
SPEED = {  # where nothing is learned
    "photos64": Set("photos", 4_000, 64, 3),
    "photos128": Set("photos", 4_000, 128, 3),
}
TINY = {
    "photos64": Set("photos", 60, 16, 0),
    "photos128": Set("photos", 60, 32, 0),
    "portraits64": Set("portraits", 40, 32, 0),
}


def main() -> None:
    """Prepare all sets side by side."""
    job, rows, problems = part("sets"), [], []
    began, learns = time.monotonic(), "learn" in job.only.split(",")
    sets = TINY if job.tiny else SETS if learns else SPEED
    started = {
        name: start(job, *words(one, name), "--data-dir", job.data, "--json") for name, one in sets.items()
    }
    judges = None if job.tiny or not learns else start_judges(job, FEW, 64, 6)
    for name, process in started.items():
        try:
            card = finish(job, process)
        except CommandError as error:
            problems.append(str(error))
        else:
            rows.append({"set": name, "train": card["count"]["train"], "held out": card["count"]["held_out"]})
        job.save(tables={"prepared sets": rows}, problems=problems)
    if judges:
        try:
            finish(job, judges)
            rows.append({"set": "judges of portraits", "train": FEW})
        except CommandError as error:
            problems.append(str(error))
        job.save(tables={"prepared sets": rows}, problems=problems)
    counts = ", ".join(f"{row['set']} {row['train']:,}" for row in rows)
    job.say(f"{counts} in {time.monotonic() - began:.0f} s" + "".join(f"; {p}" for p in problems))


def start_judges(job, count: int, size: int, workers: int):
    """Draw portraits for the judges and train them, then check that set."""
    code = JUDGES.format(count=count, folder=job.data, size=size, workers=workers)
    name, threads = f"portraits-judge-{size}", {"OMP_NUM_THREADS": "6"}
    where = ["--verify", "--data-dir", job.data, "--json"]
    return start(job, "prepare", name, *where, before=code, variables=threads)


def words(one: Set, name: str) -> list:
    """Arguments of `rawmm prepare`."""
    words = ["prepare", one.source, "--count", one.count, "--size", one.size, "--name", name]
    return [*words, "--workers", one.workers]


if __name__ == "__main__":
    main()
