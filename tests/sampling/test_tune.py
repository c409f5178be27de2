"""Times of few steps: better than equal ones, stored with the model, and used where the number of steps is
the same."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from drawing_models import SMALL, A, B, chain, talkative

from rawmm_cli.core.text_tokenizer import BOS, EOS, IMAGE
from rawmm_cli.sampling import tune
from rawmm_cli.system.errors import DataError

DRAWING = SMALL.changed(size=(4, 4), steps=3, guidance=2.0)


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 30])
def test_the_cheapest_way_against_all_ways(steps):
    cost = np.random.default_rng(steps).random((9, 9))
    cost[np.tril_indices(9)] = np.inf
    ways = [(0, *inner, 8) for inner in combinations(range(1, 8), min(steps, 8) - 1)]
    best = min(ways, key=lambda way: sum(cost[i, j] for i, j in pairwise(way)))
    assert tune.cheapest_path(cost, steps) == list(best)


def test_what_is_found_is_nearer_to_many_steps():
    """On noise of its own, and on noise that the search has not seen."""
    torch.manual_seed(0)
    model, notes = talkative(), []
    documents = [[BOS, *[A] * n, IMAGE] for n in range(1, 13)]
    tuned = tune.tune(model, DRAWING, documents, notify=notes.append)
    times = tuned.settings["grid"]
    assert (times[0], times[-1]) == (1.0, 0.0) and times == sorted(times, reverse=True) and len(times) == 4
    assert tuned.settings["solver"] in tune.SOLVERS and tuned.error < tuned.before
    assert len(notes) >= 3
    again = tune.tune(model, DRAWING, documents)
    assert again == tuned, "nothing is left to chance"


def test_the_reference_is_a_walk_of_many_steps():
    model, documents = talkative(), [[BOS, A, IMAGE], [BOS, B, IMAGE]]
    trial = tune.Trial(model, DRAWING, documents, 0)
    assert trial.error(DRAWING.changed(steps=tune.REFERENCE)) == 0
    assert trial.error(DRAWING.changed(steps=100)) < trial.error(DRAWING)
    assert len(trial.path) == tune.STOPS
    for steps in (1, 3, 10):
        times = trial.cheapest(steps)
        assert len(times) == steps + 1 and (times[0], times[-1]) == (1.0, 0.0)


def test_prompts_are_written_by_the_model():
    model = chain({BOS: A, A: IMAGE})
    assert tune.prompts(model, SMALL, 3, 0)[0][:2] != [BOS, IMAGE]
    assert all(document[-1] == IMAGE for document in tune.prompts(model, SMALL, 3, 0))
    with pytest.raises(DataError, match="opens no picture"):
        tune.prompts(chain({BOS: EOS, A: EOS}).apply(silent), SMALL, 2, 0)


def silent(module):
    """`<image>` and all but `<eos>` are as good as impossible."""
    if isinstance(module, torch.nn.Linear) and module.out_features == 260:
        with torch.no_grad():
            module.weight[EOS] = 50.0


def test_found_times_are_used_where_the_steps_are_the_same(rawmm, tiny_run, tmp_path):
    import shutil

    shutil.copytree(tiny_run, tmp_path / "run")
    code, out, err = rawmm(
        "tune-sampler", tmp_path / "run", "--steps", "2", "--steps", "3", "--pictures", "4", "--json"
    )
    assert code == 0, err
    stored = json.loads((tmp_path / "run" / "sampler.json").read_text())
    assert stored.keys() == {"2", "3"} and json.loads(out)["steps"] == stored

    def drawn(*words):
        code, out, err = rawmm(
            "sample", "seven", "--run", tmp_path / "run", "--json", "--out", tmp_path / "out", *words
        )
        assert code == 0, err
        return json.loads(out)

    result = drawn("--steps", "2")
    assert (result["grid"], result["solver"]) == ("tuned", stored["2"]["settings"]["solver"])
    assert (
        drawn("--steps", "4")["grid"] == "uniform"
        and drawn("--steps", "2", "--grid", "uniform")["grid"] == "uniform"
    )
    assert drawn("--steps", "2", "--solver", "euler")["grid"] == "uniform"
    both = drawn("--steps", "2", "--grid", "tuned", "--solver", "heun")
    assert (both["grid"], both["solver"]) == ("tuned", "heun")
    code, _, err = rawmm("sample", "a", "--run", tmp_path / "run", "--grid", "tuned", "--steps", "5")
    assert code == 2 and "no tuned grid for 5 steps (it has: 2, 3)" in err
    code, out, _ = rawmm("export", tmp_path / "run", "--out", tmp_path / "kept", "--json")
    assert code == 0 and json.loads((tmp_path / "kept" / "sampler.json").read_text()) == stored
    (tmp_path / "run" / "sampler.json").write_text("{")
    assert rawmm("sample", "a", "--run", tmp_path / "run")[0] == 4
