"""`rawmm show`: documents of a prepared set, in the terminal and as a contact sheet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.figures import counted
from .common import DATA, DataDir, Json
from .screen import emit, printable

if TYPE_CHECKING:
    from ..data.entries import Entry

SIDE, LARGE, GAP = 32, 72, 2  # characters: side of one of several pictures, of a single one, space between


def show(
    name: Annotated[str, typer.Argument(help="A prepared set: its name, or its folder.")],
    index: Annotated[
        Optional[int],
        typer.Option(
            min=0, max=10**12, help="First document. [default: documents spread evenly over the split]"
        ),
    ] = None,
    count: Annotated[
        Optional[int],
        typer.Option(min=1, max=1000, help="Number of documents. [default: 16; with --index 1]"),
    ] = None,
    split: Annotated[str, typer.Option(help="train or held_out.")] = "train",
    out: Annotated[
        Optional[Path],
        typer.Option(
            "--out",
            dir_okay=False,
            help="PNG file for a contact sheet, or for the exact pixels of a single picture.",
        ),
    ] = None,
    data_dir: DataDir = DATA,
    json: Json = False,
) -> None:
    """Show documents of a prepared set: pictures, captions, labels and sources.

    A terminal shows the pictures as half blocks; --out writes them on a contact sheet."""
    from ..data.entries import entries
    from ..data.prepared import read_card
    from ..system.errors import ConfigError

    card = read_card(data_dir / name)
    chosen = _chosen(card, split, index, count)
    shown = entries(data_dir / name, split, chosen, card.get("labels", []))
    if out and not any(entry.pictures for entry in shown):
        raise ConfigError(
            "these documents have no picture, and --out writes pictures; choose others, or leave out --out"
        )
    if out:
        _write(shown, out)
    if json:
        return emit(
            {
                "set": card.get("name", name),
                "folder": str(data_dir / name),
                "kind": card.get("kind"),
                "split": split,
                "count": card["count"],
                "documents": [_described(entry) for entry in shown],
                "unused": card.get("unused", {}),
                "sheet": str(out) if out else None,
            }
        )
    _print(shown, card, split)
    if out:
        typer.echo(printable(f"written: {out}"))


def _chosen(card: dict, split: str, index: int | None, count: int | None) -> list[int]:
    """Indices of the documents to show. Raises ConfigError."""
    from ..config.explain import nearest
    from ..data.prepared import SPLITS, evenly_spaced
    from ..system.errors import ConfigError

    if split not in SPLITS:
        raise ConfigError(f"--split is '{split}'{nearest(split, SPLITS)}; allowed: {', '.join(SPLITS)}")
    total = card["count"][split]
    if index is None:
        return evenly_spaced(total, count or 16)
    if index >= total:
        raise ConfigError(
            f"--index is {index:,}; allowed: 0 to {total - 1:,}, as the split {split} has "
            f"{counted(total, 'document')}"
        )
    return list(range(index, min(total, index + (count or 1))))


def _write(shown: list, out: Path) -> None:
    """Write the contact sheet, or the exact pixels of a single picture."""
    from ..data.entries import sheet
    from ..data.images import save_png

    out.parent.mkdir(parents=True, exist_ok=True)
    pictures = [picture for entry in shown for picture in entry.pictures]
    save_png(pictures[0].pixels if len(pictures) == 1 else sheet(shown), out)


def _described(entry: "Entry") -> dict:
    items = [
        {"text": item}
        if isinstance(item, str)
        else {"image": list(item.pixels.shape[:2])} | ({} if item.draw is None else {"draw": item.draw})
        for item in entry.items
    ]
    return {
        "index": entry.index,
        "source": entry.source,
        "items": items,
        "label": entry.label,
        "attributes": entry.attributes,
    }


def _print(shown: list, card: dict, split: str) -> None:
    """Print pictures side by side on a terminal; long documents, or a single one, one below the other."""
    from rich.columns import Columns
    from rich.console import Console, Group
    from rich.padding import Padding

    from ..data.layout.unused import sentence

    out = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    drawn = out.is_terminal and not out.no_color
    out.print(
        printable(f"{card.get('name')}: {split}, {len(shown):,} of {card['count'][split]:,}"),
        style="bold",
        soft_wrap=True,
    )
    if line := sentence(card.get("unused", {})):
        out.print(line, soft_wrap=True)
    if len(shown) == 1 or not drawn or card.get("kind") == "documents":
        for entry in shown:
            for part in _whole(entry, out.width if drawn else 0):
                out.print(part, soft_wrap=isinstance(part, str))
        return
    side = max(1, min(SIDE, out.width - GAP))
    wide = max(min(side, max(entry.pictures[0].pixels.shape[1] for entry in shown)), min(side, 16))
    cells = [Padding(Group(*_cell(entry, side)), (0, 0, 1, 0)) for entry in shown]
    out.print(Columns(cells, width=wide, padding=(0, GAP), equal=True))


def _cell(entry: "Entry", side: int) -> list:
    """A picture, its number and its first caption."""
    from rich.text import Text

    from ..pages.terminal import half_blocks

    caption = entry.texts[0] if entry.texts else entry.label or ""
    return [
        half_blocks(entry.pictures[0].pixels, side),
        Text.assemble((f"{entry.index} ", "bold"), printable(caption)),
    ]


def _whole(entry: "Entry", width: int) -> list:
    """An entry in full, in reading order. width: of the terminal; 0: name pictures instead of showing
    them."""
    from rich.padding import Padding

    from ..pages.terminal import half_blocks

    facts = [f"{entry.index:,}", entry.source]
    facts += [f"class {entry.label}"] if entry.label is not None else []
    facts += [f"{name}: {value}" for name, value in entry.attributes.items()]
    parts = [printable(" · ".join(facts)).replace("\n", " ").replace("\t", " ")]
    for item in entry.items:
        if isinstance(item, str):
            parts.append("  " + printable(item).replace("\n", "\n  "))
            continue
        height, wide = item.pixels.shape[:2]
        use = {None: "", True: ", to be drawn", False: ", to be read"}[item.draw]
        if width:
            side = LARGE if len(entry.pictures) == 1 else SIDE
            parts.append(
                Padding(half_blocks(item.pixels, max(1, min(width - 1 - GAP, side))), (0, 0, 0, GAP))
            )
        parts.append(f"  [{height} x {wide} pixels{use}]")
    return parts
