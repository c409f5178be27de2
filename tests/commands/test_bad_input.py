"""Bad input of every command: one line, its exit code, and no file left behind."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.config import presets

pytestmark = pytest.mark.usefixtures("one_thread")


# -------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_run):
    """A working folder with a run `tiny`, broken runs and broken pictures."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for name in ("tiny", "torn", "hollow", "bare"):
        shutil.copytree(tiny_run, Path("runs", name))
    Path("runs/torn/config.yaml").write_text("train: {batch: [")
    for path in Path("runs/hollow/checkpoints").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree("runs/bare/checkpoints")
    Path("file").write_text("a file")
    Path("bad.png").write_text("no picture")
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save("odd.png")
    Image.fromarray(np.zeros((512, 512, 3), np.uint8)).save("large.png")
    return tmp_path


def files(folder):
    return {
        path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    } | {path.relative_to(folder): None for path in folder.rglob("*") if path.is_dir()}


BAD = {
    # sample: the prompt
    "control": (["sample", "a\x07b", "--run", "tiny"], 2, "control character U+0007 at place 2"),
    "nul": (["sample", "\0", "--run", "tiny"], 2, "control character U+0000 at place 1"),
    "megabyte": (
        ["sample", "x" * 1_000_000, "--run", "tiny"],
        2,
        "prompt has 1,000,000 bytes; allowed: at most 100,000",
    ),
    "context": (
        ["sample", "x" * 2000, "--run", "tiny"],
        2,
        "need 2,001 positions; allowed: 1,024 (sample.context)",
    ),
    "surrogate": (["sample", "a\udcff", "--run", "tiny"], 2, "character 2 is a lone surrogate (U+DCFF)"),
    # sample: the run
    "missing": (
        ["sample", "a", "--run", "tinny"],
        4,
        "no run 'tinny' in runs (did you mean tiny?); runs here: ",
    ),
    "run surrogate": (["sample", "a", "--run", "\udcff"], 4, "no run '\ufffd' in runs"),
    "run markup": (["sample", "a", "--run", "[/red]"], 4, "no run '[/red]' in runs"),
    "torn": (
        ["sample", "a", "--run", "torn"],
        4,
        "runs/torn/config.yaml cannot be used: config.yaml is not valid YAML",
    ),
    "hollow": (
        ["sample", "a", "--run", "hollow"],
        4,
        "every checkpoint of runs/hollow is damaged; newest: model.safetensors",
    ),
    "bare": (["sample", "a", "--run", "bare"], 4, "runs/bare has no checkpoint yet"),
    "no runs": (
        ["evaluate", "--runs-dir", "none"],
        4,
        "no run in none; train one first: `rawmm train --preset digits`",
    ),
    "runs file": (["evaluate", "--runs-dir", "file"], 4, "no run in file"),
    # sample: pictures and options
    "odd": (
        ["sample", "--image", "odd.png", "--run", "tiny"],
        3,
        "odd.png: a picture of 9x8 pixels does not divide",
    ),
    "bad": (["sample", "--image", "bad.png", "--run", "tiny"], 3, "image bad.png cannot be read"),
    "no picture": (
        ["sample", "--image", "none.png", "--run", "tiny"],
        3,
        "image none.png cannot be read: there is no such",
    ),
    "large": (
        ["sample", "--image", "large.png", "--run", "tiny"],
        2,
        "need 16,387 positions; allowed: 1,024",
    ),
    "folder": (["sample", "--image", "runs", "--run", "tiny"], 3, "image runs cannot be read"),
    "solver": (["sample", "a", "--solver", "eulr"], 2, "unknown solver 'eulr' (did you mean euler?)"),
    "guidance": (["sample", "a", "--guidance", "nan"], 2, "--guidance"),
    "infinite": (
        ["sample", "a", "--temperature", "inf"],
        2,
        "--temperature = inf; allowed: a number of at least 0",
    ),
    "steps": (["sample", "a", "--steps", "0"], 2, "Invalid value for '--steps'"),
    "count": (["sample", "a", "--count", "0"], 2, "Invalid value for '--count'"),
    "out": (
        ["sample", "two", "--run", "tiny", "--out", "file"],
        2,
        "output folder file cannot be created (File exists)",
    ),
    "out below": (
        ["sample", "two", "--run", "tiny", "--out", "file/x"],
        2,
        "output folder file/x cannot be created",
    ),
    "device": (
        ["sample", "a", "--run", "tiny", "--device", "gpu"],
        2,
        "unknown device 'gpu'; allowed: auto, cpu, cuda",
    ),
    "cuda": (
        ["sample", "a", "--run", "tiny", "--device", "cuda:99"],
        2,
        "device 'cuda:99' is not there; this machine has",
    ),
    # train
    "slash": (["train", "--run", "a/b", "--runs-dir", "new"], 2, "run name 'a/b' cannot be a folder"),
    "dots": (["train", "--run", "..", "--runs-dir", "new"], 2, "run name '..' cannot be a folder"),
    "long": (["train", "--run", "x" * 101, "--runs-dir", "new"], 2, "up to 100"),
    "preset": (["train", "--preset", "tinny"], 2, "unknown preset 'tinny' (did you mean tiny?)"),
    "key": (
        ["train", "--preset", "tiny", "train.batc=3"],
        2,
        "unknown key 'train.batc' (did you mean train.batch?)",
    ),
    "markup": (["train", "--preset", "tiny", "[/x]=3"], 2, "unknown key '[/x]'"),
    "no data": (
        ["train", "--preset", "tiny", "--run", "new"],
        3,
        "data set 'digits' is not prepared in data; run `rawmm ",
    ),
    "data file": (
        ["train", "--preset", "tiny", "--data-dir", "file"],
        3,
        "data set 'digits' is not prepared in file",
    ),
    "runs is file": (
        ["train", "--preset", "tiny", "--runs-dir", "file"],
        2,
        "runs folder file cannot be created (File exists)",
    ),
    "changed": (
        ["train", "--preset", "tiny", "train.batch=3", "--data-dir", "DATA"],
        4,
        "train.batch was 16, now 3",
    ),
    "resume torn": (
        ["train", "--preset", "tiny", "--run", "torn", "--data-dir", "DATA"],
        4,
        "was started with other settings",
    ),
    "resume hollow": (
        ["train", "--preset", "tiny", "--run", "hollow", "--data-dir", "DATA"],
        4,
        "every checkpoint of",
    ),
    # evaluate
    "evaluate": (["evaluate", "tinny"], 4, "no run 'tinny' in runs (did you mean tiny?)"),
    "evaluate data": (["evaluate", "tiny"], 3, "data set 'digits' is not prepared in data"),
    "evaluate hollow": (["evaluate", "hollow"], 4, "every checkpoint of runs/hollow is damaged"),
    # prepare
    "source": (["prepare", "digit"], 2, "unknown source 'digit' (did you mean digits?); allowed: celebahq, "),
    "no source": (["prepare"], 2, "Missing argument"),
    "flex": (
        ["train", "--preset", "tiny", "--run", "flex", "train.mask=flex", "--data-dir", "DATA"],
        2,
        "train.mask = flex cannot train on the CPU",
    ),
    "demo of others": (["demo", "data.set=mine"], 2, "the demo trains on digits and portraits only"),
    "no path": (["prepare", "folder"], 2, "folder needs --path, where your data is"),
    "no folder": (["prepare", "folder", "--path", "none"], 3, "none does not exist"),
    "path": (
        ["prepare", "digits", "--path", "."],
        2,
        "digits takes no --path; of the options for a source it takes: none",
    ),
    "set name": (["prepare", "digits", "--name", "../x"], 2, "'../x' cannot be the name of a set"),
    "set name long": (["prepare", "digits", "--name", "x" * 300], 2, "cannot be the name of a set"),
    "data is file": (
        ["prepare", "digits", "--data-dir", "file"],
        2,
        "data folder file cannot be created (File exists)",
    ),
    # the rest
    "presets": (["presets", "tinny"], 2, "unknown preset 'tinny' (did you mean tiny?)"),
    "command": (["tran"], 2, "No such command 'tran'"),
    "option": (["train", "--nope"], 2, "No such option: --nope; see `rawmm train --help`"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(name, place, rawmm, prepared_digits):
    words, expected, message = BAD[name]
    before = files(place)
    code, out, err = rawmm(*[str(prepared_digits) if word == "DATA" else word for word in words])
    lines = err.splitlines()
    assert (code, out) == (expected, ""), err[-500:]
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert "Traceback" not in err and len(lines) == 1 + sum("is damaged" in line for line in lines[:-1])
    after = files(place)
    for path in ("runs/hollow/.lock", "runs/tiny/.lock", "runs/torn/.lock"):
        before.pop(Path(path), None), after.pop(Path(path), None)
    assert after == before


def test_a_model_that_does_not_fit_in_memory(place, rawmm, prepared_digits):
    code, out, err = rawmm(
        "train",
        "--preset",
        "tiny",
        "--run",
        "new",
        "--data-dir",
        prepared_digits,
        "head.bottleneck=10_000_000_000_000",
    )
    assert (code, out) == (5, "") and "memory" in err and err.count("\n") == 1


def test_a_step_that_does_not_fit_in_memory(place, rawmm, prepared_digits):
    code, out, err = rawmm(
        "train",
        "--preset",
        "tiny",
        "--run",
        "new",
        "--data-dir",
        prepared_digits,
        "--json",
        "train.length=10_000_000_000_000",
    )
    assert (code, out) == (5, "") and "memory" in err.splitlines()[-1]


def test_control_c_is_130_and_one_line(rawmm, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(presets, "load", interrupted)
    assert rawmm("presets", "tiny") == (130, "", "error: stopped\n")


def test_bad_input_with_json_leaves_stdout_empty(place, rawmm):
    for words in (
        ["sample", "a", "--run", "tinny"],
        ["train", "x=1"],
        ["evaluate", "torn"],
        ["prepare", "x"],
        ["presets", "x"],
    ):
        code, out, err = rawmm(*words, "--json")
        assert code in (2, 4) and out == "" and err.startswith("error: ")
