"""Other versions of checkpoints are read or named; no file is ever evaluated."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import save

import rawmm_cli
from rawmm_cli.config import yaml_text
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system import manifest
from rawmm_cli.system.errors import CheckpointError

# --------------------------------------------------------------------------------------------------- versions


def as_format(folder, form):
    """The checkpoint as a rawmm of format `form` would have written it, sound."""
    saved = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**saved, "format": form}))
    manifest.seal(folder)


@pytest.mark.parametrize(
    "form, message",
    [
        (4, "by a newer rawmm (format 4, this one reads 1 to 3); update rawmm"),
        (0, "by an older rawmm (format 0, this one reads 1 to 3); go on with the version"),
    ],
)
def test_another_version_is_not_called_damaged(run, form, message):
    """No other version is skipped either: the run would go on from an older checkpoint and delete it."""
    save(run, 1)
    newest = save(run, 2)
    as_format(newest, form)
    warnings = []
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest(run, warnings.append)
    assert message in str(caught.value) and str(newest) in str(caught.value) and warnings == []
    assert checkpoint.verify(newest) is None


def test_format_1_is_read(run):
    folder = save(run, 1)
    as_format(folder, 1)
    assert checkpoint.latest(run) == folder and checkpoint.state(folder)["documents"] == 16


@pytest.mark.parametrize("form", [None, "2", 2.0, True])
def test_a_state_without_a_format_is_no_state(run, form):
    folder = save(run, 1)
    as_format(folder, form)
    assert checkpoint.problems(folder) == {"state.json": "is not the state of a checkpoint"}
    with pytest.raises(CheckpointError, match="state.json cannot be read or is no state of a checkpoint"):
        checkpoint.state(folder)


def test_a_flipped_format_is_damage_and_no_other_version(run):
    before, newest = save(run, 1), save(run, 2)
    text = (newest / "state.json").read_text()
    (newest / "state.json").write_text(text.replace('"format": 3', '"format": 4'))
    assert checkpoint.latest(run) == before


def test_a_checkpoint_of_format_1_that_rawmm_0_1_0_wrote(few_digits, tmp_path, rawmm):
    """A checkpoint of the first release (tests/data/format1) is read, sampled from and trained on."""
    shutil.copytree(Path(__file__).parents[1] / "data" / "format1", tmp_path / "format1")
    folder = tmp_path / "format1" / "checkpoints" / "step_00000010"
    assert checkpoint.problems(folder) == {} and checkpoint.state(folder) == {
        "format": 1,
        "step": 10,
        "documents": 160,
        "seconds": 0.13229500400120742,
        "data": "456d301cf46e0113fc6a2274dd7b39d4687f97bee909005896810124d367d60d",
    }
    model, settings, _ = loading.load_model(tmp_path / "format1", torch.device("cpu"))
    assert (settings.backbone.width, settings.train.documents) == (4, 160)
    sums = {name: value.double().abs().sum().item() for name, value in model.state_dict().items()}
    known = {
        "words.weight": 403.62552057989524,
        "head.into.weight": 13.99358554952778,
        "text_out.weight": 11.43509690668725,
    }
    assert {name: sums[name] for name in known} == pytest.approx(known, rel=1e-12)
    code, _, err = rawmm(
        "train",
        "--preset",
        tmp_path / "format1" / "config.yaml",
        "--run",
        "format1",
        "--runs-dir",
        tmp_path,
        "--data-dir",
        few_digits,
        "--json",
        "train.documents=192",
    )
    assert code == 0 and "resuming format1 at 160" in err and "was begun by an earlier rawmm" in err
    assert checkpoint.state(checkpoint.latest(tmp_path / "format1"))["format"] == 3


# -------------------------------------------------------------------------------------------------- no pickle


def calls(tree):
    """(dotted name, call) of every call in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize(
    "path", sorted(Path(rawmm_cli.__file__).parent.rglob("*.py")), ids=lambda path: path.name
)
def test_nothing_is_pickled_or_evaluated(path):
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    } | {getattr(node, "module", None) for node in ast.walk(tree)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    forbidden = {
        "eval",
        "exec",
        "compile",
        "torch.load",
        "torch.save",
        "np.load",
        "numpy.load",
        "yaml.unsafe_load",
        "yaml.full_load",
        "yaml.load_all",
        "yaml.unsafe_load_all",
    }
    for name, call in calls(tree):
        if name == "torch.load" and "weights_only=True" in ast.unparse(call):
            continue  # tensors alone: for weights that others ship as .pth
        assert name not in forbidden, f"{name} in line {call.lineno}"
        if name == "yaml.load":
            assert ast.unparse(call.args[1]) == "_Loader"


def test_the_loader_of_yaml_is_a_safe_one():
    assert issubclass(yaml_text._Loader, yaml.SafeLoader)
