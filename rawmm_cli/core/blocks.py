"""How the tokens of a picture stand in the sequence: the blocks of the mask, and their places.

    one_block        all tokens see each other (diffusion, masked codes)
    behind_one_more  the same behind a position that holds no token (a time)
    block_a_token    each token sees those before it (next code, pixels one by one)
    lines            patches that are only read, with a token of text behind each row (Fuyu)

A head chooses (`Head.blocks`); one that draws scale by scale makes a block a scale in its own file. Next:
`batch.py` puts the positions into rows."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .text_tokenizer import LINE_END


@dataclass(frozen=True, eq=False)
class Blocks:
    """The N positions of a picture whose codec has `grid` rows and columns.

    Every head returns the same object for the same grid: it is a key of caches."""

    grid: tuple[int, int]
    block: np.ndarray  # (N,) int64 from 0, never falling: a position sees its own block and those before
    place: np.ndarray  # (N, 2) row and column of each position
    copied: bool  # a drawn picture has inputs that nobody else may see: what follows it sees a clean copy
    words: np.ndarray | None = None  # (N,) int64, tokens of text that stand among image tokens; elsewhere 0
    row: int = 0  # positions of a row, where each is a block

    @cached_property
    def at(self) -> np.ndarray:
        """(T,) the positions of image tokens among the N."""
        return np.arange(len(self.block)) if self.words is None else np.flatnonzero(self.words == 0)


@lru_cache(maxsize=256)
def one_block(rows: int, columns: int) -> Blocks:
    """A block a picture: its tokens see each other, and inputs are corrupted."""
    place = places(rows, columns)
    return Blocks((rows, columns), np.zeros(len(place), np.int64), place, True)


@lru_cache(maxsize=256)
def behind_one_more(rows: int, columns: int) -> Blocks:
    """A block a picture, which begins with a position without a token, in the middle of the picture: N is
    one more."""
    place = np.concatenate([[[(rows - 1) / 2, (columns - 1) / 2]], places(rows, columns)])
    return Blocks((rows, columns), np.zeros(len(place), np.int64), place, True)


@lru_cache(maxsize=256)
def block_a_token(rows: int, columns: int, codes: int = 1) -> Blocks:
    """A block a position, in reading order; the `codes` integers of a token stand side by side at its place.

    Inputs are the clean tokens."""
    place = places(rows, columns).repeat(codes, 0)
    return Blocks((rows, columns), np.arange(len(place)), place, False, row=columns * codes)


@lru_cache(maxsize=256)
def lines(rows: int, columns: int, ordered: bool = True, line_ends: bool = True) -> Blocks:
    """A picture that is only read. ordered: a block a position, in reading order; else one block. line_ends:
    a token of text behind each row, so that N = rows (columns + 1) (Fuyu, Bavishi et al. 2023)."""
    place = np.indices((rows, columns + line_ends)).reshape(2, -1).T
    words = np.where(place[:, 1] == columns, LINE_END, 0) if line_ends else None
    if not ordered:
        return Blocks((rows, columns), np.zeros(len(place), np.int64), place, False, words)
    return Blocks((rows, columns), np.arange(len(place)), place, False, words, columns + line_ends)


def places(rows: int, columns: int) -> np.ndarray:
    """(rows * columns, 2) row and column of each token, in reading order."""
    return np.indices((rows, columns)).reshape(2, -1).T


def unplaced(count: int, columns: int) -> np.ndarray:
    """(count, 3 or 7) positions of text: rows and columns of 0, whose frequencies do not change."""
    position = np.zeros((count, columns), np.float32)
    position[:, 3:5] = 1
    return position


def place(position: np.ndarray, cut: Blocks, stretch: tuple[float, float], positions: str) -> None:
    """Enter the rows and columns of a picture into its `position` (N, 3) or, where their frequencies change
    by `positions`, (N, 7) (`layers.rotation`)."""
    if positions == "linear":  # the middle of each token stays where it is on the picture
        position[:, 1:3] = (cut.place + 0.5) * np.array(stretch) - 0.5
        return
    position[:, 1:3], position[:, 3:5] = cut.place, np.maximum(1 / np.array(stretch), 1)
    if positions == "yarn":
        position[:, 5:7] = np.array(cut.grid) * np.array(stretch)
