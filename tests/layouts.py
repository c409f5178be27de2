"""Every layout that people bring their data in, with COUNT numbered pictures, and what is true of each.

A function writes one layout into a folder -> {number: Fact}. LAYOUTS has them by the names of the table in
docs/data.md; `tests/data/test_layouts.py` holds that table and every source against one another."""

import base64
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from sources import png

COUNT = 24
CLASSES = ("cat", "dog")
KARPATHY = (
    "train",
    "test",
    "restval",
    "val",
    "train",
    "restval",
) * 4  # rows of Karpathy's COCO, in any order
SPLITS = ("train",) * 16 + ("validation",) * 4 + ("test",) * 4


class Fact(NamedTuple):
    """What is true of a picture."""

    captions: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None  # "train" or "held_out"


Facts = dict[int, Fact]


def caption(number: int) -> str:
    return f"picture {number}"


def split(number: int) -> str:
    return "train" if SPLITS[number] == "train" else "held_out"


def facts(captions: bool = False, labels: bool = False, splits: bool = False) -> Facts:
    return {
        n: Fact(
            (caption(n),) if captions else (),
            CLASSES[n % 2] if labels else None,
            split(n) if splits else None,
        )
        for n in range(COUNT)
    }


def karpathy() -> Facts:
    """Captions, and the splits of KARPATHY."""
    roles = {"train": "train", "restval": "train", "val": "held_out", "test": "held_out"}
    return {n: Fact((caption(n),), None, roles[KARPATHY[n]]) for n in range(COUNT)}


def write(folder: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def pictures(name: Callable[[int], str] = "{:02}.png".format) -> dict[str, bytes | str]:
    return {name(n): png(n) for n in range(COUNT)}


# ---------------------------------------------------------------------------------------- folders of pictures


def alone(folder: Path) -> Facts:
    write(folder, pictures())
    return facts()


def beside(ending: str, content: Callable[[int], str]) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        write(folder, pictures() | {f"{n:02}.{ending}": content(n) for n in range(COUNT)})
        return facts(captions=True)

    return layout


def downloaded(folder: Path) -> Facts:
    """img2dataset, output_format="files"."""
    for n in range(COUNT):
        name = f"0000{n % 2}/0000{n % 2}{n:04}"
        known = {
            "caption": caption(n),
            "url": f"https://example.org/{n}.png",
            "key": f"{n}",
            "status": "success",
        }
        write(folder, {f"{name}.png": png(n), f"{name}.txt": caption(n), f"{name}.json": json.dumps(known)})
    table = pa.table({"url": ["https://example.org"] * COUNT, "key": [str(n) for n in range(COUNT)]})
    for shard in ("00000", "00001"):
        pq.write_table(table, folder / f"{shard}.parquet")
        write(folder, {f"{shard}_stats.json": '{"count": 12}'})
    return facts(captions=True)


def classes(folder: Path) -> Facts:
    write(folder, pictures(lambda n: f"{CLASSES[n % 2]}/{n:02}.png"))
    return facts(labels=True)


def split_folders(folder: Path) -> Facts:
    write(folder, pictures(lambda n: f"{SPLITS[n]}/{n:02}.png"))
    return facts(splits=True)


def split_class_folders(folder: Path) -> Facts:
    write(folder, pictures(lambda n: f"{SPLITS[n]}/{CLASSES[n % 2]}/{n:02}.png"))
    return facts(labels=True, splits=True)


def rows_of(numbers: range | list[int]) -> list[dict]:
    return [{"file_name": f"{n:02}.png", "text": caption(n)} for n in numbers]


def table_bytes(name: str, rows: list[dict]) -> bytes:
    """Rows as the bytes of a metadata file."""
    if name.lower().endswith("jsonl"):
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist(rows)
    (pyarrow.csv.write_csv if name.lower().endswith("csv") else pq.write_table)(table, sink)
    return sink.getvalue().to_pybytes()


def metadata(name: str) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        write(folder, pictures() | {name: table_bytes(name, rows_of(range(COUNT)))})
        return facts(captions=True)

    return layout


def metadata_in_splits(name: str) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        write(folder, pictures(lambda n: f"{SPLITS[n]}/{n:02}.png"))
        for part in set(SPLITS):
            rows = rows_of([n for n in range(COUNT) if SPLITS[n] == part])
            write(folder, {f"{part}/{name}": table_bytes(name, rows)})
        return facts(captions=True, splits=True)

    return layout


def metadata_with_splits(name: str) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        rows = [row | {"split": KARPATHY[n]} for n, row in enumerate(rows_of(range(COUNT)))]
        write(folder, pictures() | {name: table_bytes(name, rows)})
        return karpathy()

    return layout


def csv_with_truth_values(folder: Path) -> Facts:
    """As of CUB, with captions as lists in JSON."""
    rows = [
        {"file_name": f"{n:02}.png", "text": json.dumps([caption(n)]), "is_training": split(n) == "train"}
        for n in range(COUNT)
    ]
    write(folder, pictures() | {"metadata.csv": table_bytes("metadata.csv", rows)})
    return facts(captions=True, splits=True)


def kohya(folder: Path) -> Facts:
    known = {f"{n:02}": {"caption": caption(n)} for n in range(COUNT)}
    write(folder, pictures() | {"meta_cap.json": json.dumps(known)})
    return facts(captions=True)


def json_with_splits(folder: Path) -> Facts:
    def known(n: int) -> str:
        return json.dumps({"caption": caption(n), "split": KARPATHY[n]})

    write(folder, pictures() | {f"{n:02}.json": known(n) for n in range(COUNT)})
    return karpathy()


def metadata_in_subfolders(folder: Path) -> Facts:
    write(folder, pictures(lambda n: f"{n % 2}/{n:02}.png"))
    for part in range(2):
        rows = rows_of(list(range(part, COUNT, 2)))
        write(folder, {f"{part}/metadata.csv": table_bytes("metadata.csv", rows)})
    return facts(captions=True)


# --------------------------------------------------------------------------------------------------- archives

Members = list[tuple[str, bytes]]


def members(numbers: range | list[int], *endings: str) -> Members:
    """Members of samples: the picture, then NAME.ENDING with its caption or class."""
    made = []
    for n in numbers:
        made.append((f"{n:05}.png", png(n)))
        contents = {"txt": caption(n), "json": json.dumps({"caption": caption(n)}), "cls": str(n % 2)}
        made += [(f"{n:05}.{ending}", contents[ending].encode()) for ending in endings]
    return made


def tar(path: Path, entries: Members, mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def halves() -> Iterator[tuple[int, range]]:
    return enumerate((range(COUNT // 2), range(COUNT // 2, COUNT)))


def tars(*endings: str) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        for part, numbers in halves():
            tar(folder / f"{part:05}.tar", members(numbers, *endings))
        if endings == ("cls",):
            return {n: Fact((f"a photo of a {n % 2}",), str(n % 2)) for n in range(COUNT)}
        return facts(captions=bool(endings))

    return layout


def class_members(numbers: range | list[int]) -> Members:
    """Pictures in folders named by their classes."""
    return [(f"set/{CLASSES[n % 2]}/{n:02}.png", png(n)) for n in numbers]


def class_tars(folder: Path) -> Facts:
    for part, numbers in halves():
        tar(folder / f"{part:05}.tar", class_members(numbers))
    return facts(labels=True)


def class_zips(folder: Path) -> Facts:
    """In folders of splits too."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for n in sorted(range(COUNT), key=lambda n: SPLITS[n]):
            (name, data), *_ = class_members([n])
            archive.writestr(f"{SPLITS[n]}/{name}", data)
    return facts(labels=True, splits=True)


def tars_with_splits(folder: Path) -> Facts:
    """With the splits in the JSON of samples."""
    for part, numbers in halves():
        known = {n: json.dumps({"caption": caption(n), "split": KARPATHY[n]}).encode() for n in numbers}
        samples = (((f"{n:05}.json", known[n]), (f"{n:05}.png", png(n))) for n in numbers)
        tar(folder / f"{part:05}.tar", [member for sample in samples for member in sample])
    return karpathy()


def packed_tars(folder: Path) -> Facts:
    for part, numbers in halves():
        tar(folder / f"{part:05}.tar.gz", members(numbers, "txt"), "w:gz")
    return facts(captions=True)


def zips(folder: Path) -> Facts:
    folder.mkdir(parents=True, exist_ok=True)
    for part, numbers in halves():
        with zipfile.ZipFile(folder / f"{part:05}.zip", "w") as archive:
            for name, data in members(numbers, "txt"):
                archive.writestr(name, data)
    return facts(captions=True)


def unfinished_tars(folder: Path) -> Facts:
    """Without their end marks, as a writer leaves them that is stopped."""
    truth = tars("txt")(folder)
    for path in folder.glob("*.tar"):
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(10))
    return truth


def split_tars(name: str) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        for part in set(SPLITS):
            numbers = [n for n in range(COUNT) if SPLITS[n] == part]
            tar(folder / name.format(part), members(numbers, "txt"))
        return facts(captions=True, splits=True)

    return layout


def img2dataset(folder: Path) -> Facts:
    """img2dataset, output_format="webdataset": shards, a table of addresses and statistics beside each."""
    for part, numbers in halves():
        tar(folder / f"{part:05}.tar", members(numbers, "txt", "json"))
        table = pa.table({"url": ["https://example.org"] * len(numbers), "caption": [*map(caption, numbers)]})
        pq.write_table(table, folder / f"{part:05}.parquet")
        write(folder, {f"{part:05}_stats.json": '{"count": 12}'})
    return facts(captions=True)


# ----------------------------------------------------------------------------------------------------- tables


def struct(number: int) -> dict:
    return {"bytes": png(number), "path": None}


def parquet(
    columns: Callable[[range], dict], truth: Facts, name: str = "{}.parquet"
) -> Callable[[Path], Facts]:
    """Two files with these columns."""

    def layout(folder: Path) -> Facts:
        folder.mkdir(parents=True, exist_ok=True)
        for part, numbers in halves():
            pq.write_table(pa.table(columns(numbers)), folder / name.format(part), row_group_size=6)
        return truth

    return layout


def split_parquet(name: str) -> Callable[[Path], Facts]:
    def layout(folder: Path) -> Facts:
        for part in set(SPLITS):
            numbers = [n for n in range(COUNT) if SPLITS[n] == part]
            path = folder / name.format(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = {"image": [*map(struct, numbers)], "text": [*map(caption, numbers)]}
            pq.write_table(pa.table(columns), path, row_group_size=2)
        return facts(captions=True, splits=True)

    return layout


def with_pictures(**columns: Callable[[int], object]) -> Callable[[range], dict]:
    return lambda numbers: {
        "image": [*map(struct, numbers)],
        **{name: [value(n) for n in numbers] for name, value in columns.items()},
    }


def of_lists(dtype: pa.DataType) -> Callable[[range], dict]:
    def columns(numbers: range) -> dict:
        captions = pa.array([[caption(n), "once more"] for n in numbers], dtype)
        return {"image": [*map(struct, numbers)], "captions": captions}

    return columns


TWO = {n: Fact((caption(n), "once more")) for n in range(COUNT)}


def saved(folder: Path, splits: bool = False) -> Facts:
    """`save_to_disk` of a Dataset or a DatasetDict."""
    import datasets

    def data(numbers: list[int]) -> datasets.Dataset:
        columns = {"image": [*map(struct, numbers)], "text": [*map(caption, numbers)]}
        features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
        return datasets.Dataset.from_dict(columns, features)

    if not splits:
        data(list(range(COUNT))).save_to_disk(str(folder))
        return facts(captions=True)
    parts = {part: data([n for n in range(COUNT) if SPLITS[n] == part]) for part in dict.fromkeys(SPLITS)}
    datasets.DatasetDict(parts).save_to_disk(str(folder))
    return facts(captions=True, splits=True)


def saved_with_column(folder: Path) -> Facts:
    """`save_to_disk` of a Dataset with the splits in a column."""
    import datasets

    numbers = range(COUNT)
    columns = {"image": [*map(struct, numbers)], "text": [*map(caption, numbers)], "split": list(KARPATHY)}
    features = {name: datasets.Value("string") for name in columns} | {"image": datasets.Image()}
    datasets.Dataset.from_dict(columns, datasets.Features(features)).save_to_disk(str(folder))
    return karpathy()


def repository(folder: Path) -> Facts:
    """A copy of a repository of the hub, with class names in the metadata of its tables."""
    import datasets

    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    (folder / "data").mkdir(parents=True)
    write(folder, {"README.md": "---\nlicense: mit\n---\n# A set\n"})
    for part in dict.fromkeys(SPLITS):
        numbers = [n for n in range(COUNT) if SPLITS[n] == part]
        columns = {"image": [*map(struct, numbers)], "label": [n % 2 for n in numbers]}
        data = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        data.to_parquet(str(folder / "data" / f"{part}-00000-of-00001.parquet"))
    return {
        n: fact._replace(captions=(f"a photo of a {fact.label}",))
        for n, fact in facts(labels=True, splits=True).items()
    }


LAYOUTS: dict[str, Callable[[Path], Facts]] = {
    "pictures alone": alone,
    "`NAME.txt` beside them": beside("txt", caption),
    "`NAME.caption`": beside("caption", caption),
    "`NAME.json`": beside("json", lambda n: json.dumps({"caption": caption(n), "url": "x"})),
    "`meta_cap.json`": kohya,
    "img2dataset, as files": downloaded,
    "class folders": classes,
    "split folders": split_folders,
    "class folders in split folders": split_class_folders,
    "`metadata.jsonl`": metadata("metadata.jsonl"),
    "`metadata.csv`": metadata("metadata.csv"),
    "`metadata.parquet`": metadata("metadata.parquet"),
    "`Metadata.CSV`": metadata("Metadata.CSV"),
    "`metadata.jsonl` in split folders": metadata_in_splits("metadata.jsonl"),
    "`metadata.parquet` in split folders": metadata_in_splits("metadata.parquet"),
    "`metadata.csv` in subfolders": metadata_in_subfolders,
    "`metadata.jsonl` with `split`": metadata_with_splits("metadata.jsonl"),
    "`metadata.csv` with `split`": metadata_with_splits("metadata.csv"),
    "`metadata.csv` with `is_training`": csv_with_truth_values,
    "`metadata.parquet` with `split`": metadata_with_splits("metadata.parquet"),
    "`NAME.json` with `split`": json_with_splits,
    "`.tar`: pictures alone": tars(),
    "`.tar`: `.txt`": tars("txt"),
    "`.tar`: `.json`": tars("json"),
    "`.tar`: `.cls`": tars("cls"),
    "`.tar`: `.json` with `split`": tars_with_splits,
    "`.tar`: class folders": class_tars,
    "`.tar` without its end mark": unfinished_tars,
    "`.zip`: class folders in split folders": class_zips,
    "`.tar.gz`": packed_tars,
    "`.zip`": zips,
    "`train-*.tar`": split_tars("{}-00000.tar"),
    "`.tar` in split folders": split_tars("{}/00000.tar"),
    "img2dataset, as webdataset": img2dataset,
    "Parquet: pictures alone": parquet(with_pictures(), facts()),
    "Parquet: captions": parquet(with_pictures(text=caption), facts(captions=True)),
    "Parquet: bytes, no struct": parquet(
        lambda numbers: {"jpg": [*map(png, numbers)], "caption": [*map(caption, numbers)]},
        facts(captions=True),
    ),
    "Parquet: captions as bytes": parquet(
        with_pictures(text=lambda n: caption(n).encode()), facts(captions=True)
    ),
    "Parquet: captions as JSON lists": parquet(
        with_pictures(text=lambda n: json.dumps([caption(n)])), facts(captions=True)
    ),
    "Parquet: captions by field": parquet(
        with_pictures(text=lambda n: {"en": caption(n), "de": f"Bild {n}"}), facts(captions=True)
    ),
    "Parquet: lists of captions": parquet(of_lists(pa.list_(pa.string())), TWO),
    "Parquet: lists of fixed size": parquet(of_lists(pa.list_(pa.string(), 2)), TWO),
    "Parquet: whole numbers as classes": parquet(
        with_pictures(label=lambda n: n % 2),
        {n: Fact((f"a photo of a {n % 2}",), str(n % 2)) for n in range(COUNT)},
    ),
    "Parquet: names as classes": parquet(
        with_pictures(label=lambda n: CLASSES[n % 2]),
        {n: Fact((f"a photo of a {CLASSES[n % 2]}",)) for n in range(COUNT)},
    ),
    "Parquet: truth values": parquet(with_pictures(nsfw=lambda n: n % 2 == 0), facts()),
    "Parquet: captions and other columns": parquet(
        with_pictures(text=caption, score=float, nsfw=bool), facts(captions=True)
    ),
    "Parquet: lists of one picture": parquet(
        lambda numbers: {"images": [[struct(n)] for n in numbers], "text": [*map(caption, numbers)]},
        facts(captions=True),
    ),
    "Parquet: lists of several pictures": parquet(
        lambda numbers: {
            "images": [[struct(n), struct(n + 1)] for n in numbers[::2]],
            "text": [caption(n) for n in numbers[::2]],
        },
        {n: Fact((caption(n - n % 2),)) for n in range(COUNT)},
    ),
    "Parquet: pictures in base64": parquet(
        lambda numbers: {"image": [base64.b64encode(png(n)).decode() for n in numbers]}, facts()
    ),
    "Parquet: addresses of pictures": parquet(
        lambda numbers: {
            "image": [f"https://example.org/{n}.png" for n in numbers],
            "text": [*map(caption, numbers)],
        },
        facts(captions=True),
    ),
    "Parquet: paths of pictures": parquet(
        lambda numbers: {"image": [f"/pictures/{n}.png" for n in numbers], "text": [*map(caption, numbers)]},
        facts(captions=True),
    ),
    "`train-*.parquet`": split_parquet("{}-00000-of-00001.parquet"),
    "Parquet in split folders": split_parquet("{}/0.parquet"),
    "Parquet with `split`": parquet(with_pictures(text=caption, split=KARPATHY.__getitem__), karpathy()),
    "Parquet with numbers in `partition`": parquet(
        with_pictures(partition=lambda n: {"train": 0, "validation": 1, "test": 2}[SPLITS[n]]),
        facts(splits=True),
    ),
    "Parquet with `Subset`": parquet(
        with_pictures(text=caption, Subset=SPLITS.__getitem__), facts(captions=True, splits=True)
    ),
    "saved by `datasets`": saved,
    "saved by `datasets`, with splits": lambda folder: saved(folder, splits=True),
    "saved by `datasets`, with `split`": saved_with_column,
    "a copy of a set of the hub": repository,
}
