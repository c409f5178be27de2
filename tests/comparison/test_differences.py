"""Which differences are real: on data whose truth is known."""

import numpy as np
import pytest
from made_up_comparison import comparison
from scipy import stats

from rawmm_cli.comparison.differences import cells_of, differences, estimate, holm

READ, DRAWN, KID = "image_to_text.accuracy", "text_to_image.accuracy", "fidelity.kid"


@pytest.mark.parametrize(
    "seeds, of_seeds, of_pictures, rest",
    [
        (3, 1.0, 0.0, 0.0),  # seeds alone
        (3, 0.0, 1.0, 0.0),  # pictures alone
        (3, 0.0, 0.0, 1.0),  # neither
        (3, 0.05, 0.5, 1.0),
        (5, 0.2, 0.5, 1.0),
        (2, 0.05, 0.5, 1.0),
        (1, 0.0, 0.5, 1.0),
    ],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds, of_seeds, of_pictures, rest):
    """A known effect of 0.3 under an effect of every seed and every picture: 95 % of 600 intervals hold it,
    and at most 5 % of tests of no difference reject the truth, within 2.6 standard errors of a share."""
    rng = np.random.default_rng(seeds)
    covered = []
    for _ in range(600):
        table = 0.3 + of_seeds * rng.normal(size=(seeds, 1)) + of_pictures * rng.normal(size=(1, 80))
        one = estimate(table + rest * rng.normal(size=(seeds, 80)), 1000)
        covered.append(one.low <= 0.3 <= one.high)
        assert (one.p < 0.05) == (one.low * one.high > 0) or abs(one.p - 0.05) < 1e-9
    assert 0.95 - 2.6 * (0.95 * 0.05 / 600) ** 0.5 <= np.mean(covered) <= 0.995


def test_of_seeds_alone_it_is_the_paired_t_test():
    """KID has no numbers of single pictures: the known answer is that of scipy."""
    one, other = np.array([0.10, 0.13, 0.09, 0.12]), np.array([0.08, 0.09, 0.08, 0.10])
    measured = estimate((one - other)[:, None], 200_000)
    known = stats.ttest_rel(one, other)
    assert measured.difference == pytest.approx(0.0225)
    assert measured.p == pytest.approx(known.pvalue, rel=0.02)
    assert measured[1:3] == pytest.approx(tuple(known.confidence_interval()), abs=2e-4)


def test_of_pictures_alone_it_is_the_paired_t_test():
    table = np.random.default_rng(0).normal(0.1, 1, size=(1, 300))
    known = stats.ttest_1samp(table[0], 0)
    measured = estimate(table, 20_000)
    assert measured[1:3] == pytest.approx(tuple(known.confidence_interval()), abs=0.004)


def test_seeds_and_pictures_are_both_counted():
    """An effect of a picture is shared by all seeds: more seeds of the same pictures do not shrink it."""
    pictures = np.random.default_rng(1).normal(size=(1, 100))
    widths = [one.high - one.low for one in (estimate(np.repeat(pictures, s, 0)) for s in (1, 3, 9))]
    assert widths == pytest.approx([widths[0]] * 3, rel=0.03)


def test_holm_by_hand():
    """Of 0.01, 0.02, 0.03, 0.04: 4 x 0.01, 3 x 0.02, then the largest so far."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.005, 0.011, 0.02, 0.04, 0.13]) == pytest.approx([0.025, 0.044, 0.06, 0.08, 0.13])
    assert holm([0.7, 0.9]) == [1.0, 1.0] and holm([0.03]) == [0.03] and holm([]) == []


def test_the_same_system_twice_differs_in_nothing():
    results, values = comparison(
        {"raw": {READ: 0.9, DRAWN: 0.8, KID: 0.02}, "again": {READ: 0.9, DRAWN: 0.8, KID: 0.02}}
    )
    for cell in results["cells"]:
        twin = cells_of(results, "raw", "time")[cell["seed"]]
        cell["results"], values[cell["folder"]] = twin["results"], values[twin["folder"]]
    rows = differences(results, values)
    assert len(rows) == 3 * 2 and not any(row["claimed"] for row in rows)
    assert all(row["difference"] == 0 and row["p_holm"] == 1 for row in rows)


def test_systems_that_are_as_good_are_hardly_ever_claimed():
    """Six systems that do not differ from the reference, 20 times: with Holm, at most a few claims."""
    claims = 0
    for rng in range(20):
        truth = {READ: 0.9, DRAWN: 0.8}
        results, values = comparison({f"s{n}": truth for n in range(7)}, rng=rng, pictures=100)
        claims += sum(row["claimed"] for row in differences(results, values))
    assert claims <= 6  # of 480, in 80 families of which 5 % may hold one


def test_what_is_real_is_claimed():
    results, values = comparison(
        {"raw": {READ: 0.95, KID: 0.02}, "fsq": {READ: 0.7, KID: 0.08}, "near": {READ: 0.95, KID: 0.02}}
    )
    rows = {(row["metric"], row["budget"], row["system"]): row for row in differences(results, values)}
    for budget in ("time", "documents"):
        row = rows[READ, budget, "fsq"]
        assert row["claimed"] and row["interval"][0] < row["difference"] < row["interval"][1] < 0
        assert row["difference"] == pytest.approx(-0.25, abs=0.05)
        assert (row["seeds"], row["pictures"], row["against"]) == (3, 200, "raw")
        assert not rows[READ, budget, "near"]["claimed"]
        kid = rows[KID, budget, "fsq"]
        assert kid["claimed"] and kid["pictures"] == 0 and kid["p_holm"] >= kid["p"]


def test_one_seed_has_intervals_over_pictures_alone():
    results, values = comparison({"raw": {READ: 0.95, KID: 0.02}, "fsq": {READ: 0.7, KID: 0.08}}, seeds=(0,))
    rows = {row["metric"]: row for row in differences(results, values) if row["budget"] == "time"}
    assert rows[READ]["claimed"] and rows[READ]["seeds"] == 1
    assert rows[KID]["interval"] is rows[KID]["p"] is rows[KID]["p_holm"] is None
    assert not rows[KID]["claimed"] and rows[KID]["difference"] == pytest.approx(0.06, abs=0.01)


def test_cells_that_diverged_are_left_out_with_their_seed():
    results, values = comparison({"raw": {READ: 0.95}, "fsq": {READ: 0.7}, "lost": {READ: 0.7}})
    for cell in results["cells"]:
        if (cell["system"] == "fsq" and cell["seed"] == 1) or cell["system"] == "lost":
            cell["state"], cell["results"] = "diverged", {}
            values.pop(cell["folder"])
    rows = differences(results, values)
    assert {row["system"]: row["seeds"] for row in rows} == {"fsq": 2}


def test_pictures_are_matched_by_name():
    """In another order, with some missing: the pictures that all cells have are compared."""
    results, values = comparison({"raw": {READ: 0.9}, "fsq": {READ: 0.8}}, pictures=60)
    (before,) = (row for row in differences(results, values) if row["budget"] == "time")
    for known in values.values():
        known[READ] = {"ids": known[READ]["ids"][::-1], "values": known[READ]["values"][::-1]}
        break
    (after,) = (row for row in differences(results, values) if row["budget"] == "time")
    assert after["difference"] == pytest.approx(before["difference"]) and after["p"] == pytest.approx(
        before["p"]
    )
    known[READ] = {"ids": known[READ]["ids"][:40], "values": known[READ]["values"][:40]}
    assert next(row for row in differences(results, values) if row["budget"] == "time")["pictures"] == 40


def test_a_difference_without_any_spread_is_not_an_estimate():
    """Three seeds that all differ by the same, and no pictures: nothing tells how far off it may be."""
    assert estimate(np.full((3, 1), 0.25)) == (0.25, None, None, None)
    assert estimate(np.full((3, 1), 0.0)).p == 1
    assert estimate(np.full((3, 50), 1.0)) == (1, 1, 1, pytest.approx(1 / 4001))
