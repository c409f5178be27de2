"""Damage, as `rawmm train` and `rawmm checkpoint verify` meet it. (Every kind of damage:
test_checkpoint.py.)"""

import json
import os
from pathlib import Path

import pytest
from broken_runs import assert_same_end, back_at, command, save, small_run, spoil, steps

from rawmm_cli.system import manifest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml"])
def test_training_goes_on_from_the_one_before(name, whole, few_digits, tmp_path, rawmm):
    run = back_at(whole, tmp_path / "run", 3, 6)
    spoil(run / "checkpoints" / "step_00000006" / name)
    code, _, err = rawmm(*command(few_digits, run))
    assert code == 0 and f"step_00000006 is damaged ({name} does not match its checksum)" in err
    assert "resuming run at 48 " in err
    assert_same_end(run, whole)


def test_where_every_checkpoint_is_damaged_training_stops(whole, few_digits, tmp_path, rawmm):
    run = back_at(whole, tmp_path / "run", 3, 6)
    spoil(run / "checkpoints" / "step_00000003" / "ema.safetensors")
    (run / "checkpoints" / "step_00000006" / "MANIFEST.json").unlink()
    code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (4, "")
    assert err.splitlines()[-1] == (
        f"error: every checkpoint of {run} is damaged; newest: MANIFEST.json is missing; delete "
        f"{run} and train again"
    )
    assert (run / "checkpoints" / "step_00000006" / "model.safetensors").exists()  # nothing was touched


def test_a_newer_checkpoint_stops_training_and_is_kept(whole, few_digits, tmp_path, rawmm):
    run = back_at(whole, tmp_path / "run", 3, 6)
    folder = run / "checkpoints" / "step_00000006"
    (folder / "state.json").write_text(
        (folder / "state.json").read_text().replace('"format": 3', '"format": 7')
    )
    manifest.seal(folder)
    code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (4, "") and "written by a newer rawmm (format 7, this one reads 1 to 3)" in err
    assert steps(run) == [3, 6]


# ---------------------------------------------------------------------------- the command `checkpoint verify`


def test_verify_says_that_all_is_sound(whole, rawmm):
    code, out, _ = rawmm("checkpoint", "verify", "run", "--runs-dir", whole.parent, "--json")
    result = json.loads(out)
    assert (code, result["sound"], result["damaged"], out.count("\n")) == (0, 4, 0, 1)
    assert [item["step"] for item in result["checkpoints"]] == [3, 6, 9, 10]
    assert [item["documents"] for item in result["checkpoints"]] == [48, 96, 144, 160]
    for item in result["checkpoints"]:
        folder = Path(item["folder"])
        assert item["problems"] == {} and item["bytes"] == sum(
            path.stat().st_size for path in folder.iterdir()
        )
    code, out, err = rawmm("checkpoint", "verify", whole)  # by its path, for people
    assert (code, err) == (0, "") and out.count("sound") == 4 and "160" in out


def test_verify_names_every_damaged_file(whole, tmp_path, rawmm):
    run = back_at(whole, tmp_path / "run", 3, 6, 9)
    spoil(run / "checkpoints" / "step_00000009" / "ema.safetensors")
    (run / "checkpoints" / "step_00000009" / "state.json").unlink()
    os.truncate(run / "checkpoints" / "step_00000003" / "model.safetensors", 8)
    size = (whole / "checkpoints" / "step_00000003" / "model.safetensors").stat().st_size
    code, out, _ = rawmm("checkpoint", "verify", run, "--json")
    assert code == 4 and {item["step"]: item["problems"] for item in json.loads(out)["checkpoints"]} == {
        3: {"model.safetensors": f"has 8 bytes, not {size:,}"},
        6: {},
        9: {"ema.safetensors": "does not match its checksum", "state.json": "is missing"},
    }
    code, out, err = rawmm("checkpoint", "verify", run)
    assert code == 4 and out.count("damaged") == 2 and out.count("sound") == 1
    assert "ema.safetensors does not match its checksum" in out and "state.json is missing" in out
    assert "uses the newest sound one" in err
    assert rawmm("checkpoint", "verify", run, "--json")[2] == err and err.count("\n") == 1
    for step, expected in ((6, 0), (9, 4)):
        assert rawmm("checkpoint", "verify", run, step, "--json")[0] == expected
    code, out, err = rawmm("checkpoint", "verify", run, 7)
    assert (code, out) == (4, "") and err == f"error: {run} has no checkpoint of step 7; there are: 3, 6, 9\n"


def test_verify_says_what_to_do_where_all_or_old_ones_are_damaged(whole, tmp_path, rawmm):
    run = back_at(whole, tmp_path / "run", 3, 6)
    spoil(run / "checkpoints" / "step_00000003" / "ema.safetensors")
    code, out, err = rawmm("checkpoint", "verify", run, "--json")
    assert code == 4 and json.loads(out)["damaged"] == 1
    assert (
        err == "damaged: step_00000003; the newest one is sound, and rawmm uses it; delete the damaged ones\n"
    )
    spoil(run / "checkpoints" / "step_00000006" / "ema.safetensors")
    code, out, err = rawmm("checkpoint", "verify", run, "--json")
    assert code == 4 and err.count("\n") == 1 and "delete the run and train again" in err


def test_verify_of_a_run_without_a_checkpoint(tmp_path, rawmm):
    code, out, err = rawmm("checkpoint", "verify", small_run(tmp_path), "--json")
    assert (code, out) == (4, "") and "has no checkpoint yet" in err
    assert rawmm("checkpoint", "verify", tmp_path / "none")[0] == 4


def test_verify_shows_no_control_characters(tmp_path, rawmm):
    run = small_run(tmp_path)
    folder = save(run, 1)
    (folder / "\x1b[31m[red].safetensors").write_bytes(b"")
    code, out, _ = rawmm("checkpoint", "verify", run)
    assert code == 4 and "\x1b" not in out and "[red].safetensors is not listed" in out
