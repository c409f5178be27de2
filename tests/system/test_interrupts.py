"""Ctrl-C while libraries load, and where a library swallows it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rawmm_cli.system import interrupts


@pytest.fixture
def looked_after(monkeypatch):
    monkeypatch.setattr(interrupts, "AGAIN", 0.1)
    assert interrupts.install()
    yield
    interrupts.remove()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_is_swallowed_comes_again_until_it_is_taken(looked_after):
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT) if _ == 0 else time.sleep(5)
    assert interrupts.taken() and not interrupts.taken()
    time.sleep(0.3)


def test_a_run_that_begins_after_a_swallowed_interrupt_stops_after_its_first_step(looked_after):
    from rawmm_cli.system.distributed import ALONE
    from rawmm_cli.training.signals import signals

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with signals(ALONE) as caught:
        assert caught.arrived == signal.SIGINT
    with signals(ALONE) as caught:
        assert caught.arrived == 0


def test_what_fails_by_a_signal_is_no_bug():
    """Ctrl-C reaches compilers that training has started."""
    from rawmm_cli.system.distributed import ALONE
    from rawmm_cli.system.errors import Stopped
    from rawmm_cli.training.signals import signals

    with pytest.raises(ZeroDivisionError), signals(ALONE):
        1 / 0  # noqa: B018
    with pytest.raises(Stopped, match="stopped by SIGTERM, by which .* failed") as caught:
        with signals(ALONE):
            signal.raise_signal(signal.SIGTERM)
            1 / 0  # noqa: B018
    assert caught.value.exit_code == 143


def start(*words):
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.process
def test_an_interrupt_during_an_import_ends_the_command_at_once(tmp_path):
    """The library catches everything and sleeps on, as compiled code does with what is raised in it."""
    (tmp_path / "slow.py").write_text(
        "import time\nprint('here', flush=True)\nfor _ in range(300):\n"
        "    try:\n        time.sleep(0.1)\n    except BaseException:\n        pass\n"
    )
    process = start("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom rawmm_cli import cli\n"
                    "from rawmm_cli.config import presets\n"
                    "def load(*words):\n    import slow\n"
                    "presets.load = load\nsys.argv = ['rawmm', 'presets', 'tiny']\ncli.main()")  # fmt: skip
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (130, "", "error: stopped\n")


@pytest.mark.process
@pytest.mark.parametrize("words", [["train", "--preset", "tiny"], ["sample", "seven"], ["doctor"]])
def test_an_interrupt_at_any_time_of_the_start(words, tmp_path):
    for delay in (0.15, 0.5, 1.0):
        process = start("-m", "rawmm_cli", *words, "--json")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (130, 3) and "Traceback" not in err and out == "", (delay, err)
