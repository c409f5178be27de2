"""Audit of a model's input: pictures become patches in a batch and pictures again, and are compared bit for
bit with the contents of the files.

    file -> images.read_image -> Picture -> batch.pack -> codec.encode (the network's input) -> codec.decode

Files of 8-bit grey, palette and RGB must equal what Pillow alone reads, a second path. Files with more than
8-bit RGB (16 bits, alpha, CMYK) become 8-bit RGB when they are read, by the table in `images.py`; they are
reported, and exact from then on. Test pictures of every mode and of several sizes take the same path."""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..core.batch import pack, size
from ..core.document import Picture
from ..core.heads.diffusion import DiffusionHead
from ..core.text_tokenizer import BOS, IMAGE
from ..data.images import read_image
from ..data.pictures import Location, Skipped, read
from ..runs.abilities import check_lossless, check_reads, diffusion_head
from ..runs.models import Loaded
from ..system.errors import DataError, RawmmError, printable
from ..system.figures import counted

TOGETHER = 8  # pictures in a batch, of any sizes
PLAIN = ("1", "L", "P", "RGB")  # modes that 8-bit RGB holds exactly
PLANES, COLOUR_MAP, SAMPLE_FORMAT = 284, 320, 339  # tags of TIFF
TESTS = (
    ("PNG", "RGB"),
    ("PNG", "L"),
    ("PNG", "P"),
    ("PNG", "1"),
    ("BMP", "RGB"),
    ("TIFF", "RGB"),
    ("PPM", "RGB"),
    ("WEBP", "RGB"),
)  # formats and modes of the test pictures
SIDES = ((1, 1), (1, 3), (2, 1), (3, 4))  # of the test pictures, in patches


@dataclass(frozen=True)
class FirstLayer:
    """The linear map from a patch of `values` numbers to the network's width. It is injective where its
    rank is `values`."""

    values: int
    rank: int


@dataclass
class Audit:
    """What was compared without a difference.

    pictures, values, sizes: of the files that were encoded. converted: files of more than 8-bit RGB.
    not_admitted: files whose sides the model does not take, with the reasons. tests: number of test
    pictures."""

    pictures: int = 0
    values: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    not_admitted: list[Skipped] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    tests: int = 0
    first_layer: FirstLayer | None = None


def as_json(audit: Audit) -> dict:
    """The object of `rawmm entropy-budget audit --json`."""
    return {"made" if name == "tests" else name: value for name, value in asdict(audit).items()}


def audit(loaded: Loaded, locations: list[Location]) -> Audit:
    """Encode and decode pictures as the input of a model, and compare.

    Raises RawmmError (exit code 1) at the first difference, DataError where the model takes no picture."""
    check_lossless(loaded, "the audit of a model's input")
    check_reads(loaded, "the audit of a model's input")
    head = diffusion_head(loaded, "the audit of a model's input")
    result, waiting = Audit(), []
    for picture in read(locations, result.skipped):
        location = locations[picture.index]
        if location.row is None and not _as_pillow_reads(location.store, picture.pixels):
            result.converted.append(picture.file)
        if reason := _refused(loaded, picture.pixels):
            result.not_admitted.append(Skipped(picture.file, reason))
            continue
        waiting.append((picture.file, picture.pixels))
        result.sizes.append(tuple(picture.pixels.shape[1:]))
        result.pictures += 1
        result.values += picture.pixels.numel()
        if len(waiting) == TOGETHER:
            _compare(loaded, waiting)
            waiting = []
    if not result.pictures:
        first = (result.not_admitted or result.skipped)[0]
        file = printable(first.file)
        raise DataError(f"audit: no picture fits the model's input: {file}: {first.reason}")
    _compare(loaded, waiting)
    tests = _test_pictures(loaded.config.codec.stride)
    while group := list(islice(tests, TOGETHER)):
        _compare(loaded, group)
        result.tests += len(group)
    result.sizes = sorted(set(result.sizes))
    result.first_layer = first_layer(head.into)
    return result


def first_layer(into: nn.Module) -> FirstLayer:
    """Rank of a linear layer, or of the product of several."""
    layers = [into] if isinstance(into, nn.Linear) else list(into)
    weight = layers[0].weight.detach().double()
    for layer in layers[1:]:
        weight = layer.weight.detach().double() @ weight
    return FirstLayer(weight.shape[1], int(torch.linalg.matrix_rank(weight)))


def _refused(loaded: Loaded, pixels: Tensor) -> str | None:
    """Reason why a picture does not fit the model's input, or None."""
    try:
        positions = len(loaded.model.blocks(*pixels.shape[1:]).block) + 2  # <bos>, <image>
    except ValueError as error:
        return f"{error}; with --size 64, 80, 96 ..., `rawmm prepare` makes sides multiples of 16"
    context = loaded.config.sample.context
    return f"it needs {positions:,} positions; the context is {context:,}" if positions > context else None


def _as_pillow_reads(path: Path, pixels: Tensor) -> bool:
    """Whether the file holds no more than 8-bit RGB, and Pillow alone reads the same pixels.

    Not compared are files with a part that Pillow refuses and pixels do not need, and TIFF with planes,
    signed samples or colour maps, which Pillow does not always read right. Raises RawmmError where pixels
    differ."""
    try:
        with Image.open(path) as picture:
            if picture.mode not in PLAIN or picture.has_transparency_data:
                return False
            tags = getattr(picture, "tag_v2", {})
            if tags.get(PLANES, 1) != 1 or max(tags.get(SAMPLE_FORMAT, (1,))) != 1 or COLOUR_MAP in tags:
                return True
            plain = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception:  # Pillow raises almost any type; `read_image` has read the file
        return True
    known = torch.from_numpy(plain.copy()).permute(2, 0, 1)
    _same(str(path), known, pixels, "as Pillow reads it", "as it was read")
    return True


@torch.inference_mode()
def _compare(loaded: Loaded, pictures: list[tuple[str, Tensor]]) -> None:
    """Encode and decode pictures in one batch, and compare them."""
    if not pictures:
        return
    model = loaded.model
    documents = [[BOS, IMAGE, Picture(pixels, bool(n % 2))] for n, (_, pixels) in enumerate(pictures)]
    length = max(size(document, model.blocks) for document in documents)
    batch = pack(documents, length, model.blocks).to(model.words.weight.device)
    patches, documents = model.encode(batch), batch.labels.document.flatten()[batch.patch_at]
    of = cast(DiffusionHead, model.head).to_patches(documents, batch.pictures)
    for n, (name, pixels) in enumerate(pictures):
        (height, width), own = pixels.shape[1:], patches[of == n]
        if len(own) != (count := model.codec.tokens(height, width)):
            raise RawmmError(
                f"audit: picture {printable(name)} has {counted(count, 'patch')}; {len(own)} reached "
                "the model"
            )
        back = model.codec.decode(own[None], model.codec.grid(height, width)[0])[0].cpu()
        _same(name, pixels, back, "in the picture", "after its patches")


def _same(name: str, one: Tensor, other: Tensor, first: str, second: str) -> None:
    """Raise RawmmError at the first difference of two pictures. first, second: what they are."""
    picture = f"audit: picture {printable(name)}"
    if one.shape != other.shape:
        raise RawmmError(f"{picture} is {tuple(one.shape)} {first} and {tuple(other.shape)} {second}")
    if len(at := (one != other).nonzero()):
        channel, row, column = at[0].tolist()
        raise RawmmError(
            f"{picture} differs first at row {row}, column {column}, channel {channel}: "
            f"{int(one[channel, row, column])} {first}, {int(other[channel, row, column])} {second}"
        )


def _test_pictures(patch: int) -> Iterator[tuple[str, Tensor]]:
    """(name, pixels) of files of every mode and format, in several sizes, with all 256 levels. Each is
    written, read and compared."""
    generator = np.random.default_rng(0)
    for kind, mode in TESTS:
        for rows, columns in SIDES:
            levels = np.resize(np.arange(256, dtype=np.uint8), rows * columns * patch * patch * 3)
            values = generator.permutation(levels).reshape(rows * patch, columns * patch, 3)
            picture = Image.fromarray(values).convert(mode)
            file = io.BytesIO()
            picture.save(file, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
            written = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
            back = torch.from_numpy(read_image(file.getvalue()).copy()).permute(2, 0, 1)
            name = f"made: {kind} of mode {mode}, {columns * patch}x{rows * patch}"
            _same(name, written, back, "as written", "as read")
            yield name, back
