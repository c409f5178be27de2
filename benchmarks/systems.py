"""Every system of docs/systems.md on the real digits: how many drawings are right, how many held-out digits
are read right, and what training took, its codec's included.

    python -m benchmarks.systems                                  # every system, seeds 0, 1, 2: hours
    python -m benchmarks.systems digits-dit digits-next --seeds 0 # two of them, once
    python -m benchmarks.systems --show                           # the table of what is there already
    python -m benchmarks.systems --show --sheet docs/systems.png  # and what each has drawn, of the first seed

A system is a preset. Where its codec is that of a run, the preset of that name is trained first, with the
same seed. Runs stay in --folder, and what is done is not done again. A row holds the median of the seeds, and
the least and the largest of them."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw, ImageFont

from rawmm_cli.config import presets
from rawmm_cli.evaluation.classes import ROWS

SYSTEMS = (
    "digits",
    "digits-patch1",
    "digits-dit",
    "digits-uvit",
    "digits-kl",
    "digits-next",
    "digits-masked",
    "digits-pixels",
    "digits-scales",
    "digits-query",
    "digits-unet",
    "digits-flow",
)
NAMES, GAP = 150, 10  # pixels of a name, and between systems
COLUMNS = ("system", "seeds", "drawn right", "read right", "bits/dim", "seconds of training, codec included")


def main() -> None:
    """Train and evaluate what is not done yet, then print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [name for name in SYSTEMS if name in presets.names()]
    parser.add_argument("systems", nargs="*", choices=[*known, []], help="presets [default: all]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("systems"), help="for the set and the runs")
    parser.add_argument("--show", action="store_true", help="train nothing")
    parser.add_argument("--sheet", type=Path, help="write drawings of each system into this picture")
    options = parser.parse_args()
    systems = options.systems or known
    if not options.show:
        options.folder.mkdir(parents=True, exist_ok=True)
        if not (options.folder / "data" / "digits").is_dir():
            rawmm(options.folder, "prepare", "digits", "--data-dir", "data")
        for seed in options.seeds:  # a first figure of each system comes early
            for system in systems:
                measure(options.folder, system, seed)
    print(table(options.folder, systems, options.seeds))
    if options.sheet:
        sheet(options.folder, systems, options.seeds[0]).save(options.sheet, optimize=True)


def measure(folder: Path, system: str, seed: int) -> None:
    """Train a system, and its codec, where that is not done, and evaluate it."""
    path = folder / "figures" / f"{system}-{seed}.json"
    if path.exists():
        return
    codec = presets.load(system).codec
    trained = codec.run if hasattr(codec, "run") else None
    seconds = train(folder, trained, seed) if trained else 0.0
    words = [f"codec.run={trained}-{seed}"] if trained else []
    seconds += train(folder, system, seed, *words)
    rawmm(folder, "evaluate", f"{system}-{seed}", "--data-dir", "data")
    evaluation = json.loads((folder / "runs" / f"{system}-{seed}" / "evaluation.json").read_text())
    figures = {"training_seconds": seconds} | evaluation  # `seconds` are those of evaluating
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{system}, seed {seed}: {cells([figures])}", flush=True)


def train(folder: Path, preset: str, seed: int, *words: str) -> float:
    """Train the run PRESET-SEED -> seconds of the command; of one that is trained already, those it took."""
    name = f"{preset}-{seed}"
    kept = folder / "figures" / f"{name}.seconds"
    if not kept.exists():
        seconds = rawmm(
            folder,
            "train",
            "--preset",
            preset,
            "--run",
            name,
            "--data-dir",
            "data",
            f"train.seed={seed}",
            *words,
        )
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(f"{seconds:.1f}\n")
    return float(kept.read_text())


def rawmm(folder: Path, *words: str) -> float:
    """Run a command in `folder` -> seconds from its start to its end."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rawmm_cli", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def table(folder: Path, systems: list[str], seeds: list[int]) -> str:
    """A row of Markdown for each system that has figures."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for system in systems:
        paths = [folder / "figures" / f"{system}-{seed}.json" for seed in seeds]
        figures = [json.loads(path.read_text()) for path in paths if path.exists()]
        if figures:
            rows.append(f"| {system} | {len(figures)} | {cells(figures)} |")
    return "\n".join(rows)


def cells(figures: list[dict]) -> str:
    """Medians of the seeds, least and largest in brackets; a dash where a system cannot."""

    def every(part: str, name: str) -> list[float]:
        values = [one.get(part, {}).get(name) for one in figures]
        return [value for value in values if value is not None]

    shares = (every("text_to_image", "accuracy"), every("image_to_text", "accuracy"))
    parts = [spread([100 * value for value in values], 1, " %") for values in shares]
    exact, bound, density = (every("held_out", f"bits_per_dim{kind}") for kind in ("", "_bound", "_density"))
    bound = bound or density
    parts.append("at most " + spread(bound, 3) if bound else spread(exact, 3))
    return " | ".join([*parts, spread([one["training_seconds"] for one in figures], 0)])


def sheet(folder: Path, systems: list[str], seed: int) -> Image.Image:
    """Two drawings of each digit by each system, a system a line, with its name."""
    drawn = {name: folder / "runs" / f"{name}-{seed}" / "samples" / "drawn.png" for name in systems}
    parts = {name: Image.open(path).convert("RGB") for name, path in drawn.items() if path.exists()}
    lines = {
        name: part.crop((0, 0, part.width, round(part.height * 2 / ROWS))) for name, part in parts.items()
    }
    height, width = max(line.height for line in lines.values()), max(line.width for line in lines.values())
    whole = Image.new("RGB", (NAMES + width, (height + GAP) * len(lines) - GAP), "white")
    writer, font = ImageDraw.Draw(whole), ImageFont.load_default(size=18)
    for n, (name, line) in enumerate(lines.items()):
        top = n * (height + GAP)
        writer.text((NAMES - 12, top + height // 2), name, "black", font, anchor="rm")
        whole.paste(line, (NAMES, top))
    return whole


def spread(values: list[float], digits: int, unit: str = "") -> str:
    """Median (least to largest); a dash for none."""
    if not values:
        return "-"
    middle, low, high = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low} to {high})"


if __name__ == "__main__":
    main()
