"""Curves: every record is a point inside the frame, thinning keeps peaks, and values can be recovered from
points."""

import random

import pytest

from rawmm_cli.pages.axes import axis
from rawmm_cli.pages.curves import LARGE, LOSSES, OTHERS, SMALL, curve, curves, running_mean, thinned

TEXT, IMAGE = LOSSES


def record(n: int, **more) -> dict:
    return {
        "step": n,
        "documents": 128 * n,
        "text": 5.0 / n,
        "image": 1 + 1 / n,
        "learning_rate": 0.002,
        "gradient_norm": 0.5,
        "documents_per_second": 640.0,
    } | more


def points(text: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def values(chart: dict, text: str) -> list[float]:
    """Values of points of the SVG, by the axis of the chart."""
    frame, low, high = chart["frame"], chart["low"], chart["high"]
    shares = [(frame.bottom - y) / (frame.bottom - frame.top) for _, y in points(text)]
    return [low * (high / low) ** share if chart["log"] else low + share * (high - low) for share in shares]


def test_every_record_is_a_point_inside_its_frame():
    rows = [record(n) for n in range(1, 76)]
    charts = curves(rows, {"held_out": {"image": 1.03}})
    assert [one["title"] for one in charts] == [
        "Text loss",
        "Image loss",
        "Gradient norm",
        "Learning rate",
        "Speed",
    ]
    assert [bool(one["mean"]) for one in charts] == [True, True, True, False, True]
    for one in charts:
        frame = one["frame"]
        assert frame == (LARGE if one["large"] else SMALL)
        for line in filter(None, (one["raw"], one["mean"])):
            drawn = points(line)
            assert len(drawn) == 75 and drawn == sorted(drawn, key=lambda point: point[0])
            assert all(frame.left <= x <= frame.right and frame.top <= y <= frame.bottom for x, y in drawn)


@pytest.mark.parametrize("factor", [2.0, 20.0])
def test_values_can_be_recovered(factor):
    """The axis is linear where the loss spans a small range, and logarithmic where it spans a large one."""
    losses = [factor, factor**0.5, 1.0]
    chart = curve([record(n, text=value) for n, value in enumerate(losses, 1)], TEXT)
    assert chart["log"] is (factor > 5) and values(chart, chart["raw"]) == pytest.approx(losses, rel=2e-3)


def test_values_are_in_the_units_of_the_titles():
    rows = [record(n, mfu=0.412, memory=3 * 2**29, fill=1.0) for n in (1, 2)]
    charts = {one["title"]: one for one in curves(rows, {})}
    for title, expected in (("MFU", 41.2), ("Memory, peak", 1.5), ("Filled positions", 100)):
        assert values(charts[title], charts[title]["raw"]) == pytest.approx([expected] * 2, rel=1e-3)
        assert charts[title]["low"] == 0 and float(charts[title]["last"]) == pytest.approx(expected)


def test_records_of_other_versions_are_shown_too():
    rows = [record(1, surprise=5, held_out_text=2.5, name="x", flag=True), record(2, held_out_text=2.4)]
    charts = {one["title"]: one for one in curves(rows, {})}
    assert "Surprise" in charts and not {"Name", "Flag", "Held out text", "Step"} & set(charts)
    text = charts["Text loss"]
    assert (
        values(text, text["held_out"]) == pytest.approx([2.5, 2.4], rel=1e-2)
        and text["held_out_last"] == "2.4"
    )


def test_a_run_without_parts_shows_its_loss():
    assert [
        one["title"] for one in curves([{"documents": 1, "loss": 3}, {"documents": 2, "loss": 2}], {})
    ] == ["Loss"]
    assert curves([], {}) == [] and curves([{"documents": 5}], {}) == []


def test_the_level_of_the_evaluation_is_inside_the_frame():
    for level in (0.001, 1.5, 40.0, None, "nonsense", float("nan")):
        chart = curves([record(n) for n in (1, 2, 3)], {"held_out": {"image": level}})[1]
        if isinstance(level, float) and level == level:
            assert chart["frame"].top <= chart["level"][0] <= chart["frame"].bottom
        else:
            assert chart["level"] is None
    assert curves([record(1)], {"held_out": "nonsense"})[1]["level"] is None


def test_values_that_are_not_finite_leave_gaps():
    rows = [record(1), record(2, text=float("nan"), image=None), record(3, text=float("inf"))]
    assert [len(points(one["raw"])) for one in curves(rows, {})] == [1, 2, 3, 3, 3]


@pytest.mark.parametrize("scalar", [*LOSSES, *OTHERS])
@pytest.mark.parametrize(
    "numbers", [[0.0, 0.0], [-3.0, 5.0], [1e-30, 1e30], [7.0], [0.0, 1e300], [5e-324, 1.0]]
)
def test_any_finite_numbers_can_be_drawn(scalar, numbers):
    chart = curve([{"documents": n, scalar.key: value} for n, value in enumerate(numbers)], scalar)
    frame = chart["frame"]
    assert all(
        frame.left <= x <= frame.right and frame.top <= y <= frame.bottom for x, y in points(chart["raw"])
    )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "low, high",
    [
        (0, 0),
        (3, 3),
        (-1, 1),
        (0, 512000),
        (0.28, 1.17),
        (0.28, 3.4),
        (0, 2e-3),
        (1e-9, 2e-9),
        (1e-8, 1e8),
        (0, 1e12),
    ],
)
def test_an_axis_covers_its_values(low, high, log):
    if log and not 0 < 5 * low < high:
        return
    first, last, ticks = axis(low, high, 6, log)
    assert first <= low <= high <= last and first < last and 2 <= len(ticks) <= 12
    assert ticks == sorted(ticks) and first <= ticks[0] and ticks[-1] <= last


def test_thinning_keeps_peaks():
    rng = random.Random(0)
    many = [(n, rng.random()) for n in range(50_001)]
    many[777], many[40_000] = (777, 9.0), (40_000, -9.0)
    few = thinned(many, 1000)
    kept = set(few)
    assert 500 < len(few) <= 1000 and {many[0], many[777], many[40_000], many[-1]} <= kept
    assert few == [point for point in many if point in kept]  # a subsequence
    assert thinned(many[:1000], 1000) == many[:1000]


def test_the_running_mean_is_taken_before_thinning():
    """A loss that jumps from 0 to 1 at every record has mean 1/2, whichever records are shown."""
    rows = [{"documents": n, "text": float(n % 2)} for n in range(1, 20_001)]
    chart = curve(rows, TEXT)
    means = values(chart, chart["mean"])
    assert len(means) <= LARGE.points and means[5:-5] == pytest.approx([0.5] * (len(means) - 10), abs=0.01)


def test_running_mean_by_hand():
    """A box filter over 3 records on either side, twice, which gives a triangle; narrower at the ends."""
    mean = [float(n * n % 17) for n in range(240)]
    for _ in range(2):
        mean = [
            sum(mean[n - span : n + span + 1]) / (2 * span + 1)
            for n in range(240)
            for span in [min(3, n, 239 - n)]
        ]
    assert running_mean([float(n * n % 17) for n in range(240)]) == pytest.approx(mean)
    peak = running_mean([0.0] * 120 + [49.0] + [0.0] * 119)
    assert peak[113:128] == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1, 0])
