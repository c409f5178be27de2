"""The numbers of a run: headlines from records and evaluation, and the table of all that was evaluated."""

import math
from typing import Any

from ..system.figures import counted, duration, finite, number, plural, short, size
from .curves import LOSSES

FLOPS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))
NAMES = {
    "text_to_image": "Text → image",
    "text_to_image.accuracy": "drawings the judge recognises",
    "image_to_text": "Image → text",
    "image_to_text.accuracy": "held-out pictures named right",
    "image_to_text.character_errors": "edits by letters of the captions (CER)",
    "seams": "Seams of patches",
    "seams.drawn": "steps across borders by steps inside, of drawings",
    "seams.real": "of real pictures",
    "seams.ratio": "drawings by real; 1: no grid",
    "seams.patch": "side of a patch",
    "seams.count": "drawings",
    "sharpness": "Sharpness",
    "sharpness.ratio": "edges of drawings by those of real pictures",
    "sharpness.edges_drawn": "mean square of steps between pixels, of drawings",
    "sharpness.edges_real": "of real pictures",
    "sharpness.fine_drawn": "share of fine structure, of drawings",
    "sharpness.fine_real": "of real pictures",
    "sharpness.count": "drawings",
    "fidelity": "Drawings as a set",
    "fidelity.kid": "KID",
    "fidelity.count": "drawings, and held-out pictures",
    "fidelity.neighbours": "nearest neighbours",
    "fidelity.space": "features",
    "fidelity.real kid": "KID of training pictures in their place",
    "fidelity.real precision": "precision of training pictures",
    "fidelity.real recall": "recall",
    "fidelity.real density": "density",
    "fidelity.real coverage": "coverage",
    "classification_accuracy_score": "Learned from drawings",
    "classification_accuracy_score.accuracy": "held-out pictures that a classifier names right",
    "copies": "Copies",
    "copies.copies": "nearer to a training picture than 99 % of real pictures",
    "copies.shifted": "the same, moved by up to two pixels",
    "copies.identical": "the same as a training picture to the bit",
    "copies.identical_real": "of held-out pictures",
    "copies.nearer": "nearer than a held-out picture",
    "copies.distance drawn min": "nearest training picture of a drawing, least",
    "copies.distance drawn p01": "1 % are nearer than",
    "copies.distance drawn median": "median",
    "copies.distance real min": "of an unseen real picture, least",
    "copies.distance real p01": "1 % are nearer than",
    "copies.distance real median": "median",
    "copies.count": "drawings",
    "copies.real_count": "held-out pictures",
    "copies.known": "training pictures",
    "diversity": "Drawings of one prompt",
    "diversity.distance": "mean distance of two",
    "diversity.distance_real": "of two real pictures",
    "diversity.bits": "bits that the prompt leaves open, at most",
    "diversity.bits_real": "of real pictures",
    "diversity.collision_bits": "by how often two are alike: bits, at least",
    "diversity.collision_bits_real": "of real pictures",
    "diversity.different": "different to the bit",
    "diversity.each": "drawings of each",
    "diversity.error": "to an error of so many levels",
    "diversity.space": "features",
    "judge.held_out_accuracy": "held-out pictures the judge recognises",
    "held_out": "Held-out loss",
    "held_out.caption": "nats per token of captions read",
    "held_out.image": "mean over drawn patches",
    "held_out.bits_per_byte": "bits per byte of captions read",
    "drawn_text": "Text drawn, and read back by OCR",
    "drawn_text.characters": "share of the characters",
    "drawn_text.words": "share of the words",
    "drawn_text.right": "texts without a mistake",
    "drawn_text.real characters": "characters read on real pictures",
    "drawn_text.codec characters": "after the codec",
    "steps": "Quality against steps",
    "cost": "Cost of a drawing",
    "cost.evaluations": "evaluations of the network",
    "cost.positions": "positions of all evaluations",
    "cost.flops": "FLOPs",
    "cost.codec_flops": "of these in the codec",
    "cost.seconds_alone": "seconds, one alone",
    "cost.together": "drawn at once",
    "cost.memory": "bytes to draw these at once",
    "train_seconds": "Training",
    "seconds": "Evaluation",
    "image_to_text_sampled": "Image → text, at temperature 1",
    "image_to_text_sampled.accuracy": "what is said of them is right",
    "questions": "Questions about two pictures",
    "sums": "Sums in words and pictures",
    "sums.text": "right in words, both digits given",
    "sums.picture": "right as a picture",
    "sums.judge": "held-out digits the judge recognises",
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


def headlines(rows: list[dict], evaluation: dict, held_out: dict) -> list[dict]:
    """The numbers that matter most: label, value, note; `share` where one is a part of a whole. rows: the
    records of the run. held_out: its last `held_out_losses`."""
    last = rows[-1] if rows else {}
    losses = _losses(last, evaluation, held_out)
    return [*_accuracies(evaluation), *losses, *_codec(evaluation), *_speed(last), *_compute(last)]


def _accuracies(evaluation: dict) -> list[dict]:
    cards = []
    for key, label, of in (
        ("text_to_image", "Draws", "drawing"),
        ("image_to_text", "Reads", "picture"),
    ):
        accuracy, count = _get(evaluation, key, "accuracy"), _get(evaluation, key, "count")
        if accuracy is not None:
            right = "recognised" if key == "text_to_image" else "read right"
            note = right if count is None else f"of {counted(count, of)} {right}"
            cards.append({"label": label, "value": f"{accuracy:.1%}", "note": note, "share": _part(accuracy)})
    return cards


def _losses(last: dict, evaluation: dict, held_out: dict) -> list[dict]:
    cards = []
    for curve in LOSSES:
        if finite(last.get(curve.key)):
            loss = _get(evaluation, "held_out", curve.key)
            loss = held_out.get(f"held_out_{curve.key}") if loss is None else loss
            note = "at the last record" if loss is None else f"{number(loss)} held out"
            cards.append({"label": curve.title, "value": number(last[curve.key]), "note": note})
    return cards


def _codec(evaluation: dict) -> list[dict]:
    """PSNR of a trained codec, and the share of its codebook in use."""
    cards = []
    psnr, usage = _get(evaluation, "held_out", "psnr"), _get(evaluation, "codes", "usage")
    if psnr is not None:
        count = _get(evaluation, "held_out", "pictures")
        note = "of held-out pictures" if count is None else f"of {counted(count, 'held-out picture')}"
        cards.append({"label": "PSNR", "value": f"{psnr:.2f} dB", "note": note})
    if usage is not None:
        note = f"perplexity {number(_get(evaluation, 'codes', 'perplexity'))}"
        cards.append(
            {"label": "Codebook usage", "value": f"{usage:.1%}", "note": note, "share": _part(usage)}
        )
    return cards


def _speed(last: dict) -> list[dict]:
    cards = []
    documents, seconds, speed = (last.get(key) for key in ("documents", "seconds", "documents_per_second"))
    if finite(speed):
        notes = ["documents/s"]
        notes += [f"MFU {last['mfu']:.0%}"] if finite(last.get("mfu")) else []
        notes += [size(last["memory"])] if finite(last.get("memory")) else []
        value = short(round(speed)) if speed >= 100 else f"{speed:.3g}"
        cards.append({"label": "Speed", "value": value, "note": " · ".join(notes)})
    if finite(seconds) and seconds > 0:
        note = f"{documents / seconds:,.0f} documents/s"
        if finite(last.get("step")):
            many = f"{short(documents)} {plural(documents, 'document')}"
            note = f"{many} in {counted(last['step'], 'step')}"
        cards.append({"label": "Training time", "value": duration(seconds), "note": note})
    return cards


def _compute(last: dict) -> list[dict]:
    """FLOPs of all steps, forward and backward, by the numbers of the model's multiplications."""
    total, documents = last.get("total_flops"), last.get("documents")
    if not finite(total) or not documents:
        return []
    return [{"label": "Compute", "value": _flops(total), "note": f"{_flops(total / documents)} a document"}]


def _flops(count: float) -> str:
    unit, name = next(pair for pair in FLOPS if count >= pair[0] or pair is FLOPS[-1])
    return f"{count / unit:.3g} {name}"


def _part(share: float) -> float:
    return min(max(share, 0), 1)


# ------------------------------------------------------------------------------------------------------ table


def results(evaluation: dict, side: Any = None) -> list[dict]:
    """Rows of the table, one a number; an accuracy has its 95 % interval and the other numbers of its group
    beside it. side: of the pictures, in pixels."""
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
                    "measure": _measure(key, name, side),
                    "value": show(value) if finite(value) else str(value),
                    "detail": "" if accuracy is None else " · ".join(detail),
                }
            )
    return rows


def _measure(key: str, name: str, side: Any) -> str:
    """What a number is; tokens and bits of a picture depend on its size, and are stated with it."""
    words = NAMES.get(f"{key}.{name}", name.replace("_", " "))
    return (
        f"{words} of {side} px" if key == "codes" and name in ("bits", "tokens") and finite(side) else words
    )


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


def _detail(name: str, value: Any) -> str:
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
    """The number evaluation[key][name], or None."""
    group = evaluation.get(key)
    return group[name] if isinstance(group, dict) and finite(group.get(name)) else None
