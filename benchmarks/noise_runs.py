"""One run of `noise_times`: train, draw from held-out captions, read held-out pictures, judge both. Imported
once and forked, so that a process begins at once."""

import shutil
import time
from pathlib import Path

import numpy as np
import torch

from rawmm_cli.config import presets
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.portraits.captions import parse
from rawmm_cli.evaluation import losses
from rawmm_cli.evaluation.attributes import match_captions
from rawmm_cli.evaluation.judges import Judges, kid
from rawmm_cli.evaluation.subject import Subject, evenly, first_picture
from rawmm_cli.metrics import features, mobilenet
from rawmm_cli.runs import models
from rawmm_cli.sampling.request import Request
from rawmm_cli.system import machine
from rawmm_cli.training.train import train

PROMPTS = 256
RELIABLE = 0.95  # share of real pictures that a judge must see right, to count


def begin(device: str) -> None:
    """One thread, and the device is awake before the sets are there."""
    torch.set_num_threads(1)
    machine.matmul_rate = lambda *arguments: 1e12  # no MFU: measuring it would take the GPU from the others
    torch.zeros(1, device=device)


def one(run, settings: tuple[str, list[str]], work: Path, options: dict, judge: Judges) -> dict:
    """Train and judge -> figures."""
    device, began = machine.device(options["device"]), time.monotonic()
    config = presets.load(*settings)
    folder = work / "runs" / "-".join(map(str, run))
    *_, record = train(config, work / "data", folder, device, lambda line: None)
    trained = time.monotonic()
    loaded = models.load(folder, device)
    count = 8 if options["tiny"] else PROMPTS
    data = [prepared.load(work / "data" / run.set, split) for split in ("train", "held_out")]
    subject = Subject(loaded, Request(seed=0), *data, work / "data", prompts=count)
    figures = {**drawn(subject, judge, count, work, device), **read(subject, count)}
    figures |= {f"held out {key}": value for key, value in held_out_losses(subject).items()}
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "documents": record["documents"],
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "loss text": record["text"],
        "loss image": record["image"],
        "train seconds": round(trained - began, 1),
        **figures,
    }


def drawn(subject: Subject, judge: Judges, count: int, work: Path, device: torch.device) -> dict:
    """Pictures drawn from the captions of held-out ones: what the judge sees, and their distance to real
    ones."""
    rows = evenly(range(len(subject.held_out)), count)
    captions = [subject.held_out.captions[row][0] for row in rows]
    pictures = [first_picture(document) for document in subject.draw(captions, "noise times", max_text=4)]
    blank = torch.zeros(3, *subject.settings.size, dtype=torch.uint8)
    shown = torch.stack([blank if picture is None else picture for picture in pictures])
    everyone = evenly(range(len(subject.held_out)), 2 * count)
    real = torch.stack([subject.held_out.image(row) for row in everyone])
    seen, looks = judge(shown)
    right: dict[str, list[bool]] = {}
    for n, (row, caption) in enumerate(zip(rows, captions)):
        for name, value in truth(subject.held_out, row, caption).items():
            right.setdefault(name, []).append(pictures[n] is not None and seen[name][n] == value)
    by = {name: round(float(np.mean(answers)), 4) for name, answers in right.items()}
    counted = [share for name, share in by.items() if judge.accuracy[name] >= RELIABLE] or list(by.values())
    result = {"right": float(np.mean(counted)), "by": by, "judge kid": kid(looks, judge(real)[1])}
    result["without picture"] = sum(picture is None for picture in pictures)
    if (work / "features.safetensors").is_file():
        network = mobilenet.load(work / "features.safetensors").to(device)
        one, other = (network(part.to(device))[0].cpu() for part in (shown, real))
        result["kid"] = features.kid(one, other)
    return result


def truth(data: prepared.Prepared, row: int, caption: str) -> dict[str, str]:
    """What a caption says: of a portrait by its grammar, else the class or the attributes of the picture."""
    if data.card.get("grammar"):
        return parse(caption)
    labels = data.card.get("labels")
    return {"class": labels[data.labels[row]]} if labels else data.attributes(row)


def read(subject: Subject, count: int) -> dict:
    """Held-out pictures read greedily: right words, of a portrait right attributes."""
    data = subject.held_out
    rows = evenly(range(len(data)), count)
    texts = subject.read([data.image(row) for row in rows])
    if data.card.get("grammar"):
        return {"read": match_captions(texts, [data.attributes(row) for row in rows]).accuracy}
    return {"read": float(np.mean([text.strip() in data.captions[row] for row, text in zip(rows, texts)]))}


def held_out_losses(subject: Subject) -> dict:
    """Losses on held-out pictures."""
    found = losses.picture_losses(subject.loaded.model, subject.loaded.config, subject.held_out, 0)
    return {"image": found.image, "caption": found.caption}
