"""Results of all parts: gpu.json with every number, gpu.md with the tables, log.txt with the messages."""

import json
import platform
import shutil
import sys
import time
from pathlib import Path

from .parts import write_json
from .processes import Process

PERCENT = ("share", "mfu", "wait", "busy", "accuracy")
LINES = 400  # of a part's log that are kept


class Results:
    """What the parts have said so far. Written anew after each of them."""

    def __init__(self, options, work: Path):
        self.options, self.work, self.parts, self.logs = options, work, {}, []
        self.header = {
            "command": "python -m benchmarks.gpu " + " ".join(sys.argv[1:]),
            "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "python": platform.python_version(),
        }

    def add(self, process: Process) -> None:
        """The results of a part that has ended."""
        file, values = self.work / f"{process.name}.json", {}
        if file.is_file():
            values = json.loads(file.read_text(encoding="utf-8"))
        code = process.process.returncode
        problems = values.get("problems", [])
        if process.cut:
            status, note = "cut", f"stopped after {process.seconds:.0f} s"
        elif code:
            status, note = "failed", f"exit code {code}: " + " | ".join(process.tail(4))[-600:]
        elif problems:
            status, note = "failed", f"{len(problems)} problems, the first: {problems[0]}"
        else:
            status, note = "ok", ""
        if process.name == "machine":
            self.header |= values
        self.parts[process.name] = {
            "status": status,
            "seconds": round(process.spent, 1),
            "note": note,
        } | values
        self._say(process.name)
        if status in ("cut", "failed"):
            print("\n".join(f"    {line}" for line in process.tail(8)), flush=True)
        self.logs += [f"== {process.name}: {status}", *process.tail(LINES)]
        for file in [*self.work.glob("*.sheet.png"), *self.work.glob("*.model.tar")]:
            shutil.copy(file, self.options.out / file.name.replace(".sheet", "").replace(".model", ""))

    def leave_out(self, name: str, why: str) -> None:
        """A part that was not begun."""
        self.parts[name] = {"status": "left out", "seconds": 0.0, "note": why}
        self._say(name)

    def _say(self, name: str) -> None:
        part = self.parts[name]
        print(f"-- {name}: {part['status']} ({part['seconds']:.0f} s) {part['note'][:400]}", flush=True)

    def all_ok(self, names) -> bool:
        """Whether all of these parts that ran are ok."""
        return all(self.parts[name]["status"] == "ok" for name in names if name in self.parts)

    def write(self, seconds: float | None = None) -> None:
        """Write gpu.json, gpu.md and log.txt."""
        if seconds is not None:
            self.header["seconds"] = round(seconds, 1)
        out = self.options.out
        write_json(out / "gpu.json", {"header": self.header, "parts": self.parts})
        (out / "gpu.md").write_text(self.markdown(), encoding="utf-8")
        (out / "log.txt").write_text("\n".join(self.logs) + "\n", encoding="utf-8")

    def last_words(self, seconds: float) -> str:
        """One line: how each part ended."""
        states = ", ".join(f"{name} {part['status']}" for name, part in self.parts.items())
        return f"== {seconds:.0f} s: {states}; {self.options.out}/gpu.md"

    def markdown(self) -> str:
        """All tables."""
        lines = ["# GPU check", "", *(f"- {name}: {value}" for name, value in self.header.items()), ""]
        overview = [
            {"part": name} | {k: part[k] for k in ("status", "seconds", "note")}
            for name, part in self.parts.items()
        ]
        lines += [*table(overview), ""]
        for name, part in self.parts.items():
            tables, problems = part.get("tables", {}), part.get("problems", [])
            if tables or problems:
                lines += [f"## {name}", ""]
            lines += [f"- **problem**: {problem}" for problem in problems]
            for title, rows in tables.items():
                lines += ["", f"### {title}", "", *table(rows)]
            lines.append("")
        return "\n".join(lines)


def table(rows: list[dict]) -> list[str]:
    """Rows as a Markdown table, with the columns of all of them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(cell(name, row.get(name)) for name in columns)} |" for row in rows]


def cell(name: str, value) -> str:
    """A value as text, by the name of its column."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).replace("|", "/")
    if any(word in name for word in PERCENT):
        return f"{value:.1%}"
    if "memory" in name and "ratio" not in name:
        return f"{value / 2**30:.2f} GiB"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
