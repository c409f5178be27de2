"""`rawmm prepare`: turn a source of pictures and captions into a prepared set."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import DATA, DataDir, Json, emit, notify, writable_folder

SOURCES = ("digits", "folder")


def prepare(
    source: Annotated[str, typer.Argument(help="digits (real handwritten ones, no download) or folder (your own).")],
    path: Annotated[Optional[Path], typer.Option(help="folder: where the images are; captions in NAME.txt, metadata.jsonl "
                                                      "or metadata.csv (file_name, text).")] = None,
    name: Annotated[Optional[str], typer.Option(help="Name of the prepared set. "
                                                     "[default: the source's or folder's name]")] = None,
    size: Annotated[Optional[int], typer.Option(min=1, help="folder: crop to a square and shrink to so many pixels; "
                                                            "without it every picture keeps its own size.")] = None,
    held_out: Annotated[float, typer.Option(min=0.001, max=0.9, help="folder: share of pictures held out.")] = 0.1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="folder: leave out images that cannot be read.")] = False,
    data_dir: DataDir = DATA, json: Json = False,
):
    """Prepare a data set: exact pixels and captions, split into training and held-out pictures."""
    result = run(source, path, name, size, held_out, skip_bad, data_dir)
    if json:
        return emit(result)
    notify(f"prepared {result['folder']}: {result['count']['train']:,} training and {result['count']['held_out']:,} "
           "held-out pictures")
    for skipped in result.get("skipped", []):
        notify(f"left out {skipped['file']}: {skipped['reason']}")
    if result.get("without_caption"):
        notify(f"pictures without a caption: {result['without_caption']:,}; they are drawn, not read")


def run(source: str, path: Path | None, name: str | None, size: int | None, held_out: float, skip_bad: bool,
        data_dir: Path) -> dict:
    """The work of `prepare` -> the data card, with the folder it was written to."""
    import re

    from ..core.config import nearest
    from ..core.errors import ConfigError

    if source not in SOURCES:
        raise ConfigError(f"unknown source '{source}'{nearest(source, list(SOURCES))}; allowed: {', '.join(SOURCES)}")
    if source == "digits" and (path or size or skip_bad or held_out != 0.1):
        raise ConfigError("digits takes no --path, --size, --held-out or --skip-bad: it is a fixed set inside scikit-learn")
    if source == "folder" and path is None:
        raise ConfigError("folder needs --path DIR, the folder with your images")
    name = name or ("digits" if source == "digits" else path.resolve().name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"'{name}' cannot name a set; allowed: letters, digits, '.', '_' and '-'; give one with --name")
    if source == "folder" and name == "digits":
        raise ConfigError("'digits' is the name of the built-in set; give another with --name")
    from ..core import prepared

    prepared.check_target(data_dir / name, path)
    if source == "digits":
        from ..core.datasets.digits import digits

        rows, card = digits()
    else:
        from ..core.datasets.folder import folder

        rows, card = folder(path, size=size, held_out=held_out, skip_bad=skip_bad)
    writable_folder(data_dir, "data folder")
    return {"folder": str(data_dir / name), **prepared.write(data_dir / name, rows, {**card, "name": name})}
