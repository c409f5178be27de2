"""Samples as files: a PNG for every picture, a contact sheet of several, a GIF of the denoising.

The metadata of each PNG is all that it takes to draw it again: prompt, seed, number, steps, solver and the
other settings, and the hash of the model. Files appear whole, by a rename. A file that was drawn in the same
way is replaced; one that was drawn in another way is kept."""

import io
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from time import time_ns

import numpy as np
from PIL import Image
from torch import Tensor

from ..core.document import Document
from ..core.text_tokenizer import BytePairs, Bytes
from ..data import images
from ..system import disk
from ..system.disk import open_file
from .prompt import passages

ZOOMED = 256  # pixels of a side of a GIF, about
FRAME, LAST = 120, 2000  # milliseconds of a frame, and of the last one


@dataclass(frozen=True)
class Files:
    """Files of a session. samples: [{"number", "items"}], items {"text"} or {"image", "size", "height",
    "width"}, in pixels, size being the longer side. sheet, gif: paths, or None."""

    samples: list[dict]
    sheet: str | None
    gif: str | None


def write(
    tokenizer: Bytes | BytePairs,
    documents: list[Document],
    out: Path,
    stem: str,
    facts: dict,
    frames: list[np.ndarray] | None = None,
) -> Files:
    """Save the pictures of documents as `out`/`stem`-NUMBER.png, and their text into the result.

    facts: metadata of every PNG. frames: of a GIF."""
    text = {name: str(value) for name, value in facts.items()}
    with disk.alone_in(out):  # another process that draws into this folder waits, then sees the names taken
        disk.sweep(out)
        stem = free(out, stem, text)
        samples, drawn = [], []
        for number, document in enumerate(documents):
            items, pictures = _write_sample(tokenizer, document, out / f"{stem}-{number:03d}", text, number)
            samples.append({"number": number, "items": items})
            drawn += pictures
        sheet = gif = None
        if len(drawn) > 1:
            sheet = str(out / f"{stem}-sheet.png")
            zoom = max(1, 64 // max(drawn[0].shape[1:]))
            images.save_png(images.contact_sheet(drawn, columns(len(drawn)), zoom=zoom), sheet, **text)
        if frames:
            gif = str(out / f"{stem}.gif")
            save_gif(frames, Path(gif))
        return Files(samples, sheet, gif)


def _write_sample(
    tokenizer: Bytes | BytePairs, document: Document, stem: Path, text: dict[str, str], number: int
) -> tuple[list[dict], list[Tensor]]:
    """Save the pictures of one document as `stem`.png, `stem`-1.png, ... -> its items, its pictures."""
    items, pictures = [], []
    for part in passages(tokenizer, document):
        if isinstance(part, str):
            items.append({"text": part})
            continue
        path = stem.with_name(f"{stem.name}{f'-{len(pictures)}' * bool(pictures)}.png")
        images.save_png(part, path, **text, number=str(number))
        height, width = part.shape[1:]
        items.append({"image": str(path), "size": max(height, width), "height": height, "width": width})
        pictures.append(part)
    return items, pictures


def free(out: Path, stem: str, text: dict[str, str]) -> str:
    """`stem`, or the first of stem-b, stem-c, ... whose files, if there are any, have the same metadata."""
    for candidate in (stem, *(f"{stem}-{letter}" for letter in ascii_lowercase[1:]), f"{stem}-{time_ns()}"):
        present = next(out.glob(f"{candidate}-[0-9]*.png"), None)
        if present is None or _metadata(present) == text:
            return candidate
    return candidate


def _metadata(path: Path) -> dict[str, str]:
    """Metadata of a PNG that `write` saved, but for its number; {} where it has none."""
    try:
        with open_file(path) as file, Image.open(file) as picture:
            return {name: value for name, value in picture.text.items() if name != "number"}
    except (OSError, AttributeError, ValueError, SyntaxError):  # damaged, or somebody else's
        return {}


def columns(count: int) -> int:
    """Columns of a near-square sheet of `count` pictures."""
    return max(1, round(count**0.5))


class Watcher:
    """Frames of the first drawing, one a step: what `Session.run` may call as `watch`."""

    def __init__(self):
        self.frames: list[np.ndarray] = []
        self.step, self.over, self.clean = -1, False, None

    def __call__(self, step: int, noised: Tensor, clean: Tensor) -> None:
        self.over = self.over or step < self.step  # the next picture
        if self.over:
            return
        if step == self.step:  # a solver may evaluate twice in a step
            self.frames.pop()
        self.frames.append(_frame(noised))
        self.step, self.clean = step, clean

    def all(self) -> list[np.ndarray]:
        """A frame of every step, then the result; [] where nothing was drawn."""
        return [*self.frames, _frame(self.clean)] if self.frames else []


def _frame(pictures: Tensor) -> np.ndarray:
    across = columns(len(pictures))
    return images.contact_sheet(list(pictures), across, zoom=max(1, ZOOMED // (pictures.shape[-1] * across)))


def save_gif(frames: list[np.ndarray], path: Path) -> None:
    """Write an endless GIF of (H, W, 3) uint8 frames that stays on its last one for a while."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    duration = [FRAME] * len(others) + [LAST]
    first.save(buffer, "GIF", save_all=True, append_images=others, loop=0, duration=duration)
    disk.write(path, buffer.getvalue())
