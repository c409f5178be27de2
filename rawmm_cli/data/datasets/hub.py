"""Sets of the Hugging Face hub, by name or by `hf:OWNER/NAME`, or a local copy of one, read through
`datasets`.

`datasets` decodes nothing here, since one bad picture would end its loop: images stay bytes until `rows.py`
decodes them. Downloads stay in the cache of `datasets`, whose place `HF_HOME` sets."""

import errno
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...system.errors import ConfigError, DataError, DiskFullError, printable
from ..columns import Columns
from ..items import DocumentItem, Item, Source
from ..layout.choosing import choose
from ..layout.copies import check_repo, folders_of_samples, is_saved, left_out, relative_to, saved_files
from ..layout.files import advice
from ..layout.inside import OutsideError
from ..layout.known import Known, of_name
from ..layout.schemas import kinds, texts_in_bytes, without_values
from ..layout.split_column import RowSplits, in_datasets
from ..layout.splits import described, roles, split_of
from ..layout.unused import COLUMNS, Unused

if TYPE_CHECKING:
    import datasets

ROWS = 64  # rows in memory at a time


def hub(
    name: str,
    *,
    path: Path | None = None,
    split: str | None = None,
    columns: str | None = None,
    caption: str | None = None,
    keep_uncaptioned: bool = False,
    variant: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of a set of the hub, or of the local copy of it in `path`.

    The terms of the set are shown before anything is fetched. Raises ConfigError where an option does not
    fit, DataError where the set cannot be loaded: where the hub cannot be reached, the message has the
    command that fetches the set on another machine."""
    known = of_name(name, variant)
    if known.terms:
        notify(known.terms)
    splits, unused = _load(known.repo, path, name, split)
    first = next(iter(splits.values()))
    template = caption or _template(first, known, columns)
    try:
        chosen = _chosen(splits, columns, template, str(path or known.repo), not keep_uncaptioned)
    except DataError as error:
        raise DataError(f"{error}{advice(unused)}") from None
    notify("chosen: " + "; ".join(f"{role}: {value}" for role, value in chosen.describe().items()))
    by_row, about = _own_splits(splits, chosen, notify)
    own = (column for column in first.column_names if not column.startswith("__"))  # __key__: a tar's names
    used = (*chosen.used, by_row and by_row.column)
    for line in [] if chosen.label else folders_of_samples(first):
        notify(line)
    unused.add_all(COLUMNS, (column for column in own if column not in used))
    parts = _parts({key: _without_decoding(data, chosen) for key, data in splits.items()}, by_row)
    return Source(
        items=lambda start: _items(parts, chosen, start, path or _cache()),
        outline=lambda: ((f"{key}/{n}", role) for key, _, numbers, role in parts for n in numbers),
        count=sum(map(len, splits.values())),
        card=_card(known, path, chosen) | {"chosen": chosen.describe() | about},
        unused=unused,
        holds_documents=chosen.documents,
        size=known.size,
        state=" ".join(f"{key}:{len(data)}:{data._fingerprint}" for key, data in splits.items())
        + f"{chosen}{about if by_row else ''}",
    )


def _own_splits(
    splits: dict, chosen: Columns, notify: Callable[[str], None]
) -> tuple[RowSplits | None, dict[str, str]]:
    """The splits that a column tells, where the set has none of its own, and all splits in words."""
    if line := described(Counter({key: len(data) for key, data in splits.items()})):
        notify(f"splits of the source: {line}")
        return None, {"splits": line}
    by_row = in_datasets(splits, _names(next(iter(splits.values())).features), chosen.claimed)
    if by_row:
        notify(by_row.sentence())
    return by_row, by_row.card() if by_row else {}


def _card(known: Known, path: Path | None, chosen: Columns) -> dict:
    return {
        "source": f"{path} (a copy of {known.repo})" if path else f"hf:{known.repo}",
        "licence": known.licence,
        "terms": known.terms,
        "url": f"https://huggingface.co/datasets/{known.repo}" if "/" in known.repo else "",
        "labels": list(chosen.names),
    }


def _load(repo: str, path: Path | None, name: str, split: str | None) -> tuple[dict, Unused]:
    """{split: data} of a repository or its copy in `path`, and what else the copy holds; `datasets` shows
    its own progress on a terminal.

    Raises ConfigError, DataError, DiskFullError."""
    import datasets
    import huggingface_hub.utils

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    datasets.logging.set_verbosity_error()  # it reports every attempt to reach the hub
    huggingface_hub.utils.logging.set_verbosity_error()
    if path is not None and not Path(path).exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed with --path: a folder with a copy of {repo}"
        )
    _check_cache(Path(datasets.config.HF_DATASETS_CACHE))
    try:
        loaded, names = _loaded(str(path) if path else check_repo(repo))
    except OutsideError as error:
        raise DataError(f"{printable(str(path or repo))} is refused: {error}") from None
    except DataError:
        raise
    except Exception as error:  # it raises almost any type
        if getattr(error.__cause__ or error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room in the cache of `datasets`, {_cache()}; free some, or set HF_HOME to another folder"
            ) from None
        if isinstance(error, PermissionError) and str(error.filename).startswith(_cache()):
            raise _no_cache(error) from None
        problem = _problem(error)
        if path is not None:
            raise DataError(
                f"{printable(str(path))} cannot be loaded as a copy of {repo}: {problem}; mend it"
                + advice(left_out(Path(path), ()))
            ) from None
        local = repo.rpartition("/")[2]
        raise DataError(
            f"{repo} cannot be fetched ({problem}); where there is a network run `hf download --repo-type "
            f"dataset {repo} --local-dir {local}`, bring that folder here, and run `rawmm prepare {name} "
            f"--path {local}`"
        ) from None
    unused = Unused() if path is None else left_out(Path(path), names)
    return _selected(loaded if isinstance(loaded, Mapping) else {"train": loaded}, split, repo), unused


def _problem(error: Exception) -> str:
    """What `datasets` says: its first line, and the second where that has the names of configurations."""
    lines = str(error.__cause__ or error).splitlines() or [type(error).__name__]
    return printable(" ".join(lines[: 2 if "Config name" in lines[0] else 1]))


def _loaded(where: str) -> tuple["datasets.DatasetDict", set[str]]:
    """A repository, a folder in its layout, or a saved set, and the names of its files.

    Raises OutsideError where it names files outside of itself, before any of them is opened."""
    import datasets

    if is_saved(Path(where)):
        names = saved_files(Path(where))
        return datasets.load_from_disk(where), names
    builder = datasets.load_dataset_builder(where)
    listed = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    names = set(relative_to(str(builder.base_path), listed))
    return datasets.load_dataset(where), names


def _selected(splits: dict, split: str | None, repo: str) -> dict:
    """The requested split alone, or all of them. Raises ConfigError."""
    if split is None:
        return splits
    if split not in splits:
        raise ConfigError(f"{repo} has no split '{split}'; it has {', '.join(splits)}")
    return {split: splits[split]}


def _cache() -> str:
    """Folder of the cache of `datasets`."""
    import datasets

    return str(datasets.config.HF_CACHE_HOME)


def _check_cache(folder: Path) -> None:
    """Raise DataError unless files can be written there: `datasets` needs its cache even for a local copy."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _no_cache(error, folder) from None


def _no_cache(error: OSError, folder: Path | None = None) -> DataError:
    where = printable(str(folder or error.filename))
    return DataError(
        f"the cache of `datasets` cannot be written ({error.strerror}: {where}); set HF_HOME to a folder "
        "that can be written"
    )


def _names(features: "datasets.Features") -> dict[str, list[str]]:
    """{column: names of its classes}."""
    return {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}


def _template(data: "datasets.Dataset", known: Known, columns: str | None) -> str | None:
    """The template of a known set, where it has classes and no captions."""
    if known.template is None or columns:
        return None
    chosen = choose(kinds(data.features.arrow_schema))
    return known.template if chosen.text is None and chosen.label is not None else None


def _chosen(splits: dict, columns: str | None, template: str | None, where: str, required: bool) -> Columns:
    """Columns of all roles. Rows with several pictures are documents. required: as in `Columns`. Raises
    ConfigError, DataError."""
    import pyarrow.compute as pc

    def first(column: str) -> object:
        data = next(iter(splits.values())).select_columns([column]).with_format("arrow")
        return next(filter(None, data[:64].column(0).to_pylist()), None)

    features = next(iter(splits.values())).features
    names, there = _names(features), kinds(features.arrow_schema)
    for column, classes in names.items():  # pictures in train/ and test/ get them as classes from `datasets`
        if len(splits) > 1 and all(map(split_of, classes)):
            del there[column]
    empty = [column for column in there if all(_is_null(data, column) for data in splits.values())]
    there = without_values(there | texts_in_bytes(there, columns, first), empty)
    chosen = replace(choose(there, columns, names, template, where, first), required=required)
    if there[chosen.image] != "images":
        return chosen
    lengths = (pc.max(pc.list_value_length(data.data[chosen.image])).as_py() for data in splits.values())
    return replace(chosen, documents=max(length or 0 for length in lengths) > 1)


def _is_null(data: "datasets.Dataset", column: str) -> bool:
    """Whether a column has no value at all."""
    return data.data[column].null_count == data.data.num_rows


def _without_decoding(data: "datasets.Dataset", chosen: Columns) -> "datasets.Dataset":
    """The used columns of a split, with images as bytes or paths."""
    import datasets

    feature, encoded = data.features[chosen.image], datasets.Image(decode=False)
    if isinstance(feature, datasets.Image):
        data = data.cast_column(chosen.image, encoded)
    elif isinstance(getattr(feature, "feature", None), datasets.Image):
        data = data.cast_column(chosen.image, replace(feature, feature=encoded))
    data = data.select_columns(chosen.used)
    value = data[0][chosen.image] if len(data) else None
    if isinstance(value, Mapping) and "::" in (value["path"] or ""):
        raise DataError(
            "the pictures are inside of archives; allowed here: pictures in tables or in files of their own; "
            "use `rawmm prepare webdataset --path ...`"
        )
    return data


def _parts(
    splits: dict, by_row: RowSplits | None
) -> list[tuple[str, "datasets.Dataset", Sequence[int], str | None]]:
    """(split, rows, their numbers in it, role); where a column tells splits, what is trained on first. Where
    nothing tells splits, the role is None: names of the items decide what is held out."""
    if by_row is None:
        role = roles(splits)
        return [(key, data, range(len(data)), role[key]) for key, data in splits.items()]
    return [
        (key, data.select(numbers), numbers.tolist(), role)
        for role, wanted in (("train", False), ("held_out", True))
        for (key, data), held_out in zip(splits.items(), by_row.held_out)
        for numbers in [np.flatnonzero(held_out == wanted)]
    ]


def _items(
    parts: list[tuple], chosen: Columns, start: int, root: Path | str
) -> Iterator[Item | DocumentItem]:
    """Items of all parts, one after the other, from number `start` on."""
    for key, data, numbers, role in parts:
        columns = replace(
            chosen, required=chosen.required and not _is_null(data, chosen.text or chosen.image)
        )
        for first in range(min(start, len(data)), len(data), ROWS):
            rows = data[first : first + ROWS]
            for n in range(len(rows[chosen.image])):
                row = {column: values[n] for column, values in rows.items()}
                yield columns.item(f"{key}/{numbers[first + n]}", row, role, root)
        start = max(0, start - len(data))
