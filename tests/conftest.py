"""What the tests share: a prepared data folder, a small one, a trained run, and `rawmm` called in-process."""

import hashlib
import multiprocessing.process
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch: models of tests are so small that threads only wait

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # started in the background, tests would inherit that it is ignored


@pytest.fixture(autouse=True)
def processes_are_marked(request, monkeypatch):
    """A test that starts rawmm or a worker in a process bears the mark `process`: `make test-fast` leaves it
    out."""
    if request.node.get_closest_marker("process"):
        return
    started = subprocess.Popen.__init__

    def start(self, words, *rest, **options):
        if not isinstance(words, str) and str(words[0]) in (sys.executable, RAWMM):
            pytest.fail(f"{request.node.name} starts a process and lacks the mark `process`", pytrace=False)
        started(self, words, *rest, **options)

    def worker(self):
        pytest.fail(f"{request.node.name} starts a worker and lacks the mark `process`", pytrace=False)

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", worker)


RAWMM = str(Path(sys.executable).with_name("rawmm"))


@pytest.fixture
def one_thread(monkeypatch):
    """One thread here, in what the command line starts, and in subprocesses."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    from training_runs import single_thread

    with single_thread():
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, make) -> a folder that `make(folder)` has filled: once for all tests, whichever worker of
    pytest-xdist needs it first; the others wait for it. Read only."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent

    def folder_of(name, make):
        folder = session / "once" / hashlib.sha256(name.encode()).hexdigest()[:12]
        done = folder.with_suffix(".done")
        if not done.exists():
            folder.parent.mkdir(exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not done.exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    make(folder)
                    done.write_text(name)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def prepared_digits(once):
    """A data folder with the set `digits`, whole."""
    from sources import prepare_source

    from rawmm_cli.data.datasets.digits import digits

    return once("digits", lambda folder: prepare_source(folder / "digits", digits()))


@pytest.fixture(scope="session")
def few_digits(once, prepared_digits):
    """A data folder with the first 50 training and 7 held-out digits under the name `digits`."""
    from rawmm_cli.data import prepared

    def make(folder):
        rows = {
            split: prepared.read_split(prepared_digits / "digits", split).slice(0, count).to_pylist()
            for split, count in (("train", 50), ("held_out", 7))
        }
        prepared.write(folder / "digits", rows, prepared.read_card(prepared_digits / "digits"))

    return once("few digits", make)


@pytest.fixture(scope="session")
def few_pictures(once):
    """A data folder with 24 training and 6 held-out pictures: smooth ones, which can be learned."""
    import numpy as np

    from rawmm_cli.data import prepared
    from rawmm_cli.data.rows import picture_row

    def make(folder):
        random = np.random.default_rng(0)

        def picture():
            y, x = np.mgrid[:16, :16] / 16
            waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in random.uniform(-1, 1, (3, 3))]
            return np.rint(127.5 + 127 * np.stack(waves, -1)).astype(np.uint8)

        rows = {
            split: [picture_row(picture(), [], source=f"{split}/{n}") for n in range(count)]
            for split, count in (("train", 24), ("held_out", 6))
        }
        prepared.write(folder / "few", rows, {"name": "few"})

    return once("few pictures", make)


@pytest.fixture(scope="session")
def tiny_run(once, prepared_digits):
    """The folder of a run of preset tiny, trained until it opens a picture after every name of a digit. Read
    only."""
    from training_runs import TRAINED, go

    from rawmm_cli.config import presets

    def make(folder):
        go(presets.load("tiny", TRAINED), prepared_digits, folder / "tiny")

    return once("tiny run", make) / "tiny"


@pytest.fixture
def rawmm(monkeypatch, capsys):
    """rawmm("train", ...) -> (exit code, stdout, stderr), in this process, through `main`."""
    from rawmm_cli import cli

    monkeypatch.delenv("RAWMM_DATA", raising=False)
    monkeypatch.delenv("RAWMM_RUNS", raising=False)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rawmm", *map(str, words)])
        monkeypatch.setattr(
            sys.modules["__main__"], "__package__", None
        )  # else help says "python -m pytest.rawmm"
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (left.value.code, *capsys.readouterr())

    return call
