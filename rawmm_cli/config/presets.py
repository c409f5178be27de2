"""Presets and the order of settings: defaults < preset < `key=value`. No torch here.

A preset is a YAML file of what differs from the defaults in `model.py` or `codecs.py`."""

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..system.disk import read_file
from ..system.errors import ConfigError
from .codecs import CodecConfig
from .explain import every_key, explain, fields, is_text, kinds, nearest, takes
from .fields import AUTO
from .model import Config
from .yaml_text import dump_yaml, parse_yaml

FREE = {  # settings that do not decide what a run reaches, but for chance
    f"train.{name}"
    for name in "seed log_every sample_every save_every keep trackers threads workers timeout compile mask "
    "accumulate recompute parallel precision skip_nonfinite".split()
}
LARGEST = 4_000_000  # bytes of a preset file; `parse_yaml` allows a million characters


def folder() -> Path:
    """Where the presets lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).resolve().parents[1] / "presets"
    return inside if inside.is_dir() else inside.parents[1] / "presets"


def names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def text(name: str) -> str:
    """The YAML text of a preset, or of a file ending in .yaml. Raises ConfigError with the nearest name."""
    if name.endswith((".yaml", ".yml")):
        try:
            return read_file(name, LARGEST).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"preset file {name} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}); "
                f"give a YAML file, or one of: {', '.join(names())}"
            ) from None
    if name not in names():
        raise ConfigError(
            f"unknown preset '{name}'{nearest(name, names())}; "
            f"allowed: {', '.join(names())}; see `rawmm presets`"
        )
    return (folder() / f"{name}.yaml").read_text(encoding="utf-8")


def about(name: str) -> str:
    """Summary of a preset: the first line of its header."""
    return text(name).partition("\n")[0].lstrip("# ")


def expected(settings: Config | CodecConfig) -> tuple[str, str] | None:
    """Name of the preset that a run with these settings follows, and what its header expects; None where it
    follows none, or nothing was measured. Seeds and what does not change a model may differ, and what follows
    from the set."""
    own = _shaping(settings)
    for name in names():
        lines = re.search(r"^# Expected: *(.*\n(?:#  .*\n)*)", text(name), re.M)
        figures = " ".join(lines[1].replace("#", "").split()) if lines else ""
        if not figures or figures.startswith("not "):
            continue
        preset = _shaping(load(name))
        if preset.keys() == own.keys() and all(value in (AUTO, own[key]) for key, value in preset.items()):
            return name, figures
    return None


def _shaping(settings: Config | CodecConfig) -> dict:
    """Settings that decide what a run reaches, by dotted names."""
    parts = settings.model_dump().items()
    values = {f"{part}.{key}": value for part, group in parts for key, value in (group or {}).items()}
    return {key: value for key, value in values.items() if key not in FREE}


def load(preset: str, overrides: list[str] | tuple[str, ...] = ()) -> Config | CodecConfig:
    """Preset name and `key=value` words -> Config, or CodecConfig where a codec is what learns."""
    return resolve(parse_yaml(text(preset), f"preset {preset}"), overrides)


def resolve(settings: dict, overrides: list[str] | tuple[str, ...] = ()) -> Config | CodecConfig:
    """Nested settings and `key=value` words -> Config, or CodecConfig where `codec.kind` is one that learns.
    Raises ConfigError that names the key and what is allowed."""
    if not isinstance(settings, dict):
        raise ConfigError("settings must be a mapping of keys, as in `rawmm presets digits`")
    settings = dict(settings)
    _spell_out(settings)
    for assignment in overrides:
        key, value = _split(assignment)
        _assign(settings, key, value)
        _spell_out(settings)
    if any(assignment.startswith("codec.") for assignment in overrides):
        _drop_of_training(settings)
    root = _root(settings)
    try:
        return root.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_of_a_model(error, root, settings) or explain(error, root)) from None


def _of_a_model(error: ValidationError, root: type, settings: dict) -> str | None:
    """What is wrong where settings mix a model and the training of a codec; None for other errors."""
    problem, codec = error.errors()[0], settings.get("codec")
    key = ".".join(map(str, problem["loc"]))
    if key == "codec" and isinstance(codec, str):
        given = f"codec = {codec}"
    elif problem["type"] == "extra_forbidden" and root is CodecConfig and _is_of_a_model(key):
        given = f"codec.kind = {codec['kind']} without codec.run trains a codec, which has no {key}"
    else:
        return None
    return (
        f"{given}; allowed for a model on the codes of a trained codec: its kind and its run, as in "
        f"codec.kind=fsq codec.run=NAME; on raw patches: codec.kind=raw"
    )


def _is_of_a_model(key: str) -> bool:
    return key in Config.model_fields or key in every_key(Config)


def _root(settings: dict) -> type[Config] | type[CodecConfig]:
    """The class of all settings: a codec that learns is what is trained where it is not of a run."""
    codec, learned = settings.get("codec"), kinds(CodecConfig, "codec")
    kind = codec.get("kind") if isinstance(codec, dict) else "raw"
    allowed = list(dict.fromkeys([*kinds(Config, "codec"), *learned]))
    if kind not in allowed:
        raise ConfigError(f"codec.kind = {kind}{nearest(str(kind), allowed)}; allowed: {', '.join(allowed)}")
    return CodecConfig if kind in learned and "run" not in codec else Config


def _drop_of_training(settings: dict) -> None:
    """A codec of a run has that run's settings: those that a preset gives for another one count no more."""
    codec = settings.get("codec")
    if not isinstance(codec, dict) or "run" not in codec:
        return
    own = fields(Config, ["codec", f"kind={codec.get('kind')}"])
    if "run" not in own:
        return
    others = [name for root in (Config, CodecConfig) for name in fields(root, ["codec"])]
    settings["codec"] = {name: value for name, value in codec.items() if name in own or name not in others}


def _spell_out(settings: dict) -> None:
    """Parts get their first kind where they have none. `text_tokenizer: bpe` is short for its kind, `stream:
    true` for all its defaults and `false` for none."""
    for part in ("codec", "head", "backbone"):
        if isinstance(settings.get(part), dict):
            settings[part] = {"kind": kinds(Config, part)[0], **settings[part]}
    codec = settings.get("codec")
    if isinstance(codec, dict) and isinstance(codec.get("quantizer"), dict):
        settings["codec"] = {**codec, "quantizer": {"kind": "fsq", **codec["quantizer"]}}
    if isinstance(settings.get("text_tokenizer"), str):
        settings["text_tokenizer"] = {"kind": settings["text_tokenizer"]}
    data = settings.get("data")
    if isinstance(data, dict) and isinstance(data.get("stream"), bool):
        settings["data"] = {**data, "stream": {} if data["stream"] else None}


def changed(config: Config, values: dict[str, Any]) -> Config:
    """Settings with other values, {dotted key: value}, all of them checked. Raises ConfigError."""
    settings = config.model_dump(mode="json")
    for key, value in values.items():
        _assign(settings, key, value)
    return resolve(settings)


def dump(config: Config | CodecConfig) -> str:
    """Config -> YAML text, complete."""
    return dump_yaml(config.model_dump(mode="json"))


# -------------------------------------------------------------------------------------------------- key=value


def _split(assignment: str) -> tuple[str, Any]:
    """Key and value of a word. Paths and captions are taken as they stand, since YAML sees comments and
    mappings in them, as in `my set #2`; in quotes they are YAML."""
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"'{assignment}' is not a setting; allowed: key=value, as in train.learning_rate=1e-3"
        )
    plain = value.strip()
    if is_text(Config, key) and plain not in ("", "~", "null") and plain[0] not in "'\"":
        return key, plain
    return key, parse_yaml(value, f"the value of {key}")


def _assign(settings: dict, key: str, value: Any) -> None:
    """Set a dotted key. A new `kind` drops the settings that its part does not know, and those whose value
    only the kind before allows, as `head.loss: velocity` for masked codes."""
    *path, leaf = key.split(".")
    node = settings
    for part in path:
        node[part] = dict(node[part]) if isinstance(node.get(part), dict) else {}
        node = node[part]
    if leaf == "kind" and node.get("kind") != value:
        known = [name for root in (Config, CodecConfig) for name in fields(root, [*path, f"kind={value}"])]
        before, after = ([*path, f"kind={kind}"] for kind in (node.get("kind"), value))
        for name, old in list(node.items()) if known else ():
            if name not in known or (
                takes(Config, before, name, old) and not takes(Config, after, name, old)
            ):
                del node[name]
    node[leaf] = value
