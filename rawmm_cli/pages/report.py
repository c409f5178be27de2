"""report.html: a run on one page, also while it trains. Curves, results, pictures, captions, settings,
checkpoints.

Whatever the run folder lacks is left out, so a run that just began has a report too; the page is complete
without its script. `runs/folder.py` reads the folder, `facts.py`, `results.py`, `curves.py` and `gallery.py`
make what is shown. Next: report.html, the template, and report.js."""

from pathlib import Path
from typing import Any

from ..config import presets
from ..config.enough import too_few
from ..runs.folder import (
    checkpoints,
    held_out_losses,
    ordered_records,
    read_json,
    read_settings,
    setting,
    settings_lines,
)
from ..runs.lock import is_training
from ..system.errors import CheckpointError, RawmmError
from ..system.figures import finite, number, short
from . import gallery, page
from .curves import curves
from .facts import facts_of
from .results import headlines, results


def write(run: Path, out: Path | None = None) -> Path:
    """Write `run/report.html`, or `out`, in one go -> its path. Raises CheckpointError where `run` is not a
    run, and DiskFullError."""
    if not (run / "config.yaml").is_file():
        raise CheckpointError(f"{run} is not a run: it has no config.yaml")
    path = out or run / "report.html"
    page.write(path, render(run))
    return path


def render(run: Path) -> str:
    """The page as text; the same folder gives the same page."""
    rows, settings, saved = ordered_records(run), read_settings(run), checkpoints(run)
    evaluation = read_json(run / "evaluation.json", dict)
    machine, samples = read_json(run / "environment.json", dict), run / "samples"
    held_out = held_out_losses(run)
    points = sorted([*held_out, *rows], key=lambda row: row["documents"])
    return page.render(
        "report",
        name=run.resolve().name,
        state=state(run),
        facts=facts_of(run, settings, saved, machine),
        expected=_expected(settings),
        cards=headlines(rows, evaluation, held_out[-1] if held_out else {}),
        bad=read_json(run / "bad_batch.json", dict).get("problem"),
        curves=curves(points, evaluation),
        results=results(evaluation, setting(settings, "data", "size")),
        evaluated=evaluation.get("documents"),
        drawn=gallery.drawn(samples),
        read=gallery.read(samples),
        timeline=gallery.timeline(samples, rows),
        written=gallery.written(samples),
        settings=settings_lines(settings) or _raw(run / "config.yaml"),
        checkpoints=saved,
        machine={key: _fact(value) for key, value in machine.items() if value not in ("", None)},
    )


def _expected(settings: dict) -> tuple[str, str] | None:
    """The preset that the run follows, and what is expected of it."""
    try:
        return presets.expected(presets.resolve(settings))
    except RawmmError:
        return None


def _raw(path: Path) -> list[list[tuple[str, str, bool]]]:
    """A config.yaml that is no YAML, as it is."""
    return [[("", line, False) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]]


def _fact(value: Any) -> str:
    return short(value) if finite(value) and abs(value) >= 1e6 else number(value)


def state(run: Path) -> dict:
    """Progress of a run: status (running, done or stopped), documents, few (a line, where they are too few),
    of (how many in all), seconds, share, eta, and when the last record was written."""
    rows, settings, saved = ordered_records(run), read_settings(run), checkpoints(run)
    last = rows[-1] if rows else {}
    kept = max((one["documents"] for one in saved if one["documents"] and not one["problem"]), default=0)
    seen, seconds = max(last.get("documents", 0), kept), last.get("seconds")
    aim, time = setting(settings, "train", "documents"), setting(settings, "train", "time")
    share = (
        seconds / time
        if finite(time) and finite(seconds) and time > 0
        else seen / aim
        if finite(aim) and aim > 0
        else 0
    )
    status = "running" if is_training(run) else "done" if share >= 1 else "stopped"
    numbers = [setting(settings, "train", name) for name in ("warmup", "batch")]
    known = all(isinstance(value, int) and finite(value) for value in (*numbers, aim, seen))
    path = run / "records.jsonl"
    return {
        "status": status,
        "documents": seen,
        "few": too_few(seen, *numbers, aim if finite(time) else None) if known and seen else "",
        "of": aim if finite(aim) and not finite(time) else None,
        "seconds": seconds if finite(seconds) else None,
        "share": min(max(share, 0), 1),
        "eta": last["eta"] if status == "running" and finite(last.get("eta")) else None,
        "last_record": path.stat().st_mtime if rows else None,
    }
