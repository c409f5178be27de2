"""The codec of several scales: the walk of the library, plain VQ as its smallest case, what the scales leave,
and what a model may see."""

import copy
from itertools import pairwise

import pytest
import torch
from helpers import tiny_multiscale
from torch.nn import functional as F

from rawmm_cli.codecs.base import collapsed, counted, normalised, to_images, to_unit
from rawmm_cli.codecs.multiscale import MultiscaleQuantizer, averaged, count
from rawmm_cli.config.learned import halved

pytestmark = pytest.mark.usefixtures("one_thread")


def quantizer(sides=(1, 2, 4), width=6, codes=24, dimension=6, **options):
    options = {"shared": True, "blend": 0.5, "from_data": True, "decay": 0.9, "restart": 0.1} | options
    torch.manual_seed(0)
    return MultiscaleQuantizer(width, codes, dimension, sides, pictures=16, **options)


def latents(pictures=16, side=4, width=6, seed=1):
    """Latents of pictures with a coarse part, so that coarse scales have something to say."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(pictures, width, 2, 2, generator=generator)
    fine = torch.randn(pictures, width, side, side, generator=generator)
    grown = F.interpolate(coarse, (side, side), mode="bilinear") + 0.3 * fine
    return grown.flatten(2).transpose(1, 2)


def as_map(x, rows):
    return x.transpose(1, 2).unflatten(2, (rows, -1))


def flat(x):
    return x.flatten(2).transpose(1, 2)


def test_sides_halve_down_to_one():
    assert [halved(side) for side in (1, 2, 4, 6, 8)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 3, 6), (1, 2, 4, 8)]
    assert all(sum(side**2 for side in halved(n)) <= 4 / 3 * n**2 + n for n in (1, 2, 4, 8, 16, 32))


def test_tokens_of_other_grids():
    """In proportion to the square grid; the number of columns follows from the tokens and the rows."""
    q = quantizer()
    assert q.shapes(4, 4) == ((1, 1), (2, 2), (4, 4))
    assert q.shapes(2, 3) == ((1, 1), (1, 2), (2, 3)) and q.shapes(1, 1) == ((1, 1),) * 3
    for rows in range(1, 7):
        for columns in range(1, 7):
            assert q.columns(count(q.shapes(rows, columns)), rows) == columns


def test_means_of_areas_are_torchs():
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    for rows in range(1, 8):
        for columns in range(1, 7):
            expected = F.adaptive_avg_pool2d(x, (rows, columns))
            torch.testing.assert_close(averaged(x, (rows, columns)), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_the_walk_is_the_one_of_the_library(shared, training):
    """On the trained grid: values, codes, loss, gradients, and the tables afterwards."""
    q = quantizer(shared=shared)
    q(latents(), 4)  # first codes come from the first batch
    library = copy.deepcopy(q.train(training)).inner
    x = latents(seed=2).requires_grad_()
    values, codes, losses = q(x, 4)
    z = as_map(normalised(copy.deepcopy(q.spread), q.into(x)), 4)
    expected, indices, loss = library(z)
    expected = q.out(flat(expected))
    torch.testing.assert_close(values, expected)
    assert torch.equal(codes[..., 0], torch.cat([level.flatten(1) for level in indices], 1))
    torch.testing.assert_close(losses["commitment"], loss)
    if training:
        ours, theirs = (
            torch.autograd.grad(v.square().sum(), x, retain_graph=True) for v in (values, expected)
        )
        torch.testing.assert_close(ours, theirs)
    else:
        torch.testing.assert_close(q.values(codes, 4), q.out(flat(library.get_output_from_indices(indices))))
    for one, other in zip(q.inner.buffers(), library.buffers()):
        torch.testing.assert_close(one, other)


def test_all_scales_together_decode_to_the_codecs_own_reconstruction():
    codec = tiny_multiscale((1, 2, 3)).eval()
    for size in ((6, 6), (4, 6), (2, 2)):
        images = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
        output = codec(to_unit(images))
        tokens = codec.encode(images)
        assert torch.equal(tokens, output.codes) and tokens.shape == (3, codec.tokens(*size), 1)
        assert torch.equal(codec.decode(tokens, size[0] // 2), to_images(output.pixels))


def test_without_convolution_one_scale_of_full_side_is_plain_vq():
    from vector_quantize_pytorch import VectorQuantize

    q = quantizer(sides=(4,), blend=0.0, from_data=False, restart=0.0)
    plain = VectorQuantize(
        dim=6, codebook_size=24, decay=0.9, rotation_trick=False, commitment_weight=1.0, kmeans_init=False
    )
    plain.load_state_dict(q.inner.vq.state_dict())
    for training in (True, True, False):
        q.train(training), plain.train(training)
        x = latents(seed=3)
        values, codes, losses = q(x, 4)
        expected, indices, loss = plain(normalised(copy.deepcopy(q.spread), q.into(x)))
        assert torch.equal(codes[..., 0], indices)
        torch.testing.assert_close(values, q.out(expected))
        torch.testing.assert_close(losses["commitment"], loss.squeeze())
        below, own = q.context(codes, 4)
        assert not below.any(), "nothing lies below: the head sees what MaskGIT sees in its one step"
        torch.testing.assert_close(q.out(own), q.values(codes, 4))


@pytest.mark.parametrize("shared", [True, False])
def test_the_rest_falls_from_scale_to_scale(shared):
    q = quantizer(shared=shared, codes=64)
    optimizer = torch.optim.Adam(q.parameters(), 3e-3)
    for step in range(120):
        x = latents(seed=step)
        values, _, losses = q(x, 4)
        optimizer.zero_grad()
        ((values - x).square().mean() + 0.25 * losses["commitment"]).backward()
        optimizer.step()
    q.eval()
    x = latents(pictures=64, seed=999)
    z, (_, codes, _) = as_map(normalised(q.spread, q.into(x)), 4), q(x, 4)
    norms = [z.norm(dim=1).mean()]
    for level in range(3):
        known = codes.clone()
        known[:, count(q.shapes(4, 4)[: level + 1]) :] = -1
        total, convolution = q._sums(known, 4)[1], q.inner.phi_shared
        for later in range(level + 1, 3):  # a scale that is not there adds the bias of the convolution
            total = total - convolution(torch.zeros(1, 6, 4, 4))
            assert later
        norms.append((z - total).norm(dim=1).mean())
    assert all(after < before for before, after in pairwise(norms)), norms


@pytest.mark.parametrize("shared", [True, False])
def test_what_lies_below_does_not_know_its_own_scale_or_a_finer_one(shared):
    """By value, for every token; and by gradient, in tables of their own."""
    codec = tiny_multiscale((1, 2, 4), shared=shared).eval()
    codes = torch.randint(0, 16, (2, 21, 1))
    level = torch.tensor([0] + [1] * 4 + [2] * 16)
    before, own = codec.context(codes, 4)
    for at in range(21):
        other = codes.clone()
        other[:, at] = (other[:, at] + 1) % 16
        below, vectors = codec.context(other, 4)
        moved = (below != before).any(-1).any(0)
        assert not moved[level <= level[at]].any() and (moved.any() or level[at] == 2)
        assert ((vectors != own).any(-1).any(0).nonzero()[:, 0] == at).all()
    if not shared:
        for later, table in enumerate(codec.quantizer.inner.vqs):
            table._codebook.embed = table._codebook.embed.clone().requires_grad_()
            below, _ = codec.quantizer.context(codes, 4)
            seen = below[:, level <= later]
            gradient = torch.zeros(1)
            if seen.requires_grad:
                (gradient,) = torch.autograd.grad(seen.sum(), table._codebook.embed, allow_unused=True)
            assert gradient is None or not gradient.any()
            table._codebook.embed = table._codebook.embed.detach()


def test_what_is_not_known_is_not_seen():
    """Codes of -1 in place of the scales to come: what lies below the next scale is the same."""
    codec = tiny_multiscale((1, 2, 4)).eval()
    codes = torch.randint(0, 16, (2, 21, 1))
    whole, _ = codec.context(codes, 4)
    for first, stop in ((0, 1), (1, 5), (5, 21)):
        known = codes.clone()
        known[:, first:] = -1
        assert torch.equal(codec.context(known, 4)[0][:, :stop], whole[:, :stop])


def test_first_codes_come_from_all_scales():
    """The library would take them from the first scale alone, one vector a picture, and the others would have
    no code near them."""
    q = quantizer(codes=64)
    q(latents(pictures=8), 4)
    book = q.inner.vq.codebook
    assert len(book.unique(dim=0)) == 64 and (book.norm(dim=-1) > 0).all()


def test_used_codes_are_counted_scale_by_scale():
    codec = tiny_multiscale((1, 2), codes=4)
    codes = torch.tensor([[0, 1, 1, 2, 3], [0, 1, 1, 1, 3]])[..., None]
    sections = codec.sections(4, 4)
    assert [one.name for one in sections] == ["1x1", "2x2"]
    assert counted(codes, sections, 4).tolist() == [[2, 0, 0, 0], [0, 5, 1, 2]]
    assert counted(codes[:0], sections, 4).tolist() == [[0] * 4] * 2


def test_a_collapse_is_seen():
    """Perplexity at most a tenth of the codes, or of the counts where those are fewer."""
    assert collapsed(torch.tensor([1000] * 6 + [0] * 58)) and not collapsed(
        torch.tensor([1000] * 7 + [0] * 57)
    )
    assert not collapsed(torch.tensor([2] + [0] * 63)), "two counts say nothing"
    assert not collapsed(torch.tensor([1] * 30 + [0] * 970))
