"""The tests of this folder with the CPU in the card's place: each line runs before there is a card."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.skipif(torch.cuda.is_available() or "RAWMM_CARD" in os.environ, reason="they run anyway")
def test_all_tests_of_the_card_pass_on_the_cpu(tmp_path):
    words = ("-m", "cuda", "tests/cuda", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'dry'}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env=os.environ | {"RAWMM_CARD": "cpu", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\d\d passed", done.stdout) and "skipped" not in done.stdout, done.stdout[-500:]
