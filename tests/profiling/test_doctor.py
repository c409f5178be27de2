"""`rawmm doctor` against the system's own figures, torch's own search for compilers, and machines that lack
something."""

import copy
import importlib.metadata
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rawmm_cli import __version__
from rawmm_cli.core.loss import Losses
from rawmm_cli.profiling import doctor, features, software

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
FEATURES = [
    "training",
    "torch.compile",
    "bf16 matmuls",
    "FlexAttention training",
    "several ranks (ddp, fsdp)",
    "TensorBoard",
    "Weights & Biases",
    "trackio",
    "browser test",
]


@pytest.fixture
def quick(monkeypatch):
    """Rates are not measured."""
    monkeypatch.setattr(doctor.machine, "matmul_rate", lambda *arguments: 1.5e12)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """All facts of this machine; those that vary between machines are replaced by the best case."""
    folder = tmp_path_factory.mktemp("here")
    facts = doctor.examine(folder / "data", folder / "runs")
    facts["compiler"] = {"command": "g++", "version": "g++ 12", "error": None}
    facts |= {"browser": "/usr/bin/chromium", "distributed": ["gloo"]}
    facts["devices"] = [cpu for cpu in facts["devices"] if cpu["device"] == "cpu"]
    facts["devices"][0]["bf16"] = True
    return facts


def on_gpu(facts, capability=(9, 0), triton="3.5"):
    facts["devices"].append(facts["devices"][0] | {"device": "cuda:0", "capability": list(capability)})
    facts["versions"]["triton"] = triton
    facts["distributed"].append("nccl")


# ------------------------------------------------------------------------------------------------ the command


def test_facts_agree_with_the_system(rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)  # as another test may have left it
    code, out, err = rawmm("doctor", "--json", "--runs-dir", "some/runs")
    assert (code, err) == (0, "") and out.count("\n") == 1
    facts = json.loads(out)
    versions = facts["versions"]
    assert versions["rawmm"] == __version__ and versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["torch"] == importlib.metadata.version("torch") == torch.__version__
    assert facts["threads"] == {
        "count": 1,
        "wait": {"OMP_WAIT_POLICY": "PASSIVE"},
        "from_environment": ["OMP_NUM_THREADS", "OMP_WAIT_POLICY"],
    }
    assert facts["disk"]["data"].items() >= {"folder": "data", "exists": False, "writable": True}.items()
    assert facts["disk"]["runs"]["free"] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert [one["feature"] for one in facts["features"]] == FEATURES
    assert facts["features"] == features.features(facts)  # they follow from the facts in the JSON
    for kind in facts["devices"][0]["dtypes"].values():
        assert kind["works"] and 1e8 < kind["flops_per_second"] < 1e14 and kind["error"] is None
    assert list(tmp_path.iterdir()) == []  # no file is left behind


@linux
def test_cores_memory_and_shared_memory(here):
    assert here["cpu"]["cores"] == len(os.sched_getaffinity(0))
    assert here["memory"]["total"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert here["memory"]["total"] / 1000 < here["memory"]["available"] < here["memory"]["total"]
    assert here["disk"]["shm"]["total"] == os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize
    line = re.search(r"^(?:flags|Features)\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M)[1]
    listed = set(line.split())
    assert set(here["cpu"]["features"]) == listed & set(doctor.FLAGS)
    if here["cpu"]["torch"]["avx512"] is not None:
        assert here["cpu"]["torch"]["avx512"] == (listed >= {"avx512f", "avx512bw", "avx512dq", "avx512vl"})


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(columns, rawmm, monkeypatch, quick, tmp_path):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("CXX", "\x1b[31m[red]c++\n" + "x" * 200 + "\udc80")
    code, out, err = rawmm("doctor", "--data-dir", tmp_path / "[bold]it's", "--runs-dir", tmp_path)
    assert (code, err) == (0, "") and "\x1b" not in out
    lines = out.splitlines()
    assert max(map(len, lines)) <= columns
    assert [line.split("  ")[0] for line in lines[-40:] if line.split("  ")[0] in FEATURES] == FEATURES
    flat = re.sub(r"\s", "", out)
    assert "\ufffd[31m[red]c++\ufffd" + "x" * 200 in flat and "[bold]it's" in flat
    assert len(re.findall(r"^cpu +CPU +1.5T +1.5T +1.5T *$", out, re.M)) == 1
    assert re.search(r"^torch\.compile +missing ", out, re.M) and "add it: unset CXX" in re.sub(
        r"\s+", " ", out
    )


# --------------------------------------------------------------------------------------------------- compiler


@pytest.mark.parametrize("name", ["g++", "g++ -O2", "", "no-such-compiler", "false"])
def test_a_compiler_is_found_where_torch_finds_one(name, monkeypatch):
    from torch._inductor.cpp_builder import cpp_compiler_search
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        theirs = cpp_compiler_search((name,))
    except (InvalidCxxCompiler, OSError):
        theirs = None
    monkeypatch.setenv("CXX", name)
    facts = software.compiler()
    assert facts["command"] == name and (facts["version"] is not None) == (theirs is not None)
    if theirs:
        assert facts["error"] is None or facts["error"] == "lacks Python.h"


@pytest.mark.parametrize(
    "script, error",
    [
        ("echo 'c++ 1'; exit 0", "cannot compile (no reason given)"),  # reports success and writes nothing
        (
            "echo 'c++ 1'; case $1 in --version) exit 0;; esac; echo 'x: fatal error: Python.h: No such "
            "file' >&2; exit 1",
            "lacks Python.h",
        ),
        (
            "echo 'c++ 1'; case $1 in --version) exit 0;; esac; printf 'x: \\377 error: no omp.h\\nerror: "
            "two' >&2; exit 1",
            "cannot compile (x: \ufffd error: no omp.h)",
        ),
        ("exit 3", "cannot be run"),
        ("exec sleep 60", "does not answer"),
    ],
)
def test_a_compiler_has_to_compile(script, error, tmp_path, monkeypatch):
    path = tmp_path / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    facts = software.compiler()
    assert facts["error"].startswith(error) and facts["version"] == ("c++ 1" if "echo" in script else None)


def test_no_compiler_at_all(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.compiler()["error"] == "is not there"


# --------------------------------------------------------------------------------------- matmuls and training


def test_a_wrong_matmul_is_detected(monkeypatch, quick):
    assert doctor.matmul(CPU, "fp32") == {"works": True, "flops_per_second": 1.5e12, "error": None}
    monkeypatch.setitem(doctor.machine.DTYPES, "fp32", torch.bfloat16)  # 8 bits of precision instead of 24
    facts = doctor.matmul(CPU, "fp32")
    assert not facts["works"] and re.fullmatch(r"wrong by 0\.00\d+ of its size", facts["error"])
    monkeypatch.setitem(doctor.machine.DTYPES, "bf16", torch.bool)  # no kernel
    facts = doctor.matmul(CPU, "bf16")
    assert not facts["works"] and facts["flops_per_second"] is None and "Error: " in facts["error"]


@pytest.mark.parametrize("rate, sizes", [(1e9, [256]), (1e12, [256, 1024])])
def test_a_large_matmul_is_skipped_where_it_would_be_slow(rate, sizes, monkeypatch):
    """At 1 GFLOP/s one of side 1024 takes two seconds."""
    shapes = []
    monkeypatch.setattr(
        doctor.machine, "matmul_rate", lambda device, precision, shape, *rest: shapes.append(shape) or rate
    )
    assert doctor.matmul(CPU, "fp16")["flops_per_second"] == rate
    assert shapes == [(size,) * 3 for size in sizes]


def test_a_training_step_has_to_work(monkeypatch):
    assert doctor.trains(CPU) is None
    nan = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(doctor, "joint_loss", lambda *arguments: Losses(nan, nan, nan))
    assert "not finite" in doctor.trains(CPU)
    monkeypatch.setattr(doctor, "joint_loss", lambda *arguments: 1 / 0)
    assert doctor.trains(CPU) == "ZeroDivisionError: division by zero"


def test_gpus_are_listed(monkeypatch, quick):
    about = {
        0: SimpleNamespace(name="Card A", total_memory=80 << 30, major=9, minor=0),
        1: SimpleNamespace(name="Card B", total_memory=16 << 30, major=7, minor=5),
    }
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", about.get)
    calls = []
    monkeypatch.setattr(
        doctor, "matmul", lambda device, precision: calls.append((str(device), precision)) or {"works": True}
    )
    cpu, *gpus = doctor.devices()
    assert cpu["device"] == "cpu" and [
        (g["device"], g["name"], g["memory"], g["capability"], g["bf16"]) for g in gpus
    ] == [("cuda:0", "Card A", 80 << 30, [9, 0], True), ("cuda:1", "Card B", 16 << 30, [7, 5], False)]
    assert calls == [
        (device, precision)
        for device in ("cpu", "cuda:0", "cuda:1")
        for precision in ("fp32", "bf16", "fp16")
    ]


# ------------------------------------------------------------------------------------------ what is installed


def test_every_dependency_is_named():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)[1]
    assert sorted(software.NEEDED) == sorted(re.findall(r'"([\w-]+)>=', block))
    extras = re.search(r"^\[project.optional-dependencies\](.*?)^dev", text, re.M | re.S)[1]
    assert sorted(software.OPTIONAL) == sorted(["triton", *re.findall(r'"([\w-]+)>=', extras)])
    assert set(features.TRACKERS.values()) <= set(re.findall(r"^(\w+) =", extras, re.M))


def test_the_output_folder_of_a_tracker_is_no_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "some_tracker" / "run-1").mkdir(parents=True)
    assert not software.installed("some_tracker")
    (tmp_path / "other_tracker").mkdir()
    (tmp_path / "other_tracker" / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    assert (
        software.installed("other_tracker")
        and software.installed("numpy")
        and not software.installed("no_such_module")
    )
    assert "other_tracker" not in sys.modules


@pytest.mark.parametrize(
    "below, exists, writable", [("", True, True), ("a/b", False, True), ("file/a", False, False)]
)
def test_free_space_of_the_nearest_folder(below, exists, writable, tmp_path):
    (tmp_path / "file").write_text("")
    facts = doctor.room(tmp_path / below)
    usage = os.statvfs(tmp_path)
    assert (facts["exists"], facts["writable"]) == (exists, writable)
    assert facts["free"] == pytest.approx(usage.f_bavail * usage.f_frsize, rel=0.05)


# --------------------------------------------------------------------------------------------------- features


def test_a_complete_machine_without_a_gpu(here, monkeypatch):
    monkeypatch.setattr(features, "installed", lambda module: True)
    facts = copy.deepcopy(here)
    assert [one["feature"] for one in features.features(facts) if not one["works"]] == [
        "FlexAttention training"
    ]
    on_gpu(facts)
    assert all(one["works"] and one["add"] is None and one["detail"] for one in features.features(facts))


def lacks(facts, key, value, *inside):
    for name in inside:
        facts = facts[name]
    facts[key] = value


CASES = {
    "a library": (
        lambda f: lacks(f, "einops", None, "versions"),
        "training",
        "not installed: einops",
        "pip install einops",
    ),
    "a device that fails": (
        lambda f: lacks(f, "cpu", "RuntimeError: no", "training"),
        "training",
        "cpu: RuntimeError: no",
        None,
    ),
    "compiler": (
        lambda f: lacks(f, "error", "is not there", "compiler"),
        "torch.compile",
        "'g++' is not there",
        "apt install g++",
    ),
    "headers": (
        lambda f: lacks(f, "error", "lacks Python.h", "compiler"),
        "torch.compile",
        "lacks Python.h",
        f"apt install python3.{sys.version_info[1]}-dev",
    ),
    "triton": (lambda f: on_gpu(f, triton=None), "torch.compile", "needs triton", "pip install triton"),
    "triton for flex": (
        lambda f: on_gpu(f, triton=None),
        "FlexAttention training",
        "needs triton",
        "pip install triton",
    ),
    "an older GPU": (lambda f: on_gpu(f, (6, 1)), "FlexAttention training", "capability 7.0", None),
    "bf16": (lambda f: lacks(f, "bf16", False, "devices", 0), "bf16 matmuls", "takes fp32", None),
    "gloo": (
        lambda f: lacks(f, "distributed", []),
        "several ranks (ddp, fsdp)",
        "no gloo",
        "pip install --force-reinstall torch",
    ),
    "nccl": (
        lambda f: (on_gpu(f), lacks(f, "distributed", ["gloo"])),
        "several ranks (ddp, fsdp)",
        "no nccl",
        "pip install --force-reinstall torch",
    ),
    "browser": (lambda f: lacks(f, "browser", None), "browser test", "no chromium", "apt install chromium"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_missing_part_and_how_to_add_it(case, here, monkeypatch):
    remove, feature, detail, add = CASES[case]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(features.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    before, facts = copy.deepcopy(here), copy.deepcopy(here)
    if detail != "needs triton" and "capability" not in detail:
        assert next(one for one in features.features(before) if one["feature"] == feature)["works"]
    remove(facts)
    one = next(one for one in features.features(facts) if one["feature"] == feature)
    assert not one["works"] and detail in one["detail"] and one["add"] == add


@pytest.mark.parametrize("extra", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_is_added_by_its_extra(extra, here, monkeypatch):
    monkeypatch.setattr(features, "installed", lambda module: module != extra)
    missing = [
        one for one in features.features(here) if not one["works"] and one["detail"] == "not installed"
    ]
    assert [one["add"] for one in missing] == [f"pip install 'rawmm[{extra}]'"]
