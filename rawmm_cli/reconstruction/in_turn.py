"""Codecs that take turns in memory: each is loaded for its own pass through the pictures, and let go after.

The published tokenizers together need 11 GB, the largest of them a quarter of that."""

import gc
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from .round_trip import Trip, nominal_bits, through

T = TypeVar("T")


class InTurn:
    """A codec that is loaded whenever it is needed. load: opens it."""

    def __init__(self, load: Callable[[], Any], device: torch.device) -> None:
        self.load, self.device, self.lock = load, device, threading.Lock()
        self.codec: Any = None
        self.known: dict[
            tuple[int, int], float | None
        ] = {}  # height, width -> bits: no need to load it again

    def get(self) -> Any:
        """The codec, loaded."""
        with self.lock:
            if self.codec is None:
                self.codec = self.load()
            return self.codec

    def release(self) -> None:
        """Let it go; the next use loads it again."""
        with self.lock:
            self.codec = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def releasing(self, function: Callable[[], T]) -> T:
        """Result of a function that may load the codec."""
        try:
            return function()
        finally:
            self.release()

    def go(self, images: Tensor) -> Trip:
        """The round trip of pictures (n, 3, H, W) uint8."""
        self.bits(*images.shape[2:])
        return through(self.get(), images, self.device)

    def bits(self, height: int, width: int) -> float | None:
        """Nominal bits of a picture."""
        if (height, width) not in self.known:
            self.known[height, width] = nominal_bits(self.get(), height, width)
        return self.known[height, width]
