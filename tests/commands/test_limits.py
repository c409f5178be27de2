"""Whole numbers of any length: every option and every setting has a least and a most, and says them."""

import types
import typing

import pytest
import typer
from pydantic import BaseModel

from rawmm_cli.cli import app
from rawmm_cli.config.codecs import CodecConfig
from rawmm_cli.config.model import Config
from rawmm_cli.system.errors import ConfigError

DIGITS = "99999999999999999999"


def commands(group: typer.Typer, path: tuple = ()):
    for one in group.registered_commands:
        yield (*path, one.name or one.callback.__name__), one.callback
    for one in group.registered_groups:
        yield from commands(one.typer_instance, (*path, one.name))
        if one.typer_instance.registered_callback:
            yield (*path, one.name), one.typer_instance.registered_callback.callback


def holds(annotation, kind) -> bool:
    return annotation is kind or any(holds(part, kind) for part in typing.get_args(annotation))


def test_every_whole_number_of_a_command_has_limits():
    count = 0
    for path, command in commands(app):
        for name, hint in typing.get_type_hints(command, include_extras=True).items():
            if hasattr(hint, "__metadata__") and holds(hint.__origin__, int):
                info = hint.__metadata__[0]
                assert info.min is not None and info.max is not None, (path, name)
                count += 1
    assert count > 20


def limits(field_or_hint):
    """(least given, most given) in the constraints of a whole number, wherever they are nested."""
    found = {type(part).__name__.lower() for part in getattr(field_or_hint, "metadata", ())}
    annotation = getattr(field_or_hint, "annotation", field_or_hint)
    for hint in (annotation, *typing.get_args(annotation)):
        for part in getattr(hint, "__metadata__", ()):
            found |= {type(one).__name__.lower() for one in getattr(part, "metadata", ())}
    return bool(found & {"ge", "gt"}), bool(found & {"le", "lt"})


@pytest.mark.parametrize("root", [Config, CodecConfig])
def test_every_whole_number_of_the_settings_has_limits(root):
    def numbers(model):
        for name, field in model.model_fields.items():
            inner = models(field.annotation)
            for part in inner:
                yield from numbers(part)
            if not inner and holds(field.annotation, int):
                yield f"{model.__name__}.{name}", field

    def models(annotation):
        if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
            return [annotation] if issubclass(annotation, BaseModel) else []
        return [model for part in typing.get_args(annotation) for model in models(part)]

    rows = list(numbers(root))
    assert len(rows) > 20
    assert [name for name, field in rows if limits(field) != (True, True)] == []


@pytest.mark.parametrize(
    "words",
    [
        ["prepare", "digits", "--limit", DIGITS],
        ["prepare", "portraits", "--count", DIGITS],
        ["prepare", "digits", "--workers", DIGITS],
        ["prepare", "digits", "--size", DIGITS],
        ["prepare", "text-images", "--glyph", DIGITS],
        ["prepare", "text-images", "--glyph", f"8-{DIGITS}"],
        ["sample", "a", "--count", DIGITS],
        ["sample", "a", "--seed", DIGITS],
        ["sample", "a", "--steps", DIGITS],
        ["evaluate", "--seed", DIGITS],
        ["show", "digits", "--index", DIGITS],
        ["bench", "train", "--steps", DIGITS],
        ["bench", "sample", "--count", DIGITS],
        ["checkpoint", "verify", "run", DIGITS],
        ["tune-sampler", "run", "--seed", DIGITS],
        ["studio", "--port", DIGITS],
        ["train", "--gpus", DIGITS],
        ["train", "--time", f"{DIGITS}d"],
        ["reconstruct", "a", "--codec", f"resize@{DIGITS}"],
        ["reconstruct", "a", "--codec", f"ode@{DIGITS}"],
        ["entropy-budget", "--size", DIGITS],
        *(
            ["train", f"{key}={DIGITS}"]
            for key in (
                "train.documents",
                "train.batch",
                "train.accumulate",
                "train.workers",
                "train.warmup",
                "train.seed",
                "train.save_every",
                "train.keep",
                "train.skip_nonfinite",
                "train.length",
                "train.timeout",
                "train.ema.snapshots",
                "sample.max_text",
                "sample.context",
                "sample.steps",
                "data.size",
                "data.shift",
                "backbone.depth",
                "text_tokenizer.vocabulary",
                "head.bottleneck",
            )
        ),
    ],
    ids=lambda words: " ".join(words).replace(DIGITS, "N"),
)
def test_a_number_of_twenty_digits(words, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = rawmm(*words)
    assert (code, out) == (2, ""), err
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and any(word in line for word in ("range", "allowed", "less than"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["count", "seed"])
def test_a_request_from_python(name):
    from rawmm_cli.sampling.request import Request

    with pytest.raises(ConfigError, match="allowed: a whole number from"):
        Request(("a",), **{name: int(DIGITS)})
