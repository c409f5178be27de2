"""Limits of the shell in every command: file sizes (28), addresses (5), a working folder that is gone (2)."""

import os
import resource
import subprocess
import sys

import pytest

from rawmm_cli.system import errors, threads
from rawmm_cli.system.errors import OutOfMemoryError

pytestmark = pytest.mark.process


def limited(words, cwd, limit=None, value=0):
    """`rawmm WORDS` under a limit -> (exit code, stderr)."""

    def begin():
        if limit is not None:
            resource.setrlimit(limit, (value, value))

    done = subprocess.run(
        [sys.executable, "-m", "rawmm_cli", *map(str, words)],
        cwd=cwd,
        preexec_fn=begin,
        capture_output=True,
        text=True,
        timeout=100,
        env={k: v for k, v in os.environ.items() if not k.startswith("RAWMM_")} | {"OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr


def one_line(code, expected, err):
    lines = err.splitlines()
    assert code == expected and lines and lines[-1].startswith("error: ") and "Traceback" not in err, err


@pytest.mark.parametrize(
    "words",
    [
        ["report", "RUN"],
        ["sample", "seven", "--run", "RUN", "--count", "4", "--out", "out"],
        ["export", "RUN", "--out", "kept"],
        ["show", "DATA/digits", "--out", "sheet.png"],
        ["prepare", "digits", "--workers", "0"],
        ["train", "--preset", "tiny", "--data-dir", "DATA", "train.documents=3200"],
    ],
    ids=lambda words: words[0],
)
def test_a_limit_of_file_sizes(words, tiny_run, few_digits, tmp_path):
    import shutil

    run = shutil.copytree(tiny_run, tmp_path / "run")
    words = [word.replace("RUN", str(run)).replace("DATA", str(few_digits)) for word in words]
    code, err = limited(words, tmp_path, resource.RLIMIT_FSIZE, 700)
    one_line(code, 28, err)
    assert not [path for path in tmp_path.rglob("*.partial") if path.is_file()]


@pytest.mark.parametrize(
    "words",
    [["train", "--preset", "tiny"], ["sample", "a"], ["doctor"], ["prepare", "digits"], ["report", "RUN"]],
    ids=lambda words: words[0],
)
def test_a_limit_of_addresses(words, tiny_run, tmp_path):
    words = [word.replace("RUN", str(tiny_run)) for word in words]
    code, err = limited(words, tmp_path, resource.RLIMIT_AS, 300 << 20)
    one_line(code, 5, err)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--preset", "tiny"],
        ["sample", "a"],
        ["report", "run"],
        ["doctor"],
        ["presets"],
        ["prepare", "digits"],
        ["show", "digits"],
        ["checkpoint", "verify"],
        ["entropy-budget", "--L", "256"],
        ["export"],
    ],
    ids=lambda words: words[0],
)
def test_a_working_folder_that_is_gone(words, tmp_path):
    """Intel's MKL would end the process."""
    script = f"import os, shutil, sys\\nos.chdir({str(tmp_path)!r})\\nshutil.rmtree({str(tmp_path)!r})\\n"
    script += f"os.execv(sys.executable, [sys.executable, '-m', 'rawmm_cli', *{words!r}])"
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", script.replace("\\n", "\n")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
    )
    one_line(done.returncode, 2, done.stderr)
    assert "the working folder was removed" in done.stderr


def test_words_of_errors_for_want_of_memory(monkeypatch):
    for error in (
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
    ):
        assert errors.is_out_of_memory(error)
    assert not errors.is_out_of_memory(ImportError("no module named x"))
    monkeypatch.setattr(threads, "address_space", lambda: 1 << 20)
    with pytest.raises(
        OutOfMemoryError, match=r"1 MiB of addresses \(ulimit -v\); allowed: at least 512 MiB"
    ):
        threads.check_address_space()
    monkeypatch.setattr(threads, "address_space", lambda: None)
    threads.check_address_space()
