"""The reading head: pictures are read and never drawn. Raw patches enter through one linear layer, and text
is all that is learned.

    ordered, with line ends    Fuyu (Bavishi et al. 2023): a patch sees those before it; a token of text
                               behind each row says where it ends, since its positions have no rows
    neither                    how other heads read: the patches of a picture see each other

Positions keep rows and columns here, with line ends as without, so that the two differ in nothing else."""

from typing import Any

import torch
from torch import Tensor, nn

from ...system.errors import ConfigError
from ..blocks import Blocks, lines
from ..document import Corrupted, Known, Pictures
from ..layers import multiplications
from ..parts import Work


class ReadingHead(nn.Module):
    """Patches of `values` numbers -> hidden vectors of `width`. ordered, line_ends: as of `blocks.lines`."""

    reads_ahead = False

    def __init__(self, values: int, width: int, *, ordered: bool = True, line_ends: bool = True):
        super().__init__()
        self.ordered, self.line_ends = ordered, line_ends
        self.into = nn.Linear(values, width)

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A block a position or a picture, with line ends or without."""
        return lines(rows, columns, self.ordered, self.line_ends)

    def corrupt(self, tokens: Tensor, pictures: Pictures) -> Corrupted:
        """Clean patches (T, P), at time 0, without target; also where a document would draw them."""
        time = torch.zeros(len(pictures.keys), device=tokens.device)
        return Corrupted(tokens, time, tokens[:, :0], torch.zeros(len(tokens), device=tokens.device))

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Patches (T, P) -> (T, D)."""
        return self.into(inputs)

    def condition(self, time: Tensor) -> None:
        """None: there is no time."""

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Nothing is predicted: (T, 0)."""
        return hidden[:, :0]

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """0, without a gradient."""
        return torch.zeros((), device=prediction.device)

    def work(self) -> Work:
        """Patches in; they need no gradient."""
        inside = multiplications(self.into)
        return Work(position=inside, first_position=inside)

    def draw(
        self,
        predict: Any,
        keys: list[int],
        grid: tuple[int, int],
        drawing: Any = None,
        learned: tuple[int, int] | None = None,
        known: Known | None = None,
        watch: Any = None,
    ) -> Tensor:
        """Raises ConfigError."""
        raise ConfigError(
            "head.kind = reading reads pictures and draws none; to draw, train a model with another head, as "
            "head.kind=diffusion"
        )
