"""An average of the weights whose width is chosen after training (Karras et al. 2024, arXiv 2312.02696,
section 3.2).

During training, snapshots of two power-function averages are kept (`ema.py`). Each is a weighted mean of all
the weights that the run went through, with profile p(t) = (gamma + 1) t^gamma / T^(gamma + 1) for t <= T. Any
other profile is approximated by the combination of snapshots that is nearest to it in the least-squares
sense: solve A x = b with A_ij = integral of p_i p_j and b_i = integral of p_i p_wanted (their algorithm 3).
Both have closed forms."""

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..config import presets
from ..runs import checkpoint, loading
from ..system import disk
from ..system.errors import CheckpointError, ConfigError
from .ema import exponent


def keep(run: Path, documents: int, averages: list[dict[str, torch.Tensor]]) -> None:
    """Write the averages after `documents` documents; the folder appears whole, by a rename."""
    final = run / "averages" / f"documents_{documents:010d}"
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for number, tensors in enumerate(averages, 1):
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
            str(partial / f"{number}.safetensors"),
        )
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def snapshots(run: Path) -> list[tuple[int, Path]]:
    """(documents, folder) of every snapshot, oldest first."""
    return sorted((int(path.name.split("_")[1]), path) for path in (run / "averages").glob("documents_*"))


def inner(time: float, gamma: float, other_time: float, other_gamma: float) -> float:
    """The integral of the product of two profiles."""
    one, other, early = gamma + 1, other_gamma + 1, min(time, other_time)
    return one * other / (one + other - 1) / early * (early / time) ** one * (early / other_time) ** other


def weights(times: list[float], gammas: list[float], time: float, gamma: float) -> np.ndarray:
    """Share of each snapshot in the profile (time, gamma) -> (snapshots,), fp64, summing up to 1."""
    pairs = list(zip(times, gammas))
    matrix = np.array([[inner(*one, *other) for other in pairs] for one in pairs])
    solution = np.linalg.lstsq(matrix, np.array([inner(*one, time, gamma) for one in pairs]), rcond=1e-12)[0]
    return solution / solution.sum()


def average(run: Path, width: float) -> tuple[dict[str, torch.Tensor], int]:
    """The average of relative width `width` over the whole run -> (tensors, documents). Raises
    CheckpointError."""
    config, stored = loading.run_config(run), snapshots(run)
    if config.train.ema.kind != "power" or not stored:
        raise CheckpointError(
            f"{run} holds no snapshots of averages; train with train.ema.kind=power to choose the width "
            "afterwards"
        )
    if not 0 < width <= 0.25:
        raise ConfigError(
            f"width = {width:g} is not allowed; give a relative width between 0 and 0.25, as in 0.1"
        )
    gammas = [exponent(w) for w in config.train.ema.widths]
    files = [
        (documents, gamma, folder / f"{number}.safetensors")
        for documents, folder in stored
        for number, gamma in enumerate(gammas, 1)
    ]
    end = stored[-1][0]
    shares = weights([f[0] / end for f in files], [f[1] for f in files], 1.0, exponent(width))
    total: dict[str, torch.Tensor] = {}
    for share, (_, _, path) in zip(shares, files):
        for name, value in load_file(str(path)).items():
            total[name] = total.get(name, 0) + float(share) * value.double()
    return {name: value.float() for name, value in total.items()}, end


def write(run: Path, width: float, target: Path) -> dict:
    """A run folder `target` that holds that average alone, for `sample` and `evaluate` -> facts of it.

    Raises ConfigError where the folder is there already."""
    if target.exists():
        raise ConfigError(f"{target} is there already; choose another --name, or delete it")
    tensors, documents = average(run, width)
    newest = checkpoint.state(checkpoint.latest(run))
    target.mkdir(parents=True)
    disk.write(target / "config.yaml", presets.dump(loading.run_config(run)))
    facts = {
        "documents": documents,
        "seconds": newest["seconds"],
        "data": newest["data"],
        "average_of": run.name,
        "width": width,
    }
    checkpoint.save(target, newest["step"], {"ema": tensors}, facts, 1)
    return {
        "run": target.name,
        "folder": str(target),
        "width": width,
        "snapshots": len(snapshots(run)),
        "documents": documents,
    }


def drop_after(run: Path, documents: int) -> None:
    """Delete the snapshots after `documents`: a resumed run makes them again."""
    for at, folder in snapshots(run):
        if at > documents:
            shutil.rmtree(folder, ignore_errors=True)
