"""Tables on the terminal: columns under bold headings, without rules."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Union

from ..system.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

    Cell = Union[str, Text]

MISSING = "–"
WIDE = 1000  # width of a line in a file or a pipe, in characters


def write(
    heads: Sequence[str], rows: Iterable[Sequence["Cell"]], numbers: Collection[int] = (), title: str = ""
) -> None:
    """Print rows on stdout. numbers: indices of the columns that are right-aligned.

    These and the first column are never wrapped; other cells are, where the terminal is too narrow. Strings
    are no markup, and lose their control characters."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="bold",
        padding=(0, 2, 0, 0),
        show_header=any(heads),
    )
    for place, head in enumerate(heads):
        whole = place == 0 or place in numbers
        table.add_column(
            head,
            justify="right" if place in numbers else "left",
            no_wrap=whole,
            overflow="ellipsis" if whole else "fold",
        )
    for row in rows:
        table.add_row(*(text(cell) if isinstance(cell, str) else cell for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    console.print(table)


def text(content: str, style: str = "", keep: str = "") -> "Text":
    """A cell whose content is no markup and has no control characters but those in `keep`."""
    from rich.text import Text

    return Text(printable(content, keep=keep), style)


def number(value: float | None, form: Callable[[float], str]) -> str:
    """The number as `form` writes it, or a dash for None."""
    return MISSING if value is None else form(value)
