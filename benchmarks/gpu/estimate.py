"""`rawmm train --dry-run --card` beside what `train` has measured on this card, and for other cards."""

import json
from importlib.util import find_spec

from .parts import CommandError, Part, finish, part, start

OTHERS = ("h100", "a100", "h200", "4090") if find_spec("rawmm_cli.profiling.cards") else ()


def main() -> None:
    """A row for each configuration that was measured, and one for each card."""
    job = part("estimate")
    measured = read(job, "train").get("setups", {})
    measured = {
        name: result
        for name, result in measured.items()
        if "step_seconds" in result and not name.endswith(("one by one", "C++ launches"))
    }
    card = name_of(read(job, "machine").get("card", ""))
    started = {
        name: start(job, *words(job, result["preset"], result["settings"], card))
        for name, result in measured.items()
    }
    other = {
        name: start(job, *words(job, "patch128", ["data.set=photos128"], name))
        for name in (OTHERS[:1] if job.tiny else OTHERS)
    }
    rows, cards, problems = [], [], []
    for name, process in started.items():
        try:
            sizes, result = finish(job, process), measured[name]
        except CommandError as error:
            problems.append(f"{name}: {error}")
            continue
        seconds, memory = sizes["step_seconds"], sizes["memory"]["total"]
        rows.append(
            {
                "setup": name,
                "estimated ms": seconds * 1e3,
                "measured ms": result["step_seconds"] * 1e3,
                "ratio of time": seconds / result["step_seconds"],
                "estimated memory": memory,
                "measured memory": result["peak_memory"],
                "memory ratio": memory / result["peak_memory"],
            }
        )
        row = rows[-1]
        job.say(f"{name}: time x {row['ratio of time']:.2f}, memory x {row['memory ratio']:.2f} of measured")
    for name, process in other.items():
        try:
            sizes = finish(job, process)
            cards.append(
                {"card": name, "ms": sizes["step_seconds"] * 1e3, "memory": sizes["memory"]["total"]}
            )
        except CommandError as error:
            problems.append(f"{name}: {error}")
    tables = {
        f"estimates for {card or 'this machine'} over what was measured": rows,
        "patch128 on other cards": cards,
    }
    job.save(tables={title: lines for title, lines in tables.items() if lines}, problems=problems, card=card)


def read(job: Part, name: str) -> dict:
    """The results of another part, {} where there are none."""
    file = job.work / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def name_of(device: str) -> str | None:
    """'NVIDIA H100 80GB HBM3' -> h100, as --card knows it; None: no card, or one that it does not know."""
    if not OTHERS:
        return None
    from rawmm_cli.profiling import cards

    card = cards.of_device(device)
    return card.aliases[0] if card else None


def words(job: Part, preset: str, settings: list, card: str | None) -> list:
    """Arguments of a dry run."""
    words = [
        "train",
        "--preset",
        preset,
        "--dry-run",
        "--json",
        "--data-dir",
        job.data,
        "--device",
        job.device,
    ]
    return [*words, *(["--card", card] if card else []), *settings]


if __name__ == "__main__":
    main()
