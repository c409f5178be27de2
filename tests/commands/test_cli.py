"""The command line: help, presets, dry runs, prompts, broken pipes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commanding import one_object, process

from rawmm_cli import __version__
from rawmm_cli.config import presets
from rawmm_cli.core.solvers import SOLVERS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.process
def test_help_lists_and_errors_of_settings_do_not_import_torch():
    code = """
import sys
from rawmm_cli.cli import main
for words in (["--help"], ["train", "--help"], ["presets"], ["presets", "tiny"], ["presets", "--json"],
              ["train", "x=1"], ["train", "--dry-run", "--card", "none"],
              ["train", "--preset", "none"], ["train", "--run", "a/b"],
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


@pytest.mark.process
def test_module_and_version():
    done = process("--version", module=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rawmm {__version__}\n", "")


@pytest.mark.parametrize("words", [("presets", "--json"), ("presets", "tiny"), ("--help",)], ids=" ".join)
@pytest.mark.process
def test_a_broken_pipe_is_no_error(words):
    """As in `rawmm presets | head -1`: no traceback, and exit code 0."""
    reader, writer = os.pipe()
    os.close(reader)
    done = process(*words, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.process
def test_stdout_on_a_full_disk():
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
    _code, out, _ = rawmm("presets", "tiny", "train.learning_rate=1e-5")
    (tmp_path / "mine.yaml").write_text(out)
    assert presets.load(str(tmp_path / "mine.yaml")) == presets.load("tiny", ["train.learning_rate=1e-5"])


SETTLED = [name for name in presets.names() if presets.load(name).data.set != "auto"]
ON_A_CODEC = [name for name in SETTLED if getattr(presets.load(name).codec, "run", None)]


@pytest.mark.parametrize("name", ON_A_CODEC)
def test_dry_run_on_a_codec_that_is_not_trained_yet(name, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = rawmm("train", "--preset", name, "--dry-run", "--json")
    run = presets.load(name).codec.run
    assert (code, out) == (4, "") and run in err and err.count("\n") == 1
    assert run in presets.names(), "the run of a codec has the name of its preset"
    assert f"rawmm train --preset {run} " in presets.text(name), "the header says how to train it"


@pytest.mark.parametrize("name", [name for name in SETTLED if name not in ON_A_CODEC])
def test_dry_run(name, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = rawmm("train", "--preset", name, "--dry-run", "--json")
    shown, settings = one_object(out), presets.load(name)
    assert (code, err) == (0, "") and presets.resolve(shown["config"]) == settings
    assert shown["parameters"]["total"] == sum(v for k, v in shown["parameters"].items() if k != "total") > 0
    assert shown["steps"] * settings.train.batch >= settings.train.documents
    if not hasattr(settings, "head"):  # a codec
        assert shown["tokens"] >= 16 and (shown["bits"] is None) == (settings.codec.kind == "kl")
        return
    assert shown["positions_per_step"] % settings.train.length == 0 and shown["positions_per_step"] > 0
    if settings.codec.kind == "subpixels":
        assert shown["patches_per_picture"] == settings.data.size**2
        assert (shown["codes_per_patch"], shown["vocabulary"]) == (3, 256)
        return
    assert shown["values_per_patch"] == 3 * settings.codec.patch**2
    assert shown["patches_per_picture"] * shown["values_per_patch"] == 3 * settings.data.size**2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prompt", ["[/x]", "[bold]seven", "", "<image>", "\t\n", "\u4e03", "-"])
def test_prompts_with_markup_and_special_characters_are_text(prompt, rawmm, tiny_run, tmp_path):
    code, out, err = rawmm("sample", "--run", tiny_run, "--out", tmp_path / "out", "--", prompt)
    assert code == 0 and "Traceback" not in err
    code, out, _ = rawmm("sample", "--run", tiny_run, "--out", tmp_path / "out", "--json", "--", prompt)
    assert code == 0 and one_object(out)["prompt"] == prompt


def test_the_same_seed_gives_the_same_files(rawmm, tiny_run, tmp_path):
    content = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        _code, out, _ = rawmm(
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


def test_without_arguments_the_help_is_printed(rawmm):
    code, out, err = rawmm()
    assert code == 2 and "Usage: rawmm" in out + err and "error:" not in err
