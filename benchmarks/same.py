"""Results of the command line, recorded before a change and compared after it.

    python -m benchmarks.same record BEFORE.json                  # every command below, in a temporary folder
    python -m benchmarks.same compare BEFORE.json                 # recorded again; exit code 1 if it differs
    python -m benchmarks.same compare BEFORE.json AFTER.json      # two recordings
    python -m benchmarks.same compare BEFORE.json --expected '*/psnr' --expected 'help/rawmm show/*'

Compared: exit codes, JSON, files (pixels, weights, settings) and names of options. Not compared: prose,
styling, times, speeds, memory and versions. Only the command line is called, so modules may move.
"""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from .same_files import difference, digest, draw, shape, spoil, steady

ROOT = Path(__file__).resolve().parents[1]

TRAIN = "train train.threads=1 train.compile=no train.precision=fp32"  # the same weights every time
LEARN = "train.documents=3200 train.optimizer=muon train.learning_rate=1e-2 data.read=0.3 sample.max_text=8"
MIX = "data.set=sized 'data.mix={digits: 0.5}' train.length=80 train.documents=64 train.ema.kind=power"
KIND = "backbone.kind=transformer text_tokenizer=bpe text_tokenizer.vocabulary=300"
SMALL = "data.set=portraits data.size=32 codec.width=32 codec.blocks=1 train.batch=16 train.documents=128"
FOLDER = "prepare folder --path drawn --max-bad-fraction 0.5"
FEW = "--features none --ocr none --limit 4"

# In this order, as commands use what earlier ones wrote. With --json, values are compared; without, only
# whether anything is printed.
COMMANDS = {
    "prepare digits": "prepare digits --json",
    "prepare portraits": "prepare portraits --count 40 --size 32 --json",
    "prepare folder": f"{FOLDER} --name mine --json",
    "prepare folder, sized": f"{FOLDER} --name sized --size 8 --enlarge --background grey --workers 0 --json",
    "prepare documents": "prepare documents --path drawn/stories.jsonl --name stories --json",
    "prepare text": "prepare text --path letters --name letters --json",
    "prepare webdataset": "prepare webdataset --path shards --name shards --json",
    "prepare, in words": "prepare portraits --count 4 --size 32 --name few",
    "prepare --verify": "prepare --verify portraits --json",
    "show": "show portraits --count 4 --out sheet.png --json",
    "show one": "show digits --index 1 --split held_out --out digit.png --json",
    "show stories": "show stories --count 2 --json",
    "show, in words": "show digits --count 3",
    "presets": "presets --json",
    "presets tiny": "presets tiny train.batch=3 --json",
    "presets fsq-f8": "presets fsq-f8 --json",
    "presets, in words": "presets digits",
    "dry run": "train --preset tiny --dry-run --json",
    "dry run of a codec": "train --preset vqgan-f8 --dry-run --json",
    "train": f"{TRAIN} --preset tiny train.documents=320 --json",
    "train on": f"{TRAIN} --preset tiny train.documents=640 --json",
    "train again": f"{TRAIN} --preset tiny train.documents=640 --json",
    "train to draw": f"{TRAIN} --preset tiny --run drawer {LEARN} --json",
    "train on a mixture": f"{TRAIN} --preset tiny --run mixed {MIX} {KIND}",
    "train a codec": f"{TRAIN} --preset fsq-256 --run fsq {SMALL} --json",
    "sample": "sample seven --run drawer --count 4 --json",
    "sample, gif": "sample two --run drawer --gif --seed 3 --steps 4 --solver dpm2m --guidance 1.5 --json",
    "sample, in words": "sample three --run drawer --out spoken",
    "sample the package's": "sample 'a portrait of' --steps 4 --json",
    "sample larger": "sample 'a woman with a pink afro' --size 96 --steps 2 --solver heun --seed 5 --json",
    "sample, inpaint": "sample 'a man' --image drawn/face.png --inpaint drawn/mask.png --steps 3 --json",
    "sample, strength": "sample 'a man' --image drawn/face.png --strength 0.6 --steps 3 --seed 1 --json",
    "sample, caption": "sample --task caption --image drawn/face.png --json",
    "sample, read": "sample '{image:digit.png} is' --run drawer --greedy --max-pictures 0 --json",
    "evaluate": "evaluate drawer --per-label 5 --json",
    "evaluate, in words": "evaluate drawer --per-label 2 --steps 2 --guidance 1",
    "tune-sampler": "tune-sampler drawer --steps 2 --pictures 4 --json",
    "sample, tuned": "sample seven --run drawer --steps 2 --grid tuned --json",
    "average": "average mixed --width 0.15 --json",
    "export": "export drawer --json",
    "sample, exported": "sample seven --model models/drawer --count 2 --json",
    "checkpoint verify": "checkpoint verify tiny --json",
    "report": "report tiny --json",
    "report of a codec": "report fsq --out fsq.html --json",
    "reconstruct": f"reconstruct portraits --codec raw --codec fsq --codec jpeg@2000 --codec resize@16 {FEW} "
    "--out back --report back.html --json",
    "reconstruct, ode": f"reconstruct drawn/face.png --steps 3 {FEW} --json",
    "reconstruct, in words": f"reconstruct drawn --codec fsq --codec webp@fsq {FEW}",
    "budget, L": "entropy-budget --L 256 --json",
    "budget, L and V": "entropy-budget --L 16x16 --V 16384 --plot budget.png --json",
    "budget, V": "info-budget --V 2^14 --size 640x480 --bits-per-byte 2.5 --json",
    "budget, anchor": "entropy-budget --L 1024 --anchor post --json",
    "budget, in words": "entropy-budget --L 256 --V 16384",
    "budget, images": "entropy-budget --images portraits --L 256 --V 16384 --size 32 --json",
    "budget, model": "entropy-budget --model drawer --images digits --limit 4 --steps 2 --json",
    "budget, audit": "entropy-budget --model portraits --audit --images portraits --json",
    "budget, codec": "entropy-budget --codec fsq --images portraits --json",
    "catalogue": "entropy-budget catalogue --json",
    "catalogue, in words": "entropy-budget catalogue VQ --plot survival.png",
    "anchors": "entropy-budget anchors --json",
    "bench train": "bench train --preset tiny --steps 3 --json",
    "bench sample": "bench sample --preset tiny --count 2 --json",
    "bench data": "bench data --preset tiny --steps 3 --json",
    "doctor": "doctor --json",
    "version": "--version",
}
KEYS_ALONE = ("presets", "bench train", "bench sample", "bench data", "doctor")  # values differ by machine

# Wrong calls: the exit code, a last line that begins with `error:`, and nothing left behind.
WRONG = {
    "no such command": "tran",
    "no such option": "train --nope",
    "argument missing": "prepare",
    "unknown preset": "train --preset tinny",
    "unknown preset, JSON": "presets tinny --json",
    "unknown key": "train --preset tiny train.batc=3",
    "word for a number": "train --preset tiny train.batch=many",
    "number out of range": "train --preset tiny data.read=2",
    "patch that does not divide": "train --preset tiny codec.patch=3",
    "not a setting": "train --preset tiny batch",
    "not a length of time": "train --preset tiny --time soon",
    "run name": "train --preset tiny --run a/b",
    "set missing": "train --preset tiny --run new data.set=nothing",
    "settings changed": "train --preset tiny train.batch=3",
    "run locked": "train --preset tiny --run locked",
    "codec on several GPUs": "train --preset fsq-256 --gpus 2",
    "loss not finite": f"{TRAIN} --preset tiny --run wild train.learning_rate=1e30 train.clip=1e30",
    "unknown device": "sample a --run drawer --device gpu",
    "run missing, JSON": "sample a --run drawr --json",
    "unknown solver": "sample a --solver eulr",
    "top-p": "sample a --top-p 7",
    "control character": "sample a\x07b",
    "no picture": "sample --image drawn/broken.png",
    "mask of another size": "sample a --image drawn/face.png --inpaint drawn/circle-0.png",
    "mask alone": "sample a --inpaint drawn/mask.png",
    "settings torn": "sample a --run torn",
    "checkpoint damaged": "sample a --run hollow",
    "checkpoint damaged, verify": "checkpoint verify hollow",
    "no checkpoint": "evaluate bare",
    "no runs": "report --runs-dir nowhere",
    "set of an evaluation": "evaluate drawer --data-dir nowhere",
    "unknown source": "prepare digit",
    "path missing": "prepare folder",
    "path of nothing": "prepare folder --path nowhere",
    "too many bad pictures": "prepare folder --path drawn --name bad --max-bad-fraction 0",
    "background": "prepare digits --background mauve",
    "set not there": "show nothing",
    "index": "show digits --index 9999",
    "split": "show digits --split test",
    "unknown codec": "reconstruct drawn --codec fsk",
    "bits of a codec": "reconstruct drawn --codec jpeg@many",
    "reconstruct no picture": "reconstruct drawn/stories.jsonl --codec raw",
    "L, JSON": "entropy-budget --L many --json",
    "H twice": "entropy-budget --L 256 --H 5 --size 64",
    "audit alone": "entropy-budget --audit",
    "codec without codes": "entropy-budget --codec raw --images drawn",
    "average of no powers": "average drawer --width 0.1",
    "exported already": "export drawer",
    "tuned nothing": "tune-sampler nothing",
    "demo of others": "demo data.set=mine",
}
IGNORED = ("*.lock", "*.owner", "*events.out.*")  # files that are not compared


def main() -> None:
    """Record, or compare. Exit code 1 at an unexpected difference."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("record").add_argument("out", type=Path)
    comparing = parts.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path, nargs="?", help="recorded now where it is left out")
    comparing.add_argument("--expected", action="append", default=[], metavar="PATTERN", help="may differ")
    options = parser.parse_args()
    if options.part == "record":
        options.out.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(options.before.read_text(encoding="utf-8"))
    after = json.loads(options.after.read_text(encoding="utf-8")) if options.after else record()
    sys.exit(1 if difference(before, after, options.expected) else 0)


def record() -> dict:
    """Run all commands in a temporary folder -> their results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder)
        results = {"made with": versions(), "help": helps(folder)}
        results["commands"] = {name: watch(folder, name, words) for name, words in COMMANDS.items()}
        spoil(folder)
        with FileLock(folder / "runs/locked/.lock"):
            results["wrong"] = {name: watch(folder, name, words) for name, words in WRONG.items()}
    return results


def versions() -> dict[str, str]:
    """Versions of Python and libraries, and the CPU: what may change results without a change of rawmm."""
    libraries = {name: version(name) for name in ("torch", "numpy", "pillow", "imagecodecs", "scikit-learn")}
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"python": platform.python_version(), "cpu": (names or [platform.machine()])[0], **libraries}


def call(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run `rawmm` on one thread, without colours and without a network."""
    own = {key: text for key, text in os.environ.items() if not key.startswith(("RAWMM_", "OMP_", "GOMP_"))}
    own |= {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "HF_HUB_OFFLINE": "1"}
    own |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    own |= {"COLUMNS": "1000", "TERMINAL_WIDTH": "1000", "NO_COLOR": "1", "TERM": "dumb"}
    words = (sys.executable, "-m", "rawmm_cli", *words)
    return subprocess.run(
        words,
        cwd=folder,
        env=own,
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


def watch(folder: Path, name: str, words: str) -> dict:
    """Run a command -> exit code, output, and files written and deleted."""
    before, began = stamps(folder), time.perf_counter()
    done = call(folder, *shlex.split(words))
    last = (done.stderr.splitlines() or [""])[-1]
    print(
        f"{name:<27} exit {done.returncode} {time.perf_counter() - began:4.1f} s {last[:66]}", file=sys.stderr
    )
    after = stamps(folder)
    written = [path for path in sorted(after) if before.get(path) != after[path]]
    return {
        "exit": done.returncode,
        "stdout": printed(done.stdout, name, words),
        "error": last.startswith("error: ") and "Traceback" not in done.stderr,
        "files": {path: digest(folder / path) for path in written},
        "gone": sorted(set(before) - set(after)),
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Modification time and length of every file below a folder, by path."""
    files = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {
        path: (about.st_mtime_ns, about.st_size)
        for path, about in files.items()
        if not any(fnmatch(path, pattern) for pattern in IGNORED)
    }


def printed(text: str, name: str, words: str):
    """The part of stdout that is compared."""
    if not text.strip():
        return "nothing"
    if "--json" not in words:
        return "words"
    try:
        return shape(json.loads(text)) if name in KEYS_ALONE else steady(json.loads(text))
    except ValueError:
        return f"no JSON: {text}"


def helps(folder: Path) -> dict[str, dict[str, bool]]:
    """Names of the options of every command, {command: {name: True}}; sub-commands are taken from the
    help."""
    options, todo = {}, [()]
    while todo:
        words = todo.pop()
        printed = call(folder, *words, "--help").stdout
        lines = [line[2:] for line in printed.splitlines() if line.startswith("│ ")]
        names = [re.match(r"[* ]*((?:--?[A-Za-z][\w-]*\s+)*)", line)[1].split() for line in lines]
        options[" ".join(["rawmm", *words])] = {name: True for line in names for name in sorted(line)}
        todo += [(*words, line.split()[0]) for line in lines if re.match(r"[a-z]", line)]
    return dict(sorted(options.items()))


if __name__ == "__main__":
    main()
