"""Pictures of any size through a codec and back: padded where sides do not fit, in tiles where they are too
large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..runs.models import Loaded
from ..system.errors import DataError

STRIDES = range(1, 1025)  # numbers whose multiples are tried as sides
Sides = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Trip:
    """Round trip of pictures of one size.

    back: the reconstructions, (n, 3, H, W) uint8. tokens, bits: of each picture. codes: (n, L), of a discrete
    codec. sections: the codebooks or scales of the codes of a tile, where there are several: name, first,
    stop and step. padded: sides that pictures were padded to. tiles: number of tiles that each was cut into.
    over: which files exceed their budget; scales: to which share of its sides each picture was shrunk for its
    file. seconds: for all pictures."""

    back: Tensor
    tokens: list[int]
    bits: list[float | None]
    codes: Tensor | None = None
    sections: tuple = ()
    padded: Sides | None = None
    tiles: int = 1
    over: list[bool] | None = None
    scales: list[float] | None = None
    seconds: float = 0.0


def fitted(grid: Callable, height: int, width: int) -> Sides:
    """Smallest sides from these on that a codec takes and that are multiples of one number. Raises ValueError
    where it takes none."""
    for stride in STRIDES:
        sides = -(-height // stride) * stride, -(-width // stride) * stride
        try:
            grid(*sides)
            return sides
        except ValueError as error:
            problem = error
    raise problem


def layout(grid: Callable, height: int, width: int) -> tuple[Sides, Sides]:
    """Sides that a picture is padded to, and sides of the tiles that it is then cut into: one tile, unless
    the codec takes only smaller pictures."""
    try:
        sides = fitted(grid, height, width)
        return sides, sides
    except ValueError:
        tile = fitted(grid, 1, 1)
        return (-(-height // tile[0]) * tile[0], -(-width // tile[1]) * tile[1]), tile


@torch.inference_mode()
def through(codec: Any, images: Tensor, device: torch.device) -> Trip:
    """Encode and decode pictures (n, 3, H, W) uint8. Padding repeats the right and lower edges and is cropped
    off again; tiles are coded on their own."""
    height, width = images.shape[2:]
    sides, tile = layout(codec.grid, height, width)
    padded = images
    if sides != (height, width):
        padding = (0, sides[1] - width, 0, sides[0] - height)
        padded = F.pad(images.float(), padding, mode="replicate").to(torch.uint8)
    rows, columns = sides[0] // tile[0], sides[1] // tile[1]
    pieces = rearrange(padded, "m c (r h) (q w) -> (m r q) c h w", r=rows, q=columns)
    tokens = codec.encode(pieces.to(device))
    decoded = codec.decode(tokens, codec.grid(*tile)[0])
    back = rearrange(decoded, "(m r q) c h w -> m c (r h) (q w)", r=rows, q=columns)
    tiles, count, bits = rows * columns, len(images), codec.bits(*tile)
    return Trip(
        back=back[:, :, :height, :width].cpu(),
        tokens=[tiles * codec.length(*tile)] * count,
        bits=[bits and tiles * bits] * count,
        codes=rearrange(tokens, "(m t) n g -> m (t n g)", t=tiles).cpu() if codec.discrete else None,
        sections=_sections(codec, *tile),
        padded=sides if sides != (height, width) else None,
        tiles=tiles,
    )


def _sections(codec: Any, height: int, width: int) -> tuple:
    """`Trip.sections` of a codec of ours; others have one."""
    sections = codec.sections(height, width) if hasattr(codec, "sections") else ()
    parts = [(one.name, one.at.start, one.at.stop, one.at.step) for one in sections]
    return tuple(parts) if len(parts) > 1 else ()


def nominal_bits(codec: Any, height: int, width: int) -> float | None:
    """Nominal bits of a picture with its padding and tiles; None where tokens are real numbers."""
    sides, tile = layout(codec.grid, height, width)
    bits = codec.bits(*tile)
    return bits and bits * (sides[0] // tile[0]) * (sides[1] // tile[1])


class Inverted:
    """A model's ODE with the interface of a codec: tokens are the noise from which the model draws a
    picture."""

    discrete, vocabulary = False, None

    def __init__(self, loaded: Loaded, steps: int) -> None:
        self.model, self.config, self.steps = loaded.model, loaded.config, steps
        self.grid, self.length = loaded.model.codec.grid, loaded.model.codec.length

    def bits(self, height: int, width: int) -> None:
        """None, as noise consists of real numbers."""

    def encode(self, images: Tensor) -> Tensor:
        """Pictures drawn from the noise that pictures were inverted to: both directions at once, so that the
        prompt is prefilled only once. Raises DataError where a picture does not fit into the context."""
        from ..core.inversion import ode

        (height, width), data, context = images.shape[2:], self.config.data, self.config.sample.context
        positions = len(self.model.blocks(height, width).block) + 2  # <bos>, <image>
        if positions > context:
            raise DataError(
                f"codec ode: a picture of {width}x{height} pixels needs {positions:,} positions, "
                f"and the context of this model is {context:,} (sample.context); make it smaller"
            )
        return ode(self.model, images, self.steps, learned=data.size if data.stretch else None)[0]

    def decode(self, back: Tensor, rows: int) -> Tensor:
        """The pictures, unchanged: `encode` has drawn them."""
        return back
