"""Sets of the hub and local copies of them: names, files that belong to them, files that are left out."""

import json
import os
import posixpath
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.disk import read_file
from ...system.errors import DataError, printable
from ..columns import TEMPLATE
from .fields import FIRST
from .files import files
from .inside import OutsideError, inside, top_of
from .unused import Unused

if TYPE_CHECKING:
    import datasets

KEY = "__key__"  # column of the names of samples, where `datasets` reads tar files
LISTS = 64 << 20  # most bytes of the lists of files of a saved set
README, SPLIT = 1 << 20, re.compile(r"^[ -]*split: *(\S+)", re.M)  # most bytes of it; a split of `data_files`
FEW = 6  # splits in a message
ABOUT = ("README.md", "dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json")


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of `datasets`."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def saved_files(folder: Path) -> set[str]:
    """Names of the data files of a saved set, relative to its folder.

    Raises OutsideError where they lead out of it, others where it is damaged."""
    whole, names = folder / "dataset_dict.json", set()
    splits = json.loads(read_file(whole, LISTS))["splits"] if whole.is_file() else [""]
    for split in splits:
        state = json.loads(read_file(inside(folder, os.path.join(split, "state.json")), LISTS))
        files = [os.path.join(split, entry["filename"]) for entry in state["_data_files"]]
        names |= {os.path.relpath(inside(folder, file), folder) for file in files}
    return names


def splits_in_readme(folder: Path) -> list[str]:
    """A line where the README of a copy tells the splits of its files, by which `datasets` alone goes; none
    where it does not."""
    try:
        parts = read_file(folder / ABOUT[0], README).decode("utf-8", "replace").split("---\n", 2)
    except (OSError, DataError):
        return []
    header = parts[1] if len(parts) == 3 and not parts[0].strip() else ""
    splits = sorted({*SPLIT.findall(header)}) if "data_files:" in header else []
    names = ", ".join(map(printable, splits[:FEW]))
    told = (
        f"{ABOUT[0]} tells splits of the files ({names}); `rawmm prepare hf:OWNER/NAME --path ...` keeps them"
    )
    return [told] if len(splits) > 1 else []


def left_out(folder: Path, names: Collection[str]) -> Unused:
    """What a folder holds beside the files of these names, relative to it, that `datasets` reads."""
    unused = Unused()
    for name, _ in files(folder, unused) if folder.is_dir() else ():
        if name not in names and posixpath.basename(name) not in ABOUT:
            unused.file(name)
    return unused


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
    prefix = (os.path.abspath(base) if local else base.rstrip("/")) + "/"
    names = []
    for path in paths:
        whole = os.path.abspath(path) if local and "://" not in path else path
        real = os.path.realpath(whole) if local and "://" not in path else path
        top = top_of(base) + "/" if local else prefix
        if not whole.startswith(prefix) or not real.startswith(top) or ".." in whole.split("/"):
            raise OutsideError(path, "is not in the set; allowed: files inside of it")
        names.append(whole.removeprefix(prefix))
    return names


def folders_of_samples(data: "datasets.Dataset") -> list[str]:
    """Lines that are said where `datasets` reads tar files whose samples are in folders."""
    keys = data.select_columns([KEY])[:FIRST][KEY] if KEY in data.column_names else []
    if len({posixpath.dirname(key) for key in keys}) < 2:
        return []
    return [
        "folders in archives are no classes here; `rawmm prepare webdataset --path ... --caption "
        f"'{TEMPLATE}'` makes captions of them"
    ]
