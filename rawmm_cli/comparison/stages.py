"""The stages of a cell: codec, train, search, measure."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import presets
from ..core.model import count_parameters
from ..evaluation import losses
from ..evaluation.subject import Subject, part
from ..runs import records
from ..runs.folder import read_json
from ..system import disk, machine
from ..system.errors import DivergedError
from ..system.threads import process_began
from . import codec_pictures, learn, measure, search, split

EVERY = 1.0  # seconds between two notes of where a training stands


class Stages:
    """A cell under way. place: its folder, comparisons/NAME/cells/CELL."""

    def __init__(self, place: Path, data: Path, device: str):
        self.place, self.data, self.device = place, data, machine.device(device)
        self.task: dict[str, Any] = read_json(place / "cell.json", dict)
        self.runs = place.parents[1] / "runs"
        self.run = self.runs / place.name
        self.seconds: dict[str, float | None] = dict.fromkeys(("codec", "train", "search", "measure", "draw"))
        self.codec: dict[str, Any] | None = None
        self.began, self.worked, self.noted = process_began(), 0.0, 0.0

    def other(self) -> float:
        """Seconds of this process beside the stages: it starts, loads libraries and the model."""
        return round(time.perf_counter() - self.began - self.worked, 3)

    def note(self, stage: str, **facts: Any) -> None:
        """Say where the cell stands, in state.json."""
        self.noted = time.monotonic()
        disk.write_json(self.place / "state.json", {"stage": stage, **facts})

    @contextmanager
    def stage(self, name: str, **facts: Any) -> Iterator[None]:
        """Do a stage, and count its seconds as work of the cell."""
        self.note(name, **facts)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.worked += time.perf_counter() - began

    def record(self, stage: str, record: dict) -> None:
        """Note a step of a training, now and then."""
        if time.monotonic() - self.noted > EVERY:
            facts = {key: record[key] for key in ("documents", "seconds", "eta") if key in record}
            self.note(stage, **facts)

    def all(self) -> dict[str, Any]:
        """Every stage -> result.json."""
        codec = self.train_codec()
        with self.stage("train"):
            config = learn.model_config(self.task, codec, self.run, self.data)
            trained = learn.run(
                config, self.run, self.data, self.device, print, lambda r: self.record("train", r)
            )
        self.seconds["train"] = round(trained.seconds, 3)
        of = measure.subject(self.run, self.data, self.device, self.task["seed"], print)
        of = measure.drawn_with(of, self.task.get("drawing", {}))
        validation, test = split.halves(of.held_out)
        trials = self.search(replace(of, held_out=part(of.held_out, validation)))
        sampler = search.best(trials)
        of = measure.drawn_with(of, sampler)
        measured = self.measure(replace(of, held_out=part(of.held_out, test)))
        return self.result("done", None, trained.record) | {
            **self.facts(of),
            "epochs": self.epochs(of, trained.record["documents"]),
            "sampler": {name: value for name, value in of.settings.flat().items() if name in search.SPACE},
            "trials": trials,
            "results": measured["results"],
            "left_out": measured["left_out"],
            "test": len(test),
            "validation": len(validation),
        }

    def train_codec(self) -> dict[str, float]:
        """Train the codec, where there is one -> seconds and flops of that. Raises DivergedError that says
        whose it was."""
        if self.task["codec"] is None:
            return {"seconds": 0.0, "flops": 0.0}
        with self.stage("codec"):
            try:
                trained = learn.codec(
                    self.task["codec"],
                    self.runs,
                    self.data,
                    self.device,
                    print,
                    lambda r: self.record("codec", r),
                )
            except DivergedError as error:
                raise DivergedError(f"its codec: {error}") from None
        self.seconds["codec"] = round(trained.seconds, 3)
        self.codec = learn.codec_facts(self.task["codec"], trained, self.runs)
        return {"seconds": trained.seconds, "flops": self.codec["flops"]}

    def search(self, of: Subject) -> list[dict[str, Any]]:
        """Trials of the sampler, kept one by one."""
        path, count = self.place / "trials.json", self.task["trials"]
        kept = read_json(path, dict)
        trials, earlier, began = kept.get("trials", []), kept.get("seconds", 0.0), time.perf_counter()
        if count and of.draws:
            of = measure.with_amount(of, self.task["trial_pictures"])
            tries = search.sampler(
                of, self.task["score"], count, trials, lambda n: self.note("search", trial=n + 1, of=count)
            )
            with self.stage("search"):
                done = []
                for trial in tries:
                    done.append(trial)
                    if len(done) > len(trials):
                        kept = {"trials": done, "seconds": earlier + time.perf_counter() - began}
                        disk.write_json(path, kept)
                trials = done
        self.seconds["search"] = round(kept.get("seconds", 0.0), 3)
        return trials

    def measure(self, of: Subject) -> dict[str, Any]:
        """The evaluators on the rest of the held-out split, once -> measured.json."""
        path = self.place / "measured.json"
        if not (kept := read_json(path, dict)):
            with self.stage("measure"):
                began = time.perf_counter()
                of = replace(measure.with_amount(of, self.task["pictures"]), keep=self.place)
                measurement = measure.measured(of, self.task["evaluators"])
                codec_pictures.keep(of, self.place)
                disk.write_json(self.place / "values.json", measurement.values)
                psnr = codec_pictures.psnr(of) if self.codec else None
                disk.write_json(self.place / "evaluation.json", measurement.whole)
                if steps := measure.by_steps(measurement.whole):
                    disk.write_json(self.place / "curve.json", steps)
                seconds = round(time.perf_counter() - began, 3)
                kept = {
                    "results": measurement.results,
                    "left_out": measurement.left_out,
                    "psnr": psnr,
                    "seconds": seconds,
                }
                disk.write_json(path, kept)
        self.seconds["measure"] = kept["seconds"]
        if self.codec:
            self.codec["psnr"] = kept["psnr"]
        return kept

    def epochs(self, of: Subject, documents: int) -> float | None:
        """How often each document was seen, about; None of a stream, whose length is not known."""
        whole = of.loaded.config.data.stream is None and not of.loaded.config.data.mix
        return round(documents / max(1, len(of.train)), 3) if whole else None

    def facts(self, of: Subject) -> dict[str, Any]:
        """What the model is."""
        size = of.loaded.config.data.size
        return {
            "set": of.loaded.config.data.set,
            "parameters": count_parameters(of.loaded.model)["total"],
            "bits": of.loaded.model.codec.bits(size, size),
        }

    def result(self, state: str, message: str | None, record: dict) -> dict[str, Any]:
        """What is known of every cell, however it ended."""
        codec = dict(self.codec) if self.codec else None
        flops = {
            "codec": codec.pop("flops") if codec else None,
            "train": record.get("total_flops"),
            "draw": None,
        }
        return {
            "state": state,
            "message": message,
            "documents": record.get("documents"),
            "seconds": self.seconds,
            "flops": flops,
            "memory": machine.peak_memory(self.device),
            "codec": codec,
            "machine": self.machine(),
            "curve": learn.curve(self.run),
        }

    def unfinished(self, state: str, message: str) -> dict[str, Any]:
        """The result of a cell that diverged or failed: as far as it came."""
        lines = records.read(self.run / "records.jsonl")
        record = lines[-1] if lines else {}
        self.seconds["train"] = self.seconds["train"] or record.get("seconds")
        return self.result(state, " ".join(message.split()), record) | {"results": {}, "trials": []}

    def machine(self) -> dict[str, Any]:
        """Where the run was trained."""
        known = read_json(self.run / "environment.json", dict)
        names = ("device", "threads", "precision", "compiled", "torch", "python", "rawmm")
        return {name: known[name] for name in names if name in known} | {
            "cores": os.cpu_count(),
            "system": platform.platform(),
        }

    def sweep(self) -> dict[str, Any]:
        """Short runs with several learning rates -> the factor whose loss on the validation part is least."""
        codec, trials = self.train_codec(), read_json(self.place / "trials.json", dict).get("trials", [])
        base = learn.model_config(self.task, codec, self.run, self.data)
        for n, factor in enumerate(search.FACTORS[: self.task["sweep"]]):
            if n < len(trials):
                continue
            self.note("sweep", trial=n + 1, of=self.task["sweep"])
            trials.append({"factor": factor, "loss": self.try_rate(base, factor)})
            disk.write_json(self.place / "trials.json", {"trials": trials})
        sound = [trial for trial in trials if trial["loss"] is not None]
        if not sound:
            raise DivergedError("every learning rate of the sweep diverged")
        chosen = min(sound, key=lambda trial: trial["loss"])["factor"]
        return self.result("done", None, {}) | {"trials": trials, "chosen": chosen, "results": {}}

    def try_rate(self, base: Any, factor: float) -> float | None:
        """The loss on the validation part after a run with learning rates times `factor`; None where it
        diverged."""
        config = presets.changed(base, learn.rates(base, factor))
        folder = self.runs / f"{self.place.name}-{factor:g}"
        try:
            with self.stage("sweep"):
                learn.run(config, folder, self.data, self.device, print, lambda record: None)
                of = measure.subject(folder, self.data, self.device, self.task["seed"], print)
        except DivergedError:
            return None
        validation = part(of.held_out, split.halves(of.held_out)[0])
        result = losses.measure(replace(of, held_out=validation))["held_out"]
        text = getattr(result, "caption", None) or getattr(result, "text", None) or 0.0
        return config.loss.image * (result.image or 0.0) + config.loss.text * text
