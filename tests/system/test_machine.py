"""Rates against loops timed by the test and against closed forms, memory against an array of known size."""

import json
import os
import subprocess
import sys
import timeit

import pytest
import torch
import torch._inductor.config

from rawmm_cli.system import machine
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.training import optimizer

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def shortest(work) -> float:
    """Seconds of the fastest of 12 runs."""
    return min(timeit.repeat(work, number=1, repeat=12))


def agree(measured, expected):
    """Both rates lie within a factor of 3 in one of five tries: others may need the cores meanwhile."""
    tries = []
    while len(tries) < 5 and not any(1 / 3 < ratio < 3 for ratio in tries):
        tries.append(measured() / expected())
    assert 1 / 3 < tries[-1] < 3, tries


# ---------------------------------------------------------------------------------- against a loop of our own


@pytest.mark.parametrize("precision", machine.DTYPES)
def test_matmul_rate(precision):
    shape = m, k, n = (384, 512, 256)
    a, b = (torch.randn(size).to(machine.DTYPES[precision]) for size in ((m, k), (k, n)))
    agree(
        lambda: machine.matmul_rate(CPU, precision, shape, 0.2),
        lambda: 2 * m * k * n / shortest(lambda: torch.mm(a, b)),
    )


def test_batched_matmul_rate():
    a, b = torch.randn(6, 128, 64), torch.randn(6, 64, 256)
    agree(
        lambda: machine.batched_matmul_rate(CPU, "fp32", (6, 128, 64, 256), 0.2),
        lambda: 2 * 6 * 128 * 64 * 256 / shortest(lambda: torch.bmm(a, b)),
    )


def test_bandwidth():
    a, b = torch.ones(2**24), torch.ones(2**24)  # 64 MiB each
    agree(
        lambda: machine.bandwidth(CPU, 64),
        lambda: 3 * a.nbytes / shortest(lambda: a.add_(b)),  # reads two, writes one
    )


# ----------------------------------------------------------------------------------------------- closed forms


@pytest.fixture
def work(monkeypatch):
    """Pretend that everything takes half a second -> list of the results of what was timed."""
    timed = []
    monkeypatch.setattr(machine, "best", lambda work, device, seconds: timed.append(work()) or 0.5)
    return timed


def test_operations_and_bytes_are_counted(work):
    assert machine.matmul_rate(CPU, "bf16", (2, 3, 5)) == 2 * 2 * 3 * 5 / 0.5
    assert machine.batched_matmul_rate(CPU, "fp16", (7, 2, 3, 5)) == 7 * 2 * 2 * 3 * 5 / 0.5
    assert machine.bandwidth(CPU, 1) == 3 * 2**20 / 0.5
    assert [(*one.shape, one.dtype) for one in work] == [
        (2, 5, torch.bfloat16),
        (7, 2, 5, torch.float16),
        (2**18, torch.float32),
    ]
    assert (work[2] == 2).all()


class Clock:
    """A clock that advances only in `work`: the n-th call takes durations[n]."""

    def __init__(self, *durations):
        self.now, self.durations, self.calls = 100.0, durations, 0

    def work(self):
        self.now += self.durations[min(self.calls, len(self.durations) - 1)]
        self.calls += 1


@pytest.mark.parametrize(
    "durations, seconds, expected, calls",
    [
        ((0.25, 1.0, 0.5, 2.0), 3.0, 0.5, 4),  # the first call is not counted, though it is the shortest
        ((8.0, 4.0), 0.0, 4.0, 2),  # one call is timed even without time
        ((0.25, 1.0), 1.0, 1.0, 2),
    ],
)
def test_the_best_of_the_calls_that_fit_into_a_time(durations, seconds, expected, calls, monkeypatch):
    clock = Clock(*durations)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock.now)
    assert machine.best(clock.work, CPU, seconds) == expected and clock.calls == calls


# ----------------------------------------------------------------------------------------------------- memory


GROW = """
import json, torch
from rawmm_cli.system.machine import peak_memory

cpu = torch.device("cpu")
def high():
    with open("/proc/self/status") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")), None)
before = peak_memory(cpu)
array = torch.ones(50_000_000)
during = peak_memory(cpu)
del array
print(json.dumps([before, during, peak_memory(cpu), high()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_peak_memory_of_an_array_of_200_megabytes():
    """Through a shell, because a process inherits the peak of its parent."""
    words = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, GROW]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    before, during, after, system = json.loads(done.stdout)
    assert 50e6 < before < 2e9  # a process with torch: bytes, not KiB
    assert 180e6 < during - before < 220e6
    assert during - 4e6 <= after <= during + 20e6  # the peak stays; the kernel counts in batches
    assert after == pytest.approx(system, rel=0.02)


@pytest.mark.parametrize(
    "name, message",
    [
        ("gpu", "unknown device 'gpu'; allowed: auto, cpu, cuda, cuda:N"),
        ("", "unknown device ''; allowed: auto, cpu, cuda, cuda:N"),
        ("meta", "device 'meta' is not there; this machine has: cpu, cuda:0, cuda:1"),
        ("cuda:2", "device 'cuda:2' is not there; this machine has: cpu, cuda:0, cuda:1"),
    ],
)
def test_missing_devices(name, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError) as caught:
        machine.device(name)
    assert str(caught.value) == message


def test_available_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for available in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert machine.device("auto") == torch.device("cuda" if available else "cpu")
    assert machine.device("cpu") == CPU
    assert machine.device("cuda:1") == torch.device("cuda", 1)


def test_precision_follows_the_hardware(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for has, expected in ((True, "bf16"), (False, "fp32")):
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda has=has: has)
        properties = type("Properties", (), {"major": 8 if has else 7})
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda device, properties=properties: properties
        )
        assert machine.precision("auto", CPU) == machine.precision("auto", torch.device("cuda")) == expected
        assert machine.precision("fp32", CPU) == "fp32" and machine.precision("bf16", CPU) == "bf16"
        assert bool(machine.precision_warning("bf16", CPU)) != has and not machine.precision_warning(
            "fp32", CPU
        )
        stack = optimizer.orthogonal(torch.eye(3)[None], (3.4445, -4.775, 2.0315), 5, 1e-7)
        assert stack.dtype == (torch.bfloat16 if has else torch.float32)


@pytest.mark.parametrize("capability, expected", [("AVX512", "bf16"), ("AVX2", "fp32"), ("DEFAULT", "fp32")])
def test_a_cpu_whose_wide_vectors_are_masked_computes_in_fp32(monkeypatch, capability, expected):
    """torch then compiles bf16 code that gave NaN."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert machine.precision("auto", CPU) == expected


def test_on_a_gpu_backward_passes_are_reproducible(monkeypatch):
    """The mode of torch is on inside the block alone, the settings of its compiler stay, and memory is not
    filled before it is written."""
    monkeypatch.setattr(machine, "REPRODUCIBLE", True)
    with machine.reproducible(CPU):
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), machine.reproducible(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()  # attention would only warn
        assert not torch._inductor.config.deterministic
        with torch.profiler.profile() as profiled:
            torch.arange(3).to(torch.float32)
        assert not [event for event in profiled.events() if event.name == "aten::fill_"]
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    monkeypatch.setattr(machine, "REPRODUCIBLE", False)
    with machine.reproducible(torch.device("cuda")):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.process
def test_the_workspace_of_cublas_is_named_before_the_first_product():
    """torch looks once, at the first product of a process: later is too late."""
    code = "import os\nfrom rawmm_cli.system import machine\nprint(os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    for chosen, expected in (({}, ":4096:8"), ({"CUBLAS_WORKSPACE_CONFIG": ":16:8"}, ":16:8")):
        env = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
        done = subprocess.run([sys.executable, "-c", code], env=env | chosen, capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(
    "setting, on, here, cores, expected",
    [
        ("auto", "cpu", 1, 16, 0),  # they would compete with training
        ("auto", "cuda", 1, 16, 8),
        ("auto", "cuda", 4, 16, 3),  # a core is left to each rank
        ("auto", "cuda", 8, 8, 1),
        (0, "cuda", 1, 16, 0),
        (5, "cpu", 1, 2, 5),
    ],
)
def test_processes_that_make_batches(setting, on, here, cores, expected, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    assert machine.workers(setting, torch.device(on), here) == expected
