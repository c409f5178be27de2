"""Sets of the hub and local copies of them: names, what a README lists, files that are left out."""

import json
import os
import posixpath
import re
import unicodedata
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...config.yaml_text import parse_yaml
from ...system.disk import read_file
from ...system.errors import ConfigError, DataError, printable
from ..columns import TEMPLATE
from .fields import FIRST
from .files import files
from .inside import SHOWN, OutsideError, inside, relative, top_of
from .splits import roles, split_of, splits_of, trained_first
from .unused import OTHERS, Unused

if TYPE_CHECKING:
    import datasets

KEY = "__key__"  # column of the names of samples, where `datasets` reads tar files
LISTS = 64 << 20  # most bytes of the lists of files of a saved set
README, SPLIT = 1 << 20, re.compile(r"^[ -]*split: *(\S+)", re.M)  # most bytes of it; a split of `data_files`
FEW, MOST = 6, 1000  # splits in a message; patterns with wildcards that are compared with names
NAME = re.compile(r"(?=.{1,60}$)\w+(?:\.\w+)*")  # of a split
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


class Listed(NamedTuple):
    """Files as the README of a copy lists them.

    numbers: of those that are used, in order: all where it lists none of them.
    splits: of these; None where it does not tell them, or tells what their names tell.
    lines: what is said. several: what is said where nothing else tells splits."""

    numbers: list[int]
    splits: list[str | None] | None = None
    lines: Sequence[str] = ()
    several: Sequence[str] = ()

    def card(self) -> dict[str, str]:
        """What tells the splits, for the card, beside the splits themselves."""
        return {} if self.splits is None else {"split list": ABOUT[0]}

    def where(self) -> str:
        """What tells the splits, for a line of them; "" for names."""
        return "" if self.splits is None else f", by {ABOUT[0]}"

    def left_out(self, names: Sequence[str]) -> list[str]:
        """Those of all names that are not used."""
        used = {*self.numbers}
        return [name for number, name in enumerate(names) if number not in used]


def listed_in_readme(folder: Path, names: Sequence[str], tables: bool = True) -> Listed:
    """The files that the header of the README of a copy lists for its configuration, or its default one.

    names: relative to the folder. Patterns are only compared with them: none leads anywhere.
    tables: the files are tables or archives, whose names may tell splits too."""
    try:
        text = read_file(folder / ABOUT[0], README).decode("utf-8", "replace").replace("\r\n", "\n")
    except (OSError, DataError):
        return Listed([*range(len(names))])
    parts = text.split("---\n", 2)
    header = parts[1] if len(parts) == 3 and not parts[0].strip() else ""
    everything, matched, several = [*range(len(names))], [], []
    try:
        patterns = _patterns(header) if "data_files" in header else {}
        if patterns is None:
            named = ", ".join(map(printable, sorted({*SPLIT.findall(header)})[:FEW]))
            line = (
                f"{ABOUT[0]} tells splits ({named}) of several configurations, none the default; all files "
            )
            line += "are taken; for one of them give its folder as --path"
            several = [line] if "," in named else []
        if patterns:
            matched = _matched(patterns, names)
    except (ConfigError, DataError, re.error) as error:
        reason = printable(str(error).removeprefix(f"{ABOUT[0]} ").removeprefix("it "))
        return Listed(everything, lines=[f"{ABOUT[0]} tells no splits, as it {reason}; mend it or remove it"])
    if not any(matched):
        return Listed(everything, several=several)
    numbers = [number for number in everything if matched[number]]
    splits = [matched[number] for number in numbers]
    by_readme, own = roles(splits), splits_of([names[number] for number in numbers], tables)
    by_name = roles(own)
    same = [by_readme[split] for split in splits] == [by_name[split] for split in own]
    return Listed(numbers, splits if any(by_readme.values()) and not same else None)


def _patterns(header: str) -> dict[str, list[str]] | None:
    """{split: patterns of its files} of the only configuration or of the default one; None where there are
    several and no default. Raises ConfigError, DataError where `datasets` would not take it."""
    values = parse_yaml(header, ABOUT[0])
    configs = values.get("configs", []) if isinstance(values, dict) else None
    if configs == []:
        return {}
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        raise DataError("has no list `configs`")
    default = [
        config
        for config in configs
        if len(configs) == 1 or config.get("config_name") == "default" or config.get("default") is True
    ]
    if len(default) != 1:
        return None
    if "data_files" not in default[0]:
        return {}
    files, folder, patterns = default[0]["data_files"], default[0].get("data_dir") or "", {}
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(path, str) for path in files)):
        files = {"train": files}
    if isinstance(files, list):
        pairs = [
            (file.get("split"), file.get("path")) if isinstance(file, dict) else ("", "") for file in files
        ]
    else:
        pairs = list(files.items()) if isinstance(files, dict) else [("", "")]
    for split, paths in pairs:
        paths = [paths] if isinstance(paths, str) else paths
        if not (isinstance(split, str) and NAME.fullmatch(split) and isinstance(paths, list)):
            raise DataError("has entries of `data_files` that are no split with paths")
        if not all(isinstance(path, str) for path in (folder, *paths)):
            raise DataError("has paths in `data_files` or `data_dir` that are no text")
        patterns.setdefault(split, []).extend(posixpath.join(folder, path) for path in paths)
    return patterns


def _matched(patterns: dict[str, list[str]], names: Sequence[str]) -> list[str | None]:
    """The split of every name, as `datasets` compares it with patterns: * ends at a slash, ** does not. What
    training and another split both list is of the other.

    Raises DataError where no name fits, or patterns lead out of the set."""
    order = sorted(patterns, key=lambda split: split_of(split) == "train")
    exact, globs, folders = {}, [], {}
    for rank, split in enumerate(order):
        for pattern in patterns[split]:
            plain = unicodedata.normalize("NFC", relative(pattern))
            if not {*"*?["} & {*plain}:
                exact.setdefault(plain, rank)
                continue
            parent, last = posixpath.split(plain)
            parents = [*filter(None, parent.split("/")), *["**"] * (last == "**")]
            once = [part for part, before in zip(parents, ["", *parents]) if not part == before == "**"]
            globs.append((rank, once, "*" if last == "**" else last))
    if len(globs) > MOST:
        raise DataError(f"lists {len(globs):,} patterns; allowed: {MOST:,}")
    none, ranks = len(order), []
    for name in names:
        name = unicodedata.normalize("NFC", name)
        folder, base = posixpath.split(name)
        if folder not in folders:
            folders[folder] = [(rank, last) for rank, parents, last in globs if _leads(folder, parents)]
        fitting = (rank for rank, last in folders[folder] if last == "*" or fnmatchcase(base, last))
        ranks.append(min(exact.get(name, none), next(fitting, none)))
    if names and min(ranks) == none:
        shown = ", ".join(pattern[:SHOWN] for split in patterns for pattern in patterns[split][:1])
        raise DataError(f"lists none of the files that are here ({shown[:SHOWN]})")
    return [order[rank] if rank < none else None for rank in ranks]


def _leads(folder: str, patterns: list[str]) -> bool:
    """Whether a folder fits patterns of its parts, where ** is any number of parts and never stands twice."""

    def with_next(places: set[int]) -> set[int]:
        """Places in the patterns, and those behind a **, which may be no part at all."""
        return places | {place + 1 for place in places if patterns[place : place + 1] == ["**"]}

    places = with_next({0})
    for part in filter(None, folder.split("/")):
        here = [(place, patterns[place]) for place in places if place < len(patterns)]
        fitting = [(place, each) for place, each in here if each == "**" or fnmatchcase(part, each)]
        places = with_next({place + (each != "**") for place, each in fitting})
    return len(patterns) in places


def listed_pictures(
    folder: Path, names: list[str], images: dict[str, str], unused: Unused
) -> tuple[Listed, list[str], dict[str, str]]:
    """What the README of a folder of pictures lists, and of names and images those that it lists.

    unused: counts the others."""
    listed = listed_in_readme(folder, names, tables=False)
    if others := {*listed.left_out(names)}:
        unused.add(OTHERS, f"pictures that {ABOUT[0]} does not list", len(others))
        images = {name: file for name, file in images.items() if name not in others}
        names = [names[number] for number in listed.numbers]
    return listed, names, images


def own_files(files: Sequence[Path], path: Path, unused: Unused) -> tuple[list[Path], list[str], Listed]:
    """Files of a source that are used, and their names; of splits, those that are trained on first.

    path: the source, a folder or the only file. unused: counts those that its README does not list."""
    root = path if path.is_dir() else path.parent
    names = [file.relative_to(root).as_posix() for file in files]
    listed = listed_in_readme(path, names)
    for name in listed.left_out(names):
        unused.file(name)
    own = [names[number] for number in listed.numbers]
    order = trained_first(own, files=True, splits=listed.splits)
    splits = listed.splits and [listed.splits[n] for n in order]
    numbers = [listed.numbers[n] for n in order]
    return (
        [files[n] for n in numbers],
        [names[n] for n in numbers],
        listed._replace(numbers=numbers, splits=splits),
    )


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
