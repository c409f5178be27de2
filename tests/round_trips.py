"""Round trips through codecs whose loss is known."""

import math
from dataclasses import fields

import torch
from toy_codec import Squares

from rawmm_cli.data import pictures
from rawmm_cli.reconstruction import choices, reconstruct
from rawmm_cli.reconstruction.choices import Choice
from rawmm_cli.reconstruction.results import Row
from rawmm_cli.reconstruction.round_trip import through

CPU = torch.device("cpu")


def toy(word="toy", codec=None):
    codec = codec or Squares()
    return Choice(word, "tokenizer", lambda images: through(codec, images, CPU), codec.bits, codec.vocabulary)


def raw():
    return choices.choices(["raw"], None, CPU, None, [])[0]


def run(folder, choices, **more):
    return reconstruct.run(pictures.find([folder], folder), choices, reconstruct.Plan(**more))


def reading(shown):
    """An engine that reads a picture's first grey as a word, and nothing on dark ones."""
    return [f"word{pixels[0, 0, 0]:03d}  two\n" if pixels.mean() > 100 else "." for pixels in shown]


def row(word, bits, psnr, sharp, *, kind="tokenizer", text=None, over_budget=0, **more):
    """A codec in sum, of which only some fields are known; the others are None."""
    known = {
        "codec": word,
        "name": word,
        "kind": kind,
        "bits": bits,
        "psnr": psnr,
        "sharpness": sharp,
        "lossless": float(psnr == math.inf),
        "text_survival": text,
        "over_budget": over_budget,
        "padded": 0,
        "tiled": 0,
        **more,
    }
    return Row(**{**dict.fromkeys(field.name for field in fields(Row)), **known})
