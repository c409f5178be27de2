"""A run folder is read as it is: whole, torn, half written, of another version."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from rawmm_cli.config import presets
from rawmm_cli.config.yaml_text import parse_yaml
from rawmm_cli.runs.folder import (
    checkpoints,
    ordered_records,
    read_settings,
    settings_lines,
    stored_parameters,
)
from rawmm_cli.system import figures


def test_rows_are_in_order_and_none_is_there_twice(tmp_path):
    lines = [
        {"documents": 10, "loss": 1},
        {"documents": 20, "loss": 2},
        {"documents": 15, "loss": 3},
        {"documents": 20, "loss": 4},
        {"documents": float("nan")},
        {"documents": True},
        {"documents": -5},
        {"a": 1},
        {"documents": 10**400},
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ordered_records(tmp_path) == [lines[0], lines[2], lines[3]]
    assert ordered_records(tmp_path / "none") == []


@pytest.mark.parametrize(
    "preset, words", [("tiny", ()), ("digits", ("backbone.kind=transformer", "backbone.depth=9"))]
)
def test_what_differs_from_the_defaults_stands_out(tmp_path, preset, words):
    chosen = presets.load(preset, words)
    (tmp_path / "config.yaml").write_text(presets.dump(chosen))
    defaults = presets.resolve({"backbone": {"kind": chosen.backbone.kind}}).model_dump(mode="json")
    sections = settings_lines(read_settings(tmp_path))
    for (name, section), lines in zip(chosen.model_dump(mode="json").items(), sections, strict=True):
        if section is None:
            assert [(key, value) for key, value, _ in lines] == [(f"{name}:", "null")]
            continue
        expected = {
            key
            for key, value in section.items()
            if value != defaults[name][key] and not isinstance(value, dict)
        }
        assert {key.strip(" :") for key, _, differs in lines if differs} == expected


def test_the_lines_are_yaml_that_reads_back_equal():
    words = ("data.set='1e5'", "sample.interval=[0.25, 0.5]", "train.trackers=[]")
    more = {"strings": ["yes", "", "a: b", "é", "null", "[x]"], "none": None}
    chosen = presets.load("digits", words).model_dump(mode="json") | more
    text = "\n".join(f"{key} {value}" for lines in settings_lines(chosen) for key, value, _ in lines)
    assert parse_yaml(text, "it") == chosen


def test_keys_of_another_version_differ():
    lines = [
        line
        for section in settings_lines({"data": {"set": "digits", "new": 1}, "wholly": {"a": 1}, "x": 5})
        for line in section
    ]
    assert lines == [
        ("data:", "", False),
        ("  set:", "digits", False),
        ("  new:", "1", True),
        ("wholly:", "", False),
        ("  a:", "1", True),
        ("x:", "5", True),
    ]


def checkpoint(run, step, **files):
    folder = run / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_bytes(text)
    entries = {name: {"size": len(text), "sha256": ""} for name, text in files.items()}
    (folder / "MANIFEST.json").write_text(json.dumps(entries))
    return folder


def test_checkpoints_and_what_is_wrong_with_them(tmp_path):
    checkpoint(tmp_path, 5, a=b"12345", **{"state.json": b'{"documents": 640}'})
    (checkpoint(tmp_path, 30, a=b"12345") / "a").write_bytes(b"1234")
    (checkpoint(tmp_path, 400, a=b"1") / "a").unlink()
    (checkpoint(tmp_path, 10_000_000_000, a=b"1") / "MANIFEST.json").write_text("{")
    (tmp_path / "checkpoints" / ".step_00000006.partial").mkdir()
    (tmp_path / "checkpoints" / "step_00000007").touch()
    listed = checkpoints(tmp_path)
    assert [(one["step"], one["documents"], one["bytes"], one["problem"]) for one in listed] == [
        (5, 640, 23, None),
        (30, None, 5, "a is missing or has another size"),
        (400, None, 1, "a is missing or has another size"),
        (10_000_000_000, None, 0, "no manifest"),
    ]
    assert checkpoints(tmp_path / "none") == []


@pytest.mark.parametrize(
    "manifest", ["[]", "5", '{"a": 5}', '{"a": {"size": "x"}}', '{"../b": {"size": 1}}', '{"a\\u0000": {}}']
)
def test_a_manifest_of_any_kind(tmp_path, manifest):
    (checkpoint(tmp_path, 5) / "MANIFEST.json").write_text(manifest)
    assert checkpoints(tmp_path)[0]["problem"]


def test_parameters_of_one_file_and_of_shards(tmp_path):
    """Parameters of the model alone: the average has as many again and is not counted."""
    (tmp_path / "one").mkdir()
    save_file(
        {"a": torch.zeros(3, 5), "b": torch.zeros(())},
        tmp_path / "one" / "model.safetensors",
        {"format": "pt"},
    )
    save_file({"a": torch.zeros(3, 5)}, tmp_path / "one" / "ema.safetensors")
    assert stored_parameters(tmp_path / "one") == 16
    (tmp_path / "shards" / "model").mkdir(parents=True)
    for rank in range(3):
        save_file({"a": torch.zeros(1, 5)}, tmp_path / "shards" / "model" / f"shard-{rank}.safetensors")
    assert stored_parameters(tmp_path / "shards") == 15
    assert stored_parameters(tmp_path) is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\0" * 8,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 7) + b'{"a":1}',
        struct.pack("<Q", 18) + b'{"a":{"shape":"x"}}',
    ],
)
def test_a_weight_file_of_any_kind(tmp_path, header):
    (tmp_path / "model.safetensors").write_bytes(header)
    assert stored_parameters(tmp_path) is None


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (21.34, "21.3 s"),
        (59.4, "59.4 s"),
        (59.99, "1 min 00 s"),
        (252, "4 min 12 s"),
        (7380, "2 h 03 min"),
        (86400 * 2 + 4 * 3600, "2 d 04 h"),
    ],
)
def test_duration(seconds, expected):
    assert figures.duration(seconds) == expected


@pytest.mark.parametrize(
    "count, expected",
    [
        (12, "12 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1.3e9, "1.21 GiB"),
        (7.1e8, "677 MiB"),
        (3e15, "2,728 TiB"),
    ],
)
def test_size(count, expected):
    assert figures.size(count) == expected
