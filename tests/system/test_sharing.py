"""Threads beside other processes: a machine of two cores with a clock of its own."""

import io
import os

import pytest

from rawmm_cli.system import sharing


class Machine:
    """Seconds of a step by the number of threads and whether a core is busy, as measured on two cores."""

    STEP = {(2, False): 0.06, (1, False): 0.1, (2, True): 0.6, (1, True): 0.11}

    def __init__(self, most=2, step=None):
        self.time, self.busy, self.step, self.changes = 0.0, False, step or self.STEP, []
        self.threads = sharing.Threads(most, self.changes.append, lambda: float(self.busy), lambda: self.time)

    def run(self, seconds):
        """Steps for so many seconds -> how many."""
        until, steps = self.time + seconds, 0
        while self.time < until:
            step = self.step[self.threads.now, self.busy]
            self.time, steps = self.time + step, steps + 1
            self.threads.after(step)
        return steps


def test_a_neighbour_comes_and_goes():
    here = Machine()
    idle = here.run(30)
    assert here.changes == []
    here.busy = True
    beside = here.run(30)
    assert here.changes == [1] and beside > 0.4 * idle
    here.busy = False
    here.run(30)
    assert here.changes == [1, 2] and here.run(30) == pytest.approx(idle, abs=1)


def test_threads_that_wait_asleep_stay_where_they_are_faster():
    """Beside a neighbour two threads may still be the faster choice: each trial is a few steps, and rare."""
    here = Machine(step={(2, False): 0.06, (1, False): 0.1, (2, True): 0.09, (1, True): 0.11})
    here.busy = True
    here.run(300)
    assert here.threads.now == 2 and len(here.changes) // 2 in range(4, 9)


def test_a_much_slower_number_is_left_after_two_steps():
    here = Machine(step={(2, False): 0.1, (1, False): 2.0, (2, True): 0.1, (1, True): 2.0})
    here.busy = True
    here.run(2.5)
    assert here.changes == [1] and len(here.threads.trial) < 3
    here.run(4)
    assert here.changes == [1, 2] and here.threads.now == 2


@pytest.mark.parametrize("others, expected", [(0.2, []), (0.4, [15]), (3.1, [13]), (40, [1])])
def test_fewer_threads_than_cores_that_are_free(others, expected):
    changes, now = [], [0.0]
    threads = sharing.Threads(16, changes.append, lambda: others, lambda: now[0])
    for now[0] in (2.0, 4.0):
        threads.after(0.1)
    assert changes == expected


def test_who_has_chosen_threads_keeps_them(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert sharing.threads(False) is None
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert sharing.threads(True) is None
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    assert sharing.threads(False) is None


def test_own_work_is_none_of_others(monkeypatch):
    """In two seconds of two cores, 3 of 4 core seconds are used, of them 1.5 by this process."""
    hertz = os.sysconf("SC_CLK_TCK")
    readings, times = iter((0, 3)), iter((10.0, 12.0))
    used = iter((5.0, 6.5))

    def stat(path, encoding):
        busy = next(readings) * hertz // 2
        return io.StringIO("".join(f"cpu{n} {busy} 0 0 9 9 0 0 0 0 0\n" for n in (0, 1)))

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(sharing, "open", stat, raising=False)
    monkeypatch.setattr(sharing.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(os, "times", lambda: os.times_result((next(used), 0, 0, 0, 0)))
    others = sharing.Others()
    assert others.known and others() == pytest.approx(0.75)


def test_without_the_system_s_figures_nothing_changes(monkeypatch):
    def missing(path, encoding):
        raise FileNotFoundError(path)

    monkeypatch.setattr(sharing, "open", missing, raising=False)
    assert not sharing.Others().known and sharing.Others()() == 0
