"""What a comparison consists of: cells, budgets that follow from the reference, orders."""

import json

import pytest

from rawmm_cli.comparison import checks, orders
from rawmm_cli.comparison.cells import Cell, Table, rounded
from rawmm_cli.config import comparison
from rawmm_cli.system.errors import ConfigError, DataError

CARD = {"count": {"train": 9, "held_out": 9}, "fingerprint": "", "size": [8, 8]}
SYSTEMS = [
    {"name": "raw", "preset": "tiny"},
    {"name": "fsq", "preset": "digits-masked"},
    {"name": "unet", "preset": "digits-unet"},
]


def table(folder, **changes):
    (folder / "data" / "digits").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "digits" / "card.json").write_text(json.dumps(CARD))
    changes = {"systems": SYSTEMS, "budget": {"time": 60.0}, "seeds": [0, 1], **changes}
    settings = comparison.load("tiny", **changes)
    return Table(settings, folder / "tiny", folder / "data", folder / "runs")


def finish(table, cell, state="done", **facts):
    place = table.place(cell)
    place.mkdir(parents=True, exist_ok=True)
    result = {
        "state": state,
        "message": None,
        "results": {},
        "seconds": {"train": 10.0, "codec": None},
        **facts,
    }
    (place / "result.json").write_text(json.dumps(result))


def test_the_reference_has_a_cell_a_seed_and_the_others_two(tmp_path):
    names = [cell.name for cell in table(tmp_path).cells]
    assert names[:2] == ["raw-0-time", "raw-1-time"]
    assert names[2:6] == ["fsq-0-time", "fsq-0-documents", "unet-0-time", "unet-0-documents"]
    assert len(names) == 2 + 2 * 2 * 2


def test_documents_are_the_median_of_what_the_reference_saw(tmp_path):
    cells = table(tmp_path, seeds=[0, 1, 2])
    assert cells.amounts() == {"time": 60.0, "documents": None}
    for seed, documents in enumerate((10_100, 20_400, 99_000)):
        finish(cells, Cell("raw", seed, "time"), documents=documents)
    assert cells.amounts() == {"time": 60.0, "documents": 20_500}


def test_time_is_the_median_of_what_the_reference_took_its_codec_included(tmp_path):
    cells = table(tmp_path, budget={"documents": 5_000})
    finish(cells, Cell("raw", 0, "documents"), seconds={"train": 10.0, "codec": 4.0})
    assert cells.amounts()["time"] is None
    finish(cells, Cell("raw", 1, "documents"), seconds={"train": 20.0, "codec": None})
    assert cells.amounts() == {"documents": 5_000, "time": 17.0}


def test_a_reference_that_diverged_counts_no_documents(tmp_path):
    cells = table(tmp_path)
    finish(cells, Cell("raw", 0, "time"), "diverged", documents=3)
    assert cells.amounts()["documents"] is None
    finish(cells, Cell("raw", 1, "time"), documents=800)
    assert cells.amounts()["documents"] == 800


@pytest.mark.parametrize(
    "count, expected", [(7, 7), (64, 64), (999, 1000), (12_345, 12_500), (1_234_567, 1_250_000)]
)
def test_documents_are_rounded_for_a_table(count, expected):
    assert rounded(count) == expected


def test_an_order_waits_for_the_reference(tmp_path):
    cells = table(tmp_path)
    assert orders.order(cells, Cell("unet", 0, "documents")) is None
    task = orders.order(cells, Cell("unet", 0, "time"))
    assert task["amount"] == 60.0 and task["codec"] is None and "train.seed=0" in task["settings"]


def test_a_codec_is_trained_with_the_seed_and_shared_by_systems_that_want_the_same(tmp_path):
    systems = [*SYSTEMS, {"name": "next", "preset": "digits-next"}]
    cells = table(tmp_path, systems=systems)
    masked, after = (orders.order(cells, Cell(name, 1, "time")) for name in ("fsq", "next"))
    assert masked["codec"] == after["codec"]
    assert masked["codec"]["run"] == "digits-fsq-1" and masked["codec"]["preset"] == "digits-fsq"
    assert "train.seed=1" in masked["codec"]["settings"]
    assert "codec.run=digits-fsq-1" in masked["settings"]


def test_a_codec_of_other_settings_has_another_run(tmp_path):
    wide = {
        "name": "wide",
        "preset": "digits-masked",
        "codec": {"preset": "digits-fsq", "settings": ["codec.width=8"]},
    }
    cells = table(tmp_path, systems=[*SYSTEMS, wide])
    run = orders.order(cells, Cell("wide", 0, "time"))["codec"]["run"]
    assert run.startswith("digits-fsq-") and run.endswith("-0") and run != "digits-fsq-0"


def test_a_codec_has_a_share_of_the_time(tmp_path):
    part = {"name": "part", "preset": "digits-masked", "codec": {"preset": "digits-fsq", "share": 0.25}}
    cells = table(tmp_path, systems=[*SYSTEMS, part])
    assert "train.time=15.000" in orders.order(cells, Cell("part", 0, "time"))["codec"]["settings"]
    cells = table(tmp_path, systems=[*SYSTEMS, part], budget={"documents": 100})
    assert orders.order(cells, Cell("part", 0, "documents")) is None  # the time follows from the reference


def test_a_cell_that_was_begun_keeps_its_settings(tmp_path):
    cells, cell = table(tmp_path), Cell("raw", 0, "time")
    orders.write(cells, cell, orders.order(cells, cell))
    finish(cells, cell)
    orders.renew(cells, cells.cells)
    assert cells.finished(cell)
    other = table(tmp_path, budget={"time": 30.0})
    with pytest.raises(
        ConfigError, match=r"raw-0-time was begun with other settings \(amount was 60.0, now 30.0\)"
    ):
        orders.renew(other, other.cells)


@pytest.mark.parametrize(
    "changes, kept",
    [
        ({"pictures": 9}, {"trials.json"}),
        ({"evaluators": ["classes"]}, {"trials.json"}),
        ({"trials": 9}, set()),
    ],
)
def test_what_is_measured_in_another_way_is_measured_again_without_a_training(tmp_path, changes, kept):
    cells, cell = table(tmp_path), Cell("raw", 0, "time")
    orders.write(cells, cell, orders.order(cells, cell))
    finish(cells, cell)
    for name in ("trials.json", "measured.json"):
        (cells.place(cell) / name).write_text("{}")
    other = table(tmp_path, **changes)
    orders.renew(other, other.cells)
    assert not other.finished(cell)
    assert {path.name for path in cells.place(cell).iterdir()} == {"cell.json", *kept}


def test_the_other_budget_stays_where_seeds_are_added(tmp_path):
    cells = table(tmp_path)
    for seed, documents in enumerate((800, 900)):
        finish(cells, Cell("raw", seed, "time"), documents=documents)
    assert cells.amounts()["documents"] == 850
    more = table(tmp_path, seeds=[0, 1, 2])
    finish(more, Cell("raw", 2, "time"), documents=5_000)
    assert more.amounts()["documents"] == 850
    assert table(tmp_path, budget={"time": 99.0}, seeds=[2]).amounts()["documents"] == 5_000


@pytest.mark.parametrize(
    "system, line",
    [
        ({"preset": "digts"}, r"system 'x': unknown preset 'digts' \(did you mean digits\?\)"),
        (
            {"preset": "digits-fsq"},
            "system 'x': preset digits-fsq trains a codec; allowed: a preset of a model",
        ),
        ({"preset": "tiny", "settings": ["train.bach=2"]}, r"system 'x': unknown key 'train.bach'"),
        (
            {"preset": "tiny", "settings": ["codec.kind=fsq", "codec.run=no", "head.kind=masked"]},
            "no preset and no run no",
        ),
        ({"preset": "digits-next", "codec": {"preset": "tiny"}}, "its codec: preset tiny trains a model"),
        ({"preset": "digits-unet", "settings": ["data.read=0.5"]}, "draws and does not read"),
    ],
)
def test_a_system_that_cannot_be_is_named_before_anything_starts(tmp_path, system, line):
    with pytest.raises(ConfigError, match=line):
        checks.check(table(tmp_path, systems=[SYSTEMS[0], {"name": "x", **system}]))


def test_a_reading_evaluator_needs_captions(tmp_path):
    cells = table(tmp_path, evaluators=["questions"])
    assert checks.check(cells) == ["digits"]
    captions = {"count": 0, "different": 0, "vocabulary": 0, "frequent": [], "bytes": {}}
    (tmp_path / "data" / "digits" / "card.json").write_text(json.dumps({**CARD, "captions": captions}))
    with pytest.raises(DataError, match="questions reads, and no picture of 'digits' has a caption"):
        checks.check(cells)


def test_an_unknown_evaluator_has_the_nearest_one(tmp_path):
    with pytest.raises(ConfigError, match=r"evaluators: class \(did you mean classes\?\)"):
        checks.check(table(tmp_path, evaluators=["class"]))


def test_settings_of_drawing_are_checked_before_anything_is_trained(tmp_path):
    """They stand in the order; a value that `rawmm sample` does not take is an error."""
    larger = {"name": "larger", "preset": "tiny", "drawing": {"size": 12, "positions": "ntk"}}
    cells = table(tmp_path, systems=[SYSTEMS[0], larger])
    finish(cells, Cell("raw", 0, "time"), documents=800)
    finish(cells, Cell("raw", 1, "time"), documents=800)
    task = orders.order(cells, Cell("larger", 0, "time"))
    assert task["drawing"] == larger["drawing"] and checks.check(cells) == ["digits"]
    wrong = table(tmp_path, systems=[SYSTEMS[0], {**larger, "drawing": {"positions": "nkt"}}])
    with pytest.raises(ConfigError, match=r"system 'larger', drawing: .*nkt.*did you mean ntk"):
        checks.check(wrong)


def test_a_budget_of_fewer_documents_than_a_step_fits_no_system(tmp_path):
    with pytest.raises(
        ConfigError, match="a budget of 15 documents fits no system: the smallest step has 16"
    ):
        checks.check(table(tmp_path, budget={"documents": 15}))
    checks.check(table(tmp_path, budget={"documents": 16}))


def test_the_search_goes_by_metrics_that_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match=r"score: fidelity.covrage \(did you mean fidelity.coverage\?\); allowed: "
    ):
        checks.check(table(tmp_path, score=["fidelity.covrage"]))
