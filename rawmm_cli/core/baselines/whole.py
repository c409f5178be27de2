"""Pictures that are one position of the sequence each: what baselines have in common.

The N tokens of a picture stand in one row of N P numbers; rows of smaller pictures end with zeros."""

from collections.abc import Callable
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...system import machine
from ..blocks import Blocks
from ..document import Pictures
from ..parts import Prediction


@lru_cache(maxsize=256)
def one_position(rows: int, columns: int) -> Blocks:
    """A picture is one position, of which nothing is seen: its tokens are not in the sequence."""
    return Blocks((rows, columns), np.zeros(1, np.int64), np.zeros((1, 2), np.int64), False)


def in_tokens(pictures: Pictures) -> Pictures:
    """The same pictures with a position for each token, as heads have them that know the sequence."""
    counts = tuple(rows * columns for rows, columns in pictures.grids)
    of = np.repeat(np.arange(len(counts)), counts)
    index = np.concatenate([np.arange(count) for count in (*counts, 0)])
    of, index = (machine.send(torch.from_numpy(x), pictures.drawn.device) for x in (of, index))
    return pictures._replace(picture_of=of, index=index, counts=counts)


def to_rows(tokens: Tensor, pictures: Pictures) -> Tensor:
    """Tokens of all pictures (sum of N, P) -> a row a picture (M, most N P)."""
    own = in_tokens(pictures)
    if len(set(own.counts)) < 2:
        return tokens.reshape(len(own.counts), max(own.counts, default=0) * tokens.shape[1])
    rows = tokens.new_zeros(len(own.counts), max(own.counts), tokens.shape[1])
    rows[own.picture_of, own.index] = tokens
    return rows.flatten(1)


def to_tokens(rows: Tensor, pictures: Pictures, values: int) -> Tensor:
    """The inverse of `to_rows`, for tokens of `values` numbers."""
    own = in_tokens(pictures)
    if len(set(own.counts)) < 2:
        return rows.reshape(-1, values)
    return rows.unflatten(1, (-1, values))[own.picture_of, own.index]


def of_a_size(pictures: Pictures) -> list[tuple[slice, slice, tuple[int, int]]]:
    """Pictures that stand together and have one grid: their numbers, their tokens, the grid."""
    groups, first, token = [], 0, 0
    for (rows, columns), same in groupby(pictures.grids):
        count = len(list(same))
        tokens = count * rows * columns
        groups.append((slice(first, first + count), slice(token, token + tokens), (rows, columns)))
        first, token = first + count, token + tokens
    return groups


def kept(network: nn.Module, *inputs: Tensor) -> int:
    """Bytes that a network keeps for its backward pass over these inputs, without its parameters. On the meta
    device nothing is computed."""
    own, sizes = {p.untyped_storage()._cdata for p in network.parameters()}, {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            sizes[storage._cdata] = storage, storage.nbytes()  # it stays, or another one has its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), torch.enable_grad():
        network(*inputs)
    return sum(size for _, size in sizes.values())


class Captions(NamedTuple):
    """The vectors of the captions of M pictures that are drawn: behind the prompt, and behind none."""

    conditional: Tensor  # (M, D)
    unconditional: Tensor  # the same tensor where nothing is guided
    scale: float
    half: bool  # computed in bf16

    def scale_at(self, share: float) -> float:
        """How far guidance acts, where it acts by this share."""
        return 1 + share * (self.scale - 1)

    def both(self) -> Tensor:
        """(2 M, D)"""
        return torch.cat([self.conditional, self.unconditional])


def captions(predict: Callable[..., Prediction], count: int, device: torch.device) -> Captions:
    """What `Head.draw` is given -> the captions of `count` pictures. They are the state before each picture,
    so nothing of it is an input, and a drawing reads them once."""
    vectors = predict(torch.zeros(count, 0, 1, device=device))
    return Captions(vectors.conditional[:, 0], vectors.unconditional[:, 0], vectors.scale, vectors.half)
