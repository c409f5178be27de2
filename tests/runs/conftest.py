"""Fixtures that the tests of runs share."""

import pytest
from broken_runs import command, command_line, fork, steps

from rawmm_cli.config import presets


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(presets.dump(presets.load("tiny")))
    return folder


@pytest.fixture(scope="session")
def whole(few_digits, once):
    """A run on a few digits that nothing broke, with all its checkpoints. Read only."""

    def make(folder):
        process = fork(command_line, command(few_digits, folder / "run", "train.keep=99"), {})
        process.join(120)
        assert process.exitcode == 0 and steps(folder / "run") == [3, 6, 9, 10]

    return once("run with all its checkpoints", make) / "run"
