"""Bits a byte of pictures under a model: exact where it writes codes of pixels (`exact_bits.py`), by a bound
where it says masked ones (`masked_bits.py`), else by a bound and an ODE (`likelihood.py`).

A grey picture has one byte a pixel, as in `bounds.py`: the bits of its three channels are divided by H W."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from ..core.batch import pack, size
from ..core.document import Picture
from ..core.text_tokenizer import BOS, IMAGE
from ..runs.abilities import check_lossless, diffusion_head
from ..runs.models import Loaded
from ..system.seeds import key
from . import exact_bits, flow_bits, likelihood, lossless, masked_bits
from .likelihood import BEGINS, WIDTHS, Bound, Denoise

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

    exact: of a model that writes codes of pixels (`exact_bits.py`); all others are None. density: of a flow
    (`flow_bits.py`), alone too. Of one that says masked codes only the bound is there. Under a diffusion
    model:
    begin, width: of the bound (`likelihood.py`). steps: of an ODE. solver_error: change of an ODE's result
    with half the steps. uniform, decoded: by the ODE from uniform noise, and from the bound's noise.
    difference: the bound minus `decoded`. None where the ODE was not computed."""

    begin: float | None = None
    width: float | None = None
    steps: int | None = None
    bound: Mean | None = None
    uniform_begin: float | None = None
    solver_error: dict[str, float] = field(default_factory=dict)
    uniform: Mean | None = None
    decoded: Mean | None = None
    difference: Mean | None = None
    exact: Mean | None = None
    density: Mean | None = None

    @property
    def best(self) -> Mean:
        """The exact bits, or else the bound."""
        return cast(Mean, self.exact or self.density or self.bound)


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
        flat, times, pictures = z.flatten(0, 1), t.to(z), batch.pictures
        hidden = model(batch, head.to_positions(flat, pictures), times)
        output = head.predicted(model.predictions(hidden, batch), flat, times, pictures)
        return head.clean(output, flat, times.repeat_interleave(z.shape[1])).view_as(z)

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
    """Bits a byte of pictures (M, 3, S, S) uint8 after their captions; without `ode` by the bound only.

    Raises ConfigError where the model gives no likelihood of pictures."""
    check_lossless(loaded, BITS)
    exact_bits.check(loaded, BITS)
    model = loaded.model
    if exact_bits.is_exact(model):
        return ImageBits(exact=_of_codes(partial(exact_bits.of_pictures, model), progress, images, captions))
    keys = [key(seed, "bits", n) for n in range(len(images))]
    if flow_bits.is_flow(model):
        return ImageBits(
            density=_of_codes(partial(flow_bits.of_pictures, model), progress, images, captions, keys)
        )
    if masked_bits.is_bound(model):
        bound = _of_codes(partial(masked_bits.of_pictures, model), progress, images, captions, keys)
        return ImageBits(bound=bound)
    return _of_diffusion(loaded, _groups(loaded, images, captions, seed), images, steps, progress, ode)


def bounds_of(loaded: Loaded, images: Tensor, captions: list[str], seed: int = 0) -> Tensor:
    """Bits a value of each picture (M, 3, S, S) uint8 after its caption, at most, (M,) fp64: the variational
    bound of a diffusion model. All have three values a pixel, grey ones too.

    Raises ConfigError where the head is another, or the codec loses something."""
    check_lossless(loaded, BITS)
    scale, groups = diffusion_head(loaded, BITS).noise_scale, _groups(loaded, images, captions, seed)
    terms = _bound(groups, scale, lambda done: None)
    return likelihood.bound_of(terms, *likelihood.choose(terms), groups[0].clean[0].numel())


def _of_diffusion(
    loaded: Loaded,
    groups: list["_Group"],
    images: Tensor,
    steps: int,
    progress: Callable[[int], None],
    ode: bool,
) -> ImageBits:
    """By the bound and, with `ode`, by the ODE from two kinds of noise."""
    scale = diffusion_head(loaded, BITS).noise_scale
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


def _of_codes(
    measure: Callable[..., Tensor], progress: Callable[[int], None], images: Tensor, *others: list
) -> Mean:
    """Bits a byte, of grey pictures one byte a pixel. measure(images, *others) -> bits of each picture."""
    bits: list[Tensor] = []
    for at in range(0, len(images), BATCH):
        part = slice(at, at + BATCH)
        bits.append(measure(images[part], *(other[part] for other in others)))
        progress(sum(map(len, bits)))
    values = [image.numel() // (3 if grey(image) else 1) for image in images]
    return _mean(torch.cat(bits) / torch.tensor(values, dtype=torch.float64))


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
