"""rawmm's side: the command `rawmm train`, timed from outside by the growth of its records.jsonl."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import documents
from .clocks import Window
from .settings import BATCH, CLASSES, PATCHES, WARM, preset

OTHERS = 5  # <bos>, the label, <image>, </image>, <eos>
POLL = 0.02


def write_set(folder: Path, pictures: np.ndarray, labels: np.ndarray) -> str:
    """Prepare the set `peers` -> fingerprint of the documents that `rawmm train` reads."""
    from rawmm_cli.data import prepared
    from rawmm_cli.data.rows import picture_row

    rows = [picture_row(picture, [str(label)], int(label)) for picture, label in zip(pictures, labels)]
    prepared.write(
        folder / "peers",
        {"train": rows, "held_out": rows[:BATCH]},
        {"name": "peers", "labels": [str(n) for n in range(CLASSES)]},
    )
    data = prepared.load(folder / "peers", "train")
    return documents.fingerprint(
        (data.image(i).permute(1, 2, 0).numpy(), int(data.captions[i][0])) for i in range(len(data))
    )


def prepare(setting: str, backbone: str, work: Path, threads: int) -> int:
    """Write the preset that `timed` trains -> parameters of its backbone."""
    from rawmm_cli.config import build, presets
    from rawmm_cli.core.model import count_parameters

    settings = preset(setting, backbone, PATCHES + OTHERS, threads)
    (work / f"{setting}-{backbone}.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return count_parameters(build.model(presets.resolve(settings), "meta"))["backbone"]


def timed(setting: str, backbone: str, work: Path, seconds: float) -> dict:
    """Train in a process for WARM steps, then for `seconds` -> documents, seconds, disturbance and losses."""
    runs = tempfile.mkdtemp(prefix=f"{setting}-{backbone}-", dir=work)
    began, log = time.perf_counter(), Path(runs) / "stderr"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*_command(work / f"{setting}-{backbone}.yaml", work), "--runs-dir", runs, "--run", "timed"],
            cwd=work,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            measured = _watch(process, Path(runs) / "timed" / "records.jsonl", seconds, log)
        finally:
            process.send_signal(signal.SIGTERM)  # it saves a checkpoint and exits
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
    return {**measured, "warm_up_seconds": time.perf_counter() - began - measured["seconds"]}


def _command(file: Path, work: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "rawmm_cli",
        "train",
        "--preset",
        str(file),
        "--data-dir",
        str(work / "data"),
        "--device",
        "cpu",
        "--json",
    ]


def _watch(process: subprocess.Popen, path: Path, seconds: float, log: Path) -> dict:
    """Time the growth of records.jsonl. Raises RuntimeError where the run ends."""
    first, size = None, 0
    while True:
        time.sleep(POLL)
        if process.poll() is not None:
            raise RuntimeError(
                f"rawmm train ended with exit code {process.returncode}: {log.read_text()[-500:]}"
            )
        if not path.is_file() or path.stat().st_size == size:
            continue
        now, size = time.perf_counter(), path.stat().st_size
        record = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        if first is None:
            if record["step"] >= WARM:
                first, started, window = record, now, Window(process.pid)
        elif now - started >= seconds:
            elapsed = now - started
            return {
                "documents": record["documents"] - first["documents"],
                "seconds": elapsed,
                "others": window.others(elapsed),
                "positions": _positions(record),
                "first_loss": first["loss"],
                "last_loss": record["loss"],
            }


def _positions(record: dict) -> float:
    """Positions of a document, without padding, as the run counts them."""
    return record["fill"] * record["positions_per_second"] / record["documents_per_second"]
