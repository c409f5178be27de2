"""Speed of `rawmm prepare` and of streaming, compared with bare loops of Pillow; memory of `rawmm prepare`.

    make bench-data
    python -m benchmarks.data [prepare stream memory portraits] [--rounds N] [--json FILE]

Pictures are crops of scikit-learn's two photographs as JPEGs. What is compared takes turns (a round is one of
each), ratios are taken inside a round, and medians of the rounds are printed."""

import argparse
import gc
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CAPTION = "a part of a photograph"
STEP = 64 * 8  # documents of a window: train.batch of patch64 x loader.WINDOW

BARE = """
import multiprocessing, sys
from pathlib import Path
from PIL import Image
def one(path):
    with Image.open(path) as image:
        return image.convert("RGB").resize((64, 64), Image.LANCZOS).tobytes()
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = sorted(Path(sys.argv[1]).glob("*.jpg"))
        print(sum(len(data) for data in pool.imap(one, paths, chunksize=16)))
"""

# A process inherits the peak memory of its parent, so a small process starts the command.
MEASURE = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(json.dumps([time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def main() -> None:
    """Print a line for each figure; with --json, write all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", nargs="*", default=[], help="prepare, stream, memory, portraits [default: all]"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=4000, help="512-px JPEGs of `prepare`")
    parser.add_argument("--json", type=Path)
    options, parts = (
        parser.parse_args(),
        {"prepare": prepare, "stream": stream, "memory": memory, "portraits": portraits},
    )
    if unknown := set(options.what) - set(parts):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(parts)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
        for name in options.what or parts:
            results[name] = parts[name](Path(folder), options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


# --------------------------------------------------------------------------------------------------- pictures


def jpegs(count: int, side: int) -> list[bytes]:
    """`count` distinct crops of photographs, side x side, each with its own tint, as JPEGs of quality 90."""
    from sklearn.datasets import load_sample_images

    scale = max(1.0, 1.3 * side / 427)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    photos = [
        photo.resize((round(640 * scale), round(427 * scale)), Image.Resampling.LANCZOS) for photo in photos
    ]
    rng, files = np.random.default_rng(0), []
    for n in range(count):
        photo, buffer = photos[n % 2], io.BytesIO()
        left, top = (int(rng.integers(0, edge - side)) for edge in photo.size)
        crop = np.asarray(photo.crop((left, top, left + side, top + side))) * rng.uniform(0.4, 1, 3)
        Image.fromarray(crop.astype(np.uint8)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def _folder(folder: Path, count: int, side: int, different: int = 1000) -> Path:
    """Write a folder of `count` JPEGs; beyond `different` they are links to these."""
    folder.mkdir()
    for n, data in enumerate(jpegs(min(count, different), side)):
        (folder / f"{n:06d}.jpg").write_bytes(data)
    for n in range(different, count):
        (folder / f"{n:06d}.jpg").symlink_to(folder / f"{n % different:06d}.jpg")
    return folder


def _prepare(*words) -> tuple[float, int]:
    """Run `rawmm prepare WORDS` -> (seconds, peak resident bytes of its largest process)."""
    command = [sys.executable, "-m", "rawmm_cli", "prepare", *map(str, words)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True
    )
    seconds, kilobytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, kilobytes * 1024


# --------------------------------------------------------------------------------------------- measurements


def prepare(folder: Path, options) -> dict:
    """Prepare 512-px JPEGs at 64 px with two workers, compared with two processes that only decode and
    resize."""
    source, spent = _folder(folder / "in", options.pictures, 512), []
    (folder / "bare.py").write_text(BARE, encoding="utf-8")
    for _ in range(options.rounds):
        ours, _ = _prepare(
            "folder",
            "--path",
            source,
            "--size",
            64,
            "--workers",
            2,
            "--name",
            "out",
            "--data-dir",
            folder / "data",
        )
        shutil.rmtree(folder / "data")
        started = time.perf_counter()
        subprocess.run([sys.executable, folder / "bare.py", source], check=True, stdout=subprocess.DEVNULL)
        spent.append((ours, time.perf_counter() - started))
    ratios = [bare / ours for ours, bare in spent]
    ours, bare = (options.pictures / statistics.median(column) for column in zip(*spent))
    print(
        f"prepare: {options.pictures:,} JPEGs of 512 px to 64 px, 2 workers: {ours:,.0f}/s; bare loop in 2 "
        f"processes {bare:,.0f}/s; rawmm / bare {_spread(ratios)}",
        flush=True,
    )
    return {"ours": ours, "bare": bare, "ratios": ratios}


def stream(folder: Path, options) -> dict:
    """Pictures a second from shards in one process: only read, decoded by a bare loop, streamed, in
    batches."""
    import torch

    torch.set_num_threads(1)
    results = {}
    for side, count in ((512, 1500), (64, 12_000)):
        data = jpegs(count, side)
        for kind, write in (("tar", _tar), ("parquet", _parquet)):
            where = folder / f"{kind}-{side}"
            where.mkdir()
            write(where, data)
            rounds = [
                (_bare(where, False), _bare(where, True), _streamed(where, count), _batches(where, count))
                for _ in range(options.rounds)
            ]
            read, bare, pictures, batches = map(statistics.median, zip(*rounds))
            streamed, packed = ([one[n] / one[1] for one in rounds] for n in (2, 3))
            print(
                f"stream: {side}-px JPEGs in {kind}: read {read:,.0f}/s, bare decode loop {bare:,.0f}/s, "
                f"streamed {pictures:,.0f}/s ({_spread(streamed)} of bare), "
                f"in batches {batches:,.0f}/s ({_spread(packed)})",
                flush=True,
            )
            results[f"{kind} {side}"] = {
                "read": read,
                "bare": bare,
                "streamed": pictures,
                "batches": batches,
                "streamed_over_bare": streamed,
                "batches_over_bare": packed,
            }
    return results


def memory(folder: Path, options) -> dict:
    """Peak memory of the largest process while 1,000, 10,000 and 100,000 small pictures are prepared."""
    results = {}
    for count in (1000, 10_000, 100_000):
        source = _folder(folder / f"memory-{count}", count, 64, count)
        _, results[count] = _prepare(
            "folder", "--path", source, "--name", "out", "--workers", 2, "--data-dir", folder / "data"
        )
        shutil.rmtree(folder / "data")
        shutil.rmtree(source)
        print(
            f"memory: {count:,} pictures: {results[count] / 2**20:,.0f} MiB "
            f"({results[count] / results[1000] - 1:+.0%})",
            flush=True,
        )
    return results


def portraits(folder: Path, options) -> dict:
    """Time of `rawmm prepare portraits` for 20,000 at 32 px."""
    seconds, _ = _prepare("portraits", "--count", 20_000, "--size", 32, "--data-dir", folder / "data")
    shutil.rmtree(folder / "data")
    print(f"portraits: 20,000 at 32 px in {seconds:.0f} s", flush=True)
    return {"seconds": seconds}


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"


# ----------------------------------------------------------------------------------------------------- shards


def _tar(folder: Path, data: list[bytes]) -> None:
    for part in range(4):
        with tarfile.open(folder / f"{part}.tar", "w") as archive:
            for n in range(part, len(data), 4):
                for ending, content in (("jpg", data[n]), ("txt", f"{CAPTION} {n}".encode())):
                    info = tarfile.TarInfo(f"{n:06d}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


def _parquet(folder: Path, data: list[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(4):
        table = pa.table(
            {
                "image": [{"bytes": one, "path": None} for one in data[part::4]],
                "text": [f"{CAPTION} {n}" for n in range(part, len(data), 4)],
            }
        )
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=256)


def _contents(folder: Path):
    """The bytes of every picture, by a plain loop."""
    import pyarrow.parquet as pq

    for file in sorted(folder.iterdir()):
        if file.suffix == ".tar":
            with tarfile.open(file) as archive:
                yield from (
                    archive.extractfile(info).read() for info in archive if info.name.endswith(".jpg")
                )
        else:
            for batch in pq.ParquetFile(file).iter_batches(64):
                yield from (row["bytes"] for row in batch.column("image").to_pylist())


def _bare(folder: Path, decodes: bool) -> float:
    started, count = time.perf_counter(), 0
    for data in _contents(folder):
        count += 1
        if decodes:
            Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS).tobytes()
    return count / (time.perf_counter() - started)


def _opened(folder: Path):
    from rawmm_cli.config import presets
    from rawmm_cli.data import sets

    config = presets.load("patch64", ["data.set=shards", "data.stream=true", f"data.stream.path={folder}"])
    data, _ = sets.load(config, folder)
    gc.freeze()  # as training does
    return config, data


def _streamed(folder: Path, count: int) -> float:
    """Decode pictures in the order of training -> pictures a second."""
    from rawmm_cli.data.streamed import TURNS

    config, (data,) = _opened(folder)
    lanes, window, decoded = config.data.stream.lanes, 0, 0
    started = time.perf_counter()
    while decoded < count:
        for share in range(lanes):
            for place in range(STEP // lanes):
                data.picture(window % TURNS * lanes + share, window // TURNS * (STEP // lanes) + place)
                decoded += 1
        window += 1
    return decoded / (time.perf_counter() - started)


def _batches(folder: Path, count: int) -> float:
    """Make the batches of preset patch64 -> pictures a second."""
    from rawmm_cli.config import build
    from rawmm_cli.data.loader import steps_of

    config, data = _opened(folder)
    steps, seen, documents = steps_of(config, data, build.model(config, "meta")), 0, 0
    started = time.perf_counter()
    while documents < count:
        documents += sum(len(batch.last) for batch in steps[seen])
        seen += config.train.batch
    return documents / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
