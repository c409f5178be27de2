"""A tokenizer for tests whose every number is known: the mean grey of squares, in a few levels."""

import math

import torch
from einops import rearrange, repeat


class Squares:
    """Squares of `side` pixels, each one code of `levels`. only: the one size that it takes."""

    discrete, codes = True, 1

    def __init__(self, side=4, levels=16, only=None):
        self.side, self.vocabulary, self.only = side, levels, only

    def grid(self, height, width):
        wrong = self.only and (height, width) != (self.only, self.only)
        if height % self.side or width % self.side or wrong:
            raise ValueError(f"{height}x{width} does not divide into squares of {self.side}")
        return height // self.side, width // self.side

    def tokens(self, height, width):
        rows, columns = self.grid(height, width)
        return rows * columns

    length = tokens

    def bits(self, height, width):
        return self.length(height, width) * math.log2(self.vocabulary)

    def encode(self, images):
        means = torch.nn.functional.avg_pool2d(images.double().mean(1, keepdim=True), self.side)
        return rearrange((means * self.vocabulary / 256).long(), "m 1 h w -> m (h w) 1")

    def decode(self, tokens, rows):
        grey = ((tokens + 0.5) * 256 / self.vocabulary).to(torch.uint8)
        return repeat(grey, "m (h w) 1 -> m 3 (h p) (w q)", h=rows, p=self.side, q=self.side).contiguous()


class UserSquares(Squares):
    """As a user writes it, `python:toy_codec:UserSquares`: integers (M, N), without the axis of groups."""

    def encode(self, images):
        return super().encode(images)[..., 0]

    def decode(self, tokens, rows):
        return super().decode(tokens[..., None], rows)
