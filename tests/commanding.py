"""`rawmm` as a person starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path


def process(*words, cwd=None, module=False, **options):
    """Run `rawmm ...` as a person starts it."""
    start = [sys.executable, "-m", "rawmm_cli"] if module else [str(Path(sys.executable).with_name("rawmm"))]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("RAWMM_")} | {"OMP_NUM_THREADS": "1"}
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": 120,
        "env": plain,
    } | options
    return subprocess.run([*start, *map(str, words)], cwd=cwd, **options)


def one_object(text):
    """The object that --json printed: one line, one object."""
    assert text.endswith("\n") and text.count("\n") == 1
    value = json.loads(text)
    assert isinstance(value, dict)
    return value
