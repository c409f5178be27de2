"""Which differences between systems are real: a paired bootstrap over seeds and pictures, Holm's correction.

Two systems share seeds and test pictures, so they are compared by paired differences D (S, N): of seed s on
picture i. A seed is shared by all pictures and a picture by all seeds, so both are resampled, crossed: the
pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1, 386-411). Three things make it hold at three
seeds, where percentiles of a plain bootstrap cover the truth far too rarely:

- of n seeds or pictures n - 1 are drawn: the variance is then unbiased (Rao and Wu 1988, JASA 83, 231-241);
- the pigeonhole bootstrap counts the residual three times (Owen 2007): two of them are taken off;
- the interval is difference +- t x standard error, Student's t with the degrees of freedom of the parts of
  the variance (Satterthwaite 1946, Biometrics Bulletin 2, 110-114): where seeds dominate, S - 1.

p is two-sided, of the same t. Holm (1979, Scandinavian Journal of Statistics 6, 65-70) corrects it over the
systems that are compared with the reference in one metric at one budget."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from .results import BudgetKind, Cell, Difference, Results

RESAMPLES = 4000  # the standard error is then known to about 1 %
LEVEL = 0.05
Values = Mapping[str, Mapping[str, list]]  # values.json: {metric: {"ids": [...], "values": [...]}}


class Estimate(NamedTuple):
    """A mean difference, its 95 % interval, and the two-sided p of no difference. low, high and p are None
    where there is nothing to tell a spread from."""

    difference: float
    low: float | None
    high: float | None
    p: float | None


def differences(results: Results, values: Mapping[str, Values]) -> list[Difference]:
    """Differences of every system from the reference: in each metric of drawing, reading and codecs, at each
    budget. values: {folder of a cell: its values.json}. Cells that are not done are left out, with their
    seed."""
    reference = results["budget"]["reference"]
    others = [system["name"] for system in results["systems"] if system["name"] != reference]
    rows = []
    for metric, column in results["metrics"].items():
        if column["part"] == "cost":
            continue
        for budget in budgets(results):
            family = [_difference(results, values, metric, budget, name) for name in others]
            family = [one for one in family if one]
            _correct(family)
            rows += family
    return rows


def budgets(results: Results) -> list[BudgetKind]:
    """The budgets of the cells, in the order of the columns."""
    kinds = {cell["budget"] for cell in results["cells"]}
    return [kind for kind in ("time", "flops", "documents") if kind in kinds]


def cells_of(results: Results, system: str, budget: BudgetKind) -> dict[int, Cell]:
    """The cells of a system at a budget, by seed. The reference's one run stands in both budgets."""
    own = [cell for cell in results["cells"] if cell["system"] == system]
    if system == results["budget"]["reference"]:
        return {cell["seed"]: cell for cell in own} | {
            cell["seed"]: cell for cell in own if cell["budget"] == budget
        }
    return {cell["seed"]: cell for cell in own if cell["budget"] == budget}


def _difference(
    results: Results, values: Mapping[str, Values], metric: str, budget: BudgetKind, system: str
) -> Difference | None:
    """One system minus the reference; None where no seed has the metric in both."""
    against = results["budget"]["reference"]
    one, other = (cells_of(results, name, budget) for name in (system, against))
    pairs = [(one[seed], other[seed]) for seed in results["seeds"] if seed in one and seed in other]
    pairs = [pair for pair in pairs if all(_number(cell, metric) is not None for cell in pair)]
    if not pairs:
        return None
    table = _by_picture(pairs, values, metric)
    pictures = 0 if table is None else table.shape[1]
    if table is None:
        table = np.array([[_number(a, metric) - _number(b, metric)] for a, b in pairs])
    measured = estimate(table)
    return {
        "metric": metric,
        "budget": budget,
        "system": system,
        "against": against,
        "difference": measured.difference,
        "interval": None if measured.low is None else [measured.low, measured.high],
        "p": measured.p,
        "p_holm": None,
        "claimed": False,
        "seeds": len(pairs),
        "pictures": pictures,
    }


def _number(cell: Cell, metric: str) -> float | None:
    """A result of a finished cell."""
    value = cell["results"].get(metric) if cell["state"] == "done" else None
    return value if value is not None and np.isfinite(value) else None


def _by_picture(
    pairs: Sequence[tuple[Cell, Cell]], values: Mapping[str, Values], metric: str
) -> np.ndarray | None:
    """Paired differences (S, N) of the pictures that all these cells have; None where they have no two."""
    columns = []
    for cell in (cell for pair in pairs for cell in pair):
        known = values.get(cell["folder"], {}).get(metric) or {"ids": [], "values": []}
        numbers = zip(known["ids"], known["values"])
        columns.append({one: value for one, value in numbers if value is not None and np.isfinite(value)})
    ids = [one for one in columns[0] if all(one in column for column in columns)]
    if len(ids) < 2:
        return None
    table = np.array([[column[one] for one in ids] for column in columns], dtype=float)
    return table[0::2] - table[1::2]


def estimate(table: np.ndarray, resamples: int = RESAMPLES) -> Estimate:
    """Paired differences (S, N) of S seeds on N pictures -> their mean with interval and p. With one seed it
    is the interval over pictures alone; with one column, that over seeds alone."""
    seeds, pictures = table.shape
    mean = float(table.mean())
    if seeds == pictures == 1:
        return Estimate(mean, None, None, None)
    centred = table - mean
    by_seed = _mean_squares(centred.mean(1)) / seeds
    by_picture = _mean_squares(centred.mean(0)) / pictures
    residual = centred - centred.mean(1, keepdims=True) - centred.mean(0, keepdims=True)
    freedom = (seeds - 1, pictures - 1, (seeds - 1) * (pictures - 1))
    rest = float((residual**2).sum()) / freedom[2] / table.size if freedom[2] else 0.0
    means = ((_weights(pictures, resamples) @ centred.T) * _weights(seeds, resamples)).sum(1)
    variance = max(float(means.var()) - 2 * rest, by_seed, by_picture)
    if variance < 1e-24 * max(1.0, mean**2):  # nothing but rounding
        if pictures == 1 and mean:
            return Estimate(mean, None, None, None)
        return Estimate(mean, mean, mean, 1 / (resamples + 1) if mean else 1.0)
    parts = sum(part**2 / n for part, n in zip((by_seed, by_picture, rest), freedom) if n)
    degrees = max(variance**2 / parts, min(n for n in freedom[:2] if n))
    error = variance**0.5
    half = float(stdtrit(degrees, 1 - LEVEL / 2)) * error
    p = max(2 * float(stdtr(degrees, -abs(mean) / error)), 1 / (resamples + 1))
    return Estimate(mean, mean - half, mean + half, p)


def _mean_squares(deviations: np.ndarray) -> float:
    """The unbiased variance of deviations from their mean; 0 of a single one."""
    return float((deviations**2).sum()) / (len(deviations) - 1) if len(deviations) > 1 else 0.0


@cache
def _weights(count: int, resamples: int) -> np.ndarray:
    """Weights (resamples, count) of bootstrap means that draw count - 1 of `count`, with replacement. The
    same for all metrics and systems."""
    if count == 1:
        return np.ones((resamples, 1))
    draws = np.random.default_rng(count).multinomial(count - 1, np.full(count, 1 / count), resamples)
    return draws / (count - 1)


def _correct(family: list[Difference]) -> None:
    """Holm's correction over the systems, and which differences are claimed."""
    tested = [one for one in family if one["p"] is not None]
    for one, p in zip(tested, holm([one["p"] for one in tested])):
        low, high = one["interval"]
        one["p_holm"], one["claimed"] = p, bool(p < LEVEL and low * high > 0)


def holm(p: Sequence[float]) -> list[float]:
    """p values after Holm's correction: the k-th smallest of m by m - k + 1, at least the one before it, at
    most 1."""
    order, largest = sorted(range(len(p)), key=p.__getitem__), 0.0
    corrected = [0.0] * len(p)
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[n]))
        corrected[n] = largest
    return corrected
