"""What a command does now, for whoever shows it: loading, compiling, drawing, measuring, saving.

    with doing("measuring", 2048) as done:
        ...
        done(512)

Whoever has a screen says how by `shown_by`; without one nothing happens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Done = Callable[[int], None]
Show = Callable[[str, int], AbstractContextManager[Done]]
_show: list[Show] = []


@contextmanager
def doing(what: str, total: int = 0) -> Iterator[Done]:
    """Show, while the block runs, what is done, and how much of `total` (0: unknown) by the function that it
    gets."""
    if not _show:
        yield lambda count: None
        return
    with _show[-1](what, total) as done:
        yield done


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """While the block runs, `show` shows what is done."""
    _show.append(show)
    try:
        yield
    finally:
        _show.remove(show)
