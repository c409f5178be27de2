"""The tests of tests/cuda."""

import os
import re
import subprocess
import sys
import threading
from xml.etree import ElementTree

from .parts import ROOT, part

DONE = re.compile(r"^\[gw\d+\].*?\b(PASSED|FAILED|SKIPPED|ERROR|XFAIL)\b.*?(tests/.+?)\s*$")


def main() -> None:
    """Run them by six workers; count, and keep the last lines of those that fail."""
    job = part("tests")
    if not (ROOT / "tests" / "cuda").is_dir():
        return job.save(note="there is no folder tests/cuda")
    report = job.work / "tests.xml"
    words = [
        "tests/cuda",
        "-vv",  # once is taken back by the -q of pyproject.toml
        "--durations=12",
        "-n",
        "2" if job.device == "cpu" else "6",
        "--dist",
        "loadgroup",
        "--tb=short",
    ]
    words += [
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        *(["-k", "noise or pinned"] if job.tiny else []),
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"RAWMM_CARD": "cpu"} if job.device == "cpu" else {}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    timer = threading.Timer(max(5.0, job.remaining - 5), process.terminate)
    timer.start()
    counts, failed, lines = {}, [], []
    for line in process.stdout:  # counted as they end, should the rest be cut
        lines.append(line)
        if done := DONE.search(line):
            counts[done[1]] = counts.get(done[1], 0) + 1
            if done[1] in ("FAILED", "ERROR"):
                failed.append(done[2])
                job.say(f"failed: {done[2]}")
                job.save(counts=counts, problems=failed)
    code, on_time = process.wait(), timer.is_alive()
    timer.cancel()
    print("".join(lines[-400:]), file=sys.stderr)
    problems = failures(report) if report.is_file() else [f"failed: {name}" for name in failed]
    if code not in (0, 1):
        problems.append(
            f"pytest left with exit code {code}: {' | '.join(''.join(lines).splitlines()[-4:])[:400]}"
        )
    if not on_time:
        problems.append("stopped by the time limit: the rest was not run")
    result = {name: counts.get(name.upper(), 0) for name in ("passed", "failed", "error", "skipped")}
    job.save(counts=counts, problems=problems, tables={"tests/cuda": [result]}, **result)
    job.say(", ".join(f"{count} {name}" for name, count in result.items()))


def failures(report) -> list[str]:
    """Names and last lines of the tests that failed."""
    lines = []
    for case in ElementTree.parse(report).iter("testcase"):
        for kind in ("failure", "error"):
            if (failure := case.find(kind)) is not None:
                text = [line.strip() for line in (failure.text or "").splitlines() if line.strip()]
                lines.append(f"{case.get('classname')}::{case.get('name')}: {' | '.join(text[-5:])[:700]}")
    return lines


if __name__ == "__main__":
    main()
