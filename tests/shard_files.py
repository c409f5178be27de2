"""Numbered pictures in Parquet and tar files."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sources import png


def parquet(folder: Path, numbers, files: int = 3, group: int = 20, bad=()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, own in enumerate(np.array_split(np.array(numbers), files)):
        table = pa.table(
            {
                "image": [{"bytes": b"bad" if n in bad else png(n), "path": None} for n in own],
                "text": [str(n) for n in own],
            }
        )
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=group)
    return folder


def tars(folder: Path, numbers, files: int = 3, bad=()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, own in enumerate(np.array_split(np.array(numbers), files)):
        with tarfile.open(folder / f"{part}.tar", "w") as archive:
            for n in own:
                for name, data in (
                    (f"{n:05d}.png", b"bad" if n in bad else png(n)),
                    (f"{n:05d}.txt", str(n).encode()),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return folder
