"""Does what is drawn have the attributes that its caption names, and does a caption name those of the picture
that was read?

For sets whose captions a grammar wrote (drawn portraits): a caption is parsed, its attributes are compared
with what judges (`judges.py`) see in the drawing, or with what the real picture was drawn from. All prompts
and pictures are fresh: no portrait with the same attributes was trained on."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.document import Picture
from ..core.generate import Sampling, in_chunks
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, IMAGE
from ..data import images, prepared
from ..data.datasets import portraits
from ..data.prepare import Options, prepare
from ..data.prepared import Prepared
from ..system import disk
from ..system.seeds import key
from ..training.preview import write_captions
from . import judges
from .judges import Judges, kid, pixels

FRESH, FIRST, PROMPTS = (
    10_000,
    10_000_000,
    20_000_000,
)  # portraits that judges see; the first of them; the first prompt
JUDGES = "portraits-judge-{}"  # the set of real portraits of that size; its folder holds the judges
NEAR = 300  # drawings whose nearest training portrait is looked for


def judged(folder: Path, size: int, workers: int = 2, told=lambda line: None) -> tuple[Judges, Prepared]:
    """Judges of portraits of this size, and real portraits that they never saw. Both are made once and kept
    in `folder`."""
    name = folder / JUDGES.format(size)
    if not (name / "card.json").exists():
        told(f"drawing {FRESH:,} fresh portraits of {size} px for the judges")
        prepare(
            portraits.portraits(count=FRESH, size=size, first=FIRST),
            name,
            Options(held_out=0.2, workers=workers),
        )
    held_out = prepared.load(name, "held_out")
    found = judges.load(name / "judges")
    if found is None:
        told("training the judges")
        found = judges.learn(prepared.load(name, "train"), held_out)
        judges.save(found, name / "judges")
    return found, held_out


def unseen(train: Prepared | None, count: int) -> list[int]:
    """Numbers of portraits whose attributes together are those of no portrait in `train`."""
    known = (
        {tuple(sorted(train.attributes(n).items())) for n in range(len(train))}
        if train is not None
        else set()
    )
    found, number = [], PROMPTS
    while len(found) < count:
        if tuple(sorted(portraits.attributes(number).items())) not in known:
            found.append(number)
        number += 1
    return found


def evaluate(
    model: RawModel,
    settings: Sampling,
    train: Prepared,
    folder: Path,
    *,
    seed: int = 0,
    count: int = 1000,
    keep: Path | None = None,
    told=lambda line: None,
) -> dict:
    """Both directions on `count` unseen portraits -> results. settings.size: what is drawn. keep: folder for
    a sheet."""
    size = settings.size[0]
    judge, real = judged(folder, size, told=told)
    numbers = unseen(train, count)
    truth = [portraits.attributes(n) for n in numbers]
    captions = [portraits.captions(n, known)[n % 4] for n, known in zip(numbers, truth)]
    drawn = draw_captions(model, captions, settings, seed)
    result = {
        "text_to_image": {
            **match(judge, captions, drawn),
            "count": count,
            "size": size,
            "steps": settings.flat().get("steps"),
            "solver": settings.flat().get("solver"),
            "guidance": settings.guidance,
            "judges": {name: round(right, 4) for name, right in judge.accuracy.items()},
        }
    }
    if looks := _looks(judge, drawn, real, train):
        result["looks"] = looks
    if size == int(train.heights[0]):  # captions are written of pictures as those that were learned
        shown = [
            torch.from_numpy(portraits.draw(n, (255, 255, 255), size).transpose(2, 0, 1).copy())
            for n in numbers
        ]
        for name, temperature in (
            ("image_to_text", 0.0),
            ("image_to_text_sampled", 1.0),
        ):  # greedy is one way to say it
            said = write_captions(model, shown, replace(settings, max_text=64, temperature=temperature), seed)
            result[name] = _told(said, truth)
        result["written"] = _written(model, settings, seed, count)
        if keep is not None:
            _keep_read(keep, shown, truth, said)
    if keep is not None:
        pictures = [
            picture if picture is not None else torch.zeros(3, size, size, dtype=torch.uint8)
            for picture in drawn[:40]
        ]
        images.save_png(images.contact_sheet(pictures, 8), keep / "drawn.png")
        disk.write(keep / "drawn.json", json.dumps({"columns": 8, "captions": captions[:40]}) + "\n")
    return result


def _keep_read(keep: Path, shown: list[Tensor], truth: list[dict], said: list[str], most: int = 40) -> None:
    """Pictures that were read, and what was written of them."""
    (keep / "read").mkdir(parents=True, exist_ok=True)
    entries = []
    for n, (picture, known, text) in enumerate(zip(shown[:most], truth, said)):
        images.save_png(picture, keep / "read" / f"{n:04d}.png")
        told = portraits.parse(text)
        entries.append(
            {
                "image": f"read/{n:04d}.png",
                "truth": ", ".join(known.values()),
                "said": text,
                "right": told is not None and all(known[name] == value for name, value in told.items()),
            }
        )
    disk.write_json(keep / "read.json", entries)


def draw_captions(model: RawModel, captions: list[str], settings: Sampling, seed: int) -> list[Tensor | None]:
    """What the model draws after each caption, where it opens a picture."""
    prompts = [[BOS, *model.tokenizer.encode(caption)] for caption in captions]
    keys = [key(seed, "attributes", n) for n in range(len(prompts))]
    documents = in_chunks(model, prompts, keys, replace(settings, max_text=48, max_pictures=1))
    return [
        next((item.pixels for item in document if isinstance(item, Picture)), None) for document in documents
    ]


def match(judge: Judges, captions: list[str], drawn: list[Tensor | None]) -> dict:
    """Share of the captions' attributes that the judges see, one by one and on average over those that they
    judge reliably."""
    blank = torch.zeros(3, judge.size, judge.size, dtype=torch.uint8)
    seen, _ = judge(torch.stack([blank if picture is None else picture for picture in drawn]))
    right: dict[str, list[bool]] = {name: [] for name in judge.values}
    for n, caption in enumerate(captions):
        for name, value in portraits.parse(caption).items():
            right[name].append(drawn[n] is not None and seen[name][n] == value)
    return {**_shares(right, judge.reliable), "without_picture": sum(picture is None for picture in drawn)}


def _told(said: list[str], truth: list[dict]) -> dict:
    """Captions against what the pictures were drawn from; one that cannot be parsed is wrong in
    everything."""
    right: dict[str, list[bool]] = {name: [] for name in truth[0]}
    parsed = [portraits.parse(caption) for caption in said]
    for told, real in zip(parsed, truth):
        for name, value in (real if told is None else told).items():
            right[name].append(told is not None and value == real[name])
    return {
        **_shares(right, list(right)),
        "count": len(said),
        "parsed": sum(told is not None for told in parsed) / len(parsed),
        "exact": sum(
            told is not None and all(real[name] == value for name, value in told.items())
            for told, real in zip(parsed, truth)
        )
        / len(parsed),
    }


def _shares(right: dict[str, list[bool]], counted: list[str]) -> dict:
    shares = {name: float(np.mean(found)) for name, found in right.items() if found}
    those = [share for name, share in shares.items() if name in counted]
    return {
        "accuracy": float(np.mean(those)) if those else None,  # no judge can be relied on
        "by_attribute": {name: round(share, 4) for name, share in shares.items()},
        "not_counted": [name for name in shares if name not in counted],
    }


def _looks(judge: Judges, drawn: Iterable, real: Prepared, train: Prepared) -> dict:
    """How the drawings differ from real portraits as pictures: KID, the white ground, the nearest training
    portrait."""
    there = [picture for picture in drawn if picture is not None]
    if len(there) < 2:
        return {}
    pictures = torch.stack(there)
    others = pixels(real, range(len(real)))
    found = {
        "kid": kid(judge(pictures)[1], judge(others)[1]),
        "corners": {"drawn": corners(pictures), "real": corners(others)},
    }
    if int(train.heights[0]) == judge.size:
        known = pixels(train, range(len(train)))
        found["nearest"] = {"drawn": nearest(pictures[:NEAR], known), "real": nearest(others[:NEAR], known)}
    return found


def corners(pictures: Tensor) -> float:
    """Mean absolute difference from white, in levels of 255, of the two upper corners (an eighth of the
    side)."""
    side = max(1, pictures.shape[-1] // 8)
    return float(
        torch.cat(
            [255 - pictures[..., :side, :side].float(), 255 - pictures[..., :side, -side:].float()]
        ).mean()
    )


def nearest(pictures: Tensor, known: Tensor) -> dict:
    """Distance of each picture to the nearest of the known ones (root mean square, levels of 255): its
    quantiles."""
    flat, found = pictures.flatten(1).float(), []
    norms = flat.square().sum(1)
    for part in known.split(2000):
        other = part.flatten(1).float()
        found.append((norms[:, None] + other.square().sum(1) - 2 * flat @ other.T).min(1).values)
    least = (torch.stack(found).min(0).values.clamp_min(0) / flat.shape[1]).sqrt()
    return {
        name: round(float(least.quantile(q)), 3) for name, q in (("min", 0), ("p05", 0.05), ("median", 0.5))
    }


def _written(model: RawModel, settings: Sampling, seed: int, count: int) -> dict:
    """Captions that the model makes up after "a portrait of", at temperature 1, before its picture."""
    prompt = [BOS, *model.tokenizer.encode("a portrait of")]
    keys = [key(seed, "written", n) for n in range(count)]
    quick = settings.changed(
        temperature=1.0, max_text=64, max_pictures=1, steps=1, grid="uniform", guidance=1.0
    )
    said = []
    for document in in_chunks(model, [prompt] * count, keys, quick):
        end = document.index(IMAGE) if IMAGE in document else len(document)  # the caption, up to its picture
        said.append(model.tokenizer.decode(document[:end]))
    return {
        "prompt": "a portrait of",
        "parsed": sum(portraits.parse(text) is not None for text in said) / count,
        "different": len(set(said)),
    }
