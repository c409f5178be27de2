"""The search of the sampler: the same number of trials for every system, functions of the trial alone; and
the part of the held-out split that it is done on."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from rawmm_cli.comparison import measure, search, split
from rawmm_cli.evaluation.subject import Subject
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import DataError

DIFFUSION = {"guidance": 2.0, "steps": 10, "solver": "euler", "grid": "uniform", "temperature": 0.0}
CODES = {"guidance": 2.0, "code_temperature": 1.0, "code_top_p": 1.0, "code_top_k": 0}


@pytest.mark.parametrize("own", [DIFFUSION, CODES])
def test_the_first_trial_is_the_models_own_and_none_comes_twice(own):
    trials = search.candidates(own, 12)
    assert len(trials) == 12 and trials[0] == {}
    assert all(trials.count(trial) == 1 for trial in trials)
    assert all(trial.keys() <= own.keys() for trial in trials)
    assert {name: own[name] for name in trials[1]} not in trials


def test_systems_with_the_same_settings_try_the_same():
    assert search.candidates(DIFFUSION, 8) == search.candidates({**DIFFUSION, "steps": 20}, 8)
    assert search.candidates(DIFFUSION, 8)[:5] == search.candidates(DIFFUSION, 5)


def test_there_are_no_more_trials_than_settings():
    assert len(search.candidates({"guidance": 1.0}, 50)) == 5
    assert search.candidates({}, 8) == [{}]


def test_the_best_trial_is_the_first_of_equal_ones():
    trials = [{"settings": {"steps": n}, "score": score} for n, score in enumerate((0.5, 0.9, 0.9, None))]
    assert search.best(trials) == {"steps": 1}
    assert search.best([]) == {} and search.best([{"settings": {"steps": 1}, "score": None}]) == {}


def test_settings_that_a_system_has_given_are_not_searched(monkeypatch):
    """Trials go over the others, beside them; the seed is another one than that of the measurement."""
    seen = []

    def measured(subject, names):
        seen.append(subject.request)
        return SimpleNamespace(results={"text_to_image.accuracy": 0.5})

    monkeypatch.setattr(search.measure, "measured", measured)
    of = Subject(None, Request(seed=3, settings={"steps": 4, "positions": "ntk"}), None, None, None)
    monkeypatch.setattr(Subject, "settings", SimpleNamespace(flat=lambda: {**DIFFUSION, "positions": "ntk"}))
    trials = list(search.sampler(of, ["text_to_image.accuracy"], 5, [], lambda n: None))
    assert len(trials) == 5 and all(not trial["settings"].keys() & {"steps", "positions"} for trial in trials)
    assert all(r.settings["steps"] == 4 and r.settings["positions"] == "ntk" for r in seen)
    assert {r.seed for r in seen} == {1_000_006} and seen[1].settings.keys() > {"guidance", "solver"}


def held_out(count):
    digests = [np.random.default_rng(n).bytes(32) for n in range(count)]
    table = pa.table({"sha256": pa.array(digests, pa.binary())})
    folder = SimpleNamespace(name="mine")
    return SimpleNamespace(table=table, folder=folder, __len__=lambda: count)


def test_a_quarter_of_the_held_out_split_is_for_the_search():
    data = held_out(2_000)
    early, late = split.halves(data)
    assert sorted(early + late) == list(range(2_000))
    assert abs(len(early) - 500) < 4 * (2_000 * 0.25 * 0.75) ** 0.5  # four deviations of the binomial
    assert split.halves(data) == (early, late)


def test_equal_documents_are_on_one_side():
    digests = [bytes(32)] * 10
    early, late = split.halves(SimpleNamespace(table=pa.table({"sha256": pa.array(digests, pa.binary())})))
    assert not early or not late


class Held(SimpleNamespace):
    def __len__(self):
        return len(self.table)


def test_a_part_that_is_too_small_says_how_many_are_needed():
    data = Held(**vars(held_out(40)))
    with pytest.raises(
        DataError, match=r"of 40 held-out documents .* needed: 50, which a split of about 200 has"
    ):
        split.check_enough(data, trials=8, pictures=128)
    split.check_enough(data, trials=0, pictures=128)
    split.check_enough(data, trials=8, pictures=5)


def test_quality_against_steps_is_in_the_order_of_steps():
    steps = {"metric": "text_to_image.accuracy", "by_steps": {"10": 0.9, "2": 0.4, "1": 0.1}}
    assert measure.by_steps({"steps": steps}) == {
        "steps": [1, 2, 10],
        "text_to_image.accuracy": [0.1, 0.4, 0.9],
    }
    assert measure.by_steps({}) is None
