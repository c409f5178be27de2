"""Notes, progress and the JSON object of `--json`. Nothing here imports torch."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import typer

from ..system.figures import duration

if TYPE_CHECKING:
    from rich.console import Console


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
