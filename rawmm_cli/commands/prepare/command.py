"""`rawmm prepare`: turn a source of pictures and text into a prepared set, or check one."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ...system.threads import check_address_space, cores
from ..common import DATA, RUNS, DataDir, Json, RunsDir, writable_folder
from ..screen import Bar, emit, notify
from . import codes
from .summary import show
from .verify import verify_set

if TYPE_CHECKING:
    from ...data.items import Source

HELP = (
    "portraits, digits, emoji, photos, text-images, pairs, sums (no download); celebahq, ffhq, mnist, "
    "cifar10, imagenet64; folder, parquet, webdataset, documents, text (your own, with --path); "
    "hf:OWNER/NAME. With --verify: a prepared set."
)


def prepare(
    source: Annotated[str, typer.Argument(help=HELP)],
    path: Annotated[
        Optional[Path],
        typer.Option(
            help="Folder or file of your own data; or a local copy of a set that would be downloaded."
        ),
    ] = None,
    name: Annotated[
        Optional[str], typer.Option(help="Name of the prepared set. [default: the source's or folder's name]")
    ] = None,
    size: Annotated[
        Optional[int],
        typer.Option(
            min=0,
            max=8192,
            help="Shrink pictures until the shorter side has this many pixels; 0: keep every picture's own "
            "size. [default: 0; celebahq at most 128; portraits, emoji, photos, text-images 64]",
        ),
    ] = None,
    crop: Annotated[
        str,
        typer.Option(
            help="With --size: none (the whole picture; the longer side a multiple of 16, of less below 64 "
            "pixels) or center (the largest square; the rest is cut off)."
        ),
    ] = "none",
    enlarge: Annotated[
        bool, typer.Option("--enlarge", help="With --size: also enlarge smaller pictures.")
    ] = False,
    background: Annotated[
        str, typer.Option(help="Colour behind transparent pixels: white, black, grey or #rrggbb.")
    ] = "white",
    split: Annotated[
        Optional[str], typer.Option(help="Only this split of a source that has several.")
    ] = None,
    columns: Annotated[
        Optional[str], typer.Option(help="Which columns to use: image=...,text=...,label=...,attributes=...")
    ] = None,
    caption: Annotated[
        Optional[str], typer.Option(help="Caption of a class, for example 'a photo of a {label}'.")
    ] = None,
    keep_uncaptioned: Annotated[
        bool,
        typer.Option(
            "--keep-uncaptioned",
            help="Keep pictures whose caption is null, where others have one. [default: like bad pictures]",
        ),
    ] = False,
    variant: Annotated[
        Optional[str], typer.Option(help="celebahq: plain (without captions). pairs: digits or portraits.")
    ] = None,
    count: Annotated[
        Optional[int],
        typer.Option(
            min=2,
            max=100_000_000,
            help="portraits, photos, text-images: how many pictures; pairs, sums: how many documents. "
            "[default: 20,000; text-images 10,000; pairs, sums 40,000]",
        ),
    ] = None,
    font: Annotated[
        Optional[Path],
        typer.Option(
            help="emoji, text-images: font file; text-images: or Aileron, the font inside Pillow. [default: "
            "the installed colour emoji font; all installed fonts]"
        ),
    ] = None,
    glyph: Annotated[
        Optional[str],
        typer.Option(help="text-images: pixels of a letter's em, as 10 or 8-32. [default: 8-32]"),
    ] = None,
    letters: Annotated[
        Optional[str],
        typer.Option(help="text-images: words of so many random letters, as 5 or 4-6. [default: real words]"),
    ] = None,
    alphabet: Annotated[
        Optional[str], typer.Option(help="With --letters: which ones. [default: a to z]")
    ] = None,
    words: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=100,
            help="With --letters: words of a picture, one a line. [default: 1 to as many as fit]",
        ),
    ] = None,
    ground: Annotated[
        Optional[str],
        typer.Option(
            help="text-images: behind the letters, plain, photograph, or white (they are black). [default: "
            "plain or photograph]"
        ),
    ] = None,
    place: Annotated[
        Optional[str],
        typer.Option(help="text-images: where text begins, anywhere or corner. [default: anywhere]"),
    ] = None,
    limit: Annotated[
        Optional[int], typer.Option(min=2, max=10**12, help="Only the first LIMIT items.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0001, max=0.9, help="Share to hold out where the source has no splits.")
    ] = 0.1,
    max_bad_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out unreadable pictures, up to this share.")
    ] = 0.05,
    workers: Annotated[
        Optional[int],
        typer.Option(
            min=0, max=256, help="Worker processes that decode; 0: this process. [default: one a core]"
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check a prepared set: every pixel, count and the card.")
    ] = False,
    codec: Annotated[
        Optional[str],
        typer.Option(
            "--codec",
            help="Keep the tokens of a prepared set: encode its pictures with the codec of this run, by its "
            "name or folder.",
        ),
    ] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Prepare a data set: exact pixels, captions, a held-out split and a data card.

    The same command again resumes an interrupted one."""
    if verify:
        return verify_set(data_dir / source, json)
    if codec is not None:
        return codes.keep(data_dir / source, codec, runs_dir, json)
    source_options = {
        "path": path,
        "size": size,
        "split": split,
        "columns": columns,
        "caption": caption,
        "keep_uncaptioned": keep_uncaptioned or None,
        "variant": variant,
        "count": count,
        "font": font,
        "glyph": glyph,
        "letters": letters,
        "alphabet": alphabet,
        "words": words,
        "ground": ground,
        "place": place,
    }
    result = run(
        source,
        source_options,
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
    emit(result) if json else show(result)


def run(
    source: str,
    source_options: dict | None = None,
    *,
    name: str | None = None,
    crop: str = "none",
    enlarge: bool = False,
    background: str = "white",
    limit: int | None = None,
    held_out: float = 0.1,
    max_bad: float = 0.05,
    workers: int = 0,
    data_dir: Path = DATA,
) -> dict:
    """Prepare a set -> its data card and its folder. source_options: by name; None stands for the default."""
    check_address_space()
    from ...data import prepared, sources
    from ...data.images import CROPS
    from ...data.prepare import Options, prepare
    from ...data.rows import Fitting
    from ...pages import card as page
    from ...system.errors import ConfigError

    if crop not in CROPS:
        raise ConfigError(f"crop is '{crop}'; allowed: {', '.join(CROPS)}")
    source_options = {key: value for key, value in (source_options or {}).items() if value is not None}
    if own_size := source_options.get("size") == 0:
        del source_options["size"]
    fitting = Fitting(source_options.get("size"), crop, enlarge, _colour(background))
    name = _name(source, name, source_options.get("path"))
    sources.check(source, source_options)
    folder = data_dir / name
    prepared.check_target(folder, source_options.get("path"))
    items = _open(source, source_options, data_dir)
    items.card["name"] = name
    if items.size and not own_size and fitting.size is None:
        fitting = replace(fitting, size=items.size, at_most=True)
        notify(
            f"larger pictures are shrunk to {items.size} pixels; --size gives another size, --size 0 keeps "
            f"their own"
        )
    options = Options(fitting, held_out, limit, max_bad, workers)
    with Bar("preparing", min(filter(None, (items.count, limit)), default=None)) as progress:
        card = prepare(items, folder, options, notify, progress, page.write)
    return {"folder": str(folder), **card}


def _open(source: str, source_options: dict, data_dir: Path) -> "Source":
    """Open the source. Where that fails, a data folder created for it is removed again."""
    from ...data import sources

    existed = data_dir.exists()
    writable_folder(data_dir, "data folder")
    try:
        return sources.source(source, source_options, notify)
    except Exception:
        if not existed:
            with suppress(OSError):
                data_dir.rmdir()
        raise


def _name(source: str, name: str | None, path: Path | None) -> str:
    """Name of the prepared set: `name`, or that of the source. Raises ConfigError."""
    import re

    from ...data.items import GENERAL, NAMES
    from ...system.errors import ConfigError

    if name is None and source in GENERAL and path is not None:
        name = path.resolve().name.split(".")[0] if path.is_file() else path.resolve().name
    name = source.removeprefix("hf:").rpartition("/")[2] if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"'{name}' cannot be the name of a set; allowed: letters, digits, '.', '_' and '-', up to 100; "
            f"give one with --name"
        )
    if name in NAMES and name != source:
        raise ConfigError(f"'{name}' is the name of a built-in set; give another with --name")
    return name


def _colour(text: str) -> tuple[int, int, int]:
    """'white' or '#rrggbb' -> red, green, blue. Raises ConfigError."""
    import re

    from ...system.errors import ConfigError

    names = {"white": "#ffffff", "black": "#000000", "grey": "#808080", "gray": "#808080"}
    digits = re.fullmatch("#([0-9a-fA-F]{6})", names.get(text, text))
    if not digits:
        raise ConfigError(f"background is '{text}'; allowed: {', '.join(names)} or #rrggbb")
    return tuple(bytes.fromhex(digits[1]))
