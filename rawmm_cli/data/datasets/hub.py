"""Sets of the Hugging Face hub, by name or by `hf:OWNER/NAME`, or a local copy of one, read through
`datasets`.

`datasets` decodes nothing here, since one bad picture would end its loop: images stay bytes until `rows.py`
decodes them. Downloads stay in the cache of `datasets`, whose place `HF_HOME` sets."""

import errno
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.errors import ConfigError, DataError, DiskFullError, printable
from ..columns import Columns, choose
from ..items import DocumentItem, Item, Source
from ..layout.schemas import kinds
from ..layout.splits import described, roles
from ..layout.streams import check_repo, check_saved, is_saved, relative_to
from ..layout.unused import COLUMNS, Unused

if TYPE_CHECKING:
    import datasets

CELEBA = """CelebA and CelebA-HQ are for non-commercial research only. No portion of the pictures, nor data \
derived from them, may
be used commercially, published or passed on; copies within one organisation, at one site, are allowed. The \
pictures come from the
Internet and do not belong to the authors of the data set. Terms: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"""
FFHQ = """FFHQ: every picture has its author's licence (CC BY, CC BY-NC, public domain, CC0, US Government \
works); the set as a
whole is CC BY-NC-SA 4.0 (NVIDIA): non-commercial, with credit, under the same licence. Terms: https://github.com/NVlabs/ffhq-dataset"""
IMAGENET = """ImageNet: for non-commercial research and educational purposes only, under the terms of \
access of image-net.org."""


@dataclass(frozen=True)
class Known:
    """A set that has a name of its own in rawmm."""

    repo: str
    licence: str
    terms: str = ""  # shown before anything is fetched
    template: str | None = None  # makes captions of classes, where the set has no captions
    size: int | None = None  # as in `items.Source`


KNOWN = {
    "celebahq": Known(
        "Ryan-sjtu/celebahq-caption", "non-commercial research only, no redistribution", CELEBA, size=128
    ),
    "celebahq plain": Known(
        "korexyz/celeba-hq-256x256",
        "non-commercial research only, no redistribution",
        CELEBA,
        "a portrait of a {label} person",
        128,
    ),
    "ffhq": Known("merkol/ffhq-256", "CC BY-NC-SA 4.0 and each author's own", FFHQ),
    "mnist": Known("ylecun/mnist", "CC BY-SA 3.0 (LeCun, Cortes, Burges)", template="the digit {label}"),
    "cifar10": Known(
        "uoft-cs/cifar10", "unknown (Krizhevsky 2009; research use)", template="a photo of a {label}"
    ),
    "imagenet64": Known(
        "benjamin-paine/imagenet-1k-64x64",
        "non-commercial research and education",
        IMAGENET,
        "a photo of a {label}",
    ),
}
ROWS = 64  # rows in memory at a time


def hub(
    name: str,
    *,
    path: Path | None = None,
    split: str | None = None,
    columns: str | None = None,
    caption: str | None = None,
    variant: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Source:
    """Source of a set of the hub, or of the local copy of it in `path`.

    The terms of the set are shown before anything is fetched. Raises ConfigError where an option does not
    fit, DataError where the set cannot be loaded: where the hub cannot be reached, the message has the
    command that fetches the set on another machine."""
    known = _known(name, variant)
    if known.terms:
        notify(known.terms)
    splits = _selected(_load(known.repo, path, name), split, known.repo)
    first = next(iter(splits.values()))
    where = str(path) if path else known.repo
    template = caption or _template(first, known, columns)
    chosen = _chosen(splits, columns, template, where)
    notify("chosen: " + "; ".join(f"{role}: {value}" for role, value in chosen.describe().items()))
    if line := described(Counter({key: len(data) for key, data in splits.items()})):
        notify(f"splits of the source: {line}")
    splits = {key: _without_decoding(data, chosen) for key, data in splits.items()}
    card = {
        "source": f"{where} (a copy of {known.repo})" if path else f"hf:{known.repo}",
        "licence": known.licence,
        "terms": known.terms,
        "url": f"https://huggingface.co/datasets/{known.repo}" if "/" in known.repo else "",
        "labels": list(chosen.names),
        "chosen": chosen.describe() | ({"splits": line} if line else {}),
    }
    return Source(
        items=lambda start: _items(splits, chosen, start, path or _cache()),
        count=sum(map(len, splits.values())),
        card=card,
        unused=_unused(first.column_names, chosen),
        holds_documents=chosen.documents,
        size=known.size,
        state=" ".join(f"{key}:{len(data)}:{data._fingerprint}" for key, data in splits.items())
        + repr(chosen),
    )


def _unused(columns: list[str], chosen: Columns) -> Unused:
    unused = Unused()
    unused.add_all(COLUMNS, (column for column in columns if column not in chosen.used))
    return unused


def _known(name: str, variant: str | None) -> Known:
    """The set of that name, or the repository that it names. Raises ConfigError."""
    if name.startswith("hf:"):
        repo = name.removeprefix("hf:")
        if variant is not None:
            raise ConfigError("--variant is for celebahq")
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise ConfigError(f"'{name}' names no set; allowed: hf:OWNER/NAME")
        return Known(repo, "see its page")
    known = KNOWN.get(f"{name} {variant}" if variant else name)
    if known is None:
        raise ConfigError(f"{name} has no variant '{variant}'; allowed: plain (celebahq)")
    return known


def _load(repo: str, path: Path | None, name: str) -> dict:
    """{split: data} of a repository, or of its copy in `path`; `datasets` shows its own progress on a
    terminal.

    Raises DataError, DiskFullError."""
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
        loaded = _loaded(str(path) if path else check_repo(repo))
    except DataError:
        raise
    except Exception as error:  # it raises almost any type
        if getattr(error.__cause__ or error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room in the cache of `datasets`, {_cache()}; free some, or set HF_HOME to another folder"
            ) from None
        if isinstance(error, PermissionError) and str(error.filename).startswith(_cache()):
            raise _no_cache(error) from None
        problem = printable((str(error).splitlines() or [type(error).__name__])[0])
        if path is not None:
            raise DataError(
                f"{printable(str(path))} cannot be loaded as a copy of {repo}: {problem}"
            ) from None
        local = repo.rpartition("/")[2]
        raise DataError(
            f"{repo} cannot be fetched ({problem}); where there is a network run `hf download --repo-type "
            f"dataset {repo} --local-dir {local}`, bring that folder here, and run `rawmm prepare {name} "
            f"--path {local}`"
        ) from None
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


def _loaded(where: str) -> "datasets.DatasetDict":
    """A repository, a folder in its layout, or a saved set. Raises OutsideError where it names files outside
    of itself."""
    import datasets

    if is_saved(Path(where)):
        check_saved(Path(where))
        return datasets.load_from_disk(where)
    loaded = datasets.load_dataset(where)
    builder = datasets.load_dataset_builder(where)
    listed = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    relative_to(str(builder.base_path), listed)
    return loaded


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


def _chosen(splits: dict, columns: str | None, template: str | None, where: str) -> Columns:
    """Columns of all roles. Rows with several pictures are documents. Raises ConfigError, DataError."""
    import pyarrow.compute as pc

    def first(column: str) -> object:
        data = next(iter(splits.values()))
        return next((value for value in data.with_format(None)[:64][column] if value), None)

    features = next(iter(splits.values())).features
    chosen = choose(kinds(features.arrow_schema), columns, _names(features), template, where, first)
    if kinds(features.arrow_schema)[chosen.image] != "images":
        return chosen
    lengths = (pc.max(pc.list_value_length(data.data[chosen.image])).as_py() for data in splits.values())
    return replace(chosen, documents=max(length or 0 for length in lengths) > 1)


def _without_decoding(data: "datasets.Dataset", chosen: Columns) -> "datasets.Dataset":
    """The used columns of a split, with images as bytes or paths."""
    import datasets

    feature, encoded = data.features[chosen.image], datasets.Image(decode=False)
    if isinstance(feature, datasets.Image):
        data = data.cast_column(chosen.image, encoded)
    elif isinstance(getattr(feature, "feature", None), datasets.Image):
        data = data.cast_column(chosen.image, replace(feature, feature=encoded))
    return data.select_columns(chosen.used)


def _items(splits: dict, chosen: Columns, start: int, root: Path | str) -> Iterator[Item | DocumentItem]:
    """Items of all splits, one split after the other, from number `start` on. Where the splits are not those
    of `layout.splits`, the names of the items decide what is held out."""
    role = roles(splits)
    for key, data in splits.items():
        for first in range(min(start, len(data)), len(data), ROWS):
            rows = data[first : first + ROWS]
            for n in range(len(rows[chosen.image])):
                row = {column: values[n] for column, values in rows.items()}
                yield chosen.item(f"{key}/{first + n}", row, role[key], root)
        start = max(0, start - len(data))
