"""Is the input lossless? Pictures -> patches in a batch -> pictures, compared bit for bit with what the files
hold.

    file -> images.read_image -> Picture -> batch.pack -> codec.encode (the patches that the network is given)
    -> codec.decode

Files of 8-bit grey, palette and RGB must come back as Pillow alone reads them, by another way than ours. What
holds more than 8-bit RGB (16 bits, alpha, CMYK) is made 8-bit RGB when it is read, by the table in
`images.py`: told, and exact from there on. Besides the folder, pictures of every such mode and of many sizes
are made and sent the same way."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..core.batch import pack, size
from ..core.document import Picture
from ..core.text_tokenizer import BOS, IMAGE
from ..data.images import read_image
from ..data.pictures import read
from ..runs.models import Loaded
from ..system.errors import DataError, RawmmError, printable

TOGETHER = 8  # pictures of different sizes in one batch
PLAIN = ("1", "L", "P", "RGB")  # modes whose files hold nothing but 8-bit RGB
MADE = (
    ("PNG", "RGB"),
    ("PNG", "L"),
    ("PNG", "P"),
    ("PNG", "1"),
    ("BMP", "RGB"),
    ("TIFF", "RGB"),
    ("PPM", "RGB"),
    ("WEBP", "RGB"),
)
SIDES = ((1, 1), (1, 3), (2, 1), (3, 4))  # in patches


def audit(loaded: Loaded, found: list[tuple]) -> dict:
    """The pictures of `pictures.find` -> what was compared. Raises RawmmError (exit code 1) with the first
    difference, DataError where no picture has sides that the model admits."""
    skipped: list[dict] = []
    result: dict = {
        "pictures": 0,
        "values": 0,
        "sizes": [],
        "converted": [],
        "not_admitted": [],
        "skipped": skipped,
    }
    waiting: list[tuple[str, Tensor]] = []
    sizes = set()
    for one in read(found, skipped):
        _, source, number = found[one.number]
        if number is None and not _as_pillow_reads(source, one.pixels):
            result["converted"].append(one.file)
        if problem := _refused(loaded, one.pixels):
            result["not_admitted"].append({"file": one.file, "reason": problem})
            continue
        waiting.append((one.file, one.pixels))
        sizes.add(tuple(one.pixels.shape[1:]))
        result["pictures"] += 1
        result["values"] += one.pixels.numel()
        if len(waiting) == TOGETHER:
            _compare(loaded, waiting)
            waiting = []
    if not result["pictures"]:
        first = (result["not_admitted"] or skipped)[0]
        raise DataError(
            f"--audit: no picture can enter the model as it is: {printable(first['file'])}: {first['reason']}"
        )
    _compare(loaded, waiting)
    made = list(_made(loaded.model.codec.patch))
    for at in range(0, len(made), TOGETHER):
        _compare(loaded, made[at : at + TOGETHER])
    return {
        **result,
        "sizes": sorted(sizes),
        "made": len(made),
        "first_layer": first_layer(loaded.model.head.into),
    }


def first_layer(into: nn.Module) -> dict:
    """Whether the map from a patch to the network's width keeps all values apart: its rank, and P."""
    layers = [into] if isinstance(into, nn.Linear) else list(into)
    weight = layers[0].weight.detach().double()
    for layer in layers[1:]:
        weight = layer.weight.detach().double() @ weight
    return {"values": weight.shape[1], "rank": int(torch.linalg.matrix_rank(weight))}


def _refused(loaded: Loaded, pixels: Tensor) -> str | None:
    """Why a picture cannot enter, or None."""
    try:
        rows, columns = loaded.model.codec.grid(*pixels.shape[1:])
    except ValueError as error:
        return f"{error}; `rawmm prepare folder --crop none` makes sides fit"
    context = loaded.config.sample.context
    return (
        None
        if rows * columns + 2 <= context
        else f"it needs {rows * columns + 2:,} positions; the context is {context:,}"
    )


def _as_pillow_reads(path: Path, pixels: Tensor) -> bool:
    """False where the file holds more than 8-bit RGB. Raises RawmmError where it does not and was read
    otherwise."""
    with Image.open(path) as picture:
        if picture.mode not in PLAIN or picture.has_transparency_data:
            return False
        plain = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    _same(
        str(path),
        torch.from_numpy(plain.copy()).permute(2, 0, 1),
        pixels,
        "as Pillow reads it",
        "as it was read",
    )
    return True


@torch.inference_mode()
def _compare(loaded: Loaded, pictures: list[tuple[str, Tensor]]) -> None:
    """Through one batch, as the model gets it."""
    if not pictures:
        return
    model = loaded.model
    documents = [[BOS, IMAGE, Picture(pixels, bool(n % 2))] for n, (_, pixels) in enumerate(pictures)]
    length = max(size(document, model.codec.grid, model.head.causal) for document in documents)
    batch = pack(documents, length, model.codec.grid, model.head.causal).to(model.words.weight.device)
    patches, of = model.clean(batch), batch.labels.document.flatten()[batch.patch_at]
    for n, (name, pixels) in enumerate(pictures):
        rows, columns = model.codec.grid(*pixels.shape[1:])
        own = patches[of == n]
        if len(own) != rows * columns:
            raise RawmmError(
                f"--audit: picture {printable(name)} has {rows * columns} patches, and {len(own)} reached "
                f"the model"
            )
        _same(
            name, pixels, model.codec.decode(own[None], rows)[0].cpu(), "in the picture", "after its patches"
        )


def _same(name: str, one: Tensor, other: Tensor, first: str, second: str) -> None:
    """Raises RawmmError with the first place at which they differ."""
    if one.shape != other.shape:
        raise RawmmError(
            f"--audit: picture {printable(name)} is {tuple(one.shape)} {first} and {tuple(other.shape)} "
            f"{second}"
        )
    if len(at := (one != other).nonzero()):
        channel, row, column = at[0].tolist()
        raise RawmmError(
            f"--audit: picture {printable(name)} differs first at row {row}, column {column}, channel "
            f"{channel}: "
            f"{int(one[channel, row, column])} {first}, {int(other[channel, row, column])} {second}"
        )


def _made(patch: int) -> Iterator[tuple[str, Tensor]]:
    """Files of every mode and format, of several sizes, all 256 levels in them -> (name, what was
    written)."""
    dice = np.random.default_rng(0)
    for kind, mode in MADE:
        for high, wide in SIDES:
            values = dice.permutation(
                np.resize(np.arange(256, dtype=np.uint8), high * wide * patch * patch * 3)
            )
            picture = Image.fromarray(values.reshape(high * patch, wide * patch, 3)).convert(mode)
            file = io.BytesIO()
            picture.save(file, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
            written = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
            back = torch.from_numpy(read_image(file.getvalue()).copy()).permute(2, 0, 1)
            name = f"made: {kind} of mode {mode}, {wide * patch}x{high * patch}"
            _same(name, written, back, "as written", "as read")
            yield name, back
