"""Notes, progress and the JSON object of `--json`. Nothing here imports torch."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import typer

from ..system.figures import counted, duration

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

    from ..config.codecs import CodecTrain
    from ..config.model import Train

PARTS = (  # of a loss, of models and of codecs
    *("text", "image"),
    *("l1", "l2", "perceptual", "commitment", "entropy", "kl", "adversary", "discriminator"),
)
AFTER, EVERY = 1.0, 10.0  # seconds until an activity shows itself, and between two lines of it
_activities: list["Activity"] = []  # under way
_bars: list["Training"] = []  # on the terminal


@lru_cache
def console() -> "Console":
    """The rich console on stderr, one for all: notes and progress bars do not overwrite each other."""
    from rich.console import Console

    class Screen(Console):
        """A console that falls silent on a broken pipe, while the work goes on (rich would exit with 1)."""

        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    return Screen(stderr=True, highlight=False, soft_wrap=True)


def notify(message: str) -> None:
    """Print a note on stderr."""
    console().print(printable(message), style="dim", markup=False)


def emit(result: dict[str, Any]) -> None:
    """Print the JSON object of `--json` on stdout."""
    typer.echo(json.dumps(result, ensure_ascii=True, default=str))


def printable(text: str) -> str:
    """Text without control characters but line ends and tabs."""
    from ..system.errors import printable

    return printable(text, keep="\n\t")


def progress(total: int, what: str = "pictures", every: float = 10.0) -> Callable[[int], None]:
    """A function of the number done that prints a line at most every `every` seconds."""
    last = time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > every and 0 < done < total:
            last = time.monotonic()
            notify(f"{done:,} of {total:,} {what}")

    return report


@contextmanager
def steady(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A function of the number done, for work of some minutes: a bar on a terminal, elsewhere a line every
    ten seconds, both with the time left. Its first call says how many were done before."""
    live = console().is_terminal
    with Bar(what, total) if live else nullcontext() as bar:
        began, first, last = time.monotonic(), None, time.monotonic()

        def report(done: int) -> None:
            nonlocal began, first, last
            now = time.monotonic()
            if first is None:
                began, first = now, done
            if live:
                bar(done, 0)
            elif done > first and now - last > 10 and done < total:
                last, left = now, (now - began) / (done - first) * (total - done)
                notify(
                    f"{done:,} of {total:,} {what}, {done / total:.0%}, about {duration(round(left))} left"
                )

        yield report


class Bar:
    """A bar on a terminal, a line every 15 seconds elsewhere. total: None where it is unknown."""

    def __init__(self, title: str, total: int | None) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.total, self.live = total, console().is_terminal
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console(),
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task("", total=total, rate="")
        self.first: int | None = None  # items that an earlier, interrupted command prepared
        self.last = time.monotonic()

    def __enter__(self) -> "Bar":
        self.began = time.monotonic()
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, skipped: int) -> None:
        """Show how many items are done, and how many of them were left out."""
        if self.first is None:
            self.first = done
        now = time.monotonic()
        if now - self.last < (0.2 if self.live else 15):
            return
        self.last = now
        rate = f"{(done - self.first) / max(now - self.began, 1e-9):,.0f}/s"
        rate += f", {skipped:,} left out" if skipped else ""
        if self.live:
            self.bar.update(self.task, completed=done, rate=rate)
        else:
            notify(f"{done:,}{f' of {self.total:,}' if self.total else ''} items, {rate}")


# -------------------------------------------------------------------------------------- what is done just now


class Activity:
    """What is done now. After a second: on a terminal a line that stays in place, in a training bar where
    there is one; elsewhere a line, and one more every ten seconds."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.count = what, total, 0
        self.began, self.live, self.over, self.lock = time.monotonic(), None, False, threading.Lock()
        self._later(AFTER)

    def __call__(self, count: int) -> None:
        """Note how much is done."""
        self.count = count

    def text(self) -> str:
        """compiling, once, about 30 s: 12 s gone; measuring: 512 of 2,048, 3 s gone."""
        of = f"{self.count:,} of {self.total:,}, " if self.count and self.total else ""
        return f"{self.what}: {of}{duration(round(time.monotonic() - self.began))} gone"

    def __rich__(self) -> str:
        return f"[dim]{self.text()}[/dim]"

    def close(self) -> None:
        """Let it disappear."""
        with self.lock:
            self.over = True
            self.timer.cancel()
            if self.live:
                self.live.stop()

    def _later(self, seconds: float) -> None:
        self.timer = threading.Timer(seconds, self._show)
        self.timer.daemon = True
        self.timer.start()

    def _show(self) -> None:
        with self.lock:
            if self.over or _bars:
                return
            if console().is_terminal:
                self.live = _live(self)
                self.live.start()
            else:
                first = time.monotonic() - self.began < EVERY
                notify(self.what if first and not self.count else self.text())
                self._later(EVERY)


def _live(shown: Any, transient: bool = True) -> "Live":
    from rich.live import Live

    return Live(shown, console=console(), transient=transient, refresh_per_second=4)


@contextmanager
def activity(what: str, total: int = 0) -> Iterator[Activity]:
    """Show `what` is done while the block runs; for `system/activity.py`."""
    now = Activity(what, total)
    _activities.append(now)
    try:
        yield now
    finally:
        _activities.remove(now)
        now.close()


# --------------------------------------------------------------------------------------------------- training


class Training:
    """One line about a training: percent, time gone and left, loss by part. On a terminal a bar that stays in
    place; elsewhere a line every ten seconds. began: of time.perf_counter."""

    def __init__(self, settings: "Train | CodecTrain", began: float) -> None:
        self.settings, self.began, self.record = settings, began, {}
        self.terminal, self.said = console().is_terminal, time.monotonic()
        self.live = _live(self, transient=False) if self.terminal else nullcontext()

    def __enter__(self) -> "Training":
        if self.terminal:
            _bars.append(self)
        self.live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.__exit__(*error)
        if self.terminal:
            _bars.remove(self)

    def __call__(self, record: dict) -> None:
        """Show the record of a step."""
        self.record = record
        if not self.terminal and time.monotonic() - self.said > EVERY:
            self.said = time.monotonic()
            notify(self.text())

    def share(self) -> float:
        """Of the documents or the time of the run."""
        settings, record = self.settings, self.record
        done = (
            record.get("seconds", 0) / settings.time
            if settings.time
            else record.get("documents", 0) / settings.documents
        )
        return min(1.0, done)

    def times(self) -> str:
        """1 min 05 s gone, about 8 min 10 s left."""
        gone, left = time.perf_counter() - self.began, self.record.get("eta")
        known = f", about {duration(round(left))} left" if left is not None else ""
        return f"{duration(round(gone))} gone{known}"

    def text(self) -> str:
        """The line."""
        return f"{self.share():.0%}, {self.times()}, {facts(self.record)}"

    def __rich__(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(expand=True, padding=(0, 1))
        for ratio in (None, 1, None, None):
            line.add_column(ratio=ratio, no_wrap=True)
        bar = ProgressBar(1.0, self.share())
        line.add_row(Text("train", "bold"), bar, f"{self.share():.0%}", self.times())
        now = [one for one in _activities if time.monotonic() - one.began > AFTER]
        below = now[-1].text() if now else facts(self.record) if self.record else ""
        return Group(line, Text(below, "dim"))


def facts(record: dict) -> str:
    """Documents, losses by part, speed, memory and learning rate of a step."""
    parts = [name for name in PARTS if name in record]
    precise = ".4f" if "psnr" in record else ".3f"
    losses = " ".join(f"{name} {record[name]:{precise}}" for name in parts)
    line = f"{counted(record['documents'], 'document')}, loss {record['loss']:{precise}} ({losses})"
    line += f", PSNR {record['psnr']:.2f} dB" if "psnr" in record else ""
    line += f", {record['usage']:.1%} of the codes in use" if "usage" in record else ""
    line += f", {record['documents_per_second']:,.0f} documents/s"
    line += f", MFU {record['mfu']:.0%}" if "mfu" in record else ""
    return f"{line}, {record['memory'] / 2**30:.1f} GiB, rate {record['learning_rate']:.1e}"
