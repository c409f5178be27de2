"""Round trips through codecs whose loss is known."""

import torch
from toy_codec import Squares

from rawmm_cli.data import pictures
from rawmm_cli.reconstruction import choices, reconstruct
from rawmm_cli.reconstruction.choices import Choice

CPU = torch.device("cpu")


def toy(word="toy", codec=None):
    codec = codec or Squares()
    return Choice(
        word, "tokenizer", lambda images: choices.through(codec, images, CPU), codec.bits, codec.vocabulary
    )


def raw():
    return choices.choices(["raw"], None, CPU, None, [])[0]


def run(folder, choices, **more):
    return reconstruct.run(pictures.find([folder], folder), choices, **more)


def reading(shown):
    """An engine that reads a picture's first grey as a word, and nothing on dark ones."""
    return [f"word{pixels[0, 0, 0]:03d}  two\n" if pixels.mean() > 100 else "." for pixels in shown]


def row(word, bits, psnr, sharp, kind="tokenizer", text=None, **more):
    return {
        "codec": word,
        "name": word,
        "kind": kind,
        "bits": bits,
        "psnr": psnr,
        "sharpness": sharp,
        "lossless": float(psnr is None),
        "text_survival": text,
        "over_budget": 0,
        "padded": 0,
        "tiled": 0,
        "vocabulary": 16,
        **more,
    }
