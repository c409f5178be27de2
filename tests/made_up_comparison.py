"""A comparison with made-up numbers, whose truth is known."""

import numpy as np

METRICS = {
    "text_to_image.accuracy": ("drawn right", "%", "higher", "drawing"),
    "image_to_text.accuracy": ("read right", "%", "higher", "reading"),
    "fidelity.kid": ("KID", "", "lower", "drawing"),
    "cost.draw": ("seconds of a drawing", "s", "lower", "cost"),
}


def comparison(systems: dict, seeds=(0, 1, 2), pictures=200, kinds=("time", "documents"), rng=0):
    """Results, and values by folder. systems: {name: {metric: share right, or a number}}; the first one is
    the reference. A picture is as hard for every system."""
    rng = np.random.default_rng(rng)
    hard = {metric: rng.uniform(size=pictures) for metric in METRICS}
    cells, values = [], {}
    for place, (name, truth) in enumerate(systems.items()):
        for seed in seeds:
            for kind in kinds:
                known = {
                    metric: {"ids": list(range(pictures)), "values": _answers(share, hard[metric], rng)}
                    for metric, share in truth.items()
                    if METRICS[metric][1] == "%"
                }
                numbers = {metric: share * (1 + 0.02 * rng.normal()) for metric, share in truth.items()}
                numbers |= {metric: float(np.mean(one["values"])) for metric, one in known.items()}
                cells.append(cell(name, seed, kind, numbers))
                if place == 0 and kind != kinds[0]:  # the reference has one run
                    before = cells[-2]
                    cells[-1] |= {"run": before["run"], "folder": before["folder"]}
                    cells[-1]["results"] = dict(before["results"])
                    continue
                values[cells[-1]["folder"]] = known
    metrics = {
        metric: {"title": title, "unit": unit, "better": better, "part": part, "evaluator": "classes"}
        for metric, (title, unit, better, part) in METRICS.items()
        if any(metric in truth for truth in systems.values())
    }
    return results(list(systems), seeds, metrics, cells), values


def _answers(share: float, hard: np.ndarray, rng: np.random.Generator) -> list[int]:
    """1 where a picture is right: the easiest ones, but for a tenth that chance decides."""
    lucky = rng.uniform(size=len(hard)) < 0.1
    return np.where(lucky, rng.uniform(size=len(hard)) < share, hard < share).astype(int).tolist()


def cell(system: str, seed: int, kind: str, numbers: dict) -> dict:
    """A finished cell."""
    return {
        "system": system,
        "seed": seed,
        "budget": kind,
        "run": f"runs/{system}-{seed}-{kind}",
        "folder": f"cells/{system}-{seed}-{kind}",
        "state": "done",
        "message": None,
        "documents": 20_000 + seed,
        "epochs": 13.9,
        "seconds": {"codec": 0.0, "train": 60.0, "search": 8.0, "measure": 20.0, "draw": 0.004},
        "flops": {"codec": 0.0, "train": 4e12, "draw": 3e8},
        "memory": 4e8,
        "sampler": {"steps": 10, "guidance": 2.0},
        "trials": [],
        "results": numbers,
        "curve": [],
    }


def results(systems: list, seeds, metrics: dict, cells: list) -> dict:
    """results.json before the differences."""
    return {
        "name": "made-up",
        "question": "Raw patches or a tokenizer?",
        "created": "2026-11-28",
        "machine": {"device": "cpu", "cores": 2},
        "version": "0.1.0",
        "data": {"set": "digits"},
        "budget": {"kind": "time", "time": 60.0, "documents": 20_000, "reference": systems[0]},
        "seeds": list(seeds),
        "metrics": metrics,
        "left_out": {},
        "systems": [
            {"name": name, "preset": "digits", "settings": [], "parameters": 10**6, "codec": None}
            | {"bits": 1536.0, "learning_rate": None}
            for name in systems
        ],
        "cells": cells,
        "differences": [],
        "answer": [],
    }
