"""Bits a byte of pictures (`likelihood.py`) and of text (`text_bits.py`) under one model, in one table with
lossless codecs on the same pictures (`bounds.py`).

Pictures are cropped and shrunk to data.size, as `prepare --crop center` does. Captions come from prepared
sets: pictures are measured alone and given their captions, captions alone and given their pictures. A grey
picture has one byte a pixel, as in `bounds.py`: the bits of its three channels are divided by H W."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from ..core.batch import pack, size
from ..core.document import Picture
from ..core.text_tokenizer import BOS, IMAGE
from ..data.images import ImageError, fit
from ..data.pictures import Location, NamedPicture, Skipped, none_left, read
from ..runs.models import Loaded, diffusion_head
from ..system.seeds import key
from . import bounds, likelihood, lossless
from .likelihood import BEGINS, WIDTHS, Bound, Denoise
from .text_bits import TextBits, of_texts

BATCH = 16  # pictures in a batch
BITS = "the likelihood of pictures"  # for messages
UNIFORMS = (0.004, 0.015, 0.03, 0.06, 0.1, 0.2, 0.3)  # times at which an ODE from uniform noise may start


@dataclass(frozen=True)
class Mean:
    """Bits a byte over pictures. standard_error: over pictures, noise, times and probes; None of a single
    picture."""

    bits_per_byte: float
    standard_error: float | None
    pictures: int


@dataclass(frozen=True)
class ImageBits:
    """Bits a byte of pictures under a model.

    begin, width: of the bound (`likelihood.py`). steps: of an ODE. solver_error: change of an ODE's result
    with half the steps. uniform, decoded: by the ODE from uniform noise, and from the bound's noise.
    difference: the bound minus `decoded`. None where the ODE was not computed."""

    begin: float
    width: float
    steps: int
    bound: Mean
    uniform_begin: float | None = None
    solver_error: dict[str, float] = field(default_factory=dict)
    uniform: Mean | None = None
    decoded: Mean | None = None
    difference: Mean | None = None


@dataclass(frozen=True)
class ModelBits:
    """Bits of pictures and captions under a model. text, text_given_image: None where there are no captions.
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
    text, text_given_image = of_texts(loaded, None, captions), of_texts(loaded, pixels, captions)
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
    ways = ("bound", "uniform", "decoded", "difference")

    def image(bits: dict | None) -> dict | None:
        """Settings, then the figures that were computed."""
        if bits is None:
            return None
        settings = {name: bits[name] for name in ("begin", "width", "steps", "uniform_begin", "solver_error")}
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


def denoiser(loaded: Loaded, images: Tensor, captions: list[str]) -> Denoise:
    """A function of z (M, N, P) and times (M,) -> clean (M, N, P), for pictures (M, 3, H, W) after their
    captions. It is differentiable; the model's parameters are frozen."""
    head = diffusion_head(loaded, BITS)
    model, stretch = loaded.model.requires_grad_(False), (1.0, 1.0)
    documents = [
        [BOS, *(model.tokenizer.encode(text) if text else []), IMAGE, Picture(image, True, 0, stretch)]
        for image, text in zip(images, captions)
    ]
    length = max(size(document, model.blocks) for document in documents)
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        flat, times = z.flatten(0, 1), t.to(z)
        output = model.predictions(model(batch, flat, times), batch)
        return head.clean(output, flat, times[batch.pictures.picture_of]).view_as(z)

    return denoise


@dataclass(frozen=True)
class _Group:
    """A batch of pictures: patches (M, N, P) and keys of their noise."""

    clean: Tensor
    keys: list[int]
    denoise: Denoise


def of_pictures(
    loaded: Loaded,
    images: Tensor,
    captions: list[str],
    steps: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    ode: bool = True,
) -> ImageBits:
    """Bits a byte of pictures (M, 3, S, S) uint8 after their captions; without `ode` by the bound only."""
    scale = diffusion_head(loaded, BITS).noise_scale
    groups = _groups(loaded, images, captions, seed)
    channels = torch.tensor([3.0 if grey(image) else 1.0 for image in images], dtype=torch.float64)
    terms = _bound(groups, scale, progress)
    at, wide = likelihood.choose(terms)
    begin, width = BEGINS[at], WIDTHS[wide]
    bound = likelihood.bound_of(terms, at, wide, groups[0].clean[0].numel()) * channels
    result = ImageBits(begin, width, steps, _mean(bound))
    if not ode:
        return result

    def uniform(group: _Group, steps: int, begin: float) -> Tensor:
        return likelihood.uniform(group.denoise, group.clean, begin, group.keys, scale, steps)

    def decoded(group: _Group, steps: int) -> Tensor:
        return likelihood.decoded(group.denoise, group.clean, begin, width, group.keys, scale, steps)

    few = max(1, steps // 4)
    start = min(UNIFORMS, key=lambda begin: float(uniform(groups[0], few, begin).mean()))
    values, errors = {}, {}
    for name, way in (("uniform", partial(uniform, begin=start)), ("decoded", decoded)):
        bits, change = _along(way, groups, steps, progress)
        values[name] = bits * channels
        errors[name] = float((change * channels[: len(change)]).mean().abs())
    return replace(
        result,
        uniform_begin=start,
        solver_error=errors,
        uniform=_mean(values["uniform"]),
        decoded=_mean(values["decoded"]),
        difference=_mean(bound - values["decoded"]),
    )


def _groups(loaded: Loaded, images: Tensor, captions: list[str], seed: int) -> list[_Group]:
    clean = loaded.model.codec.encode(images.to(loaded.model.words.weight.device))
    keys = [key(seed, "bits", n) for n in range(len(clean))]
    parts = [slice(at, at + BATCH) for at in range(0, len(clean), BATCH)]
    return [_Group(clean[part], keys[part], denoiser(loaded, images[part], captions[part])) for part in parts]


def _bound(groups: list[_Group], scale: float, progress: Callable[[int], None]) -> Bound:
    """Terms of the variational bound for all pictures."""
    terms, done = [], 0
    with torch.no_grad():
        for group in groups:
            terms.append(likelihood.bound(group.denoise, group.clean, group.keys, scale))
            done += len(group.clean)
            progress(done)
    return Bound(torch.cat([one.diffusion for one in terms]), torch.cat([one.decoder for one in terms]))


def _along(
    ode: Callable[[_Group, int], Tensor], groups: list[_Group], steps: int, progress: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Bits a value of every picture, (M,), by an ODE, and the change of the first group's with half the
    steps."""
    values: list[Tensor] = []
    for group in groups:
        values.append(ode(group, steps))
        progress(sum(map(len, values)))
    return torch.cat(values), ode(groups[0], max(1, steps // 2)) - values[0]


def grey(image: Tensor) -> bool:
    """Whether (3, H, W) pixels count as one channel."""
    return lossless.channels(image.permute(1, 2, 0).numpy()).ndim == 2


def _mean(values: Tensor) -> Mean:
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
    return Mean(float(values.mean()), error, len(values))
