"""A codec that was trained, inside a model: it is neither learned nor saved with it.

Its weights are no parameters of the model: no optimizer, average, wrapper or checkpoint of the model sees
them. They go with the model from device to device, and stay in eval mode."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """`inner`, any codec (`core/parts.py`). deviation: of its vectors, which are divided by it."""

    def __init__(self, inner: Any, deviation: float = 1.0):
        super().__init__()
        inner.eval().requires_grad_(False)
        self._hidden, self.deviation = (inner,), deviation  # in a tuple torch does not find it
        self.discrete, self.vocabulary = inner.discrete, inner.vocabulary
        if self.discrete:
            self.codes = inner.codes
        else:
            self.values = inner.values

    @property
    def inner(self) -> Any:
        """The codec itself."""
        return self._hidden[0]

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of the codec, for who asks it; who asks the model does not get them."""
        return self.inner.parameters()

    def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        self.inner._apply(change)
        return super()._apply(change, recurse)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError for a size that does not fit."""
        return self.inner.grid(height, width)

    def tokens(self, height: int, width: int) -> int:
        """Tokens of an H x W picture."""
        return self.inner.tokens(height, width)

    def length(self, height: int, width: int) -> int:
        """Integers of an H x W picture; a vector counts as one."""
        return self.inner.length(height, width)

    def bits(self, height: int, width: int) -> float | None:
        """Nominal bits of an H x W picture; None of vectors."""
        return self.inner.bits(height, width)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, G) int64, or (M, N, P) fp32 of deviation 1."""
        with torch.autocast(images.device.type, enabled=False):
            tokens = self.inner.encode(images)
        return tokens if self.discrete else tokens / self.deviation

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, G) or (M, N, P) in `rows` rows of the grid -> (M, 3, H, W) uint8."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.inner.decode(tokens if self.discrete else tokens.float() * self.deviation, rows)
