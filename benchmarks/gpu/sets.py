"""Prepared sets for the other parts: crops of photographs at 64 and 128 px, and drawn portraits at 64 px."""

import time

from .parts import CommandError, finish, part, start

SETS = {
    "photos64": ("photos", 20_000, 64),
    "photos128": ("photos", 4_000, 128),
    "portraits64": ("portraits", 6_000, 64),
}
TINY = {"photos64": ("photos", 60, 16), "photos128": ("photos", 60, 32), "portraits64": ("portraits", 60, 32)}


def main() -> None:
    """Prepare all sets side by side, with as many workers as there are cores."""
    job, rows, problems = part("sets"), [], []
    began = time.monotonic()
    started = {
        name: start(
            job,
            "prepare",
            source,
            "--count",
            count,
            "--size",
            size,
            "--name",
            name,
            "--data-dir",
            job.data,
            "--json",
        )
        for name, (source, count, size) in (TINY if job.tiny else SETS).items()
    }
    for name, process in started.items():
        try:
            card = finish(job, process)
        except CommandError as error:
            problems.append(str(error))
        else:
            rows.append({"set": name, "train": card["count"]["train"], "held out": card["count"]["held_out"]})
        job.save(tables={"prepared sets": rows}, problems=problems)
    counts = ", ".join(f"{row['set']} {row['train']:,}" for row in rows)
    job.say(f"{counts} in {time.monotonic() - began:.0f} s" + "".join(f"; {p}" for p in problems))


if __name__ == "__main__":
    main()
