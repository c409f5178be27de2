"""Settings that are `auto`: measured once, said, stored, and kept by the run."""

import numpy as np
import pytest
from training_runs import SHORT, go

from rawmm_cli.config import presets
from rawmm_cli.config.noise_law import is_settled, law
from rawmm_cli.data import prepared
from rawmm_cli.metrics.spectrum import spectrum
from rawmm_cli.runs import loading
from rawmm_cli.system.errors import CheckpointError
from rawmm_cli.training import facts

pytestmark = pytest.mark.usefixtures("one_thread")
AUTO = ("head.time_mean=auto", "head.time_spread=auto", "loss.image=auto")


def chosen(*words):
    return presets.load("tiny", [*SHORT, *AUTO, *words])


def numbers(config):
    return config.head.time_mean, config.head.time_spread, config.loss.image


def test_a_new_run_measures_its_set_says_so_and_stores_the_numbers(prepared_digits, tmp_path):
    said = []
    lines = go(chosen(), prepared_digits, tmp_path / "run", notify=said.append)
    data = prepared.load(prepared_digits / "digits", "train")
    expected = law(spectrum(facts.pictures(data), 8))
    stored = loading.run_config(tmp_path / "run")
    assert is_settled(stored) and numbers(stored) == tuple(expected)
    assert sum(line.startswith(f"head.time_mean = {expected.mean:g}, ") for line in said) == 1
    for line in lines:
        assert line["loss"] == pytest.approx(line["text"] + expected.weight * line["image"])


def test_a_run_keeps_its_numbers_when_the_law_changes(prepared_digits, tmp_path, monkeypatch):
    go(chosen(), prepared_digits, tmp_path / "run", until=80)
    before = numbers(loading.run_config(tmp_path / "run"))
    monkeypatch.setattr(facts, "measure", lambda *arguments: pytest.fail("measured again"))
    said = []
    go(chosen(), prepared_digits, tmp_path / "run", notify=said.append)
    assert numbers(loading.run_config(tmp_path / "run")) == before
    assert any("resuming" in line for line in said)


def test_a_run_begun_with_the_old_defaults_goes_on_with_them(prepared_digits, tmp_path):
    old = presets.load("tiny", [*SHORT])  # states what were the defaults
    go(old, prepared_digits, tmp_path / "run", until=80)
    go(chosen(), prepared_digits, tmp_path / "run")
    assert numbers(loading.run_config(tmp_path / "run")) == numbers(old) == (0, 1, 1)


def test_a_number_that_was_stated_still_may_not_change(prepared_digits, tmp_path):
    go(chosen(), prepared_digits, tmp_path / "run", until=80)
    with pytest.raises(CheckpointError, match="head.time_mean was .*, now 3"):
        go(chosen("head.time_mean=3.0"), prepared_digits, tmp_path / "run")


def test_pictures_of_documents_are_all_measured():
    class Documents(prepared.PreparedDocuments):
        def __init__(self):
            self.heights = [[2, 4], [], [2]]

        def __len__(self):
            return 3

        def image(self, index, number):
            import torch

            return torch.full((3, self.heights[index][number], 2), 10 * index + number, dtype=torch.uint8)

    shown = list(facts.pictures(Documents()))
    assert [picture.shape for picture in shown] == [(2, 2, 3), (4, 2, 3), (2, 2, 3)]
    assert [int(np.unique(picture)[0]) for picture in shown] == [0, 1, 20]
