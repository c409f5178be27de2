"""What was sampled, as files: a PNG for every picture, a contact sheet of several, a GIF of how they came
about.

Each PNG carries in its metadata what it takes to draw it again: prompt, seed, number, steps, solver and the
rest of the settings, and the hash of the model. Files appear whole, by a rename. The same again is written
over; what was drawn in another way is not."""

import io
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from time import time_ns

import numpy as np
from PIL import Image
from torch import Tensor

from ..core.document import Document
from ..data import images
from ..runs import records
from ..system import disk

ZOOMED, FRAME, LAST = 256, 120, 2000  # pixels of a side on a GIF, about; milliseconds of a frame, of the last


@dataclass(frozen=True)
class Files:
    """samples: [{"number", "items"}], items {"text"} or {"image", "size", "height", "width"}, size being the
    longer side; sheet, gif: their paths, where there are any."""

    samples: list[dict]
    sheet: str | None
    gif: str | None


def write(
    tokenizer,
    documents: list[Document],
    start: int,
    out: Path,
    stem: str,
    facts: dict,
    frames: list[np.ndarray] | None = None,
) -> Files:
    """Save what comes after the first `start` items of each document. facts: metadata of every PNG."""
    text = {name: str(value) for name, value in facts.items()}
    with disk.alone_in(out):  # whoever else draws into this folder waits, and sees the names taken
        return _write(tokenizer, documents, start, out, free(out, stem, text), text, frames)


def _write(
    tokenizer, documents: list[Document], start: int, out: Path, stem: str, text: dict[str, str], frames
) -> Files:
    samples, drawn = [], []
    for number, document in enumerate(documents):
        items, words, pictures = [], [], 0
        for item in [*document[start:], None]:
            if isinstance(item, int):
                words.append(item)
                continue
            if written := tokenizer.decode(words):
                items.append({"text": written})
            words = []
            if item is not None:
                path = out / f"{stem}-{number:03d}{f'-{pictures}' * bool(pictures)}.png"
                images.save_png(item.pixels, path, **text, number=str(number))
                height, width = item.pixels.shape[1:]
                items.append(
                    {"image": str(path), "size": max(height, width), "height": height, "width": width}
                )
                drawn.append(item.pixels)
                pictures += 1
        samples.append({"number": number, "items": items})
    sheet = gif = None
    if len(drawn) > 1:
        sheet = str(out / f"{stem}-sheet.png")
        images.save_png(
            images.grid(drawn, columns(len(drawn)), zoom=max(1, 64 // max(drawn[0].shape[1:]))), sheet, **text
        )
    if frames:
        gif = str(out / f"{stem}.gif")
        save_gif(frames, Path(gif))
    return Files(samples, sheet, gif)


def free(out: Path, stem: str, text: dict[str, str]) -> str:
    """`stem`, or the first of stem-b, stem-c, ... under which nothing lies that was drawn with other
    metadata."""
    for candidate in (stem, *(f"{stem}-{letter}" for letter in ascii_lowercase[1:]), f"{stem}-{time_ns()}"):
        there = next(out.glob(f"{candidate}-[0-9]*.png"), None)
        if there is None or _metadata(there) == text:
            return candidate
    return candidate


def _metadata(path: Path) -> dict[str, str]:
    """What a PNG of ours says of how it was drawn, but for its number."""
    try:
        with Image.open(path) as picture:
            return {name: value for name, value in picture.text.items() if name != "number"}
    except (OSError, AttributeError):
        return {}


def columns(count: int) -> int:
    """Of a sheet of so many pictures."""
    return max(1, round(count**0.5))


class Watcher:
    """Keeps a frame of every step of the first drawing: what `generate.draw` may call as `watch`."""

    def __init__(self):
        self.frames: list[np.ndarray] = []
        self.step, self.over, self.clean = -1, False, None

    def __call__(self, step: int, noised: Tensor, clean: Tensor) -> None:
        self.over = self.over or step < self.step  # the next picture
        if self.over:
            return
        if step == self.step:  # a solver may look twice at a step
            self.frames.pop()
        self.frames.append(_frame(noised))
        self.step, self.clean = step, clean

    def all(self) -> list[np.ndarray]:
        """Every step, and what came out."""
        return [*self.frames, _frame(self.clean)] if self.frames else []


def _frame(pictures: Tensor) -> np.ndarray:
    across = columns(len(pictures))
    return images.grid(list(pictures), across, zoom=max(1, ZOOMED // (pictures.shape[-1] * across)))


def save_gif(frames: list[np.ndarray], path: Path) -> None:
    """An endless GIF, which stays on its last frame for a while."""
    shown = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    shown[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=shown[1:],
        loop=0,
        duration=[FRAME] * (len(shown) - 1) + [LAST],
    )
    records.replace(path, buffer.getvalue())
