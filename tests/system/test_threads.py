"""Threads of a process: few rows, GPUs, busy cores, the environment."""

import io
import os
import subprocess
import sys
import time

import pytest
import torch

from rawmm_cli.system import sharing, threads

CPU = torch.device("cpu")


@pytest.mark.parametrize("rows, expected", [(1, 1), (8, 1), (9, 3)])
def test_few_rows_are_computed_by_one_thread(rows, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threads.threads_for(rows, CPU):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_do_not_change_for_a_gpu():
    before = torch.get_num_threads()
    with threads.threads_for(1, torch.device("cuda")):
        assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat")
def test_busy_cores_are_counted(monkeypatch):
    """One core is always busy, the other a tenth of the time."""
    readings = iter((((100, 900), (100, 900)), ((200, 900), (110, 990))))

    def stat(path, encoding):
        assert path == "/proc/stat"
        rows = [f"cpu{n} {user} 0 0 {idle} 0 0 0 0 0 0\n" for n, (user, idle) in enumerate(next(readings))]
        return io.StringIO("cpu 1 2 3\n" + "".join(rows))

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(sharing, "open", stat, raising=False)
    assert threads._busy_cores(0.0) == pytest.approx(1.1)


@pytest.mark.process
@pytest.mark.parametrize("word, expected", [("0", "1"), ("2", "2")])
def test_the_environment_takes_precedence(word, expected):
    code = (
        f"from rawmm_cli.system.threads import use_cpu; use_cpu({word}); import os, torch; "
        "print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'], 'GOMP_SPINCOUNT' in os.environ)"
    )
    own = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment = {**own, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected, "PASSIVE", "False"]


@pytest.mark.process
def test_the_start_of_a_process():
    """On the clock that its parent has too."""
    code = (
        "import time; time.sleep(0.5); from rawmm_cli.system import threads; print(threads.process_began())"
    )
    before = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert before - 0.1 < float(done.stdout) < time.perf_counter() - 0.5
