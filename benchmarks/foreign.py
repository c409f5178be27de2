"""How often the model inside the package marks what it has not seen, and what it has:

    python -m benchmarks.foreign [--count 1000]

Its own: portraits of seeds that no set of its training has, in its three sizes, their four captions each, and
these cut at a word. Foreign: the prompts and pictures of `rawmm_cli/evaluation/foreign.py`, its own captions
with another noun, and faces and photographs inside scikit-image. Portraits that were changed come last.

Pictures of a run of yours, and of any number of them:

    python -m benchmarks.foreign --run runs/letters --data data/letters [--own MORE] [--others data/a data/b]

Its distribution and threshold are measured anew from the set, and the run stays as it is. Own: held-out
pictures that the threshold does not come from, or those of a folder that nothing has seen (--own). Foreign:
those above, and held-out pictures of the other sets in the size of the model. `rawmm evaluate` measures the
first part of it with the threshold that the run has stored."""

import argparse
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rawmm_cli.data import images, prepared
from rawmm_cli.data.datasets.portraits import attributes, captions, drawing
from rawmm_cli.data.prepared import evenly_spaced
from rawmm_cli.evaluation import foreign
from rawmm_cli.runs import familiar, models, seen
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
    parser.add_argument("--run", type=Path, help="folder of a run, in the place of the model of the package")
    parser.add_argument("--data", type=Path, help="folder of the set that the run was trained on")
    parser.add_argument("--own", type=Path, help="a folder of pictures like those of the set, and unseen")
    parser.add_argument("--not", dest="known", nargs="*", default=[], help="kinds that are not foreign to it")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of sets that are foreign")
    options = parser.parse_args()
    if (options.run is None) != (options.data is None):
        parser.error("--run and --data go together")
    if options.run:
        return of_run(options)
    count = options.count
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


def of_run(options: Any) -> None:
    """Measure what a run has seen anew, and print the table of pictures."""
    loaded = models.load(options.run, torch.device("cpu"))
    learned, held_out = (prepared.load(options.data, split) for split in ("train", "held_out"))
    started, busy = time.perf_counter(), time.process_time()
    known = seen.pictures(loaded.model, loaded.config, [learned], [held_out])
    if known is None:
        raise SystemExit(f"{options.data} has too few pictures, or the run reads none")
    print(f"measured in {time.perf_counter() - started:.1f} s, {time.process_time() - busy:.1f} s of CPU")
    loaded.seen["pictures"] = known
    if options.own:
        files = sorted(path for path in options.own.iterdir() if path.suffix.lower() in (".png", ".jpg"))
        own = [tensor(images.read_image(path)) for path in files]
    else:
        own = [held_out.image(row) for row in foreign.apart(len(held_out), seen.UNSEEN)]
    origin, size = str(learned.card.get("source")), loaded.config.data.size
    kinds = [*foreign.foreign_pictures(size, origin), *of_skimage(size)]
    groups = {kind: group for kind, group in kinds if group}
    evaluated = [kind for kind, _ in foreign.foreign_pictures(size, origin) if kind in groups]
    evaluated = [kind for kind in evaluated if kind not in options.known]
    groups |= {f"set {folder.name}": of_set(folder, size) for folder in options.others}
    marks = {
        kind: [one.outside for one in judge_pictures(loaded, group)]
        for kind, group in {**groups, "": own}.items()
    }
    mine = marks.pop("")
    first = [mark for kind in evaluated for mark in marks[kind]]
    show(
        options.run.name,
        float(np.mean(mine)),
        len(mine),
        float(np.mean(first)),
        len(first),
        known["threshold"],
    )
    for kind, result in marks.items():
        print(
            f"  {kind}: {np.mean(result):.1%} of {len(result)}" + " (not counted)" * (kind not in evaluated)
        )


def of_set(folder: Path, size: int) -> list[Tensor]:
    """Held-out pictures of a set, at another size."""
    data = prepared.load(folder, "held_out")
    pictures = [data.image(row) for row in evenly_spaced(len(data), foreign.EACH)]
    fitted = (Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pictures)
    return [tensor(images.fit(one, size, "center", enlarge=True)) for one in fitted]


def show(what: str, own: float, own_count: int, others: float, others_count: int, threshold: float) -> None:
    """Print the two rates."""
    print(f"{what}: threshold {threshold:.2f}")
    print(f"  own marked: {own:.2%} of {own_count:,}; foreign marked: {others:.2%} of {others_count:,}")


if __name__ == "__main__":
    main()
