"""`rawmm compare`: a comparison of two systems from the start to its results, again, interrupted, and with
wrong input."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from typer.testing import CliRunner

from rawmm_cli.cli import app
from rawmm_cli.system.errors import ConfigError, DataError

FAST = ["backbone.width=16", "train.save_every=64"]
MINI = {
    "question": "Do both run?",
    "data": "digits",
    "budget": {"documents": 1_280},
    "seeds": 1,
    "trials": 2,
    "trial_pictures": 10,
    "pictures": 20,
    "evaluators": ["losses", "classes"],
    "systems": [
        {"name": "raw", "preset": "tiny", "settings": FAST},
        {
            "name": "fsq",
            "preset": "tiny",
            "settings": [*FAST, "head.kind=masked"],
            "codec": {"preset": "digits-fsq", "settings": ["train.documents=128", "codec.width=8"]},
        },
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, prepared_digits):
    """A folder with the digits and the file of a comparison."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "mini.yaml").write_text(yaml.safe_dump(MINI))
    (folder / "data").symlink_to(prepared_digits)
    return folder


def changed(place, file, **changes):
    """The file of another comparison."""
    (place / file).write_text(yaml.safe_dump({**MINI, **changes}))
    return file


def arguments(*words):
    return [sys.executable, "-m", "rawmm_cli", "compare", *words]


def compare(place, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments(*words), cwd=place, env=environment, capture_output=True, text=True, timeout=230
    )


@pytest.fixture(scope="module")
def whole(place):
    """The comparison, run to its end -> results.json."""
    done = compare(place, "mini.yaml", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.process
def test_a_comparison_has_both_budgets_for_every_system(whole, place):
    cells = {(cell["system"], cell["budget"]): cell for cell in whole["cells"]}
    assert set(cells) == {(name, kind) for name in ("raw", "fsq") for kind in ("documents", "time")}
    assert cells["raw", "time"]["run"] == cells["raw", "documents"]["run"] == "runs/raw-0-documents"
    assert {cell["state"] for cell in whole["cells"]} == {"done"}
    assert cells["fsq", "documents"]["documents"] == whole["budget"]["documents"] == 1_280
    assert whole["budget"]["time"] == cells["raw", "documents"]["seconds"]["train"]
    for cell in whole["cells"]:
        assert set(cell["results"]) >= {
            "text_to_image.accuracy",
            "image_to_text.accuracy",
            "held_out.bits_per_byte",
        }
        assert len(cell["trials"]) == 2 and cell["trials"][0]["settings"] == {}
        assert (place / "comparisons" / "mini" / cell["run"] / "config.yaml").is_file()


@pytest.mark.process
def test_the_codec_is_trained_once_and_counts(whole):
    system = next(system for system in whole["systems"] if system["name"] == "fsq")
    assert system["codec"]["kind"] == "fsq" and system["bits"] == system["codec"]["bits"] == 96.0
    first, second = (cell for cell in whole["cells"] if cell["system"] == "fsq")
    assert first["seconds"]["codec"] == second["seconds"]["codec"] > 0
    assert first["flops"]["codec"] > 0
    timed = first if first["budget"] == "time" else second
    assert timed["seconds"]["train"] + timed["seconds"]["codec"] == pytest.approx(
        whole["budget"]["time"], abs=3
    )


@pytest.mark.process
def test_values_of_single_pictures_have_the_same_ids_in_every_system(whole, place):
    values = [
        json.loads((place / "comparisons" / "mini" / cell["folder"] / "values.json").read_text())
        for cell in whole["cells"]
    ]
    for metric in ("text_to_image.accuracy", "image_to_text.accuracy"):
        ids = [one[metric]["ids"] for one in values]
        assert all(one == ids[0] for one in ids) and len(ids[0]) >= 20
        for one, cell in zip(values, whole["cells"]):
            assert sum(one[metric]["values"]) / len(ids[0]) == pytest.approx(
                cell["results"][metric], abs=1e-4
            )


@pytest.mark.process
def test_a_comparison_that_is_done_says_the_same_at_once(whole, place):
    began = time.monotonic()
    again = compare(place, "mini.yaml", "--json")
    assert time.monotonic() - began < 20  # five seconds where nothing else runs
    assert json.loads(again.stdout) == whole
    page = compare(place, "mini.yaml")
    assert "one seed" in page.stdout.lower()


@pytest.mark.process
def test_systems_that_are_added_and_only_reuse_what_is_done(whole, place):
    third = {
        "name": "wild",
        "preset": "tiny",
        "settings": [*FAST, "train.learning_rate=1e9", "train.clip=1e9"],
    }
    name = changed(place, "added.yaml", name="mini", systems=[*MINI["systems"], third])
    before = {path: path.stat().st_mtime_ns for path in (place / "comparisons").rglob("result.json")}
    done = compare(place, name, "--only", "wild")
    assert done.returncode == 0 and "wild, seed 0, documents: diverged: " in done.stderr
    assert all(path.stat().st_mtime_ns == modified for path, modified in before.items())
    result = json.loads((place / "comparisons" / "mini" / "results.json").read_text())
    states = {(cell["system"], cell["state"]) for cell in result["cells"]}
    assert states == {("raw", "done"), ("fsq", "done"), ("wild", "diverged")}


@pytest.mark.process
@pytest.mark.parametrize("seconds, group", [(4.0, False), (10.0, True)])
def test_a_command_that_is_killed_goes_on(whole, place, seconds, group):
    """With the cells or alone, at any time: the results are those of a command that nobody killed."""
    words = ("mini.yaml", "--comparisons-dir", f"killed-{seconds:g}")
    process = subprocess.Popen(
        arguments(*words), cwd=place, start_new_session=True, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    done = compare(place, *words, "--json")
    assert done.returncode == 0, done.stderr
    now = {(cell["system"], cell["budget"]): cell for cell in json.loads(done.stdout)["cells"]}
    for cell in whole["cells"]:
        if (cell["system"], cell["budget"]) != ("fsq", "time"):
            other = now[cell["system"], cell["budget"]]
            for key in ("state", "documents", "results", "trials", "sampler", "flops"):
                assert other[key] == cell[key], key


@pytest.mark.process
def test_ctrl_c_saves_and_says_so(place):
    words = ("mini.yaml", "--comparisons-dir", "stopped")
    process = subprocess.Popen(
        arguments(*words), cwd=place, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    time.sleep(6)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip().endswith("stopped")


@pytest.mark.process
def test_a_dry_run_tells_time_flops_and_disk_and_trains_nothing(place):
    done = compare(place, "mini.yaml", "--comparisons-dir", "nothing", "--dry-run", "--json")
    result = json.loads(done.stdout)
    assert [one["system"] for one in result["systems"]] == ["raw", "fsq"]
    assert [one["cells"] for one in result["systems"]] == [1, 2]
    assert result["systems"][0]["documents"] == {"documents": 1_280}
    assert result["seconds"] > 0 and result["flops"] > 0 and result["disk"] > 0
    assert not (place / "nothing").exists()


@pytest.mark.parametrize(
    "words, error, line",
    [
        (["none"], ConfigError, "unknown comparison 'none'"),
        (["none.yaml"], ConfigError, "comparison file none.yaml cannot be read"),
        (
            ["mini.yaml", "--only", "rae"],
            ConfigError,
            r"--only rae \(did you mean raw\?\); allowed: raw, fsq",
        ),
        (["mini.yaml", "--budget", "5x"], ConfigError, "--budget '5x' is not a time"),
        (["mini.yaml", "--budget", "5m", "--flops", "9"], ConfigError, "--budget and --flops are given"),
        (["mini.yaml", "--data", "nothing"], DataError, "data set 'nothing' is not prepared"),
        (["mini.yaml", "--launcher", "moon"], ConfigError, "--launcher moon; allowed: local, slurm"),
        (["mini.yaml", "--data-dir", "few"], DataError, "needed: 10, which a split of about 40 has"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(place, few_digits, monkeypatch, words, error, line):
    monkeypatch.chdir(place)
    (place / "few").unlink(missing_ok=True)
    (place / "few").symlink_to(few_digits)
    result = CliRunner().invoke(app, ["compare", *words, "--comparisons-dir", "none"])
    assert isinstance(result.exception, error)
    with pytest.raises(error, match=line):
        raise result.exception
    assert not list(place.glob("none/*/cells"))
