"""Any other codec, by an object of the user's own: `python:MODULE:FACTORY`.

FACTORY() returns an object with

    encode(images (M, 3, H, W) uint8)  -> tokens (M, L) integers, or (M, N, P) numbers
    decode(tokens, rows)               -> images (M, 3, H, W) uint8
    length(height, width)              -> L, tokens of a picture
    vocabulary                         V of a token, or None where tokens are numbers

and, optionally,

    grid(height, width)                -> (rows, columns); default: one row of `length` tokens. Raises
                                       ValueError where a size does not fit
    bits(height, width)                -> nominal bits; default: L log2 V, None without a vocabulary
    discrete                           default: whether there is a vocabulary
    to(device)

MODULE is looked up in the working folder first. docs/tokenizers.md has an example."""

import importlib
import os
import sys
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from ..system.errors import ConfigError, DataError, RawmmError, is_out_of_memory, printable
from ..system.figures import counted

NEEDED = ("encode", "decode", "length", "vocabulary")


class Adapted(nn.Module):
    """The user's object as a codec (`core/parts.py`)."""

    def __init__(self, inner: Any, name: str = "of your own"):
        super().__init__()
        self.inner, self.name, self.vocabulary = inner, name, inner.vocabulary
        self.discrete = getattr(inner, "discrete", inner.vocabulary is not None)
        self.codes, self.values = 1, getattr(inner, "values", None)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where the user's `grid` does."""
        return (
            tuple(self._call("grid", height, width))
            if hasattr(self.inner, "grid")
            else (1, self.length(height, width))
        )

    def tokens(self, height: int, width: int) -> int:
        """Tokens of an H x W picture: integers or vectors, in the order of the user's `encode`."""
        return int(self._call("length", height, width))

    def length(self, height: int, width: int) -> int:
        """Integers of an H x W picture: its tokens, as each is one integer."""
        return self.tokens(height, width)

    def bits(self, height: int, width: int) -> float | None:
        """Nominal bits of an H x W picture, or None."""
        if hasattr(self.inner, "bits"):
            return self._call("bits", height, width)
        return self.length(height, width) * log2(self.vocabulary) if self.vocabulary else None

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, 1) integers, or (M, N, P) numbers."""
        tokens = self._call("encode", images)
        if self.discrete and tokens.is_floating_point():
            raise DataError(
                f"codec {self.name} has a vocabulary, and its encode returned {tokens.dtype}; allowed: "
                f"integers"
            )
        if tokens.ndim != (2 if self.discrete else 3):
            raise DataError(
                f"codec {self.name}: its encode returned {counted(tokens.ndim, 'axis')}; allowed: "
                f"{'(M, N) integers' if self.discrete else '(M, N, P) numbers'}"
            )
        return tokens[..., None] if self.discrete else tokens

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """Tokens -> (M, 3, H, W) uint8."""
        images = self._call("decode", tokens[..., 0] if self.discrete else tokens, rows)
        if images.ndim != 4:
            raise DataError(
                f"codec {self.name}: its decode returned {counted(images.ndim, 'axis')}; allowed: (M, "
                "3, H, W)"
            )
        return images

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call the user's method. Raises DataError for any error but ValueError (a size that does not fit)
        and errors for lack of memory."""
        try:
            return getattr(self.inner, name)(*arguments)
        except (ValueError, RawmmError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = printable((str(error).splitlines() or [""])[0])[:200]
            raise DataError(
                f"codec {self.name} failed in {name} ({type(error).__name__}: {reason}); where a size does "
                f"not fit, its grid should raise ValueError"
            ) from None


def load(name: str, device: torch.device) -> Adapted:
    """Codec of `MODULE:FACTORY`, in eval mode. Raises ConfigError where there is none, or it lacks a
    method."""
    module, _, factory = name.partition(":")
    if not module or not factory:
        raise ConfigError(f"codec python:{printable(name)} is not a name; allowed: python:MODULE:FACTORY")
    sys.path.insert(0, os.getcwd())
    try:
        codec = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # the user's code may raise anything
        reason = printable((str(error).splitlines() or [""])[0])[:200]
        raise ConfigError(
            f"codec python:{printable(name)} cannot be built ({type(error).__name__}: {reason}); see "
            "docs/tokenizers.md"
        ) from None
    finally:
        sys.path.remove(os.getcwd())
    if missing := [part for part in NEEDED if not hasattr(codec, part)]:
        raise ConfigError(
            f"codec python:{printable(name)} lacks {', '.join(missing)}; needed: {', '.join(NEEDED)}; see "
            "docs/tokenizers.md"
        )
    if hasattr(codec, "to"):
        codec.to(device)
    return Adapted(codec, f"python:{printable(name)}").eval()
