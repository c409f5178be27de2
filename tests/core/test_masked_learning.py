"""A masked head learns what it is shown: a table of two binary pixels, drawn through the cache."""

import pytest
import torch
from helpers import tiny_backbone, tiny_masked

from rawmm_cli.core import reference
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.heads.masked import Drawing
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, IMAGE, VOCABULARY

TABLE = torch.tensor([0.1, 0.4, 0.3, 0.2])  # of 00, 01, 10, 11


class Bits(torch.nn.Module):
    """Whether a pixel is black or white."""

    discrete, vocabulary, codes = True, 2, 1

    def grid(self, height, width):
        return height, width

    def tokens(self, height, width):
        return height * width

    def encode(self, images):
        return (images[:, 0] > 127).long().flatten(1)[..., None]

    def decode(self, tokens, rows):
        return (255 * tokens[..., 0]).byte().unflatten(1, (rows, -1))[:, None].expand(-1, 3, -1, -1)


def pictures_of(choices):
    """(n, 3, 1, 2) pictures of the numbers 0 to 3."""
    bits = torch.stack([choices // 2, choices % 2], 1)
    return (255 * bits).byte()[:, None, None].expand(-1, 3, 1, 2)


@pytest.fixture(scope="module", params=["maskgit", "bound"])
def learned(request):
    """A model that has seen 51,200 pictures of the table."""
    torch.manual_seed(0)
    codec = Bits()
    head = tiny_masked(codec, 32, schedule="linear", loss=request.param)
    model = RawModel(codec, head, tiny_backbone("transformer", depth=1), dense, VOCABULARY, 32)
    count, steps = 256, 200
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    exact = torch.repeat_interleave(torch.arange(4), (TABLE * count).round().long())
    for step in range(steps):
        documents = [
            [BOS, IMAGE, Picture(picture, True, step * count + n)]
            for n, picture in enumerate(pictures_of(exact))
        ]
        joint_loss(model, pack(documents, 4, model.blocks)).image.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model


@pytest.mark.parametrize("order", ["halton", "random"])
def test_a_table_of_two_pixels_is_learned_and_drawn_as_it_is(learned, order):
    settings = Sampling(size=(1, 2), drawing=Drawing(2, order))
    drawn = draw(learned, [[BOS, IMAGE]] * 3000, list(range(3000)), settings)
    codes = learned.codec.encode(torch.stack([picture.pixels for picture in drawn]))[..., 0]
    seen = torch.bincount(2 * codes[:, 0] + codes[:, 1], minlength=4)
    assert ((seen - 3000 * TABLE) ** 2 / (3000 * TABLE)).sum() < 16.3  # 3 degrees of freedom: p = 0.001
    same = reference.draw(learned, [[BOS, IMAGE]] * 50, list(range(50)), settings)
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(drawn, same))


def test_one_step_draws_the_pixels_as_if_they_were_independent(learned):
    drawn = draw(learned, [[BOS, IMAGE]] * 3000, list(range(3000)), Sampling(size=(1, 2), drawing=Drawing(1)))
    codes = learned.codec.encode(torch.stack([picture.pixels for picture in drawn]))[..., 0]
    seen, first, second = torch.bincount(2 * codes[:, 0] + codes[:, 1], minlength=4), (0.5, 0.5), (0.4, 0.6)
    expected = 3000 * torch.tensor([one * other for one in first for other in second])
    assert ((seen - expected) ** 2 / expected).sum() < 16.3
