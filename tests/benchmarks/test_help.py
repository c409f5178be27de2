"""Every script of benchmarks/ says what it does and what it takes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__main__")
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8") or path.name == "__main__.py"
]


def test_there_are_scripts():
    assert {"benchmarks.peers.run", "benchmarks.gpu", "benchmarks.same"} <= set(SCRIPTS)


@pytest.mark.process
@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script):
    """argparse formats help and descriptions with `%`: a lone percent sign in either ends in a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    head, _, rest = done.stdout.partition("\n\n")
    assert head.startswith("usage: ") and len(rest.split("\n\n")) > 1, "no description"
