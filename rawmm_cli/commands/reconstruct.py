"""`rawmm reconstruct`: pictures into another form and back, and what was lost."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import RUNS, Device, Json, Model, Run, RunsDir, emit, notify, printable, use_cpu, writable_folder


def reconstruct(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of pictures.")],
    codec: Annotated[str, typer.Option(help="raw: patches of pixels. ode: the noise that is drawn as this picture.")] = "ode",
    steps: Annotated[Optional[list[int]], typer.Option("--steps", min=1, max=1000, help="Steps of the ODE, each way; may repeat. "
                                                                                       "[default: 10, 30, 100]")] = None,
    run: Run = None, model: Model = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Pictures at most.")] = 64,
    out: Annotated[Optional[Path], typer.Option("--out", help="Folder for the pictures that came back (of most steps).")] = None,
    device: Device = "auto", runs_dir: RunsDir = RUNS, json: Json = False,
):
    """Send pictures through a codec and back: PSNR, share of pixel values that are exact, share of pictures that are.

    Pictures are taken as they are; patches must divide them."""
    from ..core.config import nearest
    from ..core.errors import ConfigError

    if codec not in ("raw", "ode"):
        raise ConfigError(f"unknown codec '{codec}'{nearest(codec, ['raw', 'ode'])}; allowed: raw, ode")
    use_cpu()
    from ..core import build, models

    loaded = models.load(models.find(runs_dir, run, model), build.device(device), notify)
    pictures = _read(paths, loaded.model, limit)
    if out:
        writable_folder(out, "output folder")
    rows = _rows(loaded.model, pictures, codec, sorted(set(steps or [10, 30, 100])), out)
    result = {"model": loaded.name, "codec": codec, "pictures": sum(map(len, pictures.values())), "rows": rows}
    if json:
        return emit({**result, "rows": [{**row, "psnr": row["psnr"] if row["psnr"] != float("inf") else None} for row in rows]})
    for row in rows:
        steps_said = f"{row['steps']:4d} steps  " if row["steps"] else ""
        typer.echo(printable(f"{codec}  {steps_said}PSNR {row['psnr']:.1f} dB  exact values {row['exact']:.2%}  "
                             f"exact pictures {row['lossless']:.0%}"))


def _read(paths: list[Path], model, limit: int) -> dict:
    """{(H, W): [(path, pixels)]}"""
    from ..core import prompt
    from ..core.datasets.folder import EXTENSIONS
    from ..core.errors import DataError

    files = []
    for path in paths:
        inside = sorted(file for file in path.rglob("*") if file.suffix[1:].lower() in EXTENSIONS) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path} holds no pictures; allowed: files ending in {' '.join(EXTENSIONS)}")
        files += inside
    found: dict = {}
    for file in files[:limit]:
        pixels = prompt.pixels(file, model)
        found.setdefault(tuple(pixels.shape[1:]), []).append((file, pixels))
    return found


def _rows(model, pictures: dict, codec: str, steps: list[int], out: Path | None) -> list[dict]:
    """One row of results for each number of steps."""
    from dataclasses import asdict

    import torch

    from ..core import images, reconstruct

    rows = []
    for number in steps if codec == "ode" else [0]:
        before, after = [], []
        for entries in pictures.values():
            for at in range(0, len(entries), 32):
                batch = torch.stack([pixels for _, pixels in entries[at:at + 32]])
                back = reconstruct.ode(model, batch, number)[0] if codec == "ode" else reconstruct.raw(model, batch)
                before += batch
                after += back
                if out and number == (steps[-1] if codec == "ode" else 0):
                    for (file, _), picture in zip(entries[at:at + 32], back):
                        images.save_png(picture, out / f"{file.stem}.png", codec=codec, steps=str(number))
        rows.append({"steps": number, **asdict(reconstruct.compare(before, after))})
    return rows
