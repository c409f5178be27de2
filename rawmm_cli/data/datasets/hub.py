"""Sets of the Hugging Face hub, by name or by `hf:OWNER/NAME`, or a local copy of one, read through
`datasets`.

Nothing is decoded by `datasets`: its images stay bytes (one bad picture would end its loop), `rows.py`
decodes them. What was downloaded stays in the cache of `datasets`; `HF_HOME` says where that is."""

import errno
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...system.errors import ConfigError, DataError, DiskFullError, printable
from ..columns import Columns, choose
from ..items import Item, Source

if TYPE_CHECKING:
    from datasets import Dataset

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
    """A set that has a name of its own here. size: larger pictures become so small where nobody asked for a
    size."""

    repo: str
    licence: str
    terms: str = ""
    template: str | None = None
    size: int | None = None


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
ROWS = 64  # that are fetched together


def hub(
    name: str,
    *,
    path: Path | None = None,
    split: str | None = None,
    columns: str | None = None,
    caption: str | None = None,
    variant: str | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Source:
    """The set. Terms are told before anything is fetched. Raises DataError, with the command that fetches it
    elsewhere, where the hub cannot be reached."""
    known = _known(name, variant)
    if known.terms:
        told(known.terms)
    splits = _load(known.repo, path, name)
    if split is not None:
        if split not in splits:
            raise ConfigError(f"{known.repo} has no split '{split}'; it has {', '.join(splits)}")
        splits = {split: splits[split]}
    first = next(iter(splits.values()))
    where = str(path) if path else known.repo
    template = caption or _template(first, known, columns)
    chosen = choose(_kinds(first.features), columns, _names(first.features), template, where)
    told("chosen: " + "; ".join(f"{what}: {value}" for what, value in chosen.chosen().items()))
    splits = {key: _undecoded(data, chosen) for key, data in splits.items()}
    card = {
        "source": f"{where} (a copy of {known.repo})" if path else f"hf:{known.repo}",
        "licence": known.licence,
        "terms": known.terms,
        "url": f"https://huggingface.co/datasets/{known.repo}" if "/" in known.repo else "",
        "labels": list(chosen.names),
        "chosen": chosen.chosen(),
    }
    root = path or _cache()
    return Source(
        items=lambda start: _items(splits, chosen, start, root),
        count=sum(map(len, splits.values())),
        card=card,
        size=known.size,
        state=" ".join(f"{key}:{len(data)}:{data._fingerprint}" for key, data in splits.items())
        + repr(chosen),
    )


def _known(name: str, variant: str | None) -> Known:
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
    """{split: data}. `datasets` shows its own progress, on a terminal."""
    import datasets
    import huggingface_hub.utils

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    datasets.logging.set_verbosity_error()  # it tells of every attempt to reach the hub
    huggingface_hub.utils.logging.set_verbosity_error()
    if path is not None and not Path(path).exists():
        raise DataError(
            f"{printable(str(path))} does not exist; allowed with --path: a folder with a copy of {repo}"
        )
    if path is None and "/" not in repo:
        raise DataError(f"'{repo}' is not a set on the hub")
    _check_cache(Path(datasets.config.HF_DATASETS_CACHE))
    try:
        loaded = datasets.load_dataset(str(path) if path is not None else repo)
    except Exception as error:  # it raises almost any type
        if getattr(error.__cause__ or error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room in the cache of `datasets`, {_cache()}; free some, or set HF_HOME to another folder"
            ) from None
        if isinstance(error, PermissionError) and str(error.filename).startswith(_cache()):
            raise _no_cache(error) from None
        what = printable((str(error).splitlines() or [type(error).__name__])[0])
        if path is not None:
            raise DataError(f"{printable(str(path))} cannot be loaded as a copy of {repo}: {what}") from None
        local = repo.rpartition("/")[2]
        raise DataError(
            f"{repo} cannot be fetched ({what}); where there is a network run `hf download --repo-type "
            f"dataset "
            f"{repo} --local-dir {local}`, bring that folder here, and run `rawmm prepare {name} "
            f"--path {local}`"
        ) from None
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


def _cache() -> str:
    import datasets

    return str(datasets.config.HF_CACHE_HOME)


def _check_cache(folder: Path) -> None:
    """Raises DataError unless there can be files in it: `datasets` needs it even for a local copy."""
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
        f"that can "
        "be"
    )


def _kinds(features: Mapping[str, Any]) -> dict[str, str]:
    """Kinds of the columns of a `datasets.Features`, as `columns.choose` wants them."""
    import datasets

    def kind(feature: Any) -> str:
        if isinstance(feature, datasets.Image) or isinstance(feature, Mapping) and "bytes" in feature:
            return "image"
        inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
        dtype = str(getattr(feature if inner is None else inner, "dtype", ""))
        if inner is not None:
            return "texts" if "string" in dtype else "other"
        if "string" in dtype:
            return "text"
        return {"bool": "truth", "binary": "image", "large_binary": "image"}.get(
            dtype, "whole" if "int" in dtype else "other"
        )

    return {column: kind(feature) for column, feature in features.items()}


def _names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    return {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}


def _template(data: "Dataset", known: Known, columns: str | None) -> str | None:
    """The set's own template, where it has classes and no captions."""
    if known.template is None or columns:
        return None
    kinds = _kinds(data.features)
    return known.template if choose(kinds).text is None and choose(kinds).label is not None else None


def _undecoded(data: "Dataset", chosen: Columns) -> "Dataset":
    import datasets

    if isinstance(data.features[chosen.image], datasets.Image):
        data = data.cast_column(chosen.image, datasets.Image(decode=False))
    return data.select_columns([c for c in (chosen.image, chosen.text, chosen.label, *chosen.truths) if c])


def _items(splits: dict, chosen: Columns, start: int, root: Path | str) -> Iterator[Item]:
    """Rows of all splits one after the other. With one split the names decide what is held out, with several
    the splits."""
    for key, data in splits.items():
        side = None if len(splits) == 1 else "train" if key.startswith("train") else "held_out"
        for first in range(min(start, len(data)), len(data), ROWS):
            rows = data[first : first + ROWS]
            for n in range(len(rows[chosen.image])):
                yield chosen.item(
                    f"{key}/{first + n}", {column: values[n] for column, values in rows.items()}, side, root
                )
        start = max(0, start - len(data))
