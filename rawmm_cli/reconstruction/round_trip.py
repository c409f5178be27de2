"""Pictures through a codec and back, whatever their sides: padded where they do not fit, in tiles where they
are too large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..runs.models import Loaded
from ..system.errors import DataError

STRIDES = range(1, 1025)  # of which the sides may have to be multiples
Sides = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Trip:
    """Pictures of one size that went through a codec. back: (n, 3, H, W) uint8. tokens, bits: of each
    picture. codes: (n, L), of a discrete codec. padded: the sides to which pictures had to be padded. tiles:
    pieces that each was cut into. over: which files are larger than they may be. seconds: of all pictures."""

    back: Tensor
    tokens: list[int]
    bits: list[float | None]
    codes: Tensor | None = None
    padded: Sides | None = None
    tiles: int = 1
    over: list[bool] | None = None
    seconds: float = 0.0


def fitted(grid: Callable, height: int, width: int) -> Sides:
    """The least sides that a codec takes, at or above these, that are multiples of one number. Raises
    ValueError where it takes none."""
    for stride in STRIDES:
        sides = -(-height // stride) * stride, -(-width // stride) * stride
        try:
            grid(*sides)
            return sides
        except ValueError as error:
            problem = error
    raise problem


def layout(grid: Callable, height: int, width: int) -> tuple[Sides, Sides]:
    """Sides to which a picture is padded, and sides of the tiles into which it is then cut: one tile, unless
    a codec takes smaller pictures only."""
    try:
        sides = fitted(grid, height, width)
        return sides, sides
    except ValueError:
        tile = fitted(grid, 1, 1)
        return (-(-height // tile[0]) * tile[0], -(-width // tile[1]) * tile[1]), tile


@torch.inference_mode()
def through(codec: Any, images: Tensor, device: torch.device) -> Trip:
    """Encode and decode pictures (n, 3, H, W) uint8. Padding repeats their edges to the right and below, and
    is cropped off again; tiles go through on their own."""
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
        padded=sides if sides != (height, width) else None,
        tiles=tiles,
    )


def nominal_bits(codec: Any, height: int, width: int) -> float | None:
    """Bits of the tokens of a picture, padded and cut into tiles as it has to be; None of real numbers."""
    sides, tile = layout(codec.grid, height, width)
    bits = codec.bits(*tile)
    return bits and bits * (sides[0] // tile[0]) * (sides[1] // tile[1])


class Inverted:
    """A model's ODE in the shape of a codec: its tokens are the noise that the model draws as a picture."""

    discrete, vocabulary = False, None

    def __init__(self, loaded: Loaded, steps: int) -> None:
        self.model, self.config, self.steps = loaded.model, loaded.config, steps
        self.grid, self.length = loaded.model.codec.grid, loaded.model.codec.length

    def bits(self, height: int, width: int) -> None:
        """None: noise is real numbers."""

    def encode(self, images: Tensor) -> Tensor:
        """What comes back from the noise: both ways at once, so that the prompt is read only once. Raises
        DataError where a picture does not fit into the context."""
        from ..core.inversion import ode

        (height, width), data, context = images.shape[2:], self.config.data, self.config.sample.context
        rows, columns = self.grid(height, width)
        if rows * columns + 2 > context:  # <bos>, <image>
            raise DataError(
                f"--codec ode: a picture of {width}x{height} pixels needs {rows * columns + 2:,} positions, "
                f"and the context of this model is {context:,} (sample.context); make it smaller"
            )
        return ode(self.model, images, self.steps, learned=data.size if data.stretch else None)[0]

    def decode(self, back: Tensor, rows: int) -> Tensor:
        """The pictures that `encode` gave."""
        return back
