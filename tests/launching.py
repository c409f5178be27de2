"""What the tests of training faults share: `rawmm` in processes of its own, alone or as several ranks, into
which a fault is put.

    Launched    the real command, started as a person starts it; every process of it carries a mark by which
                it is found
    command_line, forked from one process that has done nothing but import: a second instead of five
    together    a function in several ranks of such forks, as if a launcher had started them

A fault is Python text that runs at the start of step `step` of rank `rank`; it may name the modules of the
loop and its data."""

import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import torch
from broken_runs import fork
from training_runs import SHORT, everything, go, settings

from rawmm_cli.data import loader
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system import distributed
from rawmm_cli.system.errors import RawmmError
from rawmm_cli.training import train as module

NAN = "real = train.joint_loss; train.joint_loss = lambda *given: spoilt(real(*given))"


HOOK = """
import os, sys
if "RANK" in os.environ:
    from rawmm_cli.system import machine
    machine.matmul_rate = lambda *given: 1e11
if os.environ["FAULT"] and str(os.environ.get("RANK")) == os.environ["FAULT_RANK"]:
    sys.path.insert(0, os.environ["FAULT_FOLDER"])
    from launching import put
    put(os.environ["FAULT"], int(os.environ["FAULT_STEP"]))
"""


def put(fault, step=-1):
    """Make `fault` happen in this process: once, at the start of step `step`, or now."""
    names = {"train": module, "loader": loader, "spoilt": spoilt, "os": os, "time": time}
    if step < 0:
        return exec(fault, names)
    take_step, left = module.take_step, [fault]

    def at(run, state, *rest):
        if state.step == step and left:
            exec(left.pop(), names)
        return take_step(run, state, *rest)

    module.take_step = at


def spoilt(losses):
    """Losses of which the text's is not a number, nor is the gradient."""
    return losses._replace(text=losses.text * math.nan, total=losses.total * math.nan)


def command(data, run, *words):
    return [
        str(word)
        for word in (
            "train",
            "--preset",
            "tiny",
            "--run",
            run.name,
            "--runs-dir",
            run.parent,
            "--data-dir",
            data,
            "--device",
            "cpu",
            "--json",
            *SHORT,
            *words,
        )
    ]


def step_of(run):
    """The step of the newest checkpoint, 0 where there is none."""
    newest = checkpoint.latest(run)
    return checkpoint.state(newest)["step"] if newest else 0


def until(holds, seconds=60):
    """Wait until `holds()` is true; its value."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


# ------------------------------------------------------------------------------------------- the real command


class Done(NamedTuple):
    """How a command ended. `left`: its processes that were still there two seconds later."""

    code: int
    out: str
    err: str
    left: list[int]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Launched:
    """`python -m rawmm_cli WORDS` in a session of its own, so that a signal to its group does not reach the
    tests."""

    def __init__(self, folder: Path, words, fault="", step=-1, rank=None, module="rawmm_cli", **environment):
        hook = folder / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK)
        self.mark = uuid.uuid4().hex
        given = {
            "PYTHONPATH": str(hook),
            "FAULT_FOLDER": str(Path(__file__).parent),
            "FAULT": fault,
            "FAULT_STEP": str(step),
            "FAULT_RANK": str(rank),
            "RAWMM_TEST_MARK": self.mark,
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module.split(), *map(str, words)],
            env={**os.environ, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ranks(self) -> dict[int, str | None]:
        """{process: its RANK} of all processes that run now."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                values = Path("/proc", pid, "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if f"RAWMM_TEST_MARK={self.mark}" in values:
                found[int(pid)] = next((value[5:] for value in values if value.startswith("RANK=")), None)
        return found

    def signal(self, number, rank=None):
        """Send a signal to the process that was started, or to one rank."""
        pid = (
            next(pid for pid, own in self.ranks().items() if own == str(rank))
            if rank is not None
            else self.process.pid
        )
        os.kill(pid, number)

    def end(self, seconds=120) -> Done:
        """Wait for its end and for that of all its processes; those that stay are noted, and ended."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        finally:
            end = time.monotonic() + 2
            while (left := list(self.ranks())) and time.monotonic() < end:
                time.sleep(0.05)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        return Done(self.process.returncode, out, err, left)


def pause(folder):
    """A fault that makes the file `here` and waits until there is a file `go`."""
    here, go = str(folder / "here"), str(folder / "go")
    return f"open({here!r}, 'w').close()\nwhile not os.path.exists({go!r}): time.sleep(0.02)"


# ------------------------------------------------------------------------------------------- forked processes


def forked(folder, words, fault="", step=-1):
    """`rawmm WORDS` with a fault, started; what it says goes into the files `out` and `err` of the folder."""
    return fork(_forked, folder, list(map(str, words)), fault, step)


def _forked(folder, words, fault, step):
    multiprocessing.set_start_method("fork", force=True)  # of data workers, as where nothing was forked
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    put(fault, step)
    module.machine.matmul_rate = lambda *given: 1e11  # it would take longer than the run
    sys.argv = ["rawmm", *words]
    from rawmm_cli.cli import main

    main()


def children(pid) -> set[int]:
    """Processes that `pid` has started."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.add(int(entry))
    return found


def alive(pids) -> list[int]:
    """Those that still run."""
    return [
        pid
        for pid in pids
        if os.path.exists(f"/proc/{pid}")
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ]


def together(size, function, *given, seconds=100) -> list:
    """What `function(ranks, *given)` returns in each of `size` ranks, or the error that it raised."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    pipes = [multiprocessing.Pipe(False) for _ in range(size)]
    processes = [fork(_rank, rank, size, port, pipes[rank][1], function, *given) for rank in range(size)]
    end, found = time.monotonic() + seconds, []
    for ours, theirs in pipes:
        theirs.close()
        try:
            found.append(ours.recv() if ours.poll(max(0, end - time.monotonic())) else TimeoutError())
        except EOFError:
            found.append(None)  # it died without a word
    for process in processes:
        process.join(10)
        process.kill()
    return found


def _rank(rank, size, port, pipe, function, *given):
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }
    module.machine.matmul_rate = lambda *given: 1e11
    try:
        ranks = distributed.from_environment() if size > 1 else distributed.ALONE
        pipe.send(function(ranks, *given))
    except RawmmError as error:
        pipe.send(error.args + (error.exit_code,))
    os._exit(0)  # as the command line does


def observed(ranks, chosen, data, run, until=math.inf, fault=(None, -1, "")) -> dict:
    """Train as one rank, and leave as if killed after the step that reaches `until` documents -> its
    `records`, the documents `made` {seen before: numbers}, and how the weights with which it began differ
    from the checkpoint's (`differ`)."""
    made, restore, item, document = {}, module.restore, loader.Steps.__getitem__, loader.Steps._document
    now, found = [], {"records": [], "made": made, "differ": [], "said": []}

    def noting_item(steps, seen):
        now.clear()
        batch = item(steps, seen)
        made[seen] = list(now)
        return batch

    def noting_document(steps, number):
        now.append(number)
        return document(steps, number)

    def noting_restore(place):
        newest, state = checkpoint.latest(run), restore(place)
        found["differ"] = differ(newest, state) if newest else ["no checkpoint"]
        return state

    module.restore, loader.Steps.__getitem__, loader.Steps._document = (
        noting_restore,
        noting_item,
        noting_document,
    )
    if fault[0] == ranks.rank:
        put(fault[2], fault[1])
    loop = module.train(chosen, data, run, torch.device("cpu"), found["said"].append, ranks)
    for record in loop:
        found["records"].append(record)
        if record["documents"] >= until:
            return found
    return found


def differ(folder, state) -> list[str]:
    """Names of the tensors that are not, bit for bit, those of the checkpoint."""
    from rawmm_cli.training import optimizer
    from rawmm_cli.training.state import _modules

    here = {name: part.state_dict() for name, part in _modules(state).items()}
    here["optimizer"] = optimizer.state(state.optimizers, state.model)
    wrong = []
    for part, values in here.items():
        saved = loading.tensors(folder, part)
        wrong += [f"{part}/{name}" for name in saved.keys() ^ values.keys()]
        wrong += [
            f"{part}/{name}"
            for name in saved
            if not torch.equal(distributed.whole(values[name]), saved[name])
        ]
    return wrong


def assert_same_bits(one, other):
    """The same tensors, records and sheets, bit for bit; settings that may change may differ."""
    (values, rest), (others, other_rest) = everything(one), everything(other)
    assert rest["records"] == other_rest["records"]
    assert values.keys() == others.keys()
    assert [name for name in values if not torch.equal(values[name], others[name])] == []
    assert rest["sheets"] == other_rest["sheets"]


def finished(data, run, whole):
    """The same command again, without the fault, ends as if nothing had been."""
    go(settings("train.workers=2"), data, run)
    assert_same_bits(run, whole())
