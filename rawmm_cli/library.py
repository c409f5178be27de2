"""rawmm as a Python library: `import rawmm` (docs/library.md).

Each function calls the room that does the work. Modules are imported when they are used: `import rawmm` does
not import torch. Images are uint8 tensors (3, H, W) of RGB values. Errors that a caller can fix are
`RawmmError`s, whose message is one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from torch import Tensor

    from .core.document import Document
    from .core.loss import Losses
    from .information.budget import Budget
    from .information.model_bits import Mean
    from .runs.models import Loaded

    Images = Union[Tensor, str, Path, Sequence[Union[Tensor, str, Path]]]

TOGETHER = 64  # images that a codec takes at a time


@dataclass(frozen=True, eq=False)
class Sample:
    """What a model appended to a prompt. parts: strings and images (3, H, W) uint8, in order."""

    parts: list[str | Tensor]

    @property
    def text(self) -> str:
        """The text, without images."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> list[Tensor]:
        """The drawn images, each (3, H, W) uint8."""
        return [part for part in self.parts if not isinstance(part, str)]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images after a round trip through a codec.

    images: (M, 3, H, W) uint8. psnr: dB of each, infinite where it is exact. bits: nominal bits of each, None
    where tokens are real numbers. codes: (M, L) integers of a discrete codec, else None."""

    images: Tensor
    psnr: list[float]
    bits: list[float | None]
    codes: Tensor | None


def load(name: str | Path = "portraits", device: str = "auto") -> Loaded:
    """Load a model that draws and reads: one inside the package by its name, or the folder of a run or of an
    exported model.

    device: auto, cpu, cuda or cuda:N. Of the result, `.model` is the torch module and `.config` its settings.
    Raises CheckpointError where there is no such model or it is damaged, ConfigError where there is no such
    device."""
    from .runs import models
    from .system import machine

    return models.load(models.find(Path("runs"), None, str(name)), machine.device(device))


def sample(
    model: Loaded,
    prompt: str = "",
    *,
    images: Images = (),
    count: int = 1,
    seed: int = 0,
    mask: str | Path | None = None,
    strength: float | None = None,
    **settings: Any,
) -> list[Sample]:
    """Continue a prompt `count` times: the model writes text, draws the images that it opens, and writes on.

    prompt: text; `{image:FILE}` in it is an image to read. images: read before the prompt; with a mask (a
    file, white where to redraw) or a strength (0 to 1), the image to inpaint or to vary. seed: the same one
    gives the same samples as `rawmm sample`, for any count. settings: steps, solver, grid, guidance,
    rescale, size, precision, temperature, top_p, max_text, max_pictures; default: the model's. Raises
    ConfigError, DataError."""
    from .sampling import session
    from .sampling.prompt import passages
    from .sampling.request import Request

    request = Request(
        (prompt,),
        tuple(_images(images)),
        count=count,
        seed=seed,
        settings=settings,
        mask=mask and Path(mask),
        strength=strength,
    )
    return [Sample(passages(model.model.tokenizer, added)) for added in session.run(model, request)]


def caption(model: Loaded, images: Images, *, prompt: str = "", seed: int = 0, **settings: Any) -> list[str]:
    """Captions of images, written greedily unless `temperature` is given.

    prompt: beginning of each caption, not part of the result. settings: temperature, top_p, max_text. Raises
    ConfigError, DataError."""
    from .sampling import session
    from .sampling.prompt import passages
    from .sampling.request import Request

    prompts = tuple([image, prompt] for image in _images(images))
    if not prompts:
        return []
    request = Request(prompts, task="caption", seed=seed, settings=settings)
    added = [passages(model.model.tokenizer, items) for items in session.run(model, request)]
    return ["".join(part for part in parts if isinstance(part, str)) for parts in added]


def drawing(model: Loaded, text: str, image: Tensor | str | Path) -> Document:
    """A training document: text, then an image to draw. Raises DataError."""
    from .data import stream

    return stream.drawing(text, *_images(image), 0, encode=model.model.tokenizer.encode)


def reading(model: Loaded, image: Tensor | str | Path, text: str) -> Document:
    """A training document: an image to read, then text to write. Raises DataError."""
    from .data import stream

    return stream.reading(*_images(image), text, model.model.tokenizer.encode)


def loss(model: Loaded, documents: Sequence[Document], *, seed: int = 0) -> Losses:
    """Joint loss of a batch of documents -> (total, text, image), fp32 scalars with gradients.

    total: the weighted sum that training minimises, with the weights of the model's settings. text: nats a
    predicted token. image: the loss of the head. seed: of noise and times; give every step another one.
    Raises DataError where an image does not divide into patches."""
    from dataclasses import replace

    from .core.batch import pack, size
    from .core.document import Picture
    from .core.loss import joint_loss
    from .system.errors import DataError
    from .system.seeds import key

    network, weights = model.model, model.config.loss
    keyed = [
        [
            replace(item, key=key(seed, "loss", number, place)) if isinstance(item, Picture) else item
            for place, item in enumerate(document)
        ]
        for number, document in enumerate(documents)
    ]
    try:
        length = max((size(document, network.blocks) for document in keyed), default=0)
    except ValueError as error:
        raise DataError(f"{error}; crop or resize it") from None
    if not length:
        raise DataError("0 documents are given; allowed: at least one")
    batch = pack(keyed, length, network.blocks).to(network.words.weight.device)
    return joint_loss(network, batch, weights.text, weights.image)


def reconstruct(
    images: Images, codec: str = "raw", *, model: Loaded | None = None, steps: int = 100, device: str = "auto"
) -> Reconstruction:
    """Encode and decode images (M, 3, H, W), all of one size, with a codec.

    codec: as after `rawmm reconstruct --codec`: raw, a run that trained a tokenizer, hf:OWNER/NAME,
    python:MODULE:FACTORY, resize@N, jpeg@BITS, webp@BITS, avif@BITS; or ode, to noise by the ODE of `model`
    in `steps` steps, and back. Sides that the codec does not take are padded before and cropped after.
    Raises ConfigError, CheckpointError, DataError."""
    import torch

    from .metrics import pixels
    from .reconstruction import choices
    from .system import machine

    choices.check(codec, [codec])
    originals, runs = _stacked(images), Path("runs")
    (choice,) = choices.choices(
        [codec],
        runs,
        machine.device(device),
        lambda: model or load(device=device),
        [steps],
        model is not None,
    )
    trips = [choice.go(part) for part in originals.split(TOGETHER)]
    back = torch.cat([trip.back for trip in trips])
    return Reconstruction(
        back,
        pixels.psnr(back, originals).tolist(),
        [bits for trip in trips for bits in trip.bits],
        None if trips[0].codes is None else torch.cat([trip.codes for trip in trips]),
    )


def bits(model: Loaded, images: Images, captions: Sequence[str] | None = None, *, seed: int = 0) -> Mean:
    """Bits a byte of images (M, 3, H, W) under the model: the variational bound, an upper bound of -log2
    likelihood.

    captions: one an image, placed before it. Of the result, `bits_per_byte` is the mean, `standard_error`
    that over images (None of one), `pictures` their number. Raises DataError."""
    from .information import model_bits
    from .system.errors import DataError

    originals = _stacked(images)
    texts = list(captions) if captions is not None else [""] * len(originals)
    if len(texts) != len(originals):
        raise DataError(
            f"{len(originals)} images and {len(texts)} captions are given; allowed: one caption an image"
        )
    trained = [parameter.requires_grad for parameter in model.model.parameters()]
    try:
        return model_bits.of_pictures(model, originals, texts, 1, seed, ode=False).bound
    finally:  # `model_bits` froze the parameters
        for parameter, grad in zip(model.model.parameters(), trained):
            parameter.requires_grad_(grad)


def budget(
    length: int | None = None,
    vocabulary: int | None = None,
    *,
    bits: float | None = None,
    size: int = 64,
    bits_per_byte: float = 3,
) -> Budget:
    """Entropy budget L log2 V >= H of a lossless tokenizer with L = `length` tokens and V = `vocabulary`
    codes.

    H is `bits`, or that of an RGB image with `size` pixels a side at `bits_per_byte`; computed exactly.
    Where L or V is left out, it follows from the others. Raises ConfigError where a number is out of
    range."""
    from fractions import Fraction

    from .information.budget import Need, solve
    from .system.errors import ConfigError

    for name, value in {"length": length, "vocabulary": vocabulary, "bits": bits, "size": size}.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}; allowed: a number above 0")
    need = Fraction(bits) if bits is not None else 3 * size * size * Fraction(str(bits_per_byte))
    return solve(length, vocabulary, Need(need))


def read_image(path: str | Path) -> Tensor:
    """Read an image file as (3, H, W) uint8, as `rawmm prepare` does. Raises DataError."""
    import torch

    from .data import images

    return torch.from_numpy(images.read_image(path).transpose(2, 0, 1).copy())


def save_image(image: Tensor, path: str | Path) -> None:
    """Write an image (3, H, W) uint8 as a PNG. Raises DataError, ConfigError."""
    from .data import images

    (one,) = _images(image)
    images.save_png(one, path)


def _images(images: Images) -> list[Tensor]:
    """Images of a tensor, of files, or of a sequence of both, as a list of (3, H, W) uint8. Raises
    DataError."""
    import torch

    from .system.errors import DataError

    if isinstance(images, (str, Path)):
        return [read_image(images)]
    if not isinstance(images, torch.Tensor):
        return [one for image in images for one in _images(image)]
    if images.dtype != torch.uint8 or images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise DataError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; allowed: torch.uint8 of shape "
            "(3, H, W) or (M, 3, H, W)"
        )
    return list(images.cpu()) if images.ndim == 4 else [images.cpu()]


def _stacked(images: Images) -> Tensor:
    """Images as one tensor (M, 3, H, W) uint8. Raises DataError where there is none, or sizes differ."""
    import torch

    from .system.errors import DataError

    parts = _images(images)
    sizes = sorted({tuple(part.shape[1:]) for part in parts})
    if len(sizes) != 1:
        given = " and ".join(f"{width}x{height}" for height, width in sizes) or "none"
        raise DataError(f"images of {given} pixels are given; allowed: images of one size, at least one")
    return torch.stack(parts)
