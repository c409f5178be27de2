"""Bits a byte of pictures (`image_bits.py`) and of text (`text_bits.py`) under one model, in one table with
lossless codecs on the same pictures (`bounds.py`).

Pictures are cropped and shrunk to data.size, as `prepare --crop center` does. Captions come from prepared
sets: pictures are measured alone and given their captions, captions alone and given their pictures."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from ..data.images import ImageError, fit
from ..data.pictures import Location, NamedPicture, Skipped, none_left, read
from ..runs.models import Loaded
from . import bounds
from .image_bits import ImageBits, of_pictures
from .text_bits import TextBits, of_texts


@dataclass(frozen=True)
class ModelBits:
    """Bits of pictures and captions under a model. text, text_given_image: None where there are no captions,
    the second also of a baseline.
    image_given_caption: None where any picture has none."""

    model: str
    model_hash: str
    pictures: int
    size: int
    image: ImageBits
    image_given_caption: ImageBits | None
    text: TextBits | None
    text_given_image: TextBits | None
    codecs: bounds.Summary
    skipped: list[Skipped]
    seconds: float


def measure(
    loaded: Loaded,
    pictures: list[NamedPicture],
    captions: list[str],
    skipped: list[Skipped],
    steps: int,
    progress: Callable[[int], None] = lambda done: None,
) -> ModelBits:
    """All figures of the table, for pictures of `pictures_for`. progress: called with the number of pictures
    done, in each pass."""
    began, pixels = time.perf_counter(), [picture.pixels for picture in pictures]
    images = torch.stack(pixels)
    image = of_pictures(loaded, images, [""] * len(images), steps, progress=progress)
    text, text_given_image = of_texts(loaded, None, captions), None
    if loaded.config.baseline is None:  # else no picture is read
        text_given_image = of_texts(loaded, pixels, captions)
    given_caption = None
    if all(captions):
        given_caption = of_pictures(loaded, images, captions, steps, progress=progress, ode=False)
    arrays = [one.permute(1, 2, 0).contiguous().numpy() for one in pixels]
    slow = images[:, 0].numel() <= bounds.SLOW
    coded = []
    for measured in bounds.over(bounds.measure, ((array, None, (slow, slow)) for array in arrays)):
        coded.append(measured.own)
        progress(len(coded))
    return ModelBits(
        model=loaded.name,
        model_hash=loaded.hash,
        pictures=len(images),
        size=loaded.config.data.size,
        image=image,
        image_given_caption=given_caption,
        text=text,
        text_given_image=text_given_image,
        codecs=bounds.summed(coded),
        skipped=skipped,
        seconds=round(time.perf_counter() - began, 1),
    )


def as_json(result: ModelBits) -> dict:
    """The object of `rawmm entropy-budget model --json`."""
    ways = ("exact", "density", "bound", "uniform", "decoded", "difference")
    chosen = ("begin", "width", "steps", "uniform_begin", "solver_error")

    def image(bits: dict | None) -> dict | None:
        """Settings, then the figures that were computed."""
        if bits is None:
            return None
        settings = {} if bits["begin"] is None else {name: bits[name] for name in chosen}
        return settings | {way: bits[way] for way in ways if bits[way] is not None}

    json = asdict(result)
    return json | {name: image(json[name]) for name in ("image", "image_given_caption")}


def pictures_for(
    loaded: Loaded, locations: list[Location], skipped: list[Skipped]
) -> tuple[list[NamedPicture], list[str]]:
    """Pictures of the model's size, (3, S, S) uint8, and their captions, "" where there is none.

    Pictures that cannot be read or are smaller go into `skipped`. Raises DataError where none is left."""
    side, pictures, captions = loaded.config.data.size, [], []
    for picture in read(locations, skipped):
        pixels = picture.pixels
        if tuple(pixels.shape[1:]) != (side, side):
            try:
                square = fit(pixels.permute(1, 2, 0).numpy(), side, "center")
                pixels = torch.from_numpy(square.copy()).permute(2, 0, 1)
            except ImageError as error:
                skipped.append(Skipped(picture.file, error.reason))
                continue
        pictures.append(replace(picture, pixels=pixels.contiguous()))
        captions.append(next(iter(locations[picture.index].captions), ""))
    if not pictures:
        raise none_left(skipped, "used")
    return pictures, captions
