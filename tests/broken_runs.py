"""What the tests of faults share: an unbroken run to compare with, and processes that may die."""

import shutil

import torch
import training_runs

from rawmm_cli.runs import checkpoint, loading, records

# 10 steps, checkpoints of the steps 3, 6, 9 and 10
SHORT = (
    "train.documents=160",
    "train.save_every=48",
    "train.log_every=32",
    "train.threads=1",
    "sample.steps=2",
)
EXACT = (
    "documents",
    "step",
    "loss",
    "text",
    "image",
    "gradient_norm",
    "learning_rate",
)  # others are times and memory
NAMES = ("model", "ema", "optimizer")


def command(data, run, *words):
    return training_runs.command(data, run, *words, short=SHORT)


def steps(run):
    return [item["step"] for item in checkpoint.survey(run)]


def hidden(run):
    return sorted(path.name for path in (run / "checkpoints").glob(".*"))


def back_at(whole, target, *kept):
    """The run as it was when only the checkpoints `kept` had been written."""
    shutil.copytree(whole, target)
    for step in {3, 6, 9, 10} - set(kept):
        shutil.rmtree(target / "checkpoints" / f"step_{step:08d}")
    return target


def assert_same_end(run, whole):
    """Weights, average, optimizer byte for byte; records line by line, none twice, none missing; nothing left
    over."""
    one, other = (folder / "checkpoints" / "step_00000010" for folder in (run, whole))
    assert checkpoint.latest(run) == one and hidden(run) == []
    for name in NAMES:
        assert (one / f"{name}.safetensors").read_bytes() == (other / f"{name}.safetensors").read_bytes()
    lines = [
        [{key: record[key] for key in EXACT} for record in records.read(folder / "records.jsonl")]
        for folder in (run, whole)
    ]
    assert lines[0] == lines[1] and [line["documents"] for line in lines[0]] == [32, 64, 96, 128, 160]


# --------------------------------------------------------------------- checkpoints of which one sees the step


def small_run(folder):
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("data: {}\n")
    return folder / "run"


def values(step, count=1000):
    """`count` numbers that say which step they are of."""
    return {
        name: {
            "a": torch.full((count // 4,), float(step)),
            "step": torch.tensor(float(step)),
            "b": torch.full((count // 4 * 3,), float(step)),
        }
        for name in NAMES
    }


def save(run, step, *, keep=2, count=1000, warn=lambda message: None):
    return checkpoint.save(
        run, step, values(step, count), {"documents": step, "seconds": 0.0, "data": ""}, keep, warn
    )


def holds(folder, step):
    return all(
        bool((value == step).all()) for name in NAMES for value in loading.tensors(folder, name).values()
    )


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
