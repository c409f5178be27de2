"""Two short trainings side by side, evaluated and sampled: portraits, and patch64 on crops of photographs."""

import shutil
import threading
import time
from pathlib import Path

from .parts import CommandError, Part, finish, one_line, part, start

# The judge of photographs, a support vector machine, takes time with the square of their number.
FEW = "from rawmm_cli.evaluation import classes; classes.TRAINING, classes.HELD_OUT = 300, 100"
AFTER = 45  # seconds for imports, compilation, evaluation and samples
RUNS = {
    "portraits": (["data.mix={}", "train.warmup=2000", "train.save_every=1000000"], ["a portrait of a", 25]),
    "patch64": (["data.set=photos64", "train.warmup=5000", "train.save_every=1000000"], ["flower", 25]),
}
TINY = {
    "portraits": [
        "data.size=32",
        "train.length=100",
        "backbone.width=32",
        "backbone.heads=4",
        "backbone.hidden=64",
    ],
    "patch64": [
        "data.size=16",
        "train.length=60",
        "backbone.width=32",
        "backbone.depth=2",
        "backbone.key=16",
    ],
}
QUICK = ["train.batch=8", "train.compile=no", "sample.steps=2", "sample.max_text=4"]


def main() -> None:
    """Train, evaluate and sample each preset, in threads that only wait."""
    job, rows, problems, lock = part("learn"), {}, [], threading.Lock()
    names = ["patch64"] if job.tiny else list(RUNS)

    def go(name: str) -> None:
        row = {"run": name}
        try:
            learn(job, name, row)
        except Exception as error:
            text = str(error) if isinstance(error, CommandError) else one_line(error)
            row["error"] = text[:300]
            with lock:
                problems.append(f"{name}: {text}")
        with lock:
            rows[name] = row
            job.save(
                tables={"short trainings, judged by small judges": list(rows.values())}, problems=problems
            )
        job.say(
            ", ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row.items()
            )
        )

    threads = [threading.Thread(target=go, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def learn(job: Part, name: str, row: dict) -> None:
    """Fill in the figures of one run; its sheets are copied beside the results."""
    seconds = max(5.0, min(job.learn_seconds, job.remaining - AFTER))
    where = ["--runs-dir", job.runs, "--device", job.device, "--json"]
    settings = [*RUNS[name][0], *(TINY[name] + QUICK if job.tiny else [])]
    length = ["train.documents=64"] if job.tiny else ["--time", f"{seconds:.0f}s"]
    began = time.monotonic()
    words = ["train", "--preset", name, "--run", name, *length, *settings, "train.trackers=[]"]
    record = finish(job, start(job, *words, *where, "--data-dir", job.data))
    row |= {"documents": record["documents"], "seconds": record["seconds"], "loss": record["loss"]}
    row |= {"text": record["text"], "image": record["image"], "documents/s": record["documents_per_second"]}
    row |= {"mfu": record["mfu"], "data wait": record["data_wait"], "with start": time.monotonic() - began}
    sheets = sorted((job.runs / name / "samples").glob("*.png"))
    keep(job, name, sheets)
    out = job.work / "samples" / name
    text, count = RUNS[name][1]
    drawing = ["sample", text, "--run", name, "--count", 4 if job.tiny else count, "--out", out]
    amounts = ["--per-label", 1 if job.tiny else 5, "--prompts", 8 if job.tiny else 200]
    began = time.monotonic()
    evaluation = start(job, "evaluate", name, *amounts, *where, "--data-dir", job.data, before=FEW)
    finish(job, start(job, *drawing, *where))
    row["sample, seconds with start"] = time.monotonic() - began
    keep(job, f"{name}-sampled", sorted(out.glob("*.png"), key=lambda file: file.stat().st_size))
    if name == "portraits" or job.tiny:
        exported(job, name)
    evaluated(job, name, row, finish(job, evaluation))
    row["evaluate, seconds with start"] = time.monotonic() - began


def keep(job: Part, name: str, sheets: list[Path]) -> None:
    """Copy the last of these pictures to where the results are collected."""
    if sheets:
        shutil.copy(sheets[-1], job.work / f"{name}.sheet.png")


def exported(job: Part, name: str) -> None:
    """Keep the model beside the results, for judges with more time than there is here."""
    folder = job.work / "models" / name
    finish(job, start(job, "export", name, "--out", folder, "--runs-dir", job.runs, "--json"))
    shutil.make_archive(str(job.work / f"{name}.model"), "tar", folder)


def evaluated(job: Part, name: str, row: dict, result: dict) -> None:
    """The main figures of `rawmm evaluate`."""
    drawn, read = result.get("text_to_image") or {}, result.get("image_to_text") or {}
    row |= {"drawn, accuracy": drawn.get("accuracy"), "read, accuracy": read.get("accuracy")}
    row |= {f"held out {key}": value for key, value in result["held_out"].items() if isinstance(value, float)}
    job.save(**{f"evaluation {name}": result})


if __name__ == "__main__":
    main()
