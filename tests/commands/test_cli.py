"""The command line: the whole path in processes of its own, then every bad input in one line and with its
exit code."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TRAINED
from PIL import Image

from rawmm_cli import __version__
from rawmm_cli.config import presets
from rawmm_cli.core.solvers import SOLVERS

TENSORBOARD = importlib.util.find_spec("tensorboard") is not None

pytestmark = pytest.mark.usefixtures("one_thread")


def process(*words, cwd=None, module=False, **given):
    """`rawmm ...` as a person starts it."""
    start = [sys.executable, "-m", "rawmm_cli"] if module else [str(Path(sys.executable).with_name("rawmm"))]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("RAWMM_")} | {"OMP_NUM_THREADS": "1"}
    given = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": 120,
        "env": plain,
    } | given
    return subprocess.run([*start, *map(str, words)], cwd=cwd, **given)


def one_object(text):
    """stdout of --json: one line, one object."""
    assert text.endswith("\n") and text.count("\n") == 1
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


# --------------------------------------------------------------------------------------------- the whole path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an awkward name in which digits were prepared and a run was trained."""
    folder = tmp_path_factory.mktemp("cli") / 'it\'s a "test" of paths'
    folder.mkdir()
    for words in (["prepare", "digits"], ["train", "--preset", "tiny", *TRAINED]):
        done = process(*words, cwd=folder)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        (folder / f"{words[0]}.stderr").write_text(done.stderr)
    return folder


def test_prepare_and_train_say_what_to_do_next(home):
    assert (
        (home / "prepare.stderr").read_text()
        == "prepared data/digits: 1,437 training and 360 held-out pictures; all about it: "
        "data/digits/card.html\n"
    )
    said = (home / "train.stderr").read_text()
    assert "runs/tiny trained" in said and "rawmm evaluate tiny" in said
    assert sorted(
        path.name for path in (home / "runs" / "tiny").iterdir() if not path.name.startswith(".")
    ) == [
        "checkpoints",
        "config.yaml",
        "environment.json",
        "records.jsonl",
        "samples",
        *["tensorboard"] * TENSORBOARD,
    ]


def test_train_again_has_nothing_to_do(home):
    done = process("train", "--preset", "tiny", *TRAINED, "--json", cwd=home, module=True)
    assert done.returncode == 0 and "nothing to do" in done.stderr
    again = one_object(done.stdout)
    assert again["status"] == "was trained already" and again["run"] == "tiny" and again["loss"] > 0


def test_evaluate_prints_one_object(home):
    done = process("evaluate", "--json", "--per-label", "2", cwd=home)
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    assert 0 <= result["text_to_image"]["accuracy"] <= 1 and result["text_to_image"]["count"] == 20
    assert result["text_to_image"]["steps"] == 10 and result["text_to_image"]["without_picture"] == 0
    assert 0.2 < result["image_to_text"]["accuracy"] <= 1 and result["image_to_text"]["count"] == 360
    assert result["judge"]["held_out_accuracy"] >= 0.97
    assert (home / result["report"]).is_file()
    assert json.loads((home / "runs/tiny/evaluation.json").read_text()).items() <= result.items()


def test_sample_draws(home):
    done = process("sample", "seven", "--run", "tiny", "--count", "3", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    pictures = [item["image"] for item in result["items"] if "image" in item]
    assert pictures == [f"samples/tiny-seven-0-{n:03d}.png" for n in range(3)]
    for number, name in enumerate(pictures):
        with Image.open(home / name) as picture:
            assert (picture.size, picture.mode) == ((8, 8), "RGB")
            settings = json.loads(picture.text.pop("settings"))
            assert settings["steps"] == 10 and settings["temperature"] == 1 and settings["task"] == "continue"
            assert picture.text == {
                "prompt": "seven",
                "seed": "0",
                "steps": "10",
                "solver": "euler",
                "guidance": "2.0",
                "grid": "uniform",
                "model": "tiny",
                "model_hash": result["model_hash"],
                "number": str(number),
            }
    assert (home / result["sheet"]).is_file()
    assert sorted(path.name for path in (home / "samples").iterdir()) == [
        *(f"tiny-seven-0-{n:03d}.png" for n in range(3)),
        "tiny-seven-0-sheet.png",
    ]


def test_sample_reads(home):
    Image.new("RGB", (12, 8), "grey").save(home / "to read.png")  # a size it never saw, but patches divide it
    done = process(
        "sample",
        "--run",
        "tiny",
        "--image",
        "to read.png",
        "--task",
        "caption",
        "--json",
        "--out",
        "read",
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    assert result["temperature"] == 0 and len(result["samples"]) == 1
    assert all("image" not in item for item in result["items"]) and list((home / "read").iterdir()) == []


def test_what_needs_no_torch_does_not_import_it():
    """Help, lists and errors of settings come at once."""
    code = """
import sys
from rawmm_cli.cli import main
for words in (["--help"], ["train", "--help"], ["presets"], ["presets", "tiny"], ["presets", "--json"],
              ["train", "x=1"], ["train", "--preset", "none"], ["train", "--run", "a/b"],
              ["sample", "a", "--solver", "none"], ["sample", chr(7)], ["prepare", "none"],
              ["--version"], []):
    sys.argv = ["rawmm", *words]
    try:
        main()
    except SystemExit:
        pass
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/tmp")
    assert done.returncode == 0, done.stderr


def test_module_and_version():
    done = process("--version", module=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rawmm {__version__}\n", "")


@pytest.mark.parametrize("words", [("presets", "--json"), ("presets", "tiny"), ("--help",)], ids=" ".join)
def test_a_reader_that_leaves_is_no_error(words):
    """As in `rawmm presets | head -1`: no traceback, and not the exit code of a bug."""
    reader, writer = os.pipe()
    os.close(reader)
    done = process(*words, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_behind_stdout():
    with open("/dev/full", "w") as full:
        done = process("presets", "--json", stdout=full)
    assert done.returncode == 28 and done.stderr.startswith("error: no room on the disk")
    assert done.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------------ without a process


def test_presets_as_json(rawmm):
    code, out, err = rawmm("presets", "--json")
    assert (code, err) == (0, "") and one_object(out)["presets"].keys() == set(presets.names())
    code, out, err = rawmm("presets", "patch64", "train.batch=3", "--json")
    shown = one_object(out)
    assert shown["name"] == "patch64" and shown["config"]["train"]["batch"] == 3
    assert presets.resolve(shown["config"]) == presets.load("patch64", ["train.batch=3"])


def test_presets_as_yaml_is_a_preset(rawmm, tmp_path):
    code, out, _ = rawmm("presets", "tiny", "train.learning_rate=1e-5")
    (tmp_path / "mine.yaml").write_text(out)
    assert presets.load(str(tmp_path / "mine.yaml")) == presets.load("tiny", ["train.learning_rate=1e-5"])


@pytest.mark.parametrize("name", presets.names())
def test_dry_run(name, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = rawmm("train", "--preset", name, "--dry-run", "--json")
    shown, settings = one_object(out), presets.load(name)
    assert (code, err) == (0, "") and presets.resolve(shown["config"]) == settings
    assert shown["parameters"]["total"] == sum(v for k, v in shown["parameters"].items() if k != "total") > 0
    assert shown["steps"] * settings.train.batch >= settings.train.documents
    if settings.codec.kind != "raw":
        assert shown["tokens"] >= 64 and (shown["bits"] is None) == (settings.codec.kind == "kl")
        return
    assert shown["positions_per_step"] % settings.train.length == 0 and shown["positions_per_step"] > 0
    assert shown["values_per_patch"] == 3 * settings.codec.patch**2
    assert shown["patches_per_picture"] * shown["values_per_patch"] == 3 * settings.data.size**2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prompt", ["[/x]", "[bold]seven", "", "<image>", "\t\n", "\u4e03", "-"])
def test_prompts_that_look_odd_are_text(prompt, rawmm, tiny_run, tmp_path):
    code, out, err = rawmm("sample", "--run", tiny_run, "--out", tmp_path / "out", "--", prompt)
    assert code == 0 and "Traceback" not in err
    code, out, _ = rawmm("sample", "--run", tiny_run, "--out", tmp_path / "out", "--json", "--", prompt)
    assert code == 0 and one_object(out)["prompt"] == prompt


def test_the_same_seed_gives_the_same_files(rawmm, tiny_run, tmp_path):
    content = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        code, out, _ = rawmm(
            "sample", "two", "--run", tiny_run, "--out", tmp_path / name, "--seed", seed, "--json"
        )
        content[name] = [
            Path(item["image"]).read_bytes() for item in one_object(out)["items"] if "image" in item
        ]
    assert content["a"] == content["b"] != content["c"] and len(content["a"]) == 1


def test_every_solver_draws(rawmm, tiny_run, tmp_path):
    for solver in SOLVERS:
        code, out, _ = rawmm(
            "sample",
            "two",
            "--run",
            tiny_run,
            "--out",
            tmp_path,
            "--solver",
            solver,
            "--steps",
            "4",
            "--guidance",
            "1",
            "--json",
        )
        assert (code, one_object(out)["solver"], one_object(out)["steps"]) == (0, solver, 4)


# -------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_run):
    """A folder to stand in, with a run `tiny`, broken runs and broken pictures."""
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
        "output folder file cannot be made (File exists)",
    ),
    "out below": (
        ["sample", "two", "--run", "tiny", "--out", "file/x"],
        2,
        "output folder file/x cannot be made",
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
        "runs folder file cannot be made (File exists)",
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
    "demo of others": (["demo", "data.set=mine"], 2, "the demo is about digits and portraits"),
    "no path": (["prepare", "folder"], 2, "folder needs --path, where your data is"),
    "no folder": (["prepare", "folder", "--path", "none"], 3, "none does not exist"),
    "path": (
        ["prepare", "digits", "--path", "."],
        2,
        "digits takes no --path; of the options for a source it takes: none",
    ),
    "set name": (["prepare", "digits", "--name", "../x"], 2, "'../x' cannot name a set"),
    "set name long": (["prepare", "digits", "--name", "x" * 300], 2, "cannot name a set"),
    "data is file": (
        ["prepare", "digits", "--data-dir", "file"],
        2,
        "data folder file cannot be made (File exists)",
    ),
    # the rest
    "presets": (["presets", "tinny"], 2, "unknown preset 'tinny' (did you mean tiny?)"),
    "command": (["tran"], 2, "No such command 'tran'"),
    "option": (["train", "--nope"], 2, "No such option: --nope; see `rawmm train --help`"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(name, place, rawmm, prepared_digits):
    words, expected, told = BAD[name]
    before = files(place)
    code, out, err = rawmm(*[str(prepared_digits) if word == "DATA" else word for word in words])
    lines = err.splitlines()
    assert (code, out) == (expected, ""), err[-500:]
    assert lines[-1].startswith("error: ") and told in lines[-1]
    assert "Traceback" not in err and len(lines) == 1 + sum("is damaged" in line for line in lines[:-1])
    new = files(place)
    for path in ("runs/hollow/.lock", "runs/tiny/.lock", "runs/torn/.lock"):
        before.pop(Path(path), None), new.pop(Path(path), None)
    assert new == before


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
    def interrupted(*given):
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


def test_without_words_help_is_shown(rawmm):
    code, out, err = rawmm()
    assert code == 2 and "Usage: rawmm" in out + err and "error:" not in err


def test_the_demo_from_nothing(tmp_path):
    """The main job with a model too small to be good: prepare, train, draw, read, report."""
    small = (
        "train.documents=256",
        "backbone.width=32",
        "backbone.depth=1",
        "train.compile=no",
        "sample.steps=2",
    )
    done = process("demo", *small, "--portraits", "0", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    assert (
        result["documents"] == 256
        and result["text_to_image"]["count"] == 1000
        and result["image_to_text"]["count"] == 360
    )
    run = tmp_path / "runs" / "demo"
    for name in ("report.html", "samples/drawn.png", "evaluation.json", "samples/read.json", "config.yaml"):
        assert (run / name).is_file(), name
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "data:image/png;base64" in page and "portraits" not in result


def test_the_demo_of_portraits(rawmm, tmp_path, prepared_digits, monkeypatch):
    """The second half with few portraits and judges that learn little."""
    from rawmm_cli.commands import demo
    from rawmm_cli.evaluation import attributes, judges

    monkeypatch.setattr(attributes, "FRESH", 120)
    monkeypatch.setattr(judges, "EPOCHS", 1)
    monkeypatch.setattr(demo, "PROMPTS", 8)
    monkeypatch.setattr(demo, "_digits", lambda *_, **__: {"held_out": {"image": 1.0}})
    small = (
        "train.documents=256",
        "backbone.width=32",
        "backbone.heads=2",
        "backbone.depth=1",
        "train.compile=no",
        "sample.steps=2",
        "sample.max_text=24",
    )
    code, out, err = rawmm(
        "demo",
        *small,
        "--portraits",
        "200",
        "--json",
        "--data-dir",
        tmp_path / "data",
        "--runs-dir",
        tmp_path / "runs",
    )
    assert code == 0, err
    result = json.loads(out)["portraits"]
    assert (
        result["text_to_image"]["count"] == 8
        and result["documents"] == 256
        and result["run"] == "demo-portraits"
    )
    page = (tmp_path / "runs" / "demo-portraits" / "report.html").read_text(encoding="utf-8")
    assert (
        result["report"].endswith("demo-portraits/report.html")
        and "a portrait of" in page
        and "data:image/png" in page
    )
    assert (tmp_path / "data" / "portraits32" / "card.json").is_file()
