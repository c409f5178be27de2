"""results.json, from the files of cells."""

import json

from test_cells import finish, table

from rawmm_cli.comparison import gather
from rawmm_cli.comparison.cells import Cell

SECONDS = {"codec": None, "train": 10.0, "search": 1.0, "measure": 1.0, "draw": None, "other": 0.5}


def done(cells, cell, right, documents=640, **facts):
    """A cell that was measured: `right` of its drawings, 0 or 1 each."""
    flops = {"codec": None, "train": 1e9, "draw": None}
    finish(cells, cell, documents=documents, seconds=SECONDS, flops=flops, parameters=10, bits=96.0, **facts)
    place, share = cells.place(cell), sum(right) / len(right)
    whole = {"text_to_image": {"accuracy": share}, "cost": {"seconds": 0.25, "flops": 7}}
    values = {"text_to_image.accuracy": {"ids": [str(n) for n in range(len(right))], "values": right}}
    (place / "evaluation.json").write_text(json.dumps(whole))
    (place / "values.json").write_text(json.dumps(values))


def filled(tmp_path):
    cells = table(tmp_path)
    for cell in cells.cells:
        right = [1, 1, 1, 0] * 50 if cell.system == "raw" else [1, 0, 0, 0] * 50
        done(cells, cell, right)
    return cells


def test_the_one_run_of_the_reference_stands_in_both_budgets(tmp_path):
    result = gather.write(filled(tmp_path))
    own = [cell for cell in result["cells"] if cell["system"] == "raw"]
    assert [(cell["seed"], cell["budget"]) for cell in own] == [
        (0, "time"),
        (0, "documents"),
        (1, "time"),
        (1, "documents"),
    ]
    assert own[0]["run"] == own[1]["run"] == "runs/raw-0-time"
    assert {cell["budget"] for cell in result["cells"] if cell["system"] == "unet"} == {"time", "documents"}
    assert result["budget"] == {"kind": "time", "time": 60.0, "documents": 640, "reference": "raw"}


def test_numbers_and_costs_are_those_that_were_measured(tmp_path):
    result = gather.write(filled(tmp_path))
    cell = result["cells"][0]
    assert cell["results"] == {"text_to_image.accuracy": 0.75}
    assert cell["seconds"]["draw"] == 0.25 and cell["flops"] == {"codec": None, "train": 1e9, "draw": 7}
    assert list(result["metrics"]) == ["text_to_image.accuracy"]
    differences = [one for one in result["differences"] if one["system"] == "unet"]
    assert {round(one["difference"], 6) for one in differences} == {-0.5}
    assert {one["claimed"] for one in differences} == {True}
    assert result["answer"]


def test_nothing_is_written_again_where_nothing_is_new(tmp_path, monkeypatch):
    cells = filled(tmp_path)
    first, path = gather.write(cells), cells.folder / "results.json"
    modified = path.stat().st_mtime_ns
    assert gather.write(cells) == first and path.stat().st_mtime_ns == modified
    done(cells, Cell("unet", 0, "time"), [1] * 200, documents=641)
    again = gather.write(cells)
    assert again != first and again["created"] == first["created"]


def test_cells_that_diverged_failed_or_wait_say_so(tmp_path):
    cells = filled(tmp_path)
    finish(cells, Cell("fsq", 0, "time"), "diverged", message="loss not finite")
    finish(cells, Cell("fsq", 1, "time"), "failed", message="no room")
    (cells.place(Cell("unet", 1, "documents")) / "result.json").unlink()
    states = {
        (cell["system"], cell["seed"], cell["budget"]): (cell["state"], cell["message"])
        for cell in gather.write(cells)["cells"]
    }
    assert states["fsq", 0, "time"] == ("diverged", "loss not finite")
    assert states["fsq", 1, "time"] == ("failed", "no room")
    assert states["unet", 1, "documents"] == ("waiting", None)


def test_an_evaluator_that_was_left_out_is_named(tmp_path):
    cells = filled(tmp_path)
    done(cells, cells.cells[0], [1, 0], left_out={"written": "pip install 'rawmm[ocr]'"})
    result = gather.write(cells)
    assert result["left_out"] == {"written": "pip install 'rawmm[ocr]'"}
    assert any("written" in line for line in result["answer"])
