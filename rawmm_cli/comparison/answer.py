"""The answer of a comparison in sentences, each with its interval; what covers zero is not claimed."""

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..system.figures import counted, duration, number, plural
from .differences import budgets
from .results import BudgetKind, Cell, Difference, Metric, Results

EQUAL = {"time": "equal time", "documents": "equal documents", "flops": "equal FLOPs"}
VERBS = {"drawing": "draws", "reading": "reads", "codec": "keeps"}


class Sentence(NamedTuple):
    """kind: what is claimed, what is open, or a note on how it was measured. lead: of the first metric of
    drawing or of reading, where the answer begins."""

    text: str
    kind: Literal["claimed", "open", "note"]
    lead: bool = False
    metric: str = ""
    budget: BudgetKind | Literal[""] = ""


def answer(results: Results) -> list[str]:
    """The sentences of `sentences` as text: results["answer"]."""
    return [sentence.text for sentence in sentences(results)]


def sentences(results: Results) -> list[Sentence]:
    """What the differences say: first of the leading metrics, what is claimed and what is open; then what is
    claimed in the others, what is open in them, and how all of it was measured."""
    leads, lines = leading(results), []
    for metric in (*leads, *(one for one in results["metrics"] if one not in leads)):
        for budget in budgets(results):
            rows = [
                row for row in results["differences"] if (row["metric"], row["budget"]) == (metric, budget)
            ]
            lines += _of_metric(results, metric, budget, rows, metric in leads)
    lines = [line for line in lines if line.lead] + [line for line in lines if not line.lead]
    lines += [_rest(results, budget, leads) for budget in budgets(results)]
    return [line for line in lines if line] + [Sentence(text, "note") for text in notes(results)]


def leading(results: Results) -> list[str]:
    """The metrics with which the answer begins: of drawing and of reading the first that counts what is
    right and, where there is none, the first that any cell has."""
    known = {metric for cell in results["cells"] for metric in cell["results"]}
    names = sorted(known.intersection(results["metrics"]), key=list(results["metrics"]).index)
    firsts: dict[str, str] = {}
    for metric in sorted(names, key=lambda name: not results["metrics"][name]["title"].endswith("right")):
        firsts.setdefault(results["metrics"][metric]["part"], metric)
    return [firsts[part] for part in ("drawing", "reading") if part in firsts]


# ------------------------------------------------------------------------------------------- single sentences


def _of_metric(
    results: Results, metric: str, budget: BudgetKind, rows: Sequence[Difference], lead: bool
) -> list[Sentence]:
    """What one metric says at one budget: systems behind the reference, those ahead of it and, where it
    leads, those that could not be separated from it."""
    column, equal = results["metrics"][metric], EQUAL[budget]
    ahead = {True: [], False: []}  # of the reference, systems that are claimed to differ
    for row in rows:
        if row["claimed"]:
            ahead[(row["difference"] < 0) == (column["better"] != "lower")].append(row)
    lines = [
        Sentence(_claim(column, equal, behind, reference_ahead), "claimed", lead, metric, budget)
        for reference_ahead, behind in ahead.items()
        if behind
    ]
    unsure = [row for row in rows if not row["claimed"]]
    if lead and unsure:
        listed = _listed([f"{row['system']} ({_open(column, row)})" for row in unsure])
        text = f"At {equal}, {listed} could not be separated from {unsure[0]['against']} in {noun(column)}."
        lines.append(Sentence(text, "open", lead, metric, budget))
    return lines


def _claim(column: Metric, equal: str, rows: Sequence[Difference], reference_ahead: bool) -> str:
    """At equal time, raw reads 3.1 points more captions right than fsq [1.2, 4.9]."""
    reference, listed = rows[0]["against"], _sizes(column, rows)
    if column["better"] == "neither":
        return f"At {equal}, {noun(column)} differ from those of {reference}: {listed}."
    if not column["title"].endswith("right"):
        side = "ahead of" if reference_ahead else "behind"
        return f"At {equal}, {reference} is {side} {listed} in {noun(column)}."
    verb, things = VERBS[column["part"]], re.sub(r"^(drawn|read) ", "pictures ", column["title"])
    things = re.sub(r" (drawn|read) right$", " right", things)
    if len(rows) == 1:
        size, interval = _parts(column, rows[0])
        winner, loser = ("against", "system") if reference_ahead else ("system", "against")
        return f"At {equal}, {rows[0][winner]} {verb} {size} more {things} than {rows[0][loser]} {interval}."
    return f"At {equal}, {reference} {verb} {'more' if reference_ahead else 'fewer'} {things} than {listed}."


def _sizes(column: Metric, rows: Sequence[Difference]) -> str:
    """kl (by 2.6 points [0.8, 4.4]) and fsq (by 7.5 points [4.3, 10.8])."""
    with_sign = column["better"] == "neither"
    by = "" if with_sign else "by "
    sizes = [" ".join(_parts(column, row, with_sign)) for row in rows]
    return _listed([f"{row['system']} ({by}{size})" for row, size in zip(rows, sizes)])


def _rest(results: Results, budget: BudgetKind, leads: Sequence[str]) -> Sentence | None:
    """What could not be separated in the metrics that do not lead, in one sentence: metrics with the same
    systems stand together."""
    reference = results["budget"]["reference"]
    rows = [row for row in results["differences"] if row["budget"] == budget and row["metric"] not in leads]
    together: dict[str, list[str]] = {}
    for metric in dict.fromkeys(row["metric"] for row in rows):
        family = [row for row in rows if row["metric"] == metric]
        unsure = [row["system"] for row in family if not row["claimed"]]
        systems = "all systems" if 2 < len(unsure) == len(family) else _listed(unsure)
        if unsure:
            together.setdefault(systems, []).append(noun(results["metrics"][metric]))
    if not together:
        return None
    listed = "; ".join(f"{systems} in {_listed(nouns)}" for systems, nouns in together.items())
    text = f"At {EQUAL[budget]}, these could not be separated from {reference}: {listed}."
    return Sentence(text, "open", budget=budget)


def noun(column: Metric) -> str:
    """What a metric counts: "drawn right" -> "pictures drawn right"; "KID" stays."""
    title = column["title"]
    return f"pictures {title}" if re.match(r"(drawn|read) ", title) else title


def _parts(column: Metric, row: Difference, with_sign: bool = False) -> tuple[str, str]:
    """A difference without its sign and its interval, turned with it: ("3.1 points", "[1.2, 4.9]")."""
    turn = -1 if row["difference"] < 0 and not with_sign else 1
    value, low, high = amounts(column, turn * row["difference"], row["interval"], turn)
    return f"{signed(value) if with_sign else value}{_unit(column)}", f"[{low}, {high}]"


def _open(column: Metric, row: Difference) -> str:
    """+0.4 points [-0.3, 1.1], of the system against the reference; where there is no interval, why."""
    if row["interval"] is None:
        value, *_ = amounts(column, row["difference"], None)
        return f"{signed(value)}{_unit(column)}, no interval from {counted(row['seeds'], 'seed')}"
    value, low, high = amounts(column, row["difference"], row["interval"])
    return f"{signed(value)}{_unit(column)} [{low}, {high}]"


def signed(value: str) -> str:
    """A number as text with its sign: +0.4, -0.4, and 0.0 without one."""
    return f"+{value}" if float(value.replace(",", "")) > 0 else value


def amounts(
    column: Metric, difference: float, interval: Sequence[float] | None, turn: int = 1
) -> tuple[str, ...]:
    """The difference and the ends of its interval as text, in points where the metric is a share: with as
    many decimals as the interval's half width has two digits."""
    factor = 100 if column["unit"] == "%" else 1
    values = [difference, *sorted(turn * end for end in interval or ())]
    values = [factor * value for value in values]
    width = (values[2] - values[1]) / 2 if interval else abs(values[0])
    decimals = min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 1
    return tuple(f"{value:,.{decimals}f}" for value in (round(one, decimals) + 0.0 for one in values))


def _unit(column: Metric) -> str:
    return " points" if column["unit"] == "%" else f" {column['unit']}".rstrip()


def _listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --------------------------------------------------------------------------------------- how it was measured


def notes(results: Results) -> list[str]:
    """Seeds, budget, machine; which cells are missing, and which evaluators."""
    seeds, cells = results["seeds"], results["cells"]
    pictures = max((row["pictures"] for row in results["differences"]), default=0)
    intervals = "over seeds and pictures" if len(seeds) > 1 else "over pictures alone"
    lines = [
        f"{counted(len(seeds), 'paired seed' if len(seeds) > 1 else 'seed')}, {_budget(results)}"
        f"{f', {pictures:,} test pictures or prompts' if pictures else ''}; intervals are 95 %, {intervals}; "
        f"Holm's correction over the systems, each metric by itself{_machine(results)}."
    ]
    if len(seeds) == 1:
        lines.append("One seed: another training of the same systems may differ by more than intervals say.")
    elif len(seeds) == 2:
        lines.append("Two seeds: intervals are wide where seeds differ; three or more tell more apart.")
    for state, words in (("diverged", "Diverged"), ("failed", "Failed"), ("waiting", "Not run yet")):
        runs: dict[str, list[Cell]] = {}
        for cell in cells:  # the one run of the reference stands in two budgets
            if cell["state"] == state:
                runs.setdefault(cell["run"], []).append(cell)
        names = [
            f"{same[0]['system']} (seed {same[0]['seed']}, {_listed([EQUAL[one['budget']] for one in same])})"
            for same in runs.values()
        ]
        if names:
            lines.append(f"{words}: {_listed(names)}.")
    lines += _fewer(results)
    lines += [f"Left out: {name}, {reason}." for name, reason in results["left_out"].items()]
    return lines


def _fewer(results: Results) -> list[str]:
    """Systems that were compared on fewer seeds than there are, since cells of them are missing."""
    seeds: dict[tuple[str, BudgetKind], int] = {}
    for row in results["differences"]:
        place = row["system"], row["budget"]
        seeds[place] = max(seeds.get(place, 0), row["seeds"])
    fewer = [
        f"{system} at {EQUAL[budget]} ({count})"
        for (system, budget), count in seeds.items()
        if count < len(results["seeds"])
    ]
    return [f"Compared on fewer seeds: {_listed(fewer)}."] if fewer else []


def _budget(results: Results) -> str:
    """What each system had, in words."""
    budget = results["budget"]
    words = {
        "time": lambda value: f"{duration(value)} of training",
        "documents": lambda value: f"{round(value):,} {plural(round(value), 'document')}",
        "flops": lambda value: f"{number(float(value))} FLOPs",
    }
    known = [words[kind](budget[kind]) for kind in words if budget.get(kind)]
    return " or ".join(known) if known else "no budget yet"


def _machine(results: Results) -> str:
    """On which machine it was measured."""
    machine = results["machine"]
    known = [str(machine["device"])] if machine.get("device") else []
    if machine.get("cores"):
        known.append(counted(machine["cores"], "core"))
    return f"; on {' with '.join(known)}" if known else ""
