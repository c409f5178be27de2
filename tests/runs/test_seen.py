"""seen.json: what a model has seen, as its set is; it belongs to its weights, and cannot harm the model."""

import json
import shutil

import pytest
import torch

from rawmm_cli.data import sets
from rawmm_cli.evaluation import foreign
from rawmm_cli.runs import loading, models, seen
from rawmm_cli.system.errors import CheckpointError

DIGITS = "zero one two three four five six seven eight nine".split()
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def known(tiny_run):
    return json.loads((tiny_run / "seen.json").read_text())


def test_a_run_knows_what_it_has_seen_when_its_training_ends(tiny_run, known):
    loaded = models.load(tiny_run, CPU)
    assert loaded.seen == known and known["documents"] == loaded.documents > 0
    (one,) = known["sets"]
    assert one["name"] == "digits" and one["count"] == {"train": 1437, "held_out": 360}
    assert one["sizes"] == [[8, 8, 1797]] and one["pictures"] == 1797
    assert known["prompts"] == DIGITS and set(known["examples"]) == set(DIGITS)
    assert known["captions"]["different"] == known["captions"]["vocabulary"] == 10
    assert {word for word, _ in known["captions"]["frequent"]} == set(DIGITS)
    assert known["words"]["count"] == known["pictures"]["count"] == 240, "two thirds of the unseen ones"
    assert [kind.split(":")[0] for kind in known["kinds"]] == [
        "a caption or its beginning",
        "nothing",
        "a picture",
    ]


def test_measured_again_it_is_the_same(tiny_run, known, prepared_digits):
    model, config, state = loading.load_model(tiny_run, CPU)
    data, held_out = sets.load(config, prepared_digits)
    again = seen.measure(model, config, state["documents"], data, held_out)
    assert again["prompts"] == known["prompts"] and again["sets"] == known["sets"]
    assert again["words"]["threshold"] == pytest.approx(known["words"]["threshold"], rel=1e-3)
    assert again["pictures"]["threshold"] == pytest.approx(known["pictures"]["threshold"], rel=0.02)


def test_pictures_without_captions_and_few_of_them(few_pictures):
    from rawmm_cli.config import build, presets

    config = presets.load("tiny", ["data.set=few", "data.size=16", "data.read=0", "train.length=80"])
    data, held_out = sets.load(config, few_pictures)
    result = seen.measure(build.model(config).eval(), config, 0, data, held_out)
    assert result["words"] is None and result["captions"] is None and result["prompts"] == []
    assert result["kinds"] == ["nothing: a picture is drawn"]
    assert result["pictures"]["count"] == 6 + 24 and result["pictures"]["threshold"] > 1


@pytest.mark.parametrize(
    "count, expected", [(0, 0), (30, 30), (149, 149), (150, 100), (600, 400), (9000, 512)]
)
def test_thresholds_leave_a_third_of_many_unseen_pictures(count, expected):
    rows = seen.measured(count, 512)
    assert len(rows) == len(set(rows)) == expected and all(0 <= row < count for row in rows)
    left = foreign.apart(count, 512)
    assert bool(set(left) & set(rows)) == (0 < count < 150)


def test_an_older_format_is_measured_again(known, tmp_path):
    pictures = {"threshold": 1.0, "own": [1.0, 2.0], "count": 3, "unit": 1.0}
    for number, older in ((1, {"subspace": "AA"}), (2, {"usual": "AA", "numbers": 7})):
        text = json.dumps(known | {"format": number, "pictures": pictures | older})
        (tmp_path / "seen.json").write_text(text)
        assert seen.read(tmp_path, known["documents"]) == {}


def test_after_more_training_it_is_out_of_date(tiny_run, known, tmp_path):
    shutil.copy(tiny_run / "seen.json", tmp_path)
    assert seen.read(tmp_path, known["documents"]) == known
    assert seen.read(tmp_path, known["documents"] + 64) == {}
    assert seen.read(tmp_path / "nothing", 1) == {}


@pytest.mark.parametrize(
    "change", ({}, {"format": 2}, {"documents": 7}), ids=("ours", "older", "other weights")
)
def test_pictures_of_a_document_are_known_from_any_seen_json(tiny_run, known, tmp_path, change):
    """Documents of three pictures have three, also under weights of a later day: else text is written where
    the model would open a picture."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    loaded = models.load(run, torch.device("cpu"))
    assert loaded.most_pictures == 1
    several = [{"name": "a", "pictures": 108, "count": {"train": 36, "held_out": 4}}]
    (run / "seen.json").write_text(json.dumps(known | change | {"sets": several}))
    loaded = models.load(run, torch.device("cpu"))
    assert bool(loaded.seen) == (not change) and loaded.most_pictures == 3
    (run / "seen.json").unlink()
    assert models.load(run, torch.device("cpu")).most_pictures == 1


@pytest.mark.parametrize(
    "change, problem",
    [
        ("{", "it is not JSON"),
        ({"kinds": None}, "kinds"),
        ({"prompts": [1]}, "prompts.0"),
        ({"words": {"threshold": -1.0, "own": [1.0, 2.0], "count": 3}}, "greater than 0"),
        ({"words": {"threshold": 1.0, "own": [1.0], "count": 3}}, "at least 2 items"),
        ({"pictures": {"threshold": 1.0, "own": [1.0, 2.0], "count": 3, "usual": ["AA", "AA"]}}, "usual"),
        ({"pictures": {"threshold": 1.0, "own": [1.0, 2.0], "count": 3, "usual": "AA"}}, "usual"),
        ({"pictures": {"threshold": 1.0, "own": [1.0, 2.0], "count": 3, "units": [1.0, 0.0]}}, "units"),
    ],
)
def test_another_shape_is_refused_in_one_line(known, tmp_path, change, problem):
    text = change if isinstance(change, str) else json.dumps(known | change)
    (tmp_path / "seen.json").write_text(text)
    with pytest.raises(CheckpointError, match="seen.json is damaged .*; delete it, and run") as caught:
        seen.read(tmp_path, known["documents"])
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_an_exported_model_keeps_it_and_draws_without_it(tiny_run, known, tmp_path):
    models.export(tiny_run, tmp_path / "kept", "kept")
    folder, warnings = tmp_path / "kept", []
    assert models.load(folder, CPU).seen == known
    card = (folder / "README.md").read_text()
    assert "## What it has seen" in card and "- seven\n" in card and "more than " in card
    (folder / "seen.json").write_text("{}")
    assert models.load(folder, CPU, warnings.append).seen == {}
    assert len(warnings) == 1 and "it is left out" in warnings[0]
    models.store_seen(folder, known)
    assert models.load(folder, CPU, warnings.append).seen == known and len(warnings) == 1


def test_an_export_measures_what_its_run_did_not(tiny_run, known, prepared_digits, tmp_path):
    run = tmp_path / "tiny"
    shutil.copytree(tiny_run, run)
    (run / "seen.json").unlink()
    models.export(run, tmp_path / "without", "without")
    assert models.load(tmp_path / "without", CPU).seen == {}
    assert "It was not measured" in (tmp_path / "without" / "README.md").read_text()
    models.export(run, tmp_path / "with", "with", prepared_digits)
    assert models.load(tmp_path / "with", CPU).seen["prompts"] == known["prompts"]


def test_captions_of_other_people_are_text_on_the_card(tiny_run, known, tmp_path):
    models.export(tiny_run, tmp_path / "kept", "kept")
    models.store_seen(
        tmp_path / "kept", known | {"examples": ["<b>x</b> | [a](b)"], "prompts": ["two\nlines"]}
    )
    card = (tmp_path / "kept" / "README.md").read_text()
    assert r"- \<b\>x\</b\> \| \[a\](b)" in card and "two\ufffdlines" in card.replace(
        "two lines", "two\ufffdlines"
    )
