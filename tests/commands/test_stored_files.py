"""Every JSON and YAML file that rawmm reads back, of another shape: one line that names it, or left out, and
never a traceback."""

import json
import os
import shutil

import pytest

from rawmm_cli.runs import models

SHIPPED = models.FOLDER / models.DEFAULT / "model.json"
SHAPES = {
    "no JSON": "{",
    "no text": b"\xff\xfe\x00",
    "empty": "",
    "deep": "[" * 100_000,
    "a number of 5,000 digits": "9" * 5000,
    "a list": "[]",
    "a list of lists": "[[1, 2], [3]]",
    "a number": "1",
    "a text": '"x"',
    "null": "null",
    "an empty mapping": "{}",
}


def spoil(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def values(kind):
    return {"null": None, "text": "x", "list": [1], "mapping": {"a": 1}, "number": 1.5, "huge": 10**30}[kind]


def changed(value, kind):
    """Every version of a JSON value in which one value at any depth is of another kind."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield value | {name: values(kind)}
            yield {other: one for other, one in value.items() if other != name}
            for version in changed(inner, kind):
                yield value | {name: version}


@pytest.fixture
def data(few_digits, tmp_path):
    return shutil.copytree(few_digits, tmp_path / "data")


def called(rawmm, *words):
    """Run a command -> its exit code. A traceback is an error of the test."""
    code, _, err = rawmm(*words)
    assert code in (0, 3, 4) and "Traceback" not in err
    return code, err


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "words", [["show", "digits"], ["prepare", "digits", "--verify"]], ids=["show", "verify"]
)
def test_a_card_of_another_shape(shape, words, data, rawmm):
    spoil(data / "digits" / "card.json", SHAPES[shape])
    code, err = called(rawmm, *words, "--data-dir", data)
    assert code == 3 and err.count("\n") == 1 and "card.json is damaged" in err


@pytest.mark.parametrize("kind", ["null", "text", "list", "mapping", "number", "huge"])
def test_a_card_with_one_value_of_another_kind(kind, data, rawmm):
    path = data / "digits" / "card.json"
    card = json.loads(path.read_text())
    card["captions"]["frequent"], card["duplicates"]["exact"]["examples"] = [["a", 1]], []
    for version in changed(card, kind):
        path.write_text(json.dumps(version))
        code, err = called(rawmm, "show", "digits", "--data-dir", data, "--json")
        assert code == 0 or (code == 3 and "damaged" in err and "digits" in err)


def test_a_card_that_promises_more_rows(data, rawmm):
    path = data / "digits" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"count": {"train": 10**9, "held_out": 7}}))
    for words in (["show", "digits"], ["show", "digits", "--index", "1000"]):
        code, err = called(rawmm, *words, "--data-dir", data)
        assert code == 3 and "is damaged" in err


RUN = [
    "evaluation.json",
    "environment.json",
    "records.jsonl",
    "trackers.json",
    "bad_batch.json",
    "sampler.json",
]


@pytest.mark.parametrize("shape", [*SHAPES, "pipe"])
@pytest.mark.parametrize("name", [*RUN, "config.yaml"])
def test_files_of_a_run_of_another_shape(name, shape, tiny_run, tmp_path, rawmm):
    """The report leaves out what it cannot read; whoever needs it says so."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    if shape == "pipe":
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
    else:
        spoil(run / name, SHAPES[shape])
    code, _ = called(rawmm, "report", run, "--json")
    assert code == 0 or name == "config.yaml"
    code, err = called(rawmm, "export", run, "--out", tmp_path / "kept", "--json")
    if code:
        assert code == 4 and err.count("\n") == 1 and name in ("config.yaml", "sampler.json")


@pytest.mark.parametrize("kind", ["null", "text", "list"])
def test_an_evaluation_with_one_value_of_another_kind(kind, tiny_run, tmp_path, rawmm):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    path, evaluation = run / "evaluation.json", json.loads(SHIPPED.read_text())["evaluation"]
    for version in list(changed(evaluation, kind))[len(kind) :: 7]:  # some of them; a report takes a while
        path.write_text(json.dumps(version))
        assert called(rawmm, "report", run, "--json")[0] == 0


@pytest.mark.parametrize("name", ["state.json", "MANIFEST.json"])
@pytest.mark.parametrize("shape", SHAPES)
def test_files_of_a_checkpoint_of_another_shape(name, shape, tiny_run, tmp_path, rawmm):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for folder in (run / "checkpoints").iterdir():
        spoil(folder / name, SHAPES[shape])
    for words in (["checkpoint", "verify", run], ["sample", "seven", "--run", run], ["report", run]):
        code, err = called(rawmm, *words, *(["--out", tmp_path / "out"] if words[0] == "sample" else []))
        assert code == (0 if words[0] == "report" else 4), err


@pytest.mark.parametrize("kind", ["text", "huge"])
def test_a_state_with_one_value_of_another_kind(kind, tiny_run, tmp_path, rawmm):
    """Sealed again, as by somebody who means harm."""
    from rawmm_cli.system import manifest

    run = shutil.copytree(tiny_run, tmp_path / "run")
    (newest,) = sorted((run / "checkpoints").iterdir())[-1:]
    state = json.loads((newest / "state.json").read_text())
    for version in changed(state, kind):
        (newest / "state.json").write_text(json.dumps(version))
        manifest.seal(newest)
        called(rawmm, "sample", "seven", "--run", run, "--out", tmp_path / "out", "--steps", "1", "--json")
        called(rawmm, "report", run)
        called(rawmm, "checkpoint", "verify", run, "--json")
