"""Settings of a comparison of systems, validated. No torch here.

A comparison is a YAML file: `presets/compare/NAME.yaml`, or one of the user's. Its first system is the
reference: what it does within the budget is the other budget of all others."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ..system.disk import read_file
from ..system.errors import ConfigError
from . import presets
from .explain import explain, nearest
from .fields import Count, Name, Seconds, Settings, Share, Whole
from .yaml_text import parse_yaml

LARGEST = 1_000_000  # bytes of a file


def _words(value: Any) -> Any:
    """A list of words from YAML, in which `train.batch=64` is a word and so is `[a, b]`."""
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class CodecOf(Settings):
    """The codec of a system, trained for each seed; systems with the same one share it."""

    preset: str = Field(description="a preset that trains a codec, or a YAML file")
    settings: Words = ()
    share: Share | None = Field(
        None, description="of the time budget, in place of the documents of the preset"
    )


class System(Settings):
    """A preset of the trainer, and settings over it."""

    name: Name
    preset: str = Field("", description="a preset of a model, or a YAML file")
    settings: Words = Field((), description="key=value words, as after `rawmm train`")
    codec: CodecOf | None = Field(
        None, description="without it, the preset that codec.run names, where there is one"
    )
    drawing: dict[str, Any] = Field(
        {}, description="settings of drawing that are not searched, as in {size: 12, positions: ntk}"
    )


class Budget(Settings):
    """One of the three: what each system may use."""

    time: Seconds | None = Field(None, description="seconds, the training of a codec included")
    documents: Count | None = Field(None, description="that the model sees")
    flops: Annotated[float, Field(gt=0)] | None = Field(
        None, description="of training, those of a codec included"
    )

    @model_validator(mode="after")
    def _one(self) -> "Budget":
        given = [name for name in ("time", "documents", "flops") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"budget has {' and '.join(given) or 'nothing'}; allowed: one of time (seconds), documents, "
                "flops, as in budget: {time: 300}"
            )
        return self

    @property
    def kind(self) -> str:
        """time, documents or flops."""
        return next(name for name in ("time", "documents", "flops") if getattr(self, name) is not None)


def _seeds(value: Any) -> Any:
    if type(value) is not int:
        return _words(value)
    if not 1 <= value <= 100:
        raise ValueError(f"seeds = {value}; allowed: 1 to 100, or a list, as in [0, 1, 2]")
    return tuple(range(value))


class Comparison(Settings):
    """A question, and who is asked."""

    name: Name = "comparison"
    question: str = Field("", description="that the comparison answers, in a sentence")
    data: str | None = Field(None, description="a prepared set; None: that of the presets")
    budget: Budget = Budget(time=300.0)
    seeds: Annotated[tuple[Whole, ...], BeforeValidator(_seeds)] = Field(
        (0, 1, 2), description="a list, or how many; the same for every system"
    )
    systems: Annotated[tuple[System, ...], BeforeValidator(_words)] = Field(
        description="the first is the reference"
    )
    trials: Whole = Field(8, description="of the sampler, for each system; 0: the preset's settings")
    trial_pictures: Count = Field(128, description="drawn in each trial")
    sweep: Whole = Field(0, description="trials of the learning rate, for each system; 0: the preset's")
    pictures: Count = Field(1000, description="drawn to measure a cell")
    score: Words = Field(
        ("text_to_image.accuracy", "fidelity.coverage"),
        description="metrics from 0 to 1 whose product the search of the sampler makes large",
    )
    evaluators: Words = Field((), description="files of evaluation/; empty: all that fit")
    cluster: dict[str, Any] = Field({}, description="what `submitit` takes, as in slurm_partition: gpu")

    @model_validator(mode="after")
    def _systems_fit(self) -> "Comparison":
        names = [system.name for system in self.systems]
        if not names:
            raise ValueError("systems is empty; allowed: a name and a preset each, two systems or more")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two systems are named '{twice}'; allowed: a name once; rename one of them")
        for system in self.systems:
            if not system.preset:
                raise ValueError(
                    f"system '{system.name}' has no preset; allowed: one of `rawmm presets`, or a YAML file; "
                    f"add preset: NAME"
                )
        if len(set(self.seeds)) < len(self.seeds) or not self.seeds:
            raise ValueError(f"seeds = {list(self.seeds)}; allowed: at least one, each once; as in [0, 1, 2]")
        return self

    @property
    def reference(self) -> System:
        """The system with which the others are compared."""
        return self.systems[0]


def names() -> list[str]:
    """Names of the comparisons that ship, sorted."""
    return sorted(path.stem for path in (presets.folder() / "compare").glob("*.yaml"))


def about(name: str) -> str:
    """Summary of a comparison that ships: the first line of its header."""
    return _text(name).partition("\n")[0].lstrip("# ")


def load(name: str, **changes: Any) -> Comparison:
    """The comparison of that name, or of a file ending in .yaml. changes: of its settings, which win over the
    file's. Raises ConfigError."""
    settings = parse_yaml(_text(name), f"comparison {name}")
    if not isinstance(settings, dict):
        raise ConfigError(f"comparison {name} is no mapping of keys; see `rawmm compare --help`")
    settings = {"name": Path(name).stem, **settings, **changes}
    try:
        return Comparison.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"comparison {name}: {explain(error, Comparison)}") from None


def _text(name: str) -> str:
    if name.endswith((".yaml", ".yml")):
        try:
            return read_file(name, LARGEST).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"comparison file {name} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}); "
                f"give a YAML file, or one of: {', '.join(names())}"
            ) from None
    if name not in names():
        raise ConfigError(
            f"unknown comparison '{name}'{nearest(name, names())}; allowed: {', '.join(names())}, or a YAML "
            "file, as in ./mine.yaml"
        )
    return (presets.folder() / "compare" / f"{name}.yaml").read_text(encoding="utf-8")
