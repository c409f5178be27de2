"""What the tests share: tiny models with random weights, and random documents of every kind.

A fresh model ends in zeros, so nothing can leak through it and nothing can differ: `tiny_model` therefore
adds noise to every parameter unless told otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rawmm_cli.codecs.convolutional import Decoder, Encoder
from rawmm_cli.codecs.kl import KLCodec
from rawmm_cli.codecs.multiscale import MultiscaleCodec, MultiscaleQuantizer
from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.codecs.shrunk import ShrunkPatches
from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.core.backbones.gau import GAU
from rawmm_cli.core.backbones.transformer import Transformer
from rawmm_cli.core.baselines.denoiser import Denoiser
from rawmm_cli.core.baselines.unet import UNet
from rawmm_cli.core.blocks import block_a_token, one_block
from rawmm_cli.core.document import Picture
from rawmm_cli.core.heads.autoregressive import AutoregressiveHead
from rawmm_cli.core.heads.diffusion import DiffusionHead
from rawmm_cli.core.heads.masked import MaskedHead
from rawmm_cli.core.heads.scales import ScalesHead
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, VOCABULARY, encode
from rawmm_cli.runs.models import Loaded

PATCH = 2


class Kind(NamedTuple):
    """A head: how it is made for a codec and a width, and the names of codecs that it goes with.

    modulates: it goes with a backbone whose layers are modulated, and with no other. ordered: the prediction
    of a token depends on none that stands in its own block or later."""

    make: Callable[[nn.Module, int], nn.Module]
    codecs: tuple[str, ...]
    modulates: bool = False
    ordered: bool = False


# Every part of the package, small: core/test_parts.py asks all that go together the same questions. A new
# part is one line here.
CODECS = {
    "raw": lambda: RawPatches(PATCH),
    "kl": lambda: KLCodec(Encoder(PATCH, PATCH, 16, 1), Decoder(PATCH, PATCH, 16, 1), 3),
    "shrunk": lambda: ShrunkPatches(2, PATCH // 2),
    "subpixels": SubPixels,
    "multiscale": lambda: tiny_multiscale((1, 2, 3)),
}
HEADS = {
    "clean": Kind(
        lambda codec, width: tiny_head("clean", width=width, values=codec.values), ("raw", "kl", "shrunk")
    ),
    "noise": Kind(lambda codec, width: tiny_head("noise", width=width), ("raw",)),
    "velocity": Kind(lambda codec, width: tiny_head("velocity", width=width), ("raw",)),
    "autoregressive": Kind(
        lambda codec, width: AutoregressiveHead(codec.vocabulary, codec.codes, width, z_loss=0.01),
        ("levels",),
        ordered=True,
    ),
    "masked": Kind(lambda codec, width: tiny_masked(codec, width), ("levels",)),
    "bound": Kind(lambda codec, width: tiny_masked(codec, width, loss="bound", time="added"), ("levels",)),
    "scales": Kind(ScalesHead, ("multiscale",), ordered=True),
    "timeless": Kind(lambda codec, width: tiny_head(width=width, time="none"), ("raw",)),
    "time token": Kind(lambda codec, width: tiny_head(width=width, time="token"), ("raw",)),
    "convolved": Kind(lambda codec, width: tiny_head(width=width, time="token", convolution=2), ("raw",)),
    "modulating": Kind(lambda codec, width: tiny_head(width=width, time="modulation"), ("raw",), True),
    "unet": Kind(lambda codec, width: tiny_unet(codec.values, width), ("raw", "kl")),
}
BACKBONES = {
    "gau": lambda width, depth: GAU(width, depth, key=16, expansion=2),
    "transformer": lambda width, depth: Transformer(width, depth, 2, 2 * width),
}
FORMS = {  # of the Transformer
    "modulated": lambda width, depth: Transformer(width, depth, 2, 2 * width, modulated=True),
    "skips": lambda width, depth: Transformer(width, depth, 2, 2 * width, skips=True),
    "isolated": lambda width, depth: Transformer(width, depth, 2, 2 * width, isolated=1),
    "strided": lambda width, depth: Transformer(width, depth, 2, 2 * width, isolated=1, strided=True),
}


def blocks(height, width):
    """A block a picture, of raw patches: what `RawModel.blocks` says with a diffusion head."""
    return one_block(*RawPatches(PATCH).grid(height, width))


def blocks_in_order(height, width):
    """A block a patch."""
    return block_a_token(*RawPatches(PATCH).grid(height, width))


def tiny_head(
    prediction="clean", space="velocity", width=32, values=12, clamp=0.05, noise_scale=1.0, **settings
):
    return DiffusionHead(
        values,
        width,
        prediction=prediction,
        space=space,
        time_mean=0.8,
        time_spread=0.8,
        noise_scale=noise_scale,
        clamp=clamp,
        bottleneck=None,
        **settings,
    )


def tiny_masked(codec, width, schedule="cosine", loss="maskgit", smoothing=0.0, time="none"):
    settings = {"schedule": schedule, "loss": loss, "smoothing": smoothing, "time": time}
    return MaskedHead(codec.vocabulary, codec.codes, width, **settings)


def tiny_multiscale(sides, width=16, codes=16, dimension=4, *, shared=True, blend=0.5, pictures=8):
    """A codec of several scales, its table random."""
    options = {"from_data": False, "decay": 0.99, "restart": 0.1}
    quantizer = MultiscaleQuantizer(
        width, codes, dimension, sides, shared=shared, blend=blend, pictures=pictures, **options
    )
    return MultiscaleCodec(Encoder(PATCH, PATCH, width, 1), quantizer, Decoder(PATCH, PATCH, width, 1))


def tiny_unet(values=12, width=32, multipliers=(1,), grid=(2, 2)):
    """A U-Net that learns pictures of a small grid, as a head that knows no sequence."""
    network = UNet(values, 8, multipliers, 1, (len(multipliers) - 1,), 4, width)
    path = {"prediction": "clean", "space": "velocity", "clamp": 0.05, "noise_scale": 1.0}
    return Denoiser(network, values, grid, width, time_mean=0.8, time_spread=0.8, **path)


def tiny_backbone(kind="gau", width=32, depth=2):
    return (BACKBONES | FORMS)[kind](width, depth)


def tiny_model(backbone="gau", width=32, depth=2, *, seed=0, std=0.2, make_mask=dense, **head) -> RawModel:
    """std: how much noise is added to every parameter; 0 leaves the fresh model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = RawModel(
            RawPatches(PATCH),
            tiny_head(width=width, **head),
            tiny_backbone(backbone, width, depth),
            make_mask,
            VOCABULARY,
            width,
        )
        return randomised(model, std)


def as_loaded(model, config, data=None) -> Loaded:
    """A model as if it had been loaded from a run that was trained on the set with fingerprint `data`."""
    folder = Path("runs") / "tiny"
    return Loaded(model, config, "tiny", folder, folder, 0, 0.0, data, "0" * 12, {})


def randomised(module, std=0.2):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += std * torch.randn_like(parameter)
    return module


def picture(rng, draw=True, size=(4, 4), key=None) -> Picture:
    pixels = torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))
    return Picture(pixels, draw, int(rng.integers(1 << 40)) if key is None else key)


def random_document(rng) -> list:
    """Text alone, drawing, reading, drawing and then text, or two pictures; texts and sizes vary."""

    def words():
        return encode("".join(map(chr, rng.integers(97, 123, rng.integers(0, 5)))))

    def shown(draw):
        return [
            IMAGE,
            picture(rng, draw, tuple(int(side) for side in PATCH * rng.integers(1, 4, 2))),
            END_IMAGE,
        ]

    kind = rng.integers(5)
    if kind == 0:
        return [BOS, *words(), EOS]
    if kind == 1:
        return [BOS, *words(), *shown(True), EOS]
    if kind == 2:
        return [BOS, *shown(False), *words(), EOS]
    if kind == 3:
        return [BOS, *words(), *shown(True), *encode("x"), *words(), EOS]
    return [BOS, *shown(bool(rng.integers(2))), *words(), *shown(bool(rng.integers(2))), *words()]


def random_documents(count, seed=0) -> list[list]:
    rng = np.random.default_rng(seed)
    return [random_document(rng) for _ in range(count)]


def noised_inputs(model, batch):
    """-> (inputs, time): the batch's patches as joint_loss shows them to the model."""
    corrupted = model.head.corrupt(model.encode(batch), batch.pictures)
    return corrupted.inputs, corrupted.time


@torch.no_grad()
def hidden_of(model, batch, inputs=None, time=None):
    """Hidden states (B L, D); patches as in training unless given."""
    if inputs is None:
        inputs, time = noised_inputs(model, batch)
    return model(batch, inputs, time)


def positions_of(batch, number):
    """Flat positions of document `number`."""
    return (batch.labels.document.flatten() == number).nonzero()[:, 0]
