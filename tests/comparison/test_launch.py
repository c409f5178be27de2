"""Cells worked through: in their order, side by side, through submitit; what is lost, and what waits."""

import json
import sys

import pytest
from test_cells import finish, table

from rawmm_cli.comparison import launch
from rawmm_cli.comparison.cells import Cell
from rawmm_cli.system.errors import ConfigError, LockedError


class Job:
    """A cell that is done after `steps` looks."""

    def __init__(self, table, cell, steps=2, state="done"):
        self.table, self.cell, self.steps, self.state, self.stopped = table, cell, steps, state, False

    def ended(self):
        self.steps -= 1
        if self.steps == 0 and self.state:
            finish(self.table, self.cell, self.state, documents=640)
        return self.steps <= 0

    def stop(self):
        self.stopped = True


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(launch, "LOOK", 0.0)
    monkeypatch.setattr(launch, "SHOW", -1.0)


def run(cells, chosen=None, jobs=1, job=Job):
    begun, most = [], []

    def begin(cell):
        begun.append(cell)
        return job(cells, cell)

    launch.run(cells, chosen or cells.cells, begin, jobs, lambda running: most.append(len(running)))
    return begun, max(most, default=0)


def test_every_cell_is_worked_on_once_the_reference_first(tmp_path):
    cells = table(tmp_path)
    begun, most = run(cells)
    assert sorted(begun, key=str) == sorted(cells.cells, key=str) and most == 1
    assert all(cells.finished(cell) for cell in cells.cells)
    task = json.loads((cells.place(Cell("unet", 0, "documents")) / "cell.json").read_text())
    assert task["amount"] == 640
    assert run(cells) == ([], 0)


def test_cells_that_wait_for_the_reference_come_after_it_side_by_side(tmp_path):
    cells = table(tmp_path)
    begun, most = run(cells, jobs=3)
    documents = min(n for n, cell in enumerate(begun) if cell.budget == "documents")
    assert {cell.name for cell in begun[:documents]} >= {"raw-0-time", "raw-1-time"} and most == 3


def test_without_its_reference_a_system_is_trained_as_far_as_budgets_are_known(tmp_path):
    cells = table(tmp_path)
    begun, _ = run(cells, [cell for cell in cells.cells if cell.system == "unet"])
    assert [cell.name for cell in begun] == ["unet-0-time", "unet-1-time"]


def test_a_cell_that_failed_is_tried_again_and_one_that_diverged_is_not(tmp_path):
    cells = table(tmp_path)
    finish(cells, Cell("raw", 0, "time"), "failed")
    finish(cells, Cell("raw", 1, "time"), "diverged", documents=10)
    begun, _ = run(cells)
    assert Cell("raw", 0, "time") in begun and Cell("raw", 1, "time") not in begun


def test_a_process_that_ends_without_a_word_is_a_failure(tmp_path):
    cells = table(tmp_path)
    run(cells, cells.cells[:1], job=lambda *which: Job(*which, state=None))
    result = cells.result(cells.cells[0])
    assert result["state"] == "failed" and "ended without a result" in result["message"]


def test_an_error_stops_the_cells_under_way(tmp_path):
    cells, jobs = table(tmp_path), []

    def begin(cell):
        if jobs:
            raise ConfigError("no")
        jobs.append(Job(cells, cell, steps=99))
        return jobs[0]

    with pytest.raises(ConfigError):
        launch.run(cells, cells.cells, begin, 2, lambda running: None)
    assert jobs[0].stopped


def test_a_comparison_belongs_to_one_command(tmp_path):
    with launch.alone(tmp_path), pytest.raises(LockedError, match="another process works on"):
        with launch.alone(tmp_path):
            pass


def test_an_unknown_launcher_and_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    cells = table(tmp_path)
    with pytest.raises(
        ConfigError, match=r"--launcher slrum \(did you mean slurm\?\); allowed: local, slurm"
    ):
        launch.beginner(cells, "slrum", 1, "cpu")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        ConfigError, match=r"needs submitit, which is not installed; pip install 'rawmm\[cluster\]'"
    ):
        launch.beginner(cells, "slurm", 1, "cpu")


def test_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun
    with pytest.raises(ConfigError, match="--launcher slurm: no cluster answers here"):
        launch.beginner(table(tmp_path), "slurm", 1, "cpu")


def test_settings_of_a_cluster_that_it_does_not_know(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match="cluster: .*partitoin"):
        launch.cluster("local", tmp_path / "jobs", {"partitoin": "gpu"})


@pytest.mark.process
def test_a_cell_goes_through_submitit(tmp_path):
    """Its local executor; the cell is finished already, so that the job has nothing to do."""
    pytest.importorskip("submitit")
    cells, cell = table(tmp_path), Cell("raw", 0, "time")
    finish(cells, cell)
    executor = launch.cluster("local", tmp_path / "jobs", {"timeout_min": 2})
    job = launch.submit(executor, cells, cell, "cpu")
    assert job.job.result() == "done" and job.ended()
