"""report.html: a run on one page, also while it trains. Curves, results, pictures, captions, settings,
checkpoints.

The page stands alone: style, curves (SVG) and pictures (base64 PNG) are inside it, it loads nothing and is
complete without its script. Whatever the run folder lacks is left out, so a run that just began has a report
too. Captions and names are hostile input: everything goes through Jinja's autoescape, and the page's own
Content-Security-Policy allows no request and no script but the one whose hash it names. `runs/folder.py`
reads the folder, `curves.py` and `gallery.py` make what is shown. Next: report.html, the template, with
report.css and report.js."""

import base64
import hashlib
import math
import os
from datetime import datetime, timezone
from pathlib import Path

import jinja2

from ..config import presets
from ..config.codecs import CodecConfig
from ..runs.folder import (
    checkpoints,
    is_training,
    ordered_records,
    read_json,
    read_settings,
    setting,
    settings_lines,
    stored_parameters,
)
from ..system.errors import CheckpointError, RawmmError
from ..system.figures import duration, finite, number, short, size
from . import gallery
from .curves import LOSSES, curves

NAMES = {
    "text_to_image": "Text → image",
    "text_to_image.accuracy": "drawings the judge recognises",
    "image_to_text": "Image → text",
    "image_to_text.accuracy": "held-out pictures named right",
    "judge.held_out_accuracy": "held-out pictures the judge recognises",
    "held_out": "Held-out loss",
    "held_out.caption": "nats per token of captions read",
    "held_out.image": "mean over drawn patches",
    "held_out.bits_per_byte": "bits per byte of captions read",
    "train_seconds": "Training",
    "seconds": "Evaluation",
    "image_to_text_sampled": "Image → text, at temperature 1",
    "image_to_text_sampled.accuracy": "what is said of them is right",
    "looks": "How drawings look",
    "looks.kid": "KID on the judges' features",
    "looks.corners drawn": "white ground of drawings: levels off",
    "looks.corners real": "of real pictures",
    "looks.nearest drawn min": "nearest training picture of a drawing, least",
    "looks.nearest drawn median": "median",
    "looks.nearest drawn p05": "5 % are nearer than",
    "looks.nearest real min": "of an unseen real picture, least",
    "looks.nearest real p05": "5 % are nearer than",
    "looks.nearest real median": "median",
    "codes": "Codes",
    "codes.bits": "nominal bits of a picture",
    "codes.tokens": "tokens of a picture",
    "codes.used_bits": "used bits of a token, of training pictures",
    "codes.usage": "share of the codes used",
    "held_out.psnr": "PSNR of held-out pictures, dB",
    "held_out.psnr_p05": "5 % are below",
    "written": "Captions made up",
    "written.prompt": "after",
    "written.parsed": "follow the grammar",
    "written.different": "different ones",
}


def write(run: Path, out: Path | None = None) -> Path:
    """Write `run/report.html`, or `out`, in one go -> its path. Raises CheckpointError where `run` is not a
    run."""
    if not (run / "config.yaml").is_file():
        raise CheckpointError(f"{run} is not a run: it has no config.yaml")
    path = out or run / "report.html"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render(run), encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(run: Path) -> str:
    """The page as text; the same folder gives the same page."""
    template, style, script = (
        Path(__file__).with_name(f"report.{end}").read_text(encoding="utf-8") for end in ("html", "css", "js")
    )
    jinja = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters |= {"number": number, "size": size, "time": _time, "duration": duration}
    rows, evaluation, samples = (
        ordered_records(run),
        read_json(run / "evaluation.json", dict),
        run / "samples",
    )
    settings, machine = read_settings(run), read_json(run / "environment.json", dict)
    saved = checkpoints(run)
    page = jinja.from_string(template).render(
        name=run.resolve().name,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        state=state(run),
        facts=_facts(run, settings, saved, machine),
        cards=_cards(rows, evaluation),
        bad=read_json(run / "bad_batch.json", dict).get("problem"),
        curves=curves(rows, evaluation),
        results=_results(evaluation),
        evaluated=evaluation.get("documents"),
        drawn=gallery.drawn(samples),
        read=gallery.read(samples),
        timeline=gallery.timeline(samples, rows),
        written=gallery.written(samples),
        settings=settings_lines(settings) or _raw(run / "config.yaml"),
        checkpoints=saved,
        machine={key: _fact(value) for key, value in machine.items() if value not in ("", None)},
    )
    return page.encode("utf-8", "replace").decode()  # without the lone surrogates that JSON may hold


def _raw(path: Path) -> list[list[tuple[str, str, bool]]]:
    """A config.yaml that is no YAML, as it is."""
    return [[("", line, False) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"


def _fact(value) -> str:
    return short(value) if finite(value) and abs(value) >= 1e6 else number(value)


# ----------------------------------------------------------------------------------------------------- header


def state(run: Path) -> dict:
    """Where a run stands: status (running, done or stopped), documents, of (what it aims at), seconds, share,
    eta, and when the last record was written."""
    rows, settings, saved = ordered_records(run), read_settings(run), checkpoints(run)
    last = rows[-1] if rows else {}
    kept = max((one["documents"] for one in saved if one["documents"] and not one["problem"]), default=0)
    seen, seconds = max(last.get("documents", 0), kept), last.get("seconds")
    aim, time = setting(settings, "train", "documents"), setting(settings, "train", "time")
    share = (
        seconds / time
        if finite(time) and finite(seconds) and time > 0
        else seen / aim
        if finite(aim) and aim > 0
        else 0
    )
    status = "running" if is_training(run) else "done" if share >= 1 else "stopped"
    path = run / "records.jsonl"
    return {
        "status": status,
        "documents": seen,
        "of": aim if finite(aim) and not finite(time) else None,
        "seconds": seconds if finite(seconds) else None,
        "share": min(max(share, 0), 1),
        "eta": last["eta"] if status == "running" and finite(last.get("eta")) else None,
        "last_record": path.stat().st_mtime if rows else None,
    }


def _facts(run: Path, settings: dict, saved: list[dict], machine: dict) -> dict[str, str]:
    """What is trained, in a few words each; what the settings do not tell is left out."""
    data, codec, head, backbone, train = (
        settings.get(name) for name in ("data", "codec", "head", "backbone", "train")
    )
    edge, patch = setting(data, "size"), setting(codec, "patch")
    patches = f", {(edge // patch) ** 2:,} a picture" if finite(edge) and finite(patch) and patch >= 1 else ""
    count = _parameters(run, settings, saved)
    kind = {"gau": "GAU", "transformer": "Transformer"}.get(
        setting(backbone, "kind"), setting(backbone, "kind")
    )
    optimizer = {"muon": "Muon", "adamw": "AdamW"}.get(
        setting(train, "optimizer"), setting(train, "optimizer")
    )
    found = {
        "Data": _words("{}, {} px", setting(data, "set"), edge),
        "Patches": _words("{} px", patch, after=patches) if setting(codec, "kind") in (None, "raw") else "",
        "Codec": _codec(codec),
        "Backbone": _words(
            "{}, {} layers of width {}", kind, *(setting(backbone, key) for key in ("depth", "width"))
        ),
        "Parameters": None if count is None else f"{count:,}",
        f"{str(setting(head, 'kind')).capitalize()} head": _words(
            "predicts {}, loss in {}", setting(head, "prediction"), setting(head, "loss")
        ),
        "Optimizer": _words("{}, {} documents a step", optimizer, setting(train, "batch")),
        "Seed": _words("{}", setting(train, "seed")),
        "Machine": _words("{}, {}", machine.get("device"), machine.get("precision")),
    }
    return {key: value for key, value in found.items() if value}


def _codec(codec) -> str:
    """'FSQ, levels 8 5 5 5, 8 px a position' of a codec that learns."""
    kind, inside = setting(codec, "kind"), setting(codec, "quantizer") or codec
    if kind in (None, "raw") or not isinstance(inside, dict):
        return ""
    of = {
        "codes": "{} codes",
        "levels": "levels {}",
        "bits": "{} bits a token",
        "groups": "{} tokens a position",
        "quantizers": "{} tokens a position",
        "channels": "{} numbers a position",
    }
    told = [
        form.format(" ".join(map(str, inside[key])) if isinstance(inside[key], list) else number(inside[key]))
        for key, form in of.items()
        if inside.get(key) not in (None, 1)
    ]
    where = _words("{} queries", setting(codec, "queries")) or _words(
        "{} px a position", setting(codec, "factor")
    )
    names = [
        str(name).upper() if name != "query" else "" for name in dict.fromkeys((kind, inside.get("kind")))
    ]
    return ", ".join(filter(None, [*names, *told, where]))


def _words(form: str, *values, after: str = "") -> str:
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
        return sum(p.numel() for p in build.codec(chosen).parameters())
    return count_parameters(build.model(chosen, "meta"))["total"]


def _cards(rows: list[dict], evaluation: dict) -> list[dict]:
    """The headline numbers: label, value, note; `share` where it is a part of a whole."""
    cards, last = [], rows[-1] if rows else {}
    for key, label, of in (
        ("text_to_image", "Draws", "drawings recognised"),
        ("image_to_text", "Reads", "read right"),
    ):
        accuracy, count = _get(evaluation, key, "accuracy"), _get(evaluation, key, "count")
        if accuracy is not None:
            note = of if count is None else f"of {count:,} {of}"
            cards.append(
                {"label": label, "value": f"{accuracy:.1%}", "note": note, "share": min(max(accuracy, 0), 1)}
            )
    for shown in LOSSES:
        if finite(last.get(shown.key)):
            held_out = _get(evaluation, "held_out", shown.key)
            note = "at the last record" if held_out is None else f"{number(held_out)} held out"
            cards.append({"label": shown.title, "value": number(last[shown.key]), "note": note})
    if finite(psnr := _get(evaluation, "held_out", "psnr")):
        cards.append(
            {
                "label": "PSNR",
                "value": f"{psnr:.2f} dB",
                "note": f"of {number(evaluation['held_out'].get('pictures'))} held-out pictures",
            }
        )
    if finite(share := _get(evaluation, "codes", "usage")):
        cards.append(
            {
                "label": "Codebook usage",
                "value": f"{share:.1%}",
                "share": min(max(share, 0), 1),
                "note": f"perplexity {number(_get(evaluation, 'codes', 'perplexity'))}",
            }
        )
    documents, seconds, speed = (last.get(key) for key in ("documents", "seconds", "documents_per_second"))
    if finite(speed):
        notes = ["documents/s"] + [
            form(last[key])
            for key, form in (("mfu", "MFU {:.0%}".format), ("memory", size))
            if finite(last.get(key))
        ]
        cards.append(
            {
                "label": "Speed",
                "value": short(round(speed)) if speed >= 100 else f"{speed:.3g}",
                "note": " · ".join(notes),
            }
        )
    if finite(seconds) and seconds > 0:
        cards.append(
            {
                "label": "Training time",
                "value": duration(seconds),
                "note": f"{short(documents)} documents in {number(last['step'])} steps"
                if finite(last.get("step"))
                else f"{documents / seconds:,.0f} documents/s",
            }
        )
    return cards


# ---------------------------------------------------------------------------------------------------- results


def _results(evaluation: dict) -> list[dict]:
    """One row a number. Beside an accuracy stand its 95 % interval and the other numbers of its group."""
    rows = []
    for key in [key for key in evaluation if key not in ("run", "data", "documents")]:
        group = evaluation[key] if isinstance(evaluation[key], dict) else {"": evaluation[key]}
        accuracy, count = _get(evaluation, key, "accuracy"), _get(evaluation, key, "count")
        detail = [
            _detail(name.replace("_", " "), value)
            for name, value in group.items()
            if name != "accuracy" and value != []
        ]
        if accuracy is not None and 0 <= accuracy <= 1 and count and count > 0:
            detail.insert(0, "95% interval {:.1%} to {:.1%}".format(*wilson(accuracy, count)))
        for name, value in _flat(group) if accuracy is None else [("accuracy", accuracy)]:
            share = "accuracy" in name or name == "parsed"
            show = "{:.1%}".format if share else duration if key.endswith("seconds") else number
            rows.append(
                {
                    "group": NAMES.get(key, key.replace("_", " ").capitalize()),
                    "measure": NAMES.get(f"{key}.{name}", name.replace("_", " ")),
                    "value": show(value) if finite(value) else str(value),
                    "detail": "" if accuracy is None else " · ".join(detail),
                }
            )
    return rows


def _flat(group: dict, before: str = "") -> list[tuple[str, object]]:
    """Names and values, those of mappings within it too: {"a": {"b": 1}} -> ("a b", 1)."""
    rows = []
    for name, value in group.items():
        rows += (
            _flat(value, f"{before}{name} ")
            if isinstance(value, dict) and value
            else [(f"{before}{name}", value)]
        )
    return rows


def _detail(name: str, value) -> str:
    """'steps 10', or the lowest of a mapping of shares."""
    if isinstance(value, dict) and value and all(finite(share) for share in value.values()):
        lowest = min(value, key=value.get)
        return f"lowest {name}: {lowest} {value[lowest]:.1%}"
    return f"{name} {number(value)}"


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927, "Probable inference, the law of succession")."""
    z = 1.959964
    middle, whole = share + z * z / 2 / count, 1 + z * z / count
    half = z * math.sqrt(share * (1 - share) / count + (z / 2 / count) ** 2)
    return max((middle - half) / whole, 0.0), min((middle + half) / whole, 1.0)


def _get(evaluation: dict, key: str, name: str) -> float | None:
    """evaluation[key][name] where it is a number."""
    group = evaluation.get(key)
    return group[name] if isinstance(group, dict) and finite(group.get(name)) else None
