"""Positions a second of training on tokens kept on disk, beside raw patches with as many positions.

    python -m benchmarks.codes                     # two codecs are trained first; a minute on an idle core
    python -m benchmarks.codes --rounds 5 --steps 60 --json codes.json

The digits, 16 positions a picture: raw patches of 2 px, vectors of a KL codec and codes of FSQ (both 4 x 4),
the same backbone, batch and rows. `kept`: tokens were kept by `rawmm prepare SET --codec RUN`; `encoded`:
they are made while training. Seconds are those of one thread of the processor, so that other work on the
machine counts little. What is compared takes turns (a round is `--steps` steps of each), ratios are taken
inside a round, and medians of the rounds are printed (aim: kept at least as fast as raw)."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

COMMON = ("data.shift=0", "train.compile=no", "train.threads=1", "train.workers=0", "train.documents=1000000")
CODECS = {"digits-vae": ("codec.kind=kl",), "digits-fsq": ("codec.kind=fsq", "head.kind=autoregressive")}
WARM_UP = 3  # steps that do not count


def main() -> None:
    """Print a line for each system."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each system a round")
    parser.add_argument("--documents", type=int, default=640, help="that the codecs are trained on")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lines = measure(Path(temporary), options)
    for line in lines:
        print(json.dumps(line), flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Medians of the rounds, raw patches first."""
    import torch

    torch.set_num_threads(1)
    for data in ("kept", "encoded"):
        rawmm(folder, "prepare", "digits", "--data-dir", data)
    systems = {"raw": steps(folder, "kept")}
    for codec, words in CODECS.items():
        length = f"train.documents={options.documents}"
        rawmm(folder, "train", "--preset", codec, length, "--data-dir", "kept")
        rawmm(folder, "prepare", "digits", "--codec", codec, "--data-dir", "kept")
        for data in ("kept", "encoded"):
            systems[f"{codec}, {data}"] = steps(folder, data, *words, f"codec.run={codec}")
    for loop in systems.values():
        timed(loop, WARM_UP)
    speeds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(options.rounds):
        for name, loop in systems.items():
            speeds[name].append(timed(loop, options.steps))
    return [
        {
            "system": name,
            "positions_per_second": round(statistics.median(values)),
            "over_raw": round(statistics.median(a / b for a, b in zip(values, speeds["raw"])), 3),
        }
        for name, values in speeds.items()
    ]


def steps(folder: Path, data: str, *words: str, preset: str = "digits") -> Iterator[int]:
    """Train a preset with other settings, without end -> the positions of each step."""
    import torch

    from rawmm_cli.config import presets
    from rawmm_cli.data import sets
    from rawmm_cli.data.loader import batches, steps_of
    from rawmm_cli.runs import loading
    from rawmm_cli.system.distributed import ALONE
    from rawmm_cli.training.auto import settled
    from rawmm_cli.training.clock import Clock
    from rawmm_cli.training.facts import attach_kept
    from rawmm_cli.training.signals import Signals
    from rawmm_cli.training.state import Run, fresh
    from rawmm_cli.training.train import taken

    device, new = torch.device("cpu"), folder / "runs" / "new"
    config, _ = settled(presets.load(preset, [*COMMON, *words]), folder / data, new)
    trained_on, held_out = sets.load(config, folder / data)
    attach_kept(config, trained_on)
    state = fresh(config, device, ALONE)
    state.forward = state.model
    loading.load_frozen(state.model, new, config)
    run = Run(config, new, device, ALONE, trained_on, held_out, lambda line: None)
    source = batches(config, steps_of(config, trained_on, state.model), 0, device)
    for step in taken(run, state, source, Signals(ALONE), Clock(0.0)):
        yield step.record["positions"]


def timed(loop: Iterator[int], count: int) -> float:
    """Positions a second of the processor, over `count` steps."""
    began = time.process_time()
    positions = sum(next(loop) for _ in range(count))
    return positions / (time.process_time() - began)


def rawmm(folder: Path, *words: str) -> None:
    """Run a command in `folder`."""
    command = [sys.executable, "-m", "rawmm_cli", *words, "--json"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)


if __name__ == "__main__":
    main()
