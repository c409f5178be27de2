"""Idle times of a GPU, of made-up kernels and parts."""

import pytest

from benchmarks.gpu.gaps import BETWEEN, _around, _by_part, _holes

WORK = [("c", 2.0, (5.0, 7.0)), ("a", 2.0, (0.0, 2.0)), ("b", 0.5, (1.0, 1.5)), ("d", 1.0, (7.0, 8.0))]
PARTS = [("step", (1.0, 6.0)), ("forward", (2.5, 3.5))]


def test_a_hole_is_what_no_kernel_covers():
    """b runs beside a, and d right after c."""
    assert list(_holes(WORK)) == [("a", "c", (2.0, 5.0))]


def test_a_hole_is_shared_out_among_the_innermost_parts():
    assert _by_part((2.0, 5.0), PARTS) == pytest.approx({"step": 2.0, "forward": 1.0})
    assert _by_part((5.0, 8.0), PARTS) == pytest.approx({"step": 1.0, BETWEEN: 2.0})


def test_what_the_host_does_is_named_from_outside_in():
    assert _around(3.0, [PARTS[1], PARTS[0]]) == ["step", "forward"]
    assert _around(3.5, PARTS) == ["step"] and _around(6.0, PARTS) == []
