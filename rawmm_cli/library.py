"""rawmm as a Python library: `import rawmm` (docs/library.md).

Each function calls the room that does the work. Modules are imported when they are used: `import rawmm` does
not import torch. Images are uint8 tensors (3, H, W) of RGB values. Errors that a caller can fix are
`RawmmError`s, whose message is one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import arguments
from .system import numbers

if TYPE_CHECKING:
    from torch import Tensor

    from .core.document import Document
    from .core.loss import Losses
    from .information.budget import Budget
    from .information.image_bits import Mean
    from .runs.models import Loaded

    Images = Union[Tensor, str, Path, Sequence[Union[Tensor, str, Path]]]

TOGETHER = 64  # images that a codec takes at a time
MOST_STEPS = 1000  # of an ODE
WRITING = ("temperature", "top_p", "max_text")  # settings of captions


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
    name, device = str(arguments.file("name", name)), arguments.text("device", device, empty=False)
    from .runs import models
    from .system import machine

    return models.load(models.find(Path("runs"), None, name), machine.device(device))


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
    rescale, order, order_temperature, code_temperature, code_top_k, code_top_p (those that the head has),
    size (a side, or height and width), precision, temperature, top_p, max_text, max_pictures; default: the
    model's. Raises ConfigError, DataError."""
    from .sampling import session
    from .sampling.prompt import passages
    from .sampling.request import Request

    arguments.model(model)
    request = Request(
        (arguments.text("prompt", prompt),),
        tuple(arguments.images(images)),
        count=count,
        seed=seed,
        settings=settings,
        mask=None if mask is None else arguments.file("mask", mask),
        strength=strength,
        options=False,
    )
    return [Sample(passages(model.model.tokenizer, added)) for added in session.run(model, request)]


def caption(model: Loaded, images: Images, *, prompt: str = "", seed: int = 0, **settings: Any) -> list[str]:
    """Captions of images, written greedily unless `temperature` is given.

    prompt: beginning of each caption, not part of the result. settings: temperature, top_p, max_text. Raises
    ConfigError, DataError."""
    from .sampling import session
    from .sampling.prompt import passages
    from .sampling.request import Request
    from .system.errors import ConfigError

    arguments.model(model)
    arguments.text("prompt", prompt)
    if other := next((name for name in settings if name not in WRITING), None):
        raise ConfigError(f"'{other}' is no setting of captions; allowed: {', '.join(WRITING)}; leave it out")
    prompts = tuple([image, prompt] for image in arguments.images(images, model))
    request = Request(prompts, task="caption", seed=seed, settings=settings, options=False)
    if not prompts:
        return []
    added = [passages(model.model.tokenizer, items) for items in session.run(model, request)]
    return ["".join(part for part in parts if isinstance(part, str)) for parts in added]


def drawing(model: Loaded, text: str, image: Tensor | str | Path) -> Document:
    """A training document: text, then an image to draw. Raises DataError."""
    from .data import stream

    encode = arguments.model(model).model.tokenizer.encode
    words, pixels = arguments.text("text", text), arguments.image(image, model)
    return stream.drawing(words, pixels, 0, encode=encode, settings=model.config.data)


def reading(model: Loaded, image: Tensor | str | Path, text: str) -> Document:
    """A training document: an image to read, then text to write. Raises DataError."""
    from .data import stream

    encode = arguments.model(model).model.tokenizer.encode
    words, pixels = arguments.text("text", text), arguments.image(image, model)
    return stream.reading(pixels, words, encode, model.config.data)


def loss(model: Loaded, documents: Sequence[Document], *, seed: int = 0) -> Losses:
    """Joint loss of a batch of documents -> (total, text, image), fp32 scalars with gradients.

    total: the weighted sum that training minimises, with the weights of the model's settings. text: nats a
    predicted token. image: the loss of the head. seed: of noise and times; give every step another one.
    Raises DataError where something is no document, or an image does not divide into patches."""
    from dataclasses import replace

    from .core.batch import pack, size
    from .core.document import Picture
    from .core.loss import joint_loss
    from .system.seeds import key

    arguments.documents(documents, arguments.model(model))
    seed = numbers.whole("seed", seed, 0, 2**63 - 1)
    network, weights = model.model, model.config.loss
    keyed = [
        [
            replace(item, key=key(seed, "loss", number, place)) if isinstance(item, Picture) else item
            for place, item in enumerate(document)
        ]
        for number, document in enumerate(documents)
    ]
    length = max(size(document, network.blocks) for document in keyed)
    batch = pack(keyed, length, network.blocks).to(network.words.weight.device)
    return joint_loss(network, batch, weights.text, weights.image)


def reconstruct(
    images: Images, codec: str = "raw", *, model: Loaded | None = None, steps: int = 100, device: str = "auto"
) -> Reconstruction:
    """Encode and decode images (M, 3, H, W), all of one size, with a codec.

    codec: as after `rawmm reconstruct --codec`: raw, a run that trained a tokenizer, public:NAME,
    hf:OWNER/NAME, python:MODULE:FACTORY, resize@N, jpeg@BITS, webp@BITS, avif@BITS; or ode, to noise by the
    ODE of `model` in `steps` steps, and back. Sides that the codec does not take are padded before and
    cropped after. Raises ConfigError, CheckpointError, DataError."""
    import torch

    from .metrics import pixels
    from .reconstruction import choices
    from .system import machine

    choices.check(arguments.text("codec", codec, empty=False), [codec])
    steps = numbers.whole("steps", steps, 1, MOST_STEPS)
    if model is not None:
        arguments.model(model)
    originals, runs = arguments.stacked(images), Path("runs")
    (choice,) = choices.choices(
        [codec],
        runs,
        machine.device(arguments.text("device", device, empty=False)),
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
    likelihood; of a model that writes codes of pixels the exact value.

    captions: one an image, placed before it. Of the result, `bits_per_byte` is the mean, `standard_error`
    that over images (None of one), `pictures` their number. Raises DataError."""
    from .information import image_bits

    arguments.model(model)
    seed, originals = numbers.whole("seed", seed, 0, 2**63 - 1), arguments.stacked(images, model)
    texts = arguments.captions(captions, len(originals))
    trained = [parameter.requires_grad for parameter in model.model.parameters()]
    try:
        return image_bits.of_pictures(model, originals, texts, 1, seed, ode=False).best
    finally:  # `image_bits` froze the parameters
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

    from .information.budget import MOST_BITS, MOST_LENGTH, MOST_VOCABULARY, Need, solve

    length = None if length is None else numbers.whole("length", length, 1, MOST_LENGTH)
    vocabulary = None if vocabulary is None else numbers.whole("vocabulary", vocabulary, 2, MOST_VOCABULARY)
    size, rate = (
        numbers.whole("size", size, 1),
        numbers.real("bits_per_byte", bits_per_byte, 0, 8, above=True),
    )
    if bits is None:
        return solve(length, vocabulary, Need(3 * size * size * Fraction(str(rate))))
    return solve(length, vocabulary, Need(Fraction(numbers.real("bits", bits, 0, MOST_BITS, above=True))))


def read_image(path: str | Path) -> Tensor:
    """Read an image file as (3, H, W) uint8, as `rawmm prepare` does. Raises ConfigError, DataError."""
    return arguments.image(arguments.file("path", path))


def save_image(image: Tensor, path: str | Path) -> None:
    """Write an image (3, H, W) uint8 as a PNG; `path` ends in .png. Raises DataError, ConfigError."""
    from .data import images
    from .system.errors import ConfigError

    file = arguments.file("path", path)
    if file.suffix.lower() != ".png":
        raise ConfigError(f"path is {str(file)!r}; allowed: a name that ends in .png")
    images.save_png(arguments.image(image), file)
