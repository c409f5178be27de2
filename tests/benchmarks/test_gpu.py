"""`make gpu-check`, small and on the CPU: every line of it that needs no GPU runs."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu import kernels, report
from benchmarks.gpu.processes import Process

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.timeout(400)
def test_all_parts_run_on_the_cpu(tmp_path):
    words = ["-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", tmp_path]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    results = json.loads((tmp_path / "gpu.json").read_text())
    parts = results["parts"]
    names = ("machine", "sets", "warm", "tests", "ranks", "train", "sampling", "estimate", "learn")
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(names, "ok"), done.stdout
    assert done.returncode == 0 and results["header"]["torch"] == torch.__version__
    assert parts["tests"]["passed"] > 5 and parts["tests"]["failed"] == parts["tests"]["error"] == 0
    assert [row["result"] for row in parts["ranks"]["tables"]["ranks"]] == ["ok", "ok"]
    trained, _one_by_one = parts["train"]["setups"].values()
    assert (
        trained["data"] == "photos128"
        and trained["positions_per_second"] > 0
        and trained["profile"]["groups"]
        and {row["the host is at"] for row in trained["profile"]["idle"]}
        >= {"forward", "backward", "optimizer"}
        and trained["profile"]["gaps"][0]["ms"] > 0
    )
    assert [row["precision"] for row in parts["sampling"]["drawing"]] == ["fp32", "bf16"]
    assert all(row["one picture, seconds"] > 0 for row in parts["sampling"]["drawing"])
    assert parts["sampling"]["tokens_per_second"] > 0
    (compared,) = next(iter(parts["estimate"]["tables"].values()))
    assert compared["measured ms"] == trained["step_seconds"] * 1e3 and compared["ratio of time"] > 0
    (learned,) = parts["learn"]["tables"]["short trainings, judged by small judges"]
    assert learned["documents"] == 64 and learned["held out image"] > 0
    assert {"gpu.json", "gpu.md", "log.txt", "patch64.png"} <= {file.name for file in tmp_path.iterdir()}
    assert "| sampling | ok |" in (tmp_path / "gpu.md").read_text()


@pytest.mark.process
def test_a_part_that_hangs_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    """What it started has left its group, as ranks of a launcher do."""
    child = "import os, time; os.setsid(); open('child', 'w').write(str(os.getpid())); time.sleep(60)"
    hang = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    real = subprocess.Popen
    start = lambda words, **how: real([sys.executable, "-c", hang], **(how | {"cwd": tmp_path}))  # noqa: E731
    monkeypatch.setattr(subprocess, "Popen", start)
    process = Process("train", [], tmp_path, 3.0)
    while not process.ended():
        time.sleep(0.05)
    assert process.cut and 3 <= process.spent < 20 and process.process.returncode == -9
    status = Path("/proc", (tmp_path / "child").read_text(), "status")
    assert not status.exists() or "State:\tZ" in status.read_text()  # nobody may have asked how it ended


def results_of(tmp_path, capsys, code, file=None, cut=False):
    """What is reported of a part that left with `code` after writing `file`."""
    (tmp_path / "train.log").write_text("Traceback\nValueError: x\n")
    if file is not None:
        (tmp_path / "train.json").write_text(json.dumps(file))
    process = Process.__new__(Process)
    process.name, process.log, process.seconds, process.spent = "train", tmp_path / "train.log", 9.0, 4.0
    process.process, process.cut = SimpleNamespace(returncode=code), cut
    results = report.Results(SimpleNamespace(out=tmp_path / "out"), tmp_path)
    results.options.out.mkdir()
    results.add(process)
    results.write(12.0)
    return results.parts["train"], (tmp_path / "out" / "gpu.md").read_text()


def test_a_part_that_is_cut_keeps_what_it_measured(tmp_path, capsys):
    rows = [{"setup": "a | b", "mfu": 0.456, "peak_memory": 2**31, "step_seconds": 0.03333, "data": None}]
    part, text = results_of(tmp_path, capsys, -9, {"tables": {"training": rows}}, cut=True)
    assert (part["status"], part["note"]) == ("cut", "stopped after 9 s")
    assert "| a / b | 45.6% | 2.00 GiB | 0.0333 |  |" in text


@pytest.mark.parametrize(
    "code, file, status, note",
    [
        (1, None, "failed", "exit code 1: Traceback | ValueError: x"),
        (0, {"problems": ["it is wrong", "b"]}, "failed", "2 problems, the first: it is wrong"),
        (0, {"tables": {}}, "ok", ""),
    ],
)
def test_how_a_part_ended(code, file, status, note, tmp_path, capsys):
    part, text = results_of(tmp_path, capsys, code, file)
    assert (part["status"], part["note"]) == (status, note) and f"| train | {status} | 4 |" in text


@pytest.mark.parametrize(
    "name, group",
    [
        ("nvjet_tst_256x128_64x4_2x1_v_bz_coopA_NNT", "matmul"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "matmul"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s16816gemm_bf16>", "matmul"),
        ("triton_tem_fused_flex_attention_0", "attention, softmax"),
        ("triton_per_fused__softmax_add_7", "attention, softmax"),
        ("void pytorch_flash::flash_fwd_kernel<...>", "attention, softmax"),
        ("triton_poi_fused_silu_mul_3", "elementwise"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
            "elementwise",
        ),
        (
            "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor>",
            "optimizer",
        ),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda>", "copies"),
        ("ncclDevKernel_AllReduce_Sum_f32_RING_LL", "communication"),
    ],
)
def test_kernels_are_grouped_by_their_names(name, group):
    assert kernels.group(name) == group


def test_busy_time_counts_overlapping_kernels_once():
    assert kernels.union([("a", 2, (0.0, 2.0)), ("b", 2, (1.0, 3.0)), ("c", 1, (5.0, 6.0))]) == 4.0
