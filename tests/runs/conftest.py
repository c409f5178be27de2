"""Fixtures that the tests of runs share."""

import pytest
from broken_runs import SHORT, steps
from training_runs import go

from rawmm_cli.config import presets


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(presets.dump(presets.load("tiny")))
    return folder


@pytest.fixture(scope="session")
def whole(few_digits, once):
    """A finished run on a few digits with all its checkpoints. Read only."""

    def make(folder):
        go(presets.load("tiny", [*SHORT, "train.keep=99"]), few_digits, folder / "run")
        assert steps(folder / "run") == [3, 6, 9, 10]

    return once("run with all its checkpoints", make) / "run"
