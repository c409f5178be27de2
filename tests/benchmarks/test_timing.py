"""The benchmark of time: what it computes from records."""

import subprocess
import sys

import pytest

from benchmarks import timing


def test_seconds_in_steps():
    """100 documents at 50 a second and 300 at 100 a second."""
    records = [
        {"documents": 100, "documents_per_second": 50.0},
        {"documents": 400, "documents_per_second": 100.0},
    ]
    assert timing.stepping(records) == 5.0 and timing.stepping([]) == 0


def test_the_error_of_the_time_left():
    """60 s were told after 20 s of a run of 100 s, in which 80 s were left."""
    records = [
        {"documents": 50, "seconds": 9.0},
        {"documents": 100, "seconds": 18.0},
        {"documents": 110, "seconds": 20.0, "eta": 60.0},
        {"documents": 900, "seconds": 90.0, "eta": 10.0},
    ]
    assert timing.eta_error(records, 1000, 100.0) == pytest.approx(-0.25)
    assert timing.eta_error(records[:2], 1000, 100.0) is None


@pytest.mark.process
def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.timing", "--help"], capture_output=True, text=True, check=True
    )
    assert "--presets" in done.stdout and "shared" in done.stdout
