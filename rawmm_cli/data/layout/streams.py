"""Files of a set that is streamed: .parquet files or .tar files, in a folder or on the hub.

What img2dataset writes, .tar files beside .parquet files without pictures, is a set of .tar files."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from ...system.disk import read_file
from ...system.errors import DataError, printable
from .files import files_ending_in
from .inside import OutsideError, inside
from .schemas import Tables
from .unused import Unused

ENDINGS = (".parquet", ".tar")
ARCHIVES = (".tar.gz", ".tgz", ".zip")  # prepared, never streamed
LISTS = 64 << 20  # most bytes of the lists of files of a saved set
ALLOWED = "a folder of .parquet or .tar files, one such file, or hf:OWNER/NAME"


class Files(NamedTuple):
    """Files of one ending. paths: on disk, or URLs. names: relative to the set. splits: that `datasets` gives
    to them, None where their names decide. unused: what else there is."""

    ending: str
    paths: list[str]
    names: list[str]
    splits: list[str] | None
    unused: Unused


def find(path: str) -> Files:
    """Files of a set that is to be streamed. path: a folder, a file or hf:OWNER/NAME.

    Raises DataError where there are none, or pictures in files of both endings."""
    if path.startswith("hf:"):
        return _on_hub(path.removeprefix("hf:"))
    folder, unused = Path(path), Unused()
    if not folder.exists():
        raise DataError(f"{printable(path)} does not exist; data.stream.path allows: {ALLOWED}")
    if is_saved(folder):
        raise DataError(
            f"{printable(path)} was saved by `datasets` and cannot be streamed; prepare it with `rawmm "
            f"prepare hf:OWNER/NAME --path {printable(path)}`, or write it anew with `to_parquet`"
        )
    files = files_ending_in((*ENDINGS, *ARCHIVES), folder, unused)
    root = folder if folder.is_dir() else folder.parent
    by_ending: dict[str, list[Path]] = {}
    for file in files:
        by_ending.setdefault(_ending(file.name), []).append(file)
    if set(by_ending) == set(ENDINGS) and not _has_pictures(by_ending[".parquet"]):
        for file in by_ending.pop(".parquet"):
            unused.file(file.name)
    if len(by_ending) != 1 or not set(by_ending) <= set(ENDINGS):
        present = ", ".join(sorted(by_ending)) or "none of them"
        raise DataError(
            f"{printable(path)} holds {present}; allowed for data.stream: .parquet files alone or .tar files "
            "alone, not compressed; prepare anything else with `rawmm prepare`"
        )
    ending, files = by_ending.popitem()
    names = [file.relative_to(root).as_posix() for file in files]
    return Files(ending, [str(file) for file in files], names, None, unused)


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of `datasets`."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def check_saved(folder: Path) -> None:
    """Raise OutsideError where a saved set names files outside of itself, others where it is damaged."""
    whole = folder / "dataset_dict.json"
    splits = json.loads(read_file(whole, LISTS))["splits"] if whole.is_file() else [""]
    for split in splits:
        state = json.loads(read_file(inside(folder, os.path.join(split, "state.json")), LISTS))
        for entry in state["_data_files"]:
            inside(folder, os.path.join(split, entry["filename"]))


def _ending(name: str) -> str:
    """Ending of a file: ".tar.gz" where it ends so."""
    name = name.lower()
    return next((ending for ending in ARCHIVES if name.endswith(ending)), os.path.splitext(name)[1])


def _has_pictures(files: list[Path]) -> bool:
    """Whether one of the Parquet files has a column of pictures."""
    tables = Tables([str(file) for file in files])
    return bool({"image", "images"} & set(tables.kinds.values()))


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
    names = relative_to(str(builder.base_path), paths)
    endings = {_ending(name) for name in names}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        present = ", ".join(sorted(endings)) or "none of them"
        raise DataError(
            f"hf:{repo} holds {present}; allowed for data.stream: .parquet files alone or .tar files alone; "
            f"prepare anything else with `rawmm prepare hf:{repo}`"
        )
    return Files(endings.pop(), paths, names, splits if len(by_split) > 1 else None, Unused())


def check_repo(repo: str) -> str:
    """Return OWNER/NAME of a set of the hub. Raises DataError for anything else: `datasets` would look for a
    folder."""
    parts = repo.split("/")
    if len(parts) != 2 or not all(part.strip(".") for part in parts):
        raise DataError(f"'hf:{printable(repo)}' names no set of the hub; allowed: hf:OWNER/NAME")
    if os.path.exists(repo):
        raise DataError(
            f"'{printable(repo)}' is a folder here too, which would be read in place of that set of the hub; "
            "give it as a path, or run the command in another folder"
        )
    return repo


def relative_to(base: str, paths: list[str]) -> list[str]:
    """Names of files relative to the set that lists them. base: folder or URL of the set.

    Raises OutsideError where one of them is not in the set: `datasets` follows what a README says."""
    local = "://" not in base
    prefix = (os.path.realpath(base) if local else base.rstrip("/")) + "/"
    names = []
    for path in paths:
        real = os.path.realpath(path) if local and "://" not in path else path
        if not real.startswith(prefix) or ".." in real.split("/"):
            raise OutsideError(path, "is not in the set; allowed: files inside of it")
        names.append(real.removeprefix(prefix))
    return names
