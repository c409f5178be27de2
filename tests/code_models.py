"""Small models whose pictures are codes, and a codec of one code a place."""

import numpy as np
import torch
from helpers import randomised, tiny_backbone

from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.heads.autoregressive import AutoregressiveHead
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, VOCABULARY


class Pixels(torch.nn.Module):
    """A codec of one code a place, below `vocabulary`: the red value."""

    discrete, codes = True, 1

    def __init__(self, vocabulary=4):
        super().__init__()
        self.vocabulary = vocabulary

    def grid(self, height, width):
        return height, width

    def tokens(self, height, width):
        return height * width

    def encode(self, images):
        return images[:, 0].flatten(1)[..., None].long()

    def decode(self, tokens, rows):
        return tokens[..., 0].byte().unflatten(1, (rows, -1))[:, None].expand(-1, 3, -1, -1).contiguous()


def made(codec=None, width=32, depth=2, std=0.2, z_loss=0.0, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = codec or Pixels()
        head = AutoregressiveHead(codec.vocabulary, codec.codes, width, z_loss=z_loss)
        model = RawModel(codec, head, tiny_backbone("transformer", width, depth), dense, VOCABULARY, width)
        return randomised(model, std).to(dtype)


def picture(height, width, vocabulary, seed=0, draw=True):
    values = np.random.default_rng(seed).integers(0, vocabulary, (3, height, width), dtype=np.uint8)
    return Picture(torch.from_numpy(values), draw, seed)


def batch_of(model, pictures, prompt=()):
    documents = [[BOS, *prompt, IMAGE, one, END_IMAGE] for one in pictures]
    length = len(model.blocks(*pictures[0].pixels.shape[1:]).block) + len(prompt) + 3
    return pack(documents, length, model.blocks)


def logits_of(model, batch):
    seen = model.head.corrupt(model.encode(batch), batch.pictures)
    return model.predictions(model(batch, seen.inputs, seen.time), batch), seen.target
