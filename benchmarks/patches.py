"""What smaller patches cost: CPU seconds of learning a document, and of drawing a picture.

    python -m benchmarks.patches                    # two minutes on an idle core
    python -m benchmarks.patches --rounds 5 --steps 30 --json patches.json

The network of preset digits (width 128, four layers) on the digits, 8 px: raw patches of 8, 4, 2 and 1 px,
and sub-pixels written one by one (preset digits-pixels). fp32, not compiled, one thread, batches of 64
documents, half of them read. 16 pictures are drawn at once, with the steps and the guidance of the presets,
by weights that have learned nothing: these decide no time. Seconds are those of one thread of the processor,
so that other work on the machine counts little. What is compared takes turns (a round is `--steps` steps and
`--drawings` times 16 pictures of each); medians of the rounds are printed, and their range."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from .codes import COMMON, rawmm, steps

SYSTEMS = {
    **{f"patch {side}": ("digits", f"codec.patch={side}") for side in (8, 4, 2, 1)},
    "sub-pixels": ("digits-pixels", "train.batch=64"),
}
MORE = ("train.length=auto", "train.precision=fp32")
WARM_UP = 3  # steps that do not count
CAPTION, TOGETHER = "seven", 16  # of a drawing, and pictures in it


def main() -> None:
    """Print a line for each system."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.patches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each system a round")
    parser.add_argument("--drawings", type=int, default=2, help="times that each system draws a round")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lines = measure(Path(temporary), options)
    for line in lines:
        print(json.dumps(line), flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Positions, and milliseconds: median, least and most of the rounds."""
    import torch

    torch.set_num_threads(1)
    rawmm(folder, "prepare", "digits", "--data-dir", "data")
    systems = {name: works(folder, *words) for name, words in SYSTEMS.items()}
    for learn, paint, _ in systems.values():
        spent([learn] * WARM_UP)
        spent([paint])
    learned: dict[str, list[float]] = {name: [] for name in systems}
    drawn: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(options.rounds):
        for name, (learn, paint, facts) in systems.items():
            learned[name].append(spent([learn] * options.steps) / options.steps / facts["batch"])
            drawn[name].append(spent([paint] * options.drawings) / options.drawings / TOGETHER)
    return [
        {"system": name, **facts, "learn_ms": figures(learned[name]), "draw_ms": figures(drawn[name])}
        for name, (_, _, facts) in systems.items()
    ]


def works(folder: Path, preset: str, *words: str) -> tuple[Callable, Callable, dict]:
    """A step of training and a drawing of a system, and what it is."""
    import torch

    from rawmm_cli.config import build, presets
    from rawmm_cli.core.drawing import draw
    from rawmm_cli.core.text_tokenizer import IMAGE
    from rawmm_cli.data.stream import drawing
    from rawmm_cli.system.seeds import key
    from rawmm_cli.training.auto import settled

    words = (*MORE, *words)
    config, _ = settled(presets.load(preset, [*COMMON, *words]), folder / "data", folder / "runs" / "new")
    model, settings = build.model(config).eval(), build.sampling(config)
    prompt = drawing(CAPTION, torch.zeros(3, 8, 8, dtype=torch.uint8), 0)
    prompt = prompt[: prompt.index(IMAGE) + 1]
    keys = [key(0, "patches", n) for n in range(TOGETHER)]
    loop = steps(folder, "data", *words, preset=preset)
    facts = {"positions": len(model.blocks(8, 8).block), "batch": config.train.batch}
    return lambda: next(loop), lambda: draw(model, [prompt] * TOGETHER, keys, settings), facts


def spent(calls: list[Callable[[], Any]]) -> float:
    """Seconds of the processor that the calls take."""
    began = time.process_time()
    for call in calls:
        call()
    return time.process_time() - began


def figures(seconds: list[float]) -> dict[str, float]:
    """Median, least and most, in milliseconds."""
    parts = {"median": median(seconds), "least": min(seconds), "most": max(seconds)}
    return {name: round(1000 * value, 2) for name, value in parts.items()}


if __name__ == "__main__":
    main()
