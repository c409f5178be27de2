"""Sampling beside transfusion-pytorch: text, and pictures at the same number of evaluations, each side in a process of its own.

    make bench-peers        or        python -m benchmarks.peers.sampling --peer-python PATH [--json FILE]

Ours is the model inside the package as it is sampled by default; the peer has the same number of parameters in its
Transformer (SAMPLING in settings.py), untrained. Sides take turns, and ratios are taken inside one round.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from .settings import EVALUATIONS, PATCHES_DRAWN, PEER, PICTURES, PROMPT, SAMPLING, TEXT, check_parameters

ROOT = Path(__file__).resolve().parents[2]
GOALS = (("text", "sample", 25.0), ("text", "sample, cache_kv", None), ("text", "generate_text_only", 2.0),
         *((f"{n} picture{'s' * (n > 1)}", "generate_modality_only", 5.0) for n in PICTURES))


def main() -> None:
    """Options -> a table on stdout, JSON where wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.sampling", description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", type=Path, required=True, help=f"a Python that has {PEER}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of each thing in a round; their median counts")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    given = parser.parse_args()
    rounds = [{name: side(python, module, given) for name, python, module in (
        ("rawmm", Path(sys.executable), "benchmarks.peers.sampling_ours"),
        (PEER, given.peer_python.absolute(), "benchmarks.peers.sampling_peer"))} for _ in range(given.rounds)]
    check_parameters(rounds[0]["rawmm"]["parameters"], rounds[0][PEER]["parameters"])
    result = {"threads": given.threads, "setting": SAMPLING, "text": TEXT, "evaluations": EVALUATIONS, "rounds": rounds,
              "ratios": ratios(rounds)}
    print(table(result))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def side(python: Path, module: str, given: argparse.Namespace) -> dict:
    """One side once, in a process of its own -> {"parameters", "seconds": {what: seconds}, "tokens": {what: tokens}}."""
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "TQDM_DISABLE": "1"}
    done = subprocess.run([str(python), "-m", module, str(given.repeats)], cwd=ROOT, capture_output=True, text=True,
                          env=environment, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"{module} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:300]}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{module}: " + ", ".join(f"{what} {seconds:.4f} s" for what, seconds in found["seconds"].items()), file=sys.stderr)
    return found


def cost(found: dict, what: str) -> float:
    """Seconds for a token, or for the pictures."""
    return found["seconds"][what] / found["tokens"].get(what, 1)


def ratios(rounds: list[dict]) -> dict:
    """How many times our time the peer takes, for each goal: median, lowest, highest of the rounds."""
    found = {}
    for ours, theirs, goal in GOALS:
        what = theirs if ours == "text" else ours
        each = [cost(turn[PEER], what) / cost(turn["rawmm"], ours) for turn in rounds]
        found[f"{ours}: {theirs}"] = {"median": median(each), "lowest": min(each), "highest": max(each), "goal": goal}
    return found


def table(result: dict) -> str:
    """The result as text for a person."""
    turns = result["rounds"]
    sizes = " and ".join(f"{turns[0][name]['parameters']:,}" for name in ("rawmm", PEER))
    lines = [f"{result['threads']} threads; {sizes} parameters in the Transformers; text: {TEXT} tokens after {PROMPT}; "
             f"pictures: {PATCHES_DRAWN} patches, {EVALUATIONS} evaluations"]
    for name in ("rawmm", PEER):
        for what in turns[0][name]["seconds"]:
            seconds = median(turn[name]["seconds"][what] for turn in turns)
            tokens = turns[0][name]["tokens"].get(what)
            lines.append(f"{name:<22}{what:<26}{seconds:>9.4f} s" + (f"{tokens / seconds:>10,.0f} tokens/s" if tokens else ""))
    for what, ratio in result["ratios"].items():
        goal = f"   goal {ratio['goal']:g}" if ratio["goal"] else ""
        range_of = f"{ratio['lowest']:.2f} to {ratio['highest']:.2f}"
        lines.append(f"rawmm is faster, {what:<36}{ratio['median']:>7.2f} x ({range_of}){goal}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
