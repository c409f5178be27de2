"""Fixtures that the tests of training share: runs that nothing stopped, each trained once. Read only."""

import codec_runs
import pytest
import training_runs
from forking import together
from rank_runs import observed

from rawmm_cli.config import presets
from rawmm_cli.training import train as module


@pytest.fixture
def quick(monkeypatch):
    """Skip measuring the matmul rate: it would take longer than the run."""
    monkeypatch.setattr(module.machine, "matmul_rate", lambda *arguments: 1e11)


@pytest.fixture(scope="session")
def whole(few_digits, once):
    """Function: settings -> the folder of a run that nothing stopped."""

    def run(*words):
        chosen = training_runs.settings(*words)
        key = f"whole {presets.dump(chosen)}"
        return once(key, lambda folder: training_runs.go(chosen, few_digits, folder / "run")) / "run"

    return run


@pytest.fixture(scope="session")
def whole_ranks(few_digits, once):
    """Function: (number of ranks, settings) -> the folder of a run that nothing stopped."""

    def run(size, *words):
        chosen = training_runs.settings(*words)

        def make(folder):
            results = together(size, observed, chosen, few_digits, folder / "run")
            assert all(len(one["records"]) == 10 for one in results)

        return once(f"whole of {size} {presets.dump(chosen)}", make) / "run"

    return run


@pytest.fixture(scope="session")
def whole_codec(few_pictures, once):
    """Function: kind -> the folder of a run of a codec that nothing stopped."""

    def run(kind):
        chosen = codec_runs.settings(*codec_runs.KINDS[kind])
        return (
            once(f"codec {kind}", lambda folder: codec_runs.go(chosen, few_pictures, folder / "run")) / "run"
        )

    return run
