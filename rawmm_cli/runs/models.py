"""Models to sample from: runs, and models that were taken out of a run to be passed on.

    NAME/config.yaml                the settings
    NAME/weights.safetensors        the averaged weights, fp32
    NAME/codec.safetensors          where it works on the tokens of a codec that was trained: that codec
    NAME/tokenizer.json             where the text has learned pieces
    NAME/sampler.json               grids that `rawmm tune-sampler` found, where it was run
    NAME/seen.json                  what it has seen, and what is outside of that
    NAME/model.json                 name, documents, seconds, data, its evaluation
    NAME/README.md                  the same for people: the model card
    NAME/MANIFEST.json              SHA-256 of all these but README.md

Models inside the package lie in `rawmm_cli/models/`; `portraits` is what `rawmm sample` uses where nothing
else is named."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from ..config import build
from ..config.explain import nearest
from ..config.fields import Name
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..core.model import RawModel
from ..data import prepared, sets
from ..system import disk, manifest
from ..system.activity import doing
from ..system.errors import CheckpointError, ConfigError, DataError
from ..system.stored import Shape, read_json
from . import checkpoint, loading, model_card, seen, tuned
from . import folder as files
from .loading import for_sampling
from .seen import SEEN
from .tuned import FACTS, SAMPLER

DEFAULT, FORMAT = "portraits", 1
WEIGHTS, CARD = "weights.safetensors", "README.md"
MACHINE = (
    "rawmm",
    "python",
    "torch",
    "device",
    "ranks",
    "threads",
    "precision",
    "compiled",
)  # what a card tells of it
FOLDER = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Loaded:
    """A model ready to sample. saved: where its weights lie. hash: SHA-256 of them, 12 letters. tuned:
    {"steps": settings}. documents, seconds, data: what it was trained on, how long, and the fingerprint of
    that. seen: contents of seen.json, {} where there is none of these weights."""

    model: RawModel
    config: Config
    name: str
    folder: Path
    saved: Path
    documents: int
    seconds: float
    data: str
    hash: str
    tuned: dict
    seen: dict = field(default_factory=dict)

    @property
    def most_pictures(self) -> int:
        """Pictures to draw where no number is asked for: as many as documents of its sets have, 1 at least;
        none where it only reads."""
        if not self.config.head.draws:
            return 0
        known = self.seen.get("sets") or seen.sets(self.folder)
        sizes = [(one.get("pictures") or 0, sum(one["count"].values())) for one in known]
        return max([1, *(-(-pictures // documents) for pictures, documents in sizes if documents)])


class _Count(Shape):
    train: int = Field(ge=0)
    held_out: int = Field(ge=0)


class _Set(Shape):
    name: str
    source: str | None = None
    licence: str | None = None
    count: _Count


class _Facts(Shape):
    """model.json, which may come from elsewhere: its name becomes part of file names."""

    format: int
    name: Name
    documents: int = Field(ge=0, lt=2**63)
    seconds: float = Field(ge=0)
    data: str
    sets: list[_Set] | None = None
    parameters: int = Field(ge=0, lt=2**63)
    machine: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None


def shipped() -> list[str]:
    """Names of the models inside the package."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{FACTS}"))


def find(runs: Path, run: str | None, model: str | None) -> Path:
    """The folder of a run by its name, or of a model by its name or path; where neither is given the default
    model, or the newest run where the package has none. Raises CheckpointError."""
    if run is not None and model is not None:
        raise ConfigError("both --run and --model are given; allowed: one of them")
    if run is not None or (model is None and DEFAULT not in shipped()):
        return loading.find_run(runs, run)
    name = model or DEFAULT
    folder = FOLDER / name if name in shipped() else Path(name)
    if not (folder / FACTS).is_file() and not (folder / "config.yaml").is_file():
        raise CheckpointError(
            f"no model '{name}'{nearest(name, shipped())}; allowed: {', '.join([*shipped(), ''])}the "
            "folder of a run, or of a model that `rawmm export` wrote"
        )
    return folder


def load(folder: Path, device: torch.device, warn: Callable[[str], None] = lambda line: None) -> Loaded:
    """A run or an exported model. Raises CheckpointError where it is damaged."""
    if not (folder / FACTS).is_file():
        model, config, state = loading.load_model(folder, device, warn)
        saved = folder / "checkpoints" / f"step_{state['step']:08d}"  # verified a moment ago
        return Loaded(
            model,
            config,
            folder.name,
            folder,
            saved,
            state["documents"],
            state["seconds"],
            state["data"],
            manifest.recorded(saved, "ema")[:12],
            tuned.read(folder, warn),
            seen.read(folder, state["documents"], warn),
        )
    facts, config = read_facts(folder), loading.run_config(folder)
    model = build.model(config, device, stored=loading.stored(folder, "weights"))
    loading.load_weights(model, loading.checked(loading.tensors(folder, "weights"), folder), folder)
    loading.load_frozen(model, folder, config)
    model.tokenizer = loading.text_tokenizer(folder, config, None)
    return Loaded(
        for_sampling(model),
        config,
        facts["name"],
        folder,
        folder,
        facts["documents"],
        facts["seconds"],
        facts["data"],
        manifest.recorded(folder, "weights")[:12],
        tuned.read(folder, warn),
        seen.read(folder, facts["documents"], warn),
    )


def read_facts(folder: Path) -> dict:
    """model.json of an exported model, whose files were verified. Raises CheckpointError where one is damaged
    or of a newer version."""
    codec = f"{loading.CODEC}.safetensors"
    listed = [name for name in (checkpoint.CONFIG, checkpoint.TOKENIZER, codec) if (folder / name).exists()]
    for name, problem in manifest.problems(folder, (FACTS, WEIGHTS, *listed)).items():
        if name not in (SAMPLER, SEEN, CARD):  # two are judged by themselves, and the card may be edited
            raise CheckpointError(f"{folder / name} {problem}; bring it back, or export the run again")
    remedy = "export the run again"
    form = read_json(folder / FACTS, dict[str, Any], CheckpointError, remedy).get("format")
    if type(form) is int and form > FORMAT:
        raise CheckpointError(
            f"{folder / FACTS} was written by a newer rawmm (format {form}); update rawmm, or {remedy}"
        )
    return read_json(folder / FACTS, _Facts, CheckpointError, remedy)


def export(
    run: Path,
    folder: Path,
    name: str,
    data_folder: Path | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> dict:
    """Take the averaged weights of a run out into a folder of their own, which must not exist -> its facts.

    data_folder: where the sets lie that it was trained on; what their cards say of source and licence goes
    into its own."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists; allowed: a new folder; remove it, or give another")
    with disk.new_folder(folder) as partial:
        model, config, state = loading.load_model(run, torch.device("cpu"), warn)
        machine = files.read_json(run / "environment.json", dict)
        if isinstance(config.codec, FrozenCodec):
            stored_in, weights = loading.frozen_weights(run, config.codec)
            shutil.copyfile(stored_in / f"{weights}.safetensors", partial / f"{loading.CODEC}.safetensors")
        checkpoint.write_tensors(partial, "weights", model.state_dict())
        for part in (checkpoint.CONFIG, checkpoint.TOKENIZER, SAMPLER):
            if (run / part).is_file():
                shutil.copyfile(run / part, partial / part)
        facts = {
            "format": FORMAT,
            "name": name,
            "documents": state["documents"],
            "seconds": round(state["seconds"], 1),
            "data": state["data"],
            "sets": _sets(config, data_folder, state["data"]),
            "parameters": sum(p.numel() for p in model.parameters()),
            "machine": {name: machine[name] for name in MACHINE if name in machine},
            "evaluation": files.read_json(run / "evaluation.json", dict) or None,
        }
        disk.write_json(partial / FACTS, facts)
        known = seen.read(run, state["documents"], warn)
        if known := known or _measured(model, facts, config, data_folder):
            disk.write_json(partial / SEEN, known)
        manifest.sync_files(partial)
        manifest.seal(partial)
        _write_card(partial, facts, config)
    return facts


def _measured(model: RawModel, facts: dict, config: Config, folder: Path | None) -> dict:
    """What a run has seen, from the sets that it was trained on; {} where those are not at hand."""
    if facts["sets"] is None or folder is None:
        return {}
    with doing("measuring what it has seen"):
        return seen.measure(model, config, facts["documents"], *sets.load(config, folder))


def store_tuned(folder: Path, grids: dict) -> None:
    """Keep the grids of `rawmm tune-sampler` beside the model, and in the card of an exported one."""
    tuned.add(folder, grids)
    _renew_card(folder)


def store_seen(folder: Path, known: dict) -> None:
    """Keep what a model has seen beside it, and in the card of an exported one."""
    seen.add(folder, known)
    _renew_card(folder)


def _renew_card(folder: Path) -> None:
    if (folder / FACTS).exists():
        _write_card(folder, read_facts(folder), loading.run_config(folder))


def _write_card(folder: Path, facts: dict, config: Config) -> None:
    digest = manifest.recorded(folder, "weights")[:12]
    known = seen.read(folder, facts["documents"])
    disk.write(folder / CARD, model_card.text(facts, config, tuned.read(folder), known, digest))


def _sets(config: Config, folder: Path | None, trained_on: str) -> list[dict] | None:
    """Facts of the sets that it was trained on, from their cards; None where they are not at hand, or are
    others by now."""
    try:
        names = (config.data.set, *config.data.mix)
        cards = [prepared.read_card(folder / name) for name in names]
        sets = [prepared.load(folder / name, "train") for name in names]
        if prepared.joint_fingerprint(sets) != trained_on:
            return None
        return [
            {key: card.get(key) for key in ("name", "source", "licence", "count", "size", "fingerprint")}
            for card in cards
        ]
    except (DataError, TypeError, KeyError):
        return None
