"""`rawmm prepare`: turn a source of pictures and text into a prepared set, or check one."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.threads import cores
from .common import DATA, DataDir, Json, writable_folder
from .screen import Bar, emit, notify

if TYPE_CHECKING:
    from ..data.items import Source

HELP = (
    "portraits, digits, emoji, photos, text-images (nothing is downloaded); celebahq, ffhq, mnist, cifar10, "
    "imagenet64; "
    "folder, parquet, webdataset, documents, text (your own, with --path); hf:OWNER/NAME. With --verify: a "
    "prepared set."
)


def prepare(
    source: Annotated[str, typer.Argument(help=HELP)],
    path: Annotated[
        Optional[Path],
        typer.Option(
            help="Where your own data is: a folder or a file; also a local copy of a set "
            "that would be downloaded."
        ),
    ] = None,
    name: Annotated[
        Optional[str], typer.Option(help="Name of the prepared set. [default: the source's or folder's name]")
    ] = None,
    size: Annotated[
        Optional[int],
        typer.Option(
            min=0,
            help="Shrink until the shorter side has so many pixels; 0: every "
            "picture keeps its own size. [default: 0; celebahq at most 128; "
            "portraits, emoji, photos, text-images 64]",
        ),
    ] = None,
    crop: Annotated[
        str, typer.Option(help="With --size: center (the largest square) or none (the whole picture).")
    ] = "center",
    enlarge: Annotated[
        bool, typer.Option("--enlarge", help="With --size: also make smaller pictures larger.")
    ] = False,
    background: Annotated[
        str, typer.Option(help="What is behind transparent pixels: white, black, grey or #rrggbb.")
    ] = "white",
    split: Annotated[
        Optional[str], typer.Option(help="Only this split of a source that has several.")
    ] = None,
    columns: Annotated[
        Optional[str], typer.Option(help="Which columns to use: image=...,text=...,label=...")
    ] = None,
    caption: Annotated[
        Optional[str], typer.Option(help="Caption made of a class, for example 'a photo of a {label}'.")
    ] = None,
    variant: Annotated[Optional[str], typer.Option(help="celebahq: plain (without captions).")] = None,
    count: Annotated[
        Optional[int],
        typer.Option(
            min=2,
            help="portraits, photos, text-images: how many to make. [default: 20,000; text-images 10,000]",
        ),
    ] = None,
    font: Annotated[
        Optional[Path],
        typer.Option(
            help="emoji, text-images: the font. [default: the installed colour emoji font; "
            "all installed ones]"
        ),
    ] = None,
    glyph: Annotated[
        Optional[str],
        typer.Option(help="text-images: pixels of a letter's em, as 10 or 8-32. [default: 8-32]"),
    ] = None,
    limit: Annotated[Optional[int], typer.Option(min=2, help="Only the first so many items.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0001, max=0.9, help="Share held out, where the source has no splits.")
    ] = 0.1,
    max_bad_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out bad pictures, up to this share.")
    ] = 0.05,
    workers: Annotated[
        Optional[int],
        typer.Option(min=0, help="Processes that decode; 0: none but this one. [default: one a core]"),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check a prepared set: every pixel, count and the card.")
    ] = False,
    data_dir: DataDir = DATA,
    json: Json = False,
) -> None:
    """Prepare a data set: exact pixels and captions, split into training and held-out pictures, with a card
    of what it holds.

    The same command again goes on where an interrupted one stopped."""
    if verify:
        return _verify(data_dir / source, json)
    wanted = {
        "path": path,
        "size": size,
        "split": split,
        "columns": columns,
        "caption": caption,
        "variant": variant,
        "count": count,
        "font": font,
        "glyph": glyph,
    }
    result = run(
        source,
        wanted,
        name=name,
        crop=crop,
        enlarge=enlarge,
        background=background,
        limit=limit,
        held_out=held_out,
        max_bad=max_bad_fraction,
        workers=cores() if workers is None else workers,
        data_dir=data_dir,
    )
    emit(result) if json else _show(result)


def run(
    source: str,
    wanted: dict | None = None,
    *,
    name: str | None = None,
    crop: str = "center",
    enlarge: bool = False,
    background: str = "white",
    limit: int | None = None,
    held_out: float = 0.1,
    max_bad: float = 0.05,
    workers: int = 0,
    data_dir: Path = DATA,
) -> dict:
    """The work of `prepare` -> the data card, with the folder it was written to. wanted: options of the
    source."""
    from ..data import prepared, sources
    from ..data.images import CROPS
    from ..data.prepare import Options, prepare
    from ..data.rows import Fitting
    from ..pages import card as page
    from ..system.errors import ConfigError

    if crop not in CROPS:
        raise ConfigError(f"crop is '{crop}'; allowed: {', '.join(CROPS)}")
    wanted = {key: value for key, value in (wanted or {}).items() if value is not None}
    if own_size := wanted.get("size") == 0:
        del wanted["size"]
    fitting = Fitting(wanted.get("size"), crop, enlarge, _colour(background))
    name = _name(source, name, wanted.get("path"))
    sources.check(source, wanted)
    folder = data_dir / name
    prepared.check_target(folder, wanted.get("path"))
    items = _open(source, wanted, data_dir)
    items.card["name"] = name
    if items.size and not own_size and fitting.size is None:
        fitting = replace(fitting, size=items.size, at_most=True)
        notify(
            f"larger pictures are made to fit {items.size} pixels; another size with --size, their own with "
            f"--size 0"
        )
    options = Options(fitting, held_out, limit, max_bad, workers)
    with Bar("preparing", min(filter(None, (items.count, limit)), default=None)) as progress:
        card = prepare(items, folder, options, notify, progress, page.write)
    return {"folder": str(folder), **card}


def _open(source: str, wanted: dict, data_dir: Path) -> "Source":
    """The source; where it cannot be opened, no new data folder stays behind."""
    from ..data import sources

    existed = data_dir.exists()
    writable_folder(data_dir, "data folder")
    try:
        return sources.source(source, wanted, notify)
    except Exception:
        if not existed:
            with suppress(OSError):
                data_dir.rmdir()
        raise


def _name(source: str, name: str | None, path: Path | None) -> str:
    """The name of the prepared set: the one given, or that of the source."""
    import re

    from ..data.items import GENERAL, NAMES
    from ..system.errors import ConfigError

    if name is None and source in GENERAL and path is not None:
        name = path.resolve().name.split(".")[0] if path.is_file() else path.resolve().name
    name = source.removeprefix("hf:").rpartition("/")[2] if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"'{name}' cannot name a set; allowed: letters, digits, '.', '_' and '-'; give one with --name"
        )
    if name in NAMES and name != source:
        raise ConfigError(f"'{name}' is the name of a built-in set; give another with --name")
    return name


def _colour(text: str) -> tuple[int, int, int]:
    """'white' or '#rrggbb' -> red, green, blue. Raises ConfigError."""
    import re

    from ..system.errors import ConfigError

    names = {"white": "#ffffff", "black": "#000000", "grey": "#808080", "gray": "#808080"}
    digits = re.fullmatch("#([0-9a-fA-F]{6})", names.get(text, text))
    if not digits:
        raise ConfigError(f"background is '{text}'; allowed: {', '.join(names)} or #rrggbb")
    return tuple(bytes.fromhex(digits[1]))


def _verify(folder: Path, json: bool) -> None:
    """Check every row of a prepared set against its card. Raises DataError where something does not fit."""
    from ..data import card
    from ..system.errors import DataError

    problems = card.verify(folder)
    if json:
        emit({"folder": str(folder), "sound": not problems, "problems": problems})
    for line in problems[:20]:
        notify(line)
    if problems:
        raise DataError(
            f"data set {folder} is not as it was prepared: {problems[0]}; delete it and prepare it again"
        )
    if not json:
        notify(f"{folder} is sound: {card.read_card(folder)['fingerprint']}")


def _show(card: dict) -> None:
    """Print a few lines about the set."""
    count, folder, kind = card["count"], card["folder"], card["kind"]
    notify(
        f"prepared {folder}: {count['train']:,} training and {count['held_out']:,} held-out {kind}; "
        f"all about it: {folder}/card.html"
    )
    for skipped in card["skipped"][:5]:
        notify(f"left out {skipped['file']}: {skipped['reason']}")
    if card["skipped_count"] > 5:
        notify(f"left out {card['skipped_count'] - 5:,} more: {folder}/skipped.jsonl")
    if card.get("without_caption") and kind == "pictures":
        notify(f"pictures without a caption: {card['without_caption']:,}; they are drawn, not read")
    if across := card["duplicates"]["exact"]["across_splits"]:
        notify(f"{across:,} pictures of the training set stand among the held-out ones too")
