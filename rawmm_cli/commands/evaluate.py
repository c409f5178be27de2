"""`rawmm evaluate`: how well a run draws and reads, judged on held-out real data."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import DATA, RUNS, DataDir, Device, Json, RunsDir, emit, notify, printable, use_cpu


def evaluate(
    run: Annotated[Optional[str], typer.Argument(help="Name under the runs folder, or a path. [default: the newest run]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawings.")] = 0,
    per_label: Annotated[int, typer.Option(min=1, max=10_000, help="Pictures drawn for each class.")] = 100,
    device: Device = "auto", data_dir: DataDir = DATA, runs_dir: RunsDir = RUNS, json: Json = False,
):
    """Judge a run: text to image, image to text, held-out losses. Writes evaluation.json and report.html into it."""
    result = execute(run, seed, per_label, device, data_dir, runs_dir)
    if json:
        return emit(result)
    show(result)


def execute(run: str | None, seed: int, per_label: int, device: str, data_dir: Path, runs_dir: Path) -> dict:
    """The work of `evaluate` -> the results."""
    use_cpu()
    import json

    from ..core import build, checkpoint, records, report
    from ..core.evaluate import evaluate as judge

    folder = checkpoint.find_run(runs_dir, run)
    model, config, state = checkpoint.load_model(folder, build.device(device), notify)
    samples = folder / "samples"
    samples.mkdir(exist_ok=True)
    result = {"run": folder.name, "documents": state["documents"], "train_seconds": round(state["seconds"], 1),
              **judge(model, config, data_dir, trained_on=state["data"], seed=seed, per_label=per_label, keep=samples)}
    records.replace(folder / "evaluation.json", json.dumps(result, indent=1) + "\n")
    result["report"] = str(report.write(folder))
    return result


def show(result: dict) -> None:
    """The results as a small table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "right", "of", "", box=None, header_style="bold", padding=(0, 2))
    if drawn := result.get("text_to_image"):
        table.add_row("text -> image", f"{drawn['accuracy']:.1%}", f"{drawn['count']:,}", f"{drawn['steps']} steps, judged")
    if read := result.get("image_to_text"):
        table.add_row("image -> text", f"{read['accuracy']:.1%}", f"{read['count']:,}", "held-out real pictures, greedy")
    if judge := result.get("judge"):
        table.add_row("the judge itself", f"{judge['held_out_accuracy']:.1%}", "", "on the same held-out pictures")
    screen = Console(highlight=False, soft_wrap=True)
    if table.row_count:
        screen.print(table)
    losses = result["held_out"]
    text = f"text {losses['bits_per_byte']:.3f} bits/byte, " if "bits_per_byte" in losses else ""
    screen.print(printable(f"held out: {text}image loss {losses['image']:.3f}; report: {result['report']}"), markup=False)
