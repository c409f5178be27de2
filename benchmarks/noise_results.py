"""What `noise_times` found: lines of results.jsonl in, table.md and a picture out."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

SHOWN = (
    "set",
    "mean",
    "spread",
    "weight",
    "seed",
    "documents",
    "right",
    "read",
    "kid",
    "judge kid",
    "seconds",
)
JUDGED = {"right": 1, "read": 1, "kid": -1}  # what times are ranked by; -1: less is better
Times = tuple[float, float, float]  # mean, spread, weight
Cells = dict[str, dict[Times, dict[str, float]]]  # {set: {times: {figure: mean over seeds}}}


def results(out: Path) -> list[dict]:
    """The lines that are there, in the order in which they were finished; the last may be half written."""
    file = out / "results.jsonl"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def one_line(line: dict, total: int) -> str:
    """A finished run in a line."""
    head = "{}/{} {set} N({mean:g}, {spread:g}) x {weight:g}".format(line["number"] + 1, total, **line)
    if "error" in line:
        return f"{head}: {line['error']}"
    figures = ", ".join(f"{key} {line[key]:.3g}" for key in SHOWN[6:] if line.get(key) is not None)
    return f"{head}: {figures}"


def write_table(out: Path, total: int, seconds: float) -> None:
    """table.md: all times beside each other, then the runs of each set, best drawings first."""
    lines = results(out)
    text = [f"{len(lines)} of {total} runs in {seconds:.0f} s", "", *by_times(lines), ""]
    text += ["| " + " | ".join(SHOWN) + " |", "|" + "---|" * len(SHOWN)]
    for line in sorted(lines, key=lambda one: (one["set"], -(one.get("right") or 0))):
        cells = [line.get(key, "") for key in SHOWN]
        text.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    text += ["", *(f"{line['set']}: {line['error']}" for line in lines if "error" in line)]
    (out / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ times


def cells_of(lines: list[dict]) -> Cells:
    """Means over the seeds of every set and times that were judged."""
    groups = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if "error" not in line:
            groups[line["set"]][line["mean"], line["spread"], line["weight"]].append(line)
    return {
        name: {
            times: {key: fmean(line[key] for line in group) for key in JUDGED if key in group[0]}
            for times, group in groups_of.items()
        }
        for name, groups_of in groups.items()
    }


def ranks(cells: Cells) -> dict[Times, dict[str, float]]:
    """{times: {set: mean rank over what is judged, 1 is best}}, of the times that every set has; ties share
    theirs."""
    common = set.intersection(*map(set, cells.values())) if cells else set()
    found: dict[Times, dict[str, float]] = {times: {} for times in common}
    for name, of in cells.items():
        for times in common:
            places = []
            for key in of[times]:
                own, others = of[times][key], [of[other][key] for other in common]
                better = sum(JUDGED[key] * (other - own) > 0 for other in others)
                places.append(better + (others.count(own) + 1) / 2)
            found[times][name] = fmean(places)
    return found


def by_times(lines: list[dict]) -> list[str]:
    """Lines of a table: times x sets, drawings and readings that are right, in percent, and the mean rank;
    then for each set what the others would choose for it."""
    cells = cells_of(lines)
    placed, names = ranks(cells), list(cells)
    rows = sorted({times for of in cells.values() for times in of})
    text = ["| mean | spread | weight | " + " | ".join(names) + " | rank |", "|---" * (len(names) + 4) + "|"]
    for times in rows:
        shares = [
            f"{100 * of[times]['right']:.1f} / {100 * of[times]['read']:.1f}" if times in of else ""
            for of in cells.values()
        ]
        rank = f"{fmean(placed[times].values()):.1f}" if times in placed else ""
        text.append("| " + " | ".join([*(f"{number:g}" for number in times), *shares, rank]) + " |")
    for name in names if len(names) > 1 and placed else ():
        chosen = min(
            placed, key=lambda times: fmean(place for key, place in placed[times].items() if key != name)
        )
        own = 1 + sum(of[name] < placed[chosen][name] for of in placed.values())
        times = "N({:g}, {:g}) x {:g}".format(*chosen)
        text += ["", f"Chosen without {name}: {times}, in it number {own} of {len(placed)}."]
    return text
