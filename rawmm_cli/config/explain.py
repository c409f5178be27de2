"""What is wrong with a setting, in one line: the key, what was given, what is allowed, the nearest name. No
torch here."""

import difflib
import re
from contextlib import suppress
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from .fields import AUTO, OR_AUTO


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first problem in one line: key, what was given, what is allowed, the nearest name.

    `root`: the class of all settings."""
    problem = error.errors()[0]
    path = _tagged(root, [str(part) for part in problem["loc"]])
    key, value = ".".join(part for part in path if "=" not in part), problem.get("input")
    if problem["type"] == "extra_forbidden":
        allowed = fields(root, path[:-1])
        if key in every_key(root):
            chosen = next((f"{path[0]}.{part.replace('=', ' = ')}" for part in path if "=" in part), path[0])
            return f"{key} does not belong to {chosen}; allowed here: {', '.join(allowed)}"
        prefix = ".".join(part for part in path[:-1] if "=" not in part)
        full = {name: f"{prefix}.{name}" if prefix else name for name in allowed}
        near = difflib.get_close_matches(path[-1], full, 1)
        elsewhere = difflib.get_close_matches(path[-1], [name.split(".")[-1] for name in every_key(root)], 1)
        hint = (
            full[near[0]]
            if near
            else next((k for k in every_key(root) if elsewhere and k.endswith("." + elsewhere[0])), None)
        )
        suggestion = f" (did you mean {hint}?)" if hint else ""
        return f"unknown key '{key}'{suggestion}; allowed here: {', '.join(allowed)}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found", "literal_error"):
        if problem["type"] != "literal_error":
            key, value = f"{key}.kind", value.get("kind") if isinstance(value, dict) else value
        choices = re.findall(r"'([^']*)'", problem["msg"])
        if key.endswith(".kind") and problem["type"] != "literal_error":
            choices = _kinds_at(root, path[:-1] if path[-1] == "kind" else path)
        choices += [AUTO] * _may_be_auto(root, path)
        return f"{key} = {value}{nearest(str(value), choices)}; allowed: {', '.join(choices)}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    follow = f", or {AUTO}" if _may_be_auto(root, path) else ""
    return f"{key} = {value!r} is not allowed: {message}{follow}"


def _may_be_auto(root: type[BaseModel], path: list[str]) -> bool:
    """Whether the setting at a path may be `auto`."""
    return any(
        OR_AUTO in model.model_fields[path[-1]].metadata
        for model in _at(root, path[:-1])
        if path[-1] in model.model_fields
    )


def nearest(word: str, choices: list[str]) -> str:
    """' (did you mean x?)', or nothing where no choice is near."""
    near = difflib.get_close_matches(word, choices, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def models(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes inside an annotation: one, or the members of a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return (
        [model for part in get_args(annotation) for model in models(part)] if get_origin(annotation) else []
    )


def kinds(root: type[BaseModel], name: str) -> list[str]:
    """The kinds of a part, or nothing where it has none."""
    field = root.model_fields.get(name)
    return [kind for model in models(field.annotation) for kind in kinds_of(model)] if field else []


def kinds_of(model: type[BaseModel]) -> list[str]:
    """The kinds that a class of settings stands for; nothing where it has none."""
    field = model.model_fields.get("kind")
    return [kind for kind in get_args(field.annotation) if isinstance(kind, str)] if field else []


def _kinds_at(root: type[BaseModel], path: list[str]) -> list[str]:
    """The kinds that a path may have."""
    return [kind for model in _at(root, path) for kind in kinds_of(model)]


def _tagged(root: type[BaseModel], path: list[str]) -> list[str]:
    """pydantic's path, in which the kind of a tagged union is a part of its own -> the same with `kind=x`
    there."""
    tagged: list[str] = []
    for part in path:
        inside = _at(root, tagged)
        tag = tagged and len(inside) > 1 and "=" not in tagged[-1] and part in _kinds_at(root, tagged)
        tagged.append(f"kind={part}" if tag else part)
    return tagged


def fields(root: type[BaseModel], path: list[str]) -> list[str]:
    """Keys allowed at a path; a part `kind=x` picks a member of a tagged union."""
    return list(dict.fromkeys(name for model in _at(root, path) for name in model.model_fields))


def takes(root: type[BaseModel], path: list[str], name: str, value: Any) -> bool:
    """Whether settings at a path have a key of this name for values of this type, or with this choice."""
    for model in _at(root, path):
        if name in model.model_fields:
            with suppress(ValidationError):
                TypeAdapter(model.model_fields[name].annotation).validate_python(value)
                return True
    return False


def _at(root: type[BaseModel], path: list[str]) -> list[type[BaseModel]]:
    """The settings classes that may stand at a path."""
    classes = [root]
    for part in path:
        if part.startswith("kind="):
            classes = [model for model in classes if part[5:] in kinds_of(model)]
        else:
            classes = [
                model
                for parent in classes
                if part in parent.model_fields
                for model in models(parent.model_fields[part].annotation)
            ]
    return classes


def is_text(root: type[BaseModel], key: str) -> bool:
    """Whether a dotted key is a text of any words, such as a path, and not a name."""
    *path, leaf = key.split(".")
    annotations = [m.model_fields[leaf].annotation for m in _at(root, path) if leaf in m.model_fields]
    return bool(annotations) and all(annotation == str | None for annotation in annotations)


def every_key(root: type[BaseModel]) -> list[str]:
    """Every dotted key that a preset may hold."""
    return _leaves(root, "")


def _leaves(model: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        # what follows from a run is one key, whatever it holds
        inner = [] if OR_AUTO in field.metadata else models(field.annotation)
        keys += [leaf for part in inner for leaf in _leaves(part, f"{prefix}{name}.")] or [prefix + name]
    return list(dict.fromkeys(keys))
