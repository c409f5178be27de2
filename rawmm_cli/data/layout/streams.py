"""Files of a set that is streamed: .parquet files, archives or pictures in a folder; .parquet or .tar files
of the hub.

What img2dataset writes, .tar files beside .parquet files without pictures, is a set of .tar files."""

import os
from pathlib import Path
from typing import NamedTuple

from ...system.errors import DataError, printable
from ..archives import names as names_in
from .copies import Listed, check_repo, is_saved, listed_in_readme, relative_to
from .files import READERS, advice, files_ending_in
from .inside import OutsideError
from .instead import holds_picture
from .metadata import is_metadata
from .schemas import Tables
from .unused import ENDINGS as OTHERS
from .unused import FILES as NAMED
from .unused import Unused

ENDINGS = (".parquet", ".tar")
ARCHIVES = (".tar.gz", ".tgz", ".zip")  # read as .tar files are
FOLDER, SAVED = "folder", "saved"  # `Files.ending` of a folder of pictures, of a set saved by `datasets`
ALLOWED = "a folder of .parquet files, archives or pictures, a .parquet file or an archive, or hf:OWNER/NAME"


class Files(NamedTuple):
    """Files of one ending, where ".tar" is any archive. paths: on disk, or URLs. names: relative to the set.
    splits: that `datasets` or a README gives to them, None where their names decide. unused: what else there
    is. listed: what the README of a copy says. Of FOLDER and SAVED, the path of the folder and the name of
    the source that reads it."""

    ending: str
    paths: list[str]
    names: list[str]
    splits: list[str | None] | None
    unused: Unused
    listed: Listed = Listed([])


def find(path: str) -> Files:
    """Files of a set that is to be streamed. path: a folder, a file or hf:OWNER/NAME.

    Raises DataError where there are none, or pictures in files of both endings."""
    if path.startswith("hf:"):
        return _on_hub(path.removeprefix("hf:"))
    folder, unused = Path(path), Unused()
    if not folder.exists():
        raise DataError(f"{printable(path)} does not exist; data.stream.path allows: {ALLOWED}")
    if is_saved(folder):
        return Files(SAVED, [path], [f"hf:saved/{folder.resolve().name}"], None, unused)
    files = files_ending_in((*ENDINGS, *ARCHIVES), folder, unused)
    root = folder if folder.is_dir() else folder.parent
    by_ending: dict[str, list[Path]] = {}
    for file in files:
        ending = _ending(file.name)
        by_ending.setdefault(".tar" if ending in ARCHIVES else ending, []).append(file)
    beside = set(by_ending) == set(ENDINGS) or _pictured(unused)
    if ".parquet" in by_ending and beside and not _has_pictures(by_ending[".parquet"]):
        for file in by_ending.pop(".parquet"):
            unused.file(file.relative_to(root).as_posix())
    beside = ".parquet" in by_ending or _pictured(unused)
    if ".tar" in by_ending and beside and not any(map(_holds_pictures, by_ending[".tar"])):
        for file in by_ending.pop(".tar"):  # of annotations
            unused.file(file.relative_to(root).as_posix())
    if not by_ending and _pictured(unused):
        return Files(FOLDER, [path], [FOLDER], None, unused)
    if len(by_ending) != 1 or not set(by_ending) <= set(ENDINGS):
        present = ", ".join(sorted(by_ending)) or "none of them"
        raise DataError(
            f"{printable(path)} holds {present}; allowed for data.stream: .parquet files alone or .tar files "
            "alone (.tar.gz and .zip too), or pictures; prepare anything else with `rawmm prepare`"
            + advice(unused, "parquet", "webdataset")
        )
    ending, files = by_ending.popitem()
    own = [file.relative_to(root).as_posix() for file in files]
    listed = listed_in_readme(folder, own)
    for name in listed.left_out(own):
        unused.file(name)
    paths, names = [str(files[n]) for n in listed.numbers], [own[n] for n in listed.numbers]
    return Files(ending, paths, names, listed.splits, unused, listed)


def _ending(name: str) -> str:
    """Ending of a file: ".tar.gz" where it ends so."""
    name = name.lower()
    return next((ending for ending in ARCHIVES if name.endswith(ending)), os.path.splitext(name)[1])


def _pictured(unused: Unused) -> bool:
    """Whether there are pictures in files of their own, or metadata that name some."""
    endings, names = unused.counts[OTHERS], unused.counts[NAMED]
    return not endings.keys().isdisjoint(READERS["folder"]) or any(map(is_metadata, names))


def _has_pictures(files: list[Path]) -> bool:
    """Whether one of the Parquet files has a column of pictures, and not of other bytes."""
    tables = Tables([str(file) for file in files])
    columns = [column for column, kind in tables.kinds.items() if kind in ("image", "images")]
    return any(holds_picture(tables.first(column)) for column in columns)


def _holds_pictures(archive: Path) -> bool:
    """Whether an archive has a member that is a picture by its ending, or cannot be read."""
    try:
        return any(name.lower().endswith(READERS["folder"]) for name in names_in(archive))
    except DataError:
        return True


def _on_hub(repo: str) -> Files:
    """Files of a repository and their splits, as `datasets` lists them. Raises DataError."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(check_repo(repo))
        by_split = builder.config.data_files or {}
    except DataError:
        raise
    except Exception as error:  # it raises almost any type
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        local = repo.rpartition("/")[2]
        raise DataError(
            f"{repo} cannot be reached ({problem}); where there is a network run `hf download --repo-type "
            f"dataset {repo} --local-dir {local}`, bring that folder here, and set data.stream.path={local}"
        ) from None
    splits = [split for split, files in by_split.items() for _ in files]
    paths = [str(file) for files in by_split.values() for file in files]
    try:
        names = relative_to(str(builder.base_path), paths)
    except OutsideError as error:
        raise DataError(f"hf:{printable(repo)} is refused: {error}") from None
    endings = {_ending(name) for name in names}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        present = ", ".join(sorted(endings)) or "none of them"
        raise DataError(
            f"hf:{repo} holds {present}; allowed for data.stream: .parquet files alone or .tar files alone; "
            f"prepare anything else with `rawmm prepare hf:{repo}`"
        )
    return Files(endings.pop(), paths, names, splits if len(by_split) > 1 else None, Unused())
