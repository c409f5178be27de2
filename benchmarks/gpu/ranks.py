"""Ranks on one card: a single one through NCCL and FSDP2, two through gloo (NCCL refuses one GPU twice).

The same documents must give the same losses whatever the ranks, and shards written by two be read by one. All
runs go side by side; nothing is timed."""

import json
import math
import socket

from .parts import CommandError, Part, finish, part, start

STEPS, BATCH, FIRST = 10, 16, 5
EXACT = ("train.precision=fp32", "train.compile=no")
COMPILED = ("train.precision=bf16", "train.compile=yes")
FSDP = ("train.parallel=fsdp",)
# name: words of the settings, a launcher's single rank (1) or ranks of our own launcher (2), steps
RUNS = {
    "one": (EXACT, 0, 2 * STEPS),
    "one rank fsdp": ((*EXACT, *FSDP), 1, STEPS),
    "two ranks fsdp": ((*EXACT, *FSDP), 2, STEPS),
    "two ranks ddp": (EXACT, 2, STEPS),
    "one rank ddp": (EXACT, 1, STEPS),
    "one bf16 compiled": (COMPILED, 0, STEPS),
    "one rank fsdp bf16 compiled": ((*COMPILED, *FSDP), 1, STEPS),
    "one rank ddp bf16 compiled": (COMPILED, 1, STEPS),
    "two ranks fsdp bf16 compiled": ((*COMPILED, *FSDP), 2, STEPS),
}
TINY = ("one", "two ranks fsdp")
LIMITS = {"fp32": (1e-5, 1e-4), "bf16": (2e-2, 5e-2)}  # in the first steps, in all of them


def main() -> None:
    """Run all, compare each with the run of one process, and read the shards back."""
    job = part("ranks")
    job.rawmm("prepare", "digits", "--data-dir", job.data, "--workers", 0)
    names = TINY if job.tiny else tuple(RUNS)
    processes = {name: begin(job, name) for name in names}
    rows, problems = [], []
    for name, process in processes.items():
        row = {"run": name, "ranks": RUNS[name][1] or "no group"}
        try:
            finish(job, process)
            row |= compared(job, name, names)
        except (CommandError, OSError, ValueError) as error:
            row["result"] = str(error)
        rows.append(row)
        if row["result"] != "ok":
            problems.append(f"{name}: {row['result']}")
        job.say(
            f"{name}: {row['result']}" + (f", losses differ by {row['first']:.1e}" if "first" in row else "")
        )
        job.save(tables={"ranks": rows}, problems=problems)
    back = read_back(job)
    problems += [back["result"]] if back["result"] != "ok" else []
    job.say(f"shards of two ranks read by one: {back['result']}")
    job.save(tables={"ranks": rows, "shards of two ranks, read by one": [back]}, problems=problems)


def words_of(job: Part, name: str, steps: int, settings: tuple) -> list:
    """Arguments of `rawmm train`."""
    device = {0: "cuda", 1: "cuda", 2: "cuda:0"}[RUNS[name][1]] if job.device == "cuda" else "cpu"
    words = ["train", "--preset", "tiny", "--run", name.replace(" ", "-"), "--runs-dir", job.runs]
    words += ["--data-dir", job.data, "--device", device, "train.decay=0", "train.trackers=[]"]
    words += [
        f"train.batch={BATCH}",
        f"train.log_every={BATCH}",
        "train.sample_every=1000000",
        "train.workers=0",
    ]
    # a checkpoint after STEPS, so that a longer run draws the same documents
    return [*words, f"train.save_every={BATCH * STEPS}", f"train.documents={BATCH * steps}", *settings]


def begin(job: Part, name: str):
    """Start a run: alone, as the only rank of a launcher, or as two ranks."""
    settings, ranks, steps = RUNS[name]
    words = words_of(job, name, steps, settings)
    if ranks == 2:
        return start(job, *words, "--gpus", 2, "--json", variables={"GLOO_SOCKET_IFNAME": "lo"})
    return start(job, *words, "--json", variables=launched() if ranks == 1 else None)


def launched() -> dict:
    """What `torchrun --nproc-per-node 1` sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def losses(job: Part, name: str) -> list[float]:
    """The loss of each step of a run."""
    file = job.runs / name.replace(" ", "-") / "records.jsonl"
    return [json.loads(line)["loss"] for line in file.read_text(encoding="utf-8").splitlines()]


def compared(job: Part, name: str, names: tuple) -> dict:
    """The relative difference of a run's losses from those of one process with the same settings."""
    kind = "bf16" if "bf16" in name else "fp32"
    other = "one bf16 compiled" if kind == "bf16" else "one"
    own, expected = losses(job, name), losses(job, other)
    if len(own) < STEPS:
        return {"result": f"{len(own)} steps in place of {STEPS}"}
    return difference(own[:STEPS], expected[:STEPS], LIMITS[kind]) | shards(job, name)


def difference(own: list[float], expected: list[float], limits: tuple[float, float]) -> dict:
    """Relative differences of losses, in the first steps and in all, and whether they are within limits."""
    apart = [abs(a - b) / abs(b) for a, b in zip(own, expected)]
    first, most = max(apart[:FIRST]), max(apart)
    ok = len(own) == len(expected) and math.isfinite(most) and first <= limits[0] and most <= limits[1]
    result = "ok" if ok else f"losses differ by {first:.1e}, {most:.1e} in all steps; allowed: {limits}"
    return {"first": first, "all": most, "steps": len(own), "result": result}


def shards(job: Part, name: str) -> dict:
    """In how many files the weights of the newest checkpoint lie."""
    newest = max((job.runs / name.replace(" ", "-") / "checkpoints").glob("step_*"))
    model = newest / "model"
    return {"files of weights": sum(1 for _ in model.iterdir()) if model.is_dir() else 1}


def read_back(job: Part) -> dict:
    """Go on from the shards of two ranks in one process, and compare with the run that was never sharded."""
    name = "two ranks fsdp"
    try:
        words = words_of(job, name, 2 * STEPS, EXACT)
        job.rawmm(*[f"{job.device}" if word == "cuda:0" else word for word in words])
        own, expected = losses(job, name), losses(job, "one")
        return difference(own[STEPS:], expected[STEPS:], LIMITS["fp32"][1:] * 2)
    except (CommandError, OSError, ValueError) as error:
        return {"result": str(error)}


if __name__ == "__main__":
    main()
