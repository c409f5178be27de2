"""Sampling compared with transfusion-pytorch: text, and pictures at the same number of evaluations, each
side in a process of its own.

    make bench-peers        or        python -m benchmarks.peers.sampling --peer-python PATH [--json FILE]

`package` is the model inside the package, `example` the size of the peer's own MNIST example. In both the
peer has as many parameters in its Transformer and as many patches. Sides take turns, and ratios are taken
inside a round."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from .settings import EVALUATIONS, PEER, PICTURES, SAMPLED, TEXT, check_parameters
from .table import spread

ROOT = Path(__file__).resolve().parents[2]
AGAINST = (
    ("text after 3 pictures", "sample: text after 3 pictures"),
    ("text after 3 pictures", "sample, cache_kv: text after 3 pictures"),
    ("text after a picture", "sample: text after a picture"),
    ("text after a picture", "sample, cache_kv: text after a picture"),
    ("text", "sample: text"),
    ("text", "sample, cache_kv: text"),
    ("text", "generate_text_only"),
    *((f"{how}: {n}", f"pictures: {n}") for n in PICTURES for how in ("pictures", "pictures in bf16")),
)


def main() -> None:
    """Print a table; with --json, write all measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.sampling", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--peer-python", type=Path, required=True, help=f"a Python that has {PEER}")
    parser.add_argument("--settings", nargs="+", choices=SAMPLED, default=list(SAMPLED))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeats", type=int, default=3, help="calls of each kind in a round; their median counts"
    )
    parser.add_argument("--json", type=Path, help="file for all measurements")
    options = parser.parse_args()
    results = {}
    for setting in options.settings:
        rounds = [
            {
                name: side(python, module, setting, options)
                for name, python, module in (
                    ("rawmm", Path(sys.executable), "benchmarks.peers.sampling_ours"),
                    (PEER, options.peer_python.absolute(), "benchmarks.peers.sampling_peer"),
                )
            }
            for _ in range(options.rounds)
        ]
        check_same(rounds[0])
        results[setting] = {"rounds": rounds, "ratios": ratios(rounds)}
    result = {"threads": options.threads, "text": TEXT, "evaluations": EVALUATIONS, "settings": results}
    print(table(result))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def side(python: Path, module: str, setting: str, options: argparse.Namespace) -> dict:
    """Run one side in a process of its own -> {"parameters", "patches", "seconds": {what: seconds}}."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [str(python), "-m", module, setting, str(options.repeats)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
        timeout=1800,
    )
    if done.returncode:
        raise RuntimeError(
            f"{module} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:300]}"
        )
    result = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{setting}, {module.rpartition('.')[2]}: "
        + ", ".join(f"{what} {seconds:.3f} s" for what, seconds in result["seconds"].items()),
        file=sys.stderr,
        flush=True,
    )
    return result


def check_same(turn: dict) -> None:
    """Raise ValueError where the two sides differ in size."""
    check_parameters(turn["rawmm"]["parameters"], turn[PEER]["parameters"])
    if turn["rawmm"]["patches"] != turn[PEER]["patches"]:
        raise ValueError(
            f"a picture has {turn['rawmm']['patches']} patches for rawmm and {turn[PEER]['patches']} for "
            f"the peer"
        )


def ratios(rounds: list[dict]) -> dict:
    """Time of the peer over that of rawmm: median, lowest and highest of the rounds."""
    return {
        f"{ours} / {theirs}": spread(
            [turn[PEER]["seconds"][theirs] / turn["rawmm"]["seconds"][ours] for turn in rounds]
        )
        for ours, theirs in AGAINST
        if ours in rounds[0]["rawmm"]["seconds"]
    }


def table(result: dict) -> str:
    """The result as text."""
    lines = [
        f"{result['threads']} threads; {result['text']} tokens of text; {result['evaluations']} evaluations "
        f"a picture"
    ]
    for setting, measured in result["settings"].items():
        first = measured["rounds"][0]
        lines += [
            "",
            f"{setting}: {first['rawmm']['parameters']:,} and {first[PEER]['parameters']:,} parameters in "
            f"the Transformers, {first[PEER]['patches']} patches a picture",
        ]
        for name in ("rawmm", PEER):
            for what in first[name]["seconds"]:
                seconds = spread([turn[name]["seconds"][what] for turn in measured["rounds"]])["median"]
                rate = "" if what.startswith("pictures") else f"{result['text'] / seconds:>8,.0f} tokens/s"
                lines.append(f"  {name:<20} {what:<40}{seconds:>8.3f} s{rate}")
        for what, ratio in measured["ratios"].items():
            ours, theirs = what.split(" / ")
            lines.append(
                f"  {ours + ', against ' + theirs:<61}{ratio['median']:>7.2f} x ({ratio['lowest']:.2f} to "
                f"{ratio['highest']:.2f})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
