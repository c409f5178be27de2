"""Processes forked from one that has done nothing but import: each costs a tenth of a cold one.

    forked          the command line, with a fault
    together        a function in several ranks, as if a launcher had started them
    ForkedLauncher  in place of torch's launcher: `rawmm train --gpus 2` whose ranks are forks

A fault is Python text that runs at the start of step `step`, or at once; it may name the modules of the loop
and of its data."""

import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch.distributed import TCPStore
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from rawmm_cli.data import loader
from rawmm_cli.system import distributed
from rawmm_cli.system.errors import RawmmError
from rawmm_cli.training import step as step_module
from rawmm_cli.training import train as module

PRELOAD = [
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint",
    "datasets",
    "rawmm_cli.cli",
    "forking",
    "rank_runs",
]
NAN = "real = step.joint_loss; step.joint_loss = lambda *arguments: spoilt(real(*arguments))"
DIE = "os.kill(os.getpid(), 9)"


def fork(function, *arguments):
    """Start a process that calls `function` -> the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def put(fault, step=-1):
    """Make `fault` happen in this process: once, at the start of step `step`, or now."""
    names = {
        "train": module,
        "step": step_module,
        "loader": loader,
        "spoilt": spoilt,
        "os": os,
        "time": time,
        "until": until,
    }
    if step < 0:
        return exec(fault, names)
    begin_step, pending = module.begin_step, [fault]

    def at(run, state, *rest):
        if state.step == step and pending:
            exec(pending.pop(), names)
        return begin_step(run, state, *rest)

    module.begin_step = at


def spoilt(losses):
    """Losses whose text loss is not a number, nor is the gradient."""
    return losses._replace(text=losses.text * math.nan, total=losses.total * math.nan)


def until(holds, seconds=60):
    """Wait until `holds()` is true -> its value."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def pause(folder):
    """A fault that makes the file `here` and waits until there is a file `go`."""
    here, go = str(folder / "here"), str(folder / "go")
    return f"open({here!r}, 'w').close()\nwhile not os.path.exists({go!r}): time.sleep(0.02)"


def forked(folder, words, fault="", step=-1, **environment):
    """Start `rawmm WORDS` with a fault; its output goes into the files `out` and `err` of `folder`."""
    return fork(_command, folder, [*map(str, words)], fault, step, environment)


def _command(folder, words, fault, step, environment, names=("out", "err")):
    multiprocessing.set_start_method("fork", force=True)  # of data workers, as where nothing was forked
    torch.set_num_threads(1)
    os.environ |= environment
    for number, name in enumerate(names, 1):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    module.machine.matmul_rate = lambda *arguments: 1e11  # it would take longer than the run
    put(fault, step)
    sys.argv = ["rawmm", *words]
    from rawmm_cli.cli import main

    main()


def die_before_change(folder, number, note, group=False):
    """Kill -9 this process, or its group, in front of the `number`-th change of what lies in `folder`: a file
    is opened for writing, renamed or deleted, a folder is made or deleted. The file `note` gets the change
    and the processes that this one has started."""
    changes_left = [number]

    def hook(event, values):
        if event == "open":
            path, mode, flags = values
            changes = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        else:
            path, changes = next(iter(values), ""), event in CHANGES
        if changes and str(path).startswith(str(folder)):
            changes_left[0] -= 1
            if changes_left[0] == 0:
                change = f"{event} {str(path)[len(str(folder)) :]}"
                note.write_text("\n".join([change, *map(str, children(os.getpid()))]))
                os.killpg(0, signal.SIGKILL) if group else os.kill(os.getpid(), signal.SIGKILL)

    if group:
        os.setpgrp()
    sys.addaudithook(hook)


def dying(run, number, note) -> str:
    """`die_before_change` as a fault of `forked`."""
    return (
        f"from pathlib import Path\nfrom forking import die_before_change\n"
        f"die_before_change({str(run)!r}, {number}, Path({str(note)!r}))"
    )


CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "shutil.rmtree",
}


def children(pid) -> set[int]:
    """Processes that `pid` has started."""
    numbers = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            numbers.add(int(entry))
    return numbers


def alive(pids) -> list[int]:
    """The processes that still run."""
    return [
        pid
        for pid in pids
        if os.path.exists(f"/proc/{pid}")
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ]


# ---------------------------------------------------------------------------------------------- several ranks


def group(size) -> tuple[TCPStore, list[dict]]:
    """A store where `size` ranks meet, kept by this process as by torch's launcher; their environments."""
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    return store, [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def together(size, function, *arguments, seconds=100) -> list:
    """Results of `function(ranks, *arguments)` in each of `size` ranks, or the error that it raised."""
    _store, environments = group(size)
    pipes = [multiprocessing.Pipe(False) for _ in range(size)]
    processes = [
        fork(_rank, size, environment, sending, function, *arguments)
        for environment, (_, sending) in zip(environments, pipes)
    ]
    end, results = time.monotonic() + seconds, []
    for receiving, sending in pipes:
        sending.close()
        try:
            results.append(
                receiving.recv() if receiving.poll(max(0, end - time.monotonic())) else TimeoutError()
            )
        except EOFError:
            results.append(None)  # it died without a word
    for process in processes:
        process.join(10)
        process.kill()
    return results


def _rank(size, environment, pipe, function, *arguments):
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    os.environ |= environment
    module.machine.matmul_rate = lambda *arguments: 1e11
    try:
        ranks = distributed.from_environment() if size > 1 else distributed.ALONE
        pipe.send(function(ranks, *arguments))
    except RawmmError as error:
        pipe.send((*error.args, error.exit_code))
    os._exit(0)  # as the command line does


class ForkedLauncher:
    """A launcher in place of torch's: forks the ranks, stops the others where one fails, raises what torch
    raises. The output of rank n lies in the files `out.n` and `err.n` of the folder."""

    def __init__(self, folder, rank, fault, step):
        self.folder, self.rank, self.fault, self.step = folder, rank, fault, step

    def __call__(self, config, executable):
        self.size = config.nproc_per_node
        return self.run

    def run(self, _option, _module, *words):
        _store, environments = group(self.size)
        files = [str(self.folder / f"error.{rank}") for rank in range(self.size)]
        ranks = [
            fork(
                _command,
                self.folder,
                words,
                self.fault if rank == self.rank else "",
                self.step,
                environment | {"TORCHELASTIC_ERROR_FILE": file, "RAWMM_LAUNCHED": "1"},
                (f"out.{rank}", f"err.{rank}"),
            )
            for rank, (environment, file) in enumerate(zip(environments, files))
        ]
        until(lambda: all(one.exitcode == 0 for one in ranks) or any(one.exitcode for one in ranks))
        failures = {
            number: ProcessFailure(number, one.pid, one.exitcode, files[number])
            for number, one in enumerate(ranks)
            if one.exitcode
        }
        for one in ranks:
            if one.exitcode is None:
                os.kill(one.pid, signal.SIGTERM)
        for one in ranks:
            one.join(60)
        if failures:
            raise ChildFailedError("rawmm_cli", failures)
