"""What a run trains, in a few words each: the head of the report."""

from pathlib import Path
from typing import Any

from ..config import presets
from ..config.codecs import CodecConfig
from ..runs.folder import setting, stored_parameters
from ..system.errors import RawmmError
from ..system.figures import finite, number


def facts_of(run: Path, settings: dict, saved: list[dict], machine: dict) -> dict[str, str]:
    """Data, codec, backbone and so on, in a few words each; what the settings do not hold is left out."""
    data, codec, head, backbone, train = (
        settings.get(name) for name in ("data", "codec", "head", "backbone", "train")
    )
    baseline = setting(settings.get("baseline"), "kind")
    edge, patch = setting(data, "size"), setting(codec, "patch")
    patches = f", {(edge // patch) ** 2:,} a picture" if finite(edge) and finite(patch) and patch >= 1 else ""
    count = _parameters(run, settings, saved)
    kind = {"gau": "GAU", "transformer": "Transformer"}.get(
        setting(backbone, "kind"), setting(backbone, "kind")
    )
    optimizer = {"muon": "Muon", "adamw": "AdamW"}.get(
        setting(train, "optimizer"), setting(train, "optimizer")
    )
    facts = {
        "Data": _words("{}, {} px", setting(data, "set"), edge),
        "Patches": _words("{} px", patch, after=patches) if setting(codec, "kind") in (None, "raw") else "",
        "Codec": _codec(codec),
        "Backbone": _words(
            "{}, {} layers of width {}", kind, *(setting(backbone, key) for key in ("depth", "width"))
        ),
        "Baseline": _words("{}: draws, does not read", {"unet": "U-Net", "flow": "flow"}.get(baseline)),
        "Parameters": None if count is None else f"{count:,}",
        f"{str(setting(head, 'kind')).capitalize()} head": _head(head),
        "Optimizer": _words("{}, {} documents a step", optimizer, setting(train, "batch")),
        "Seed": _words("{}", setting(train, "seed")),
        "Machine": _words("{}, {}", machine.get("device"), machine.get("precision")),
    }
    return {key: value for key, value in facts.items() if value}


def _head(head: Any) -> str:
    """'predicts clean, loss in velocity'; "" of a head without settings of such kinds."""
    first, form = "prediction", "predicts {}, loss in {}"
    if setting(head, "kind") == "autoregressive":
        return "codes one after the other" + _words(", z-loss {}", setting(head, "z_loss") or None)
    if setting(head, "kind") == "masked":
        first, form = "schedule", "masked by {}, loss {}"
    return _words(form, setting(head, first), setting(head, "loss"))


def _codec(codec: Any) -> str:
    """'FSQ, levels 8 5 5 5, 8 px a position' of a codec that learns, or is frozen inside a model."""
    if setting(codec, "run"):
        own = _codec(setting(codec, "learned")) or str(setting(codec, "kind"))
        return f"{own}, frozen, of run {setting(codec, 'run')}"
    if setting(codec, "kind") == "subpixels":
        return "sub-pixels"
    if setting(codec, "kind") == "shrunk":
        return _words("patches of {} px, shrunk {} times", setting(codec, "patch"), setting(codec, "factor"))
    kind, inside = setting(codec, "kind"), setting(codec, "quantizer") or codec
    if kind in (None, "raw") or not isinstance(inside, dict):
        return ""
    forms = {
        "codes": "{} codes",
        "levels": "levels {}",
        "bits": "{} bits a token",
        "groups": "{} tokens a position",
        "quantizers": "{} tokens a position",
        "channels": "{} numbers a position",
        "scales": "scales {}",
    }
    sizes = [
        form.format(" ".join(map(str, inside[key])) if isinstance(inside[key], list) else number(inside[key]))
        for key, form in forms.items()
        if inside.get(key) not in (None, 1)
    ]
    where = _words("{} queries", setting(codec, "queries")) or _words(
        "{} px a position", setting(codec, "factor")
    )
    names = [
        str(name).upper() if name != "query" else "" for name in dict.fromkeys((kind, inside.get("kind")))
    ]
    return ", ".join(filter(None, [*names, *sizes, where]))


def _words(form: str, *values: Any, after: str = "") -> str:
    """The values in their places, or nothing where one is missing."""
    return "" if any(value in (None, "") for value in values) else form.format(*map(number, values)) + after


def _parameters(run: Path, settings: dict, saved: list[dict]) -> int | None:
    """Parameters of the newest sound checkpoint or, before there is one, of a model built without memory."""
    for one in reversed(saved):
        if not one["problem"] and (count := stored_parameters(one["folder"])):
            return count
    try:
        chosen = presets.resolve(settings)
    except RawmmError:
        return None
    from ..config import build  # torch, which takes a second or two
    from ..core.model import count_parameters

    if isinstance(chosen, CodecConfig):
        try:
            return sum(p.numel() for p in build.codec(chosen).parameters())
        except RawmmError:  # larger than this machine
            return None
    return count_parameters(build.model(chosen, "meta"))["total"]
