"""What lies in a run folder, read without torch: records, settings, checkpoints, and whether it is being
trained.

A run folder may be read while it is written, after a crash, or long after this version was forgotten; so
whatever is missing, torn or of another kind is left out, and never an error; but for `read_config`, for those
who need every setting."""

import contextlib
import json
import math
import struct
from pathlib import Path
from typing import Any, TypeVar

from ..config import presets
from ..config.codecs import CodecConfig
from ..config.model import Config
from ..config.yaml_text import dump_yaml, parse_yaml
from ..system.disk import open_file, read_file
from ..system.errors import CheckpointError, ConfigError
from ..system.figures import finite
from . import records

T = TypeVar("T", dict, list)
LARGEST = 64_000_000  # bytes of a file that is read whole


def read_json(path: Path, kind: type[T]) -> T:
    """Contents of a JSON file, or an empty `kind` where it is missing, torn or something else."""
    try:
        value = json.loads(read_file(path, LARGEST))
    except (OSError, ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()


def ordered_records(run: Path) -> list[dict]:
    """The records in order of documents; of two for the same documents the later written one."""
    lines = records.read(run / "records.jsonl")
    by_documents = {
        row["documents"]: row for row in lines if finite(row["documents"]) and row["documents"] >= 0
    }
    return [by_documents[documents] for documents in sorted(by_documents)]


def held_out_losses(run: Path) -> list[dict]:
    """Losses on held-out documents that were measured beside the sample sheets, by documents: {"documents",
    "held_out_text", "held_out_image"}, those that there are."""
    lines = []
    for path in (run / "samples").glob("step_*.json"):
        note = read_json(path, dict)
        if finite(note.get("documents")) and isinstance(note.get("held_out"), dict):
            losses = {key: value for key, value in note["held_out"].items() if finite(value)}
            lines.append({**losses, "documents": note["documents"]})
    return sorted(lines, key=lambda line: line["documents"])


# --------------------------------------------------------------------------------------------------- settings


def read_settings(run: Path) -> dict:
    """config.yaml as a mapping of mappings; {} where it is something else."""
    try:
        text = read_file(run / "config.yaml", LARGEST).decode("utf-8", "replace")
        values = parse_yaml(text, "config.yaml")
    except (OSError, ConfigError):
        return {}
    return values if isinstance(values, dict) else {}


def read_config(run: Path) -> Config | CodecConfig:
    """config.yaml of a run or of one of its checkpoints, every setting checked. Raises CheckpointError."""
    try:
        text = read_file(run / "config.yaml", LARGEST).decode("utf-8")
        return presets.resolve(_completed(parse_yaml(text, "config.yaml")))
    except (OSError, UnicodeDecodeError, ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run / 'config.yaml'} cannot be used: {error}") from None


def _completed(values: Any) -> Any:
    """Settings of a run with those that are newer than it, where the default is not what it was trained
    with."""
    if setting(values, "codec", "kind") == "query" and "run" not in values["codec"]:
        return {**values, "codec": {"local": False, **values["codec"]}}
    return values


def setting(values: dict, *path: str) -> Any:
    """values[a][b]..., or None where there is no such thing."""
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def settings_lines(values: dict) -> list[list[tuple[str, str, bool]]]:
    """Settings -> for each section its lines (key with its indentation, value, whether it differs from the
    default).

    What this version does not know differs."""
    codec = setting(values, "codec", "kind")
    return [
        _lines({name: section}, {name: _defaults(name, section, codec)}, "")
        for name, section in values.items()
    ]


def _defaults(name: str, section: Any, codec: Any) -> dict:
    """The defaults of a section, of the same kind, beside such a codec."""
    kind = setting(section, "kind") if isinstance(section, dict) else None
    codec_settings = {"codec": {"kind": codec}} if isinstance(codec, str) else {}
    try:
        chosen = presets.resolve(codec_settings | ({name: {"kind": kind}} if isinstance(kind, str) else {}))
    except ConfigError:
        return {}
    return chosen.model_dump(mode="json").get(name, {})


def _lines(values: dict, defaults: Any, indent: str) -> list[tuple[str, str, bool]]:
    lines = []
    for name, value in values.items():
        known = isinstance(defaults, dict) and name in defaults
        default = defaults[name] if known else None
        if isinstance(value, dict) and value:
            inner = _lines(value, default, indent + "  ")
            lines += [(f"{indent}{name}:", "", not known and not inner), *inner]
        else:
            text = (
                dump_yaml({"": value}).partition(":")[2].strip()
                if not isinstance(value, list)
                else f"[{', '.join(dump_yaml({'': item}).partition(':')[2].strip() for item in value)}]"
            )
            lines.append((f"{indent}{name}:", text, not known or value != default))
    return lines


# ------------------------------------------------------------------------------------------------ checkpoints


def checkpoints(run: Path) -> list[dict]:
    """Every checkpoint, oldest first: folder, step, documents, bytes, saved (seconds since 1970), problem or
    None.

    A problem is a file that is missing or has another size than the manifest says; sums are not computed
    here."""
    with contextlib.suppress(OSError):
        folders = [
            path for path in (run / "checkpoints").iterdir() if path.is_dir() and path.name[5:].isdecimal()
        ]
        return [_checkpoint(path) for path in sorted(folders, key=lambda path: int(path.name[5:]))]
    return []


def _checkpoint(folder: Path) -> dict:
    manifest, state = read_json(folder / "MANIFEST.json", dict), read_json(folder / "state.json", dict)
    sizes = {name: setting(entry, "size") for name, entry in manifest.items()}
    problem = None if sizes else "no manifest"
    for name, expected in sizes.items():
        with contextlib.suppress(OSError, ValueError):
            if (folder / name).stat().st_size == expected:
                continue
        problem = f"{name} is missing or has another size"
        break
    documents = state.get("documents")
    return {
        "folder": folder,
        "step": int(folder.name[5:]),
        "documents": documents if finite(documents) else None,
        "bytes": sum(size for size in sizes.values() if finite(size)),
        "saved": _modified(folder),
        "problem": problem,
    }


def _modified(path: Path) -> float | None:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime


def stored_parameters(checkpoint: Path) -> int | None:
    """Number of parameters of the weights, from the headers of model.safetensors or of the shards in model/.

    A header is its length in 8 bytes and then JSON with the shape of each tensor
    (huggingface.co/docs/safetensors)."""
    total = 0
    for path in [checkpoint / "model.safetensors", *checkpoint.glob("model/*.safetensors")]:
        try:
            with open_file(path) as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, 100_000_000)))
            count = sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
            if not 0 <= count < 2**63:
                return None
            total += count
        except FileNotFoundError:
            continue
        except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError):
            return None
    return total or None
