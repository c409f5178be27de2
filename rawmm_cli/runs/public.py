"""Published tokenizers by name: `public:NAME`, of facts/suite.yaml. Told, fetched, checked, opened.

`prepare` is what a command calls first: it asks for licences, fetches what is not in the cache, and says what
cannot be fetched and how to. `open_public` never downloads."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import log2
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError

from ..codecs import pretrained
from ..codecs.adapter import Adapted
from ..config.explain import nearest
from ..config.yaml_text import parse_yaml
from ..system.errors import CheckpointError, ConfigError, DataError, printable

PREFIX = "public:"
FACTS = Path(__file__).resolve().parents[1] / "facts"
FIGURES = ("psnr", "rfid", "test", "source")
SEARCHES = {"llamagen": "cosine", "chameleon": "nearest", "ibq": "dot"}  # of vqgan.py
BROKEN = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    SafetensorError,
    ImportError,
)


@dataclass(frozen=True)
class Published:
    """A row of facts/suite.yaml, which says what each field is. psnr, rfid, test, source: as reported, of the
    catalogue where the row names one."""

    name: str
    title: str
    repo: str
    kind: str
    files: tuple[str, ...]
    side: int
    length: int
    licence: str
    megabytes: str
    range: str
    read: str
    folder: str = ""
    revision: str = "main"
    sides: int | None = None
    only: int | None = None
    vocabulary: int | None = None
    values: int | None = None
    accept: bool = False
    commercial: bool = True
    catalogue: str | None = None
    psnr: float | None = None
    rfid: float | None = None
    test: str | None = None
    source: str | None = None
    note: str = ""

    @property
    def paths(self) -> list[str]:
        """Files inside the repository."""
        return [f"{self.folder}/{file}" if self.folder else file for file in self.files]

    @property
    def bits(self) -> float | None:
        """Nominal bits of a picture of `side` x `side` pixels; None where positions are numbers."""
        return self.length * log2(self.vocabulary) if self.vocabulary else None

    @property
    def terms(self) -> str:
        """The licence, and whether it forbids commercial use."""
        return self.licence + ("" if self.commercial else " (non-commercial)")

    @property
    def about(self) -> str:
        """One line for what is fetched."""
        return f"{self.name}: {self.repo}, {self.terms}, {self.megabytes} MB"


@cache
def table() -> tuple[Published, ...]:
    """All rows, with the figures of the catalogue."""
    catalogue = {row["name"]: row for row in _facts("catalogue")}
    rows = []
    for row in _facts("suite"):
        reported = catalogue[row["catalogue"]] if "catalogue" in row else row
        figures = {key: reported[key] for key in FIGURES if key in reported}
        rows.append(Published(**{**row, **figures, "files": tuple(row["files"])}))
    return tuple(rows)


def find(name: str) -> Published:
    """The row of that name. Raises ConfigError where there is none."""
    names = [row.name for row in table()]
    if name not in names:
        raise ConfigError(
            f"unknown tokenizer '{printable(name)}'{nearest(name, names)}; allowed: {', '.join(names)}"
        )
    return table()[names.index(name)]


def cached(row: Published) -> Path | None:
    """Folder of its files, where all of them are in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    paths = [try_to_load_from_cache(row.repo, path, revision=row.revision) for path in row.paths]
    return Path(paths[0]).parent if all(isinstance(path, str) for path in paths) else None


def prepare(
    words: Sequence[str], accepted: Sequence[str], notify: Callable[[str], None], suite: bool = False
) -> list[str]:
    """Words of --codec, all `public:NAME` among them fetched. suite: leaves out, with a line, what cannot be
    used, where a named word would be an error.

    Raises ConfigError for an unknown name or a licence that is not accepted, CheckpointError where nothing
    can be fetched."""
    rows = {word: find(word.removeprefix(PREFIX)) for word in words if word.startswith(PREFIX)}
    if not rows:
        return list(words)
    pretrained.need("huggingface_hub")
    _check_accepted(accepted)
    licences = {name.casefold() for name in accepted}
    refused = [
        row
        for row in rows.values()
        if row.accept and not licences & {row.licence.casefold(), row.name.casefold()}
    ]
    if refused:
        line = "; ".join(f"{row.name}: {row.terms}" for row in refused)
        flags = " ".join(
            f"--accept-licence {licence}" for licence in sorted({row.licence for row in refused})
        )
        line = f"licences that are not accepted: {line}; read them on the hub, then add {flags}"
        if not suite:
            raise ConfigError(line)
        notify(f"left out, {line}")
    wanted = [row for row in rows.values() if row not in refused]
    missing = _fetch([row for row in wanted if cached(row) is None], notify)
    if missing:
        names = ", ".join(row.name for row in missing)
        line = f"cannot be fetched: {names}; where there is a network: {command(missing)}"
        if len(missing) == len(wanted) or not suite:
            raise CheckpointError(line)
        notify(f"left out, {line}")
    if not wanted:
        raise ConfigError("no tokenizer of the suite is left; accept a licence, or name another one")
    left_out = {*refused, *missing}
    return [word for word in words if rows.get(word) not in left_out or word not in rows]


def command(rows: Sequence[Published]) -> str:
    """The command that fetches them into a cache, which can be copied."""
    return " && ".join(
        f"hf download {row.repo} {' '.join(row.paths)}"
        + ("" if row.revision == "main" else f" --revision {row.revision}")
        for row in rows
    )


def open_public(name: str, device: torch.device) -> torch.nn.Module:
    """The tokenizer, of the cache, in eval mode. Raises ConfigError, CheckpointError; the latter also where
    its length or vocabulary is not that of the table."""
    row = find(name)
    pretrained.need("huggingface_hub")
    folder = cached(row)
    if folder is None:
        raise CheckpointError(
            f"{PREFIX}{row.name} is not in the cache; fetch it first: {command([row])}; or use it once in "
            "`rawmm reconstruct`"
        )
    try:
        codec = _load(row, folder, device)
        _check(row, codec, device)
    except (*pretrained.FAILURES, SafetensorError, DataError) as error:
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise CheckpointError(f"{PREFIX}{row.name} cannot be loaded as {row.kind}: {reason}") from None
    return codec


def _check(row: Published, codec: Any, device: torch.device) -> None:
    """Compare sizes with the table, and send one small picture through. Raises ValueError."""
    sizes = {"length": codec.length(row.side, row.side), "vocabulary": codec.vocabulary}
    sizes["values"] = getattr(codec, "values", None)
    for key, value in sizes.items():
        if value != getattr(row, key):
            raise ValueError(
                f"{key} {value} at {row.side} px, and the table says {getattr(row, key)}; the repository "
                f"{row.repo} changed, or the table is wrong"
            )
    side = row.only or max(64, row.sides)
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device)
    shape = codec.decode(codec.encode(images), codec.grid(side, side)[0]).shape
    if shape != images.shape:
        raise ValueError(f"a picture of {tuple(images.shape)} comes back as {tuple(shape)}")


def facts(word: str) -> dict[str, Any]:
    """Of a word of --codec that is `public:NAME`: repository, commit of the files in the cache, licence, and
    reported figures, each None where there is none. Empty for other words."""
    if not word.startswith(PREFIX):
        return {}
    row = find(word.removeprefix(PREFIX))
    folder = cached(row)
    parts = folder.parts if folder else ()
    commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts else None
    figures = {key: getattr(row, key) if row.psnr or row.rfid else None for key in FIGURES}
    return {"repo": row.repo, "commit": commit, "licence": row.licence, **figures}


def _load(row: Published, folder: Path, device: torch.device) -> torch.nn.Module:
    from ..codecs.published import cosmos, emu3, maskgit, open_magvit2, titok, vqgan

    file = folder / row.files[-1]
    match row.kind:
        case "llamagen" | "chameleon" | "ibq":
            pretrained.need("diffusers")
            return vqgan.load(file, device, SEARCHES[row.kind])
        case "emu3":
            pretrained.need("transformers")
            return emu3.load(file, device)
        case "maskgit":
            inner = maskgit.load(file, device)
        case "titok":
            inner = titok.load(file, device)
        case "open_magvit2":
            inner = open_magvit2.load(file, device)
        case "cosmos":
            inner = cosmos.load(folder, device, row.sides)
        case _:
            return pretrained.load(str(folder), device)
    return Adapted(inner, PREFIX + row.name).eval()


def _fetch(rows: list[Published], notify: Callable[[str], None]) -> list[Published]:
    """Fetch, one after the other -> those that cannot be. Without network none is tried."""
    from huggingface_hub import hf_hub_download

    if rows and not _reachable():
        return rows
    missing = []
    for row in rows:
        notify(f"fetches {row.about}" + (f"; {row.note}" if row.note else ""))
        try:
            for path in row.paths:
                hf_hub_download(row.repo, path, revision=row.revision)
        except Exception as error:  # of almost any type
            notify(f"{row.name}: {printable((str(error).splitlines() or [type(error).__name__])[0])[:200]}")
            missing.append(row)
    return missing


def _reachable() -> bool:
    """Whether the hub has an address here. Its own client tries five times, which takes half a minute. Behind
    a proxy, which resolves addresses itself, the client must find out."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        return bool(getproxies()) or bool(socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443))
    except OSError:
        return False


def _check_accepted(accepted: Sequence[str]) -> None:
    known = {word for row in table() if row.accept for word in (row.licence, row.name)}
    for word in accepted:
        if word.casefold() not in {name.casefold() for name in known}:
            near = nearest(word, sorted(known))
            raise ConfigError(
                f"unknown licence '{printable(word)}'{near}; allowed: {', '.join(sorted(known))}"
            )


def _facts(name: str) -> list[dict]:
    return parse_yaml((FACTS / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")
