"""How often the model inside the package marks what it has not seen, and what it has:

    python -m benchmarks.foreign [--count 1000]

Its own: portraits of seeds that no set of its training has, in its three sizes, their four captions each, and
these cut at a word. Foreign: the prompts and pictures of `rawmm_cli/evaluation/foreign.py`, its own captions
with another noun, and faces and photographs inside scikit-image. Portraits that were changed come last. For a
model of your own, `rawmm evaluate` measures the same on its held-out data."""

import argparse
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rawmm_cli.data import images
from rawmm_cli.data.datasets.portraits import attributes, captions, drawing
from rawmm_cli.evaluation import foreign
from rawmm_cli.runs import familiar, models
from rawmm_cli.sampling.foreign import judge_pictures

FIRST = 900_000  # number of the first portrait; training had those below 50,000
SIZES = (64, 96, 48)
WHITE = (255, 255, 255)


def portraits(count: int, size: int, first: int = FIRST) -> list[Tensor]:
    """Portraits that were not trained on, (3, S, S) uint8."""
    return [tensor(drawing.draw(n, WHITE, size)) for n in range(first, first + count)]


def tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) -> (3, H, W)."""
    return torch.from_numpy(np.asarray(pixels).transpose(2, 0, 1).copy())


def of_skimage(size: int) -> Iterator[tuple[str, list[Tensor]]]:
    """Faces (and what is none), and whole photographs and figures, inside scikit-image."""
    folder = Path(find_spec("skimage").origin).parent / "data"
    faces = np.load(folder / "lfw_subset.npy")[::2]
    grey = [Image.fromarray((255 * face).clip(0, 255).astype(np.uint8)).convert("RGB") for face in faces]
    yield "photographed faces", [tensor(images.fit(face, size, "center", enlarge=True)) for face in grey]
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    whole = [images.fit(images.read_image(path), size, "center", enlarge=True) for path in files]
    yield "whole photographs and figures", [tensor(pixels) for pixels in whole]


def changed(size: int, count: int) -> Iterator[tuple[str, list[Tensor]]]:
    """Its own portraits, changed."""
    own, quarter, noise = portraits(count, size), size // 4, torch.Generator().manual_seed(0)
    yield "upside down", [one.flip(1) for one in own]
    yield "inverted colours", [255 - one for one in own]
    middle = [one[:, quarter:-quarter, quarter:-quarter] for one in own]
    yield "enlarged twice", [one.repeat_interleave(2, 1).repeat_interleave(2, 2) for one in middle]
    cut = size // 8
    order = [torch.randperm(64, generator=noise) for _ in own]
    patches = [one.reshape(3, 8, cut, 8, cut).permute(1, 3, 0, 2, 4).flatten(0, 1) for one in own]
    mixed = [part[places].reshape(8, 8, 3, cut, cut) for part, places in zip(patches, order)]
    yield "shuffled patches", [one.permute(2, 0, 3, 1, 4).reshape(3, size, size) for one in mixed]
    yield "grey", [one.float().mean(0, keepdim=True).round().byte().repeat(3, 1, 1) for one in own]
    yield "mirrored", [one.flip(2) for one in own]
    noised = [one + 10 * torch.randn(one.shape, generator=noise) for one in own]
    yield "noise of 10 levels", [one.round().clamp(0, 255).byte() for one in noised]


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="portraits of its own (default: 1000)")
    count = parser.parse_args().count
    loaded = models.load(models.find(Path("runs"), None, "portraits"), torch.device("cpu"))
    numbers = range(FIRST, FIRST + count)
    own = [text for n in numbers for text in captions.captions_of(n, attributes.attributes_of(n))]
    known = foreign.words_of(own)
    print(f"a prompt is measured in {seconds(loaded, own[:20]):.3f} s (median of 20)")
    marked = foreign.of_prompts(loaded, own, known)
    show("prompts", marked.own, marked.own_count, marked.foreign, marked.foreign_count, marked.threshold)
    print(f"  own captions, cut at a word: {marked.beginnings:.2%}")
    for kind, share in marked.by_kind.items():
        print(f"  {kind}: {share:.1%}")
    pictures(loaded, count)


def seconds(loaded: models.Loaded, texts: list[str]) -> float:
    """Median time of measuring one text."""
    times = []
    for text in texts:
        started = time.perf_counter()
        familiar.word_bits(loaded.model, [text])
        times.append(time.perf_counter() - started)
    return median(times)


def pictures(loaded: models.Loaded, count: int) -> None:
    """Measure and print the table of pictures."""

    def marks(group: list[Tensor]) -> list[bool]:
        return [one.outside for one in judge_pictures(loaded, group)]

    size, threshold = loaded.config.data.size, loaded.seen["pictures"]["threshold"]
    own = {side: marks(portraits(count if side == size else count // 4, side)) for side in SIZES}
    kinds = [*foreign.foreign_pictures(size, "drawn by python-avatars"), *of_skimage(size)]
    others = {kind: marks(group) for kind, group in kinds if group}
    all_own, all_others = ([mark for marks in group.values() for mark in marks] for group in (own, others))
    rates = np.mean(all_own), len(all_own), np.mean(all_others), len(all_others)
    show("pictures", *rates, threshold)
    for side, result in own.items():
        print(f"  own, {side} px: {np.mean(result):.2%} of {len(result)}")
    for kind, result in others.items():
        print(f"  {kind}: {np.mean(result):.1%} of {len(result)}")
    print("portraits that were changed")
    for kind, group in changed(size, max(8, count // 10)):
        print(f"  {kind}: {np.mean(marks(group)):.1%} of {len(group)}")


def show(what: str, own: float, own_count: int, others: float, others_count: int, threshold: float) -> None:
    """Print the two rates."""
    print(f"{what}: threshold {threshold:.2f}")
    print(f"  own marked: {own:.2%} of {own_count:,}; foreign marked: {others:.2%} of {others_count:,}")


if __name__ == "__main__":
    main()
