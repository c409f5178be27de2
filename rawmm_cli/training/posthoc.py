"""An average of the weights whose width is chosen after training (Karras et al. 2024, arXiv 2312.02696,
section 3.2).

During training, snapshots of two power-function averages are kept (`ema.py`). Each is a weighted mean of all
the weights that the run went through, with profile p(t) = (gamma + 1) t^gamma / T^(gamma + 1) for t <= T. Any
other profile is approximated by the combination of snapshots that is nearest to it in the least-squares
sense: solve A x = b with A_ij = integral of p_i p_j and b_i = integral of p_i p_wanted (their algorithm 3).
Both have closed forms."""

import re
import shutil
from pathlib import Path

import numpy as np
import torch

from ..config import build, presets
from ..runs import checkpoint, loading
from ..system import disk, manifest
from ..system.errors import CheckpointError, ConfigError
from .ema import exponent

NAME = re.compile(r"documents_0*([1-9][0-9]{0,17})")


def keep(run: Path, documents: int, averages: list[dict[str, torch.Tensor]]) -> None:
    """Write the averages after `documents` documents; the folder appears whole, by a rename, with the sums of
    its files. Raises DiskFullError."""
    final = run / "averages" / f"documents_{documents:010d}"
    shutil.rmtree(final, ignore_errors=True)  # of another future of the same past
    with disk.new_folder(final) as partial:
        for number, tensors in enumerate(averages, 1):
            checkpoint.write_tensors(partial, str(number), tensors)
        manifest.sync_files(partial)
        manifest.seal(partial)


def snapshots(run: Path) -> list[tuple[int, Path]]:
    """(documents, folder) of every snapshot, oldest first; other names are ignored."""
    names = ((NAME.fullmatch(path.name), path) for path in (run / "averages").glob("documents_*"))
    return sorted((int(name[1]), path) for name, path in names if name and path.is_dir())


def _tensors(folder: Path, number: int, shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Average `number` of a snapshot. Raises CheckpointError where it is damaged or of another model."""
    file = f"{number}.safetensors"
    remedy = f"delete {folder}: the average is made of the other snapshots then"
    # Snapshots of earlier versions have no sums.
    sums = manifest.problems(folder, (file,)) if (folder / manifest.MANIFEST).exists() else {}
    for name, problem in sums.items():
        raise CheckpointError(f"{folder / name} {problem}; {remedy}")
    try:
        values = loading.checked(loading.tensors(folder, str(number)), folder / file)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {remedy}") from None
    if {name: value.shape for name, value in values.items()} != shapes:
        raise CheckpointError(f"{folder / file} does not fit the settings of the run; {remedy}")
    return values


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
        (documents, gamma, folder, number)
        for documents, folder in stored
        for number, gamma in enumerate(gammas, 1)
    ]
    end = stored[-1][0]
    shares = weights([f[0] / end for f in files], [f[1] for f in files], 1.0, exponent(width))
    shapes = {name: value.shape for name, value in build.model(config, "meta").state_dict().items()}
    total: dict[str, torch.Tensor] = {}
    for share, (_, _, folder, number) in zip(shares, files):
        for name, value in _tensors(folder, number, shapes).items():
            total[name] = total.get(name, 0) + float(share) * value.double()
    return {name: value.float() for name, value in total.items()}, end


def write(run: Path, width: float, target: Path) -> dict:
    """A run folder `target` that holds that average alone, for `sample` and `evaluate` -> facts of it.

    Raises ConfigError where the folder is there already."""
    if target.exists():
        raise ConfigError(f"{target} is there already; choose another --name, or delete it")
    with disk.new_folder(target) as partial:
        tensors, documents = average(run, width)
        if (latest := checkpoint.latest(run)) is None:
            raise CheckpointError(f"{run} has no checkpoint yet; let `rawmm train` go on until it saves one")
        newest = checkpoint.state(latest)
        disk.write(partial / checkpoint.CONFIG, presets.dump(loading.run_config(run)))
        if (run / checkpoint.TOKENIZER).is_file():
            shutil.copyfile(run / checkpoint.TOKENIZER, partial / checkpoint.TOKENIZER)
        facts = {
            "documents": documents,
            "seconds": newest["seconds"],
            "data": newest["data"],
            "tokenizer": newest.get("tokenizer"),
            "average_of": run.name,
            "width": width,
        }
        checkpoint.save(partial, newest["step"], {"ema": tensors}, facts, 1)
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
