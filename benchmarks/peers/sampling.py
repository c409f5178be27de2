"""Sampling beside transfusion-pytorch: text, and pictures at the same number of evaluations, each side in a
process of its own.

    make bench-peers        or        python -m benchmarks.peers.sampling --peer-python PATH [--json FILE]

`package` is the model inside the package, `example` the size of the peer's own MNIST example; on each the
peer has the same number of parameters in its Transformer and as many patches. Sides take turns, and ratios
are taken inside one round."""

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
    """Options -> a table on stdout, JSON where wanted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.sampling", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--peer-python", type=Path, required=True, help=f"a Python that has {PEER}")
    parser.add_argument("--settings", nargs="+", choices=SAMPLED, default=list(SAMPLED))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeats", type=int, default=3, help="of each thing in a round; their median counts"
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    given = parser.parse_args()
    results = {}
    for setting in given.settings:
        rounds = [
            {
                name: side(python, module, setting, given)
                for name, python, module in (
                    ("rawmm", Path(sys.executable), "benchmarks.peers.sampling_ours"),
                    (PEER, given.peer_python.absolute(), "benchmarks.peers.sampling_peer"),
                )
            }
            for _ in range(given.rounds)
        ]
        check_same(rounds[0])
        results[setting] = {"rounds": rounds, "ratios": ratios(rounds)}
    result = {"threads": given.threads, "text": TEXT, "evaluations": EVALUATIONS, "settings": results}
    print(table(result))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def side(python: Path, module: str, setting: str, given: argparse.Namespace) -> dict:
    """One side once, in a process of its own -> {"parameters", "patches", "seconds": {what: seconds}}."""
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [str(python), "-m", module, setting, str(given.repeats)],
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
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{setting}, {module.rpartition('.')[2]}: "
        + ", ".join(f"{what} {taken:.3f} s" for what, taken in found["seconds"].items()),
        file=sys.stderr,
        flush=True,
    )
    return found


def check_same(turn: dict) -> None:
    """Raises ValueError where the two sides are not of one size."""
    check_parameters(turn["rawmm"]["parameters"], turn[PEER]["parameters"])
    if turn["rawmm"]["patches"] != turn[PEER]["patches"]:
        raise ValueError(
            f"a picture is {turn['rawmm']['patches']} patches here and {turn[PEER]['patches']} there"
        )


def ratios(rounds: list[dict]) -> dict:
    """How many times our time the peer takes: median, lowest and highest of the rounds."""
    return {
        f"{ours} / {theirs}": spread(
            [turn[PEER]["seconds"][theirs] / turn["rawmm"]["seconds"][ours] for turn in rounds]
        )
        for ours, theirs in AGAINST
        if ours in rounds[0]["rawmm"]["seconds"]
    }


def table(result: dict) -> str:
    """The result as text for a person."""
    lines = [
        f"{result['threads']} threads; {result['text']} tokens of text; {result['evaluations']} evaluations "
        f"a picture"
    ]
    for setting, found in result["settings"].items():
        first = found["rounds"][0]
        lines += [
            "",
            f"{setting}: {first['rawmm']['parameters']:,} and {first[PEER]['parameters']:,} parameters in "
            f"the "
            f"Transformers, {first[PEER]['patches']} patches a picture",
        ]
        for name in ("rawmm", PEER):
            for what in first[name]["seconds"]:
                seconds = spread([turn[name]["seconds"][what] for turn in found["rounds"]])["median"]
                rate = "" if what.startswith("pictures") else f"{result['text'] / seconds:>8,.0f} tokens/s"
                lines.append(f"  {name:<20} {what:<40}{seconds:>8.3f} s{rate}")
        for what, ratio in found["ratios"].items():
            ours, theirs = what.split(" / ")
            lines.append(
                f"  {ours + ', against ' + theirs:<61}{ratio['median']:>7.2f} x ({ratio['lowest']:.2f} to "
                f"{ratio['highest']:.2f})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
