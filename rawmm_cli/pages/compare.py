"""report.html of a comparison of systems: the answer first, then tables, plots, drawings, readings, codecs,
and how every cell ended.

It shows results.json and the files of the cells; whatever is missing is left out, so a comparison that is not
done yet has a page too. `compare_table.py`, `compare_plots.py` and `compare_pictures.py` make what is
shown. Next: compare.html."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from ..comparison.answer import leading, sentences
from ..comparison.differences import budgets, cells_of
from ..comparison.results import BudgetKind, Results
from ..runs.folder import read_json
from . import compare_pictures as pictures
from . import compare_plots as plots
from . import compare_table as tables
from . import page

LEADING = 12  # sentences that stand open; more are folded


def write(folder: Path, results: Results) -> Path:
    """Write FOLDER/report.html -> its path. folder: of the comparison, with the files of its cells. Raises
    DiskFullError."""
    path = folder / "report.html"
    page.write(path, render(folder, results))
    return path


def render(folder: Path, results: Results) -> str:
    """The page as text; the same folder gives the same page."""
    lines, kinds, leads = sentences(results), budgets(results), leading(results)
    said = [line for line in lines if line.kind != "note"]
    first = [line for line in said if line.lead][:LEADING] or said[:LEADING]
    return page.render(
        "compare",
        results=results,
        budgets=[plots.EQUAL[kind] for kind in kinds],
        first=first,
        more=[line for line in said if line not in first],
        notes=[line.text for line in lines if line.kind == "note"],
        forests=_some(plots.forest(results, metric) for metric in leads),
        tables=tables.tables(results),
        plots=_plots(results, folder, leads),
        drawn=_by_budget(kinds, lambda kind: pictures.drawn(results, folder, kind)),
        read=_by_budget(kinds, lambda kind: pictures.read(results, folder, kind)),
        kept=pictures.kept(results, folder),
        systems=tables.systems(results),
        cells=tables.cells(results),
        states=Counter(cell["state"] for cell in tables.cells(results)),
    )


def _plots(results: Results, folder: Path, leads: list[str]) -> list[dict]:
    """Quality against time and bits, and against steps where cells have measured it."""
    curves = _curves(results, folder)
    stepped = [metric for metric in results["metrics"] if any(metric in curve for curve in curves.values())]
    return _some(
        (
            *(plots.against_time(results, metric) for metric in leads),
            *(plots.against_bits(results, metric) for metric in leads),
            *(plots.against_steps(results, curves, metric) for metric in stepped[:2]),
        )
    )


def _curves(results: Results, folder: Path) -> dict[str, dict]:
    """The curve.json of each system's first cell that has one."""
    curves = {}
    for system in plots.tones(results):
        cells = cells_of(results, system, results["cells"][0]["budget"]).values() if results["cells"] else ()
        for cell in cells:
            if curve := read_json(folder / cell["folder"] / plots.STEPS, dict):
                curves.setdefault(system, curve)
    return curves


def _some(values: Iterable[dict | None]) -> list[dict]:
    return [value for value in values if value]


def _by_budget(
    kinds: Iterable[BudgetKind], of: Callable[[BudgetKind], dict | None]
) -> list[tuple[str, dict]]:
    """What each budget has to show, with its name."""
    return [(plots.EQUAL[kind], shown) for kind in kinds if (shown := of(kind))]
