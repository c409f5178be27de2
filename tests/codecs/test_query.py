"""Codecs of queries: known answers of a row of tokens, first biases of attention, and older runs."""

import math
from types import SimpleNamespace

import pytest
import torch
from test_codecs import CODECS, pictures, randomised

from rawmm_cli.codecs import query
from rawmm_cli.codecs.base import to_unit
from rawmm_cli.config import build, presets
from rawmm_cli.core.blocks import block_a_token, one_block
from rawmm_cli.core.layers import rotate, rotation
from rawmm_cli.runs.folder import read_config

pytestmark = pytest.mark.usefixtures("one_thread")

QUERY = [*CODECS["query, fsq"], "codec.quantizer.levels=[256, 256]"]


def asking(codec, which):
    """The same codec with the queries `which` alone, in that order: their vectors and their biases."""
    encoder = codec.encoder
    shape = query.Shape(16, 4, len(which), 16, 1, 2, local=encoder.over_queries[0].near is not None)
    fewer = query.QueryEncoder(shape, encoder.causal)
    weights = {
        name: value[which] if name == "asked" else value[:, which] if name.endswith(".near") else value
        for name, value in encoder.state_dict().items()
    }
    fewer.load_state_dict(weights)
    return SimpleNamespace(encode=lambda images: codec.quantizer(fewer.eval()(to_unit(images)))[1])


@pytest.mark.parametrize("local", ["true", "false"])
def test_causal_codes_do_not_change_where_only_the_first_are_asked(local):
    codec = randomised([*QUERY, "codec.causal=true", f"codec.local={local}"])
    codes = codec.encode(pictures())
    for count in (1, 3, 5):
        assert torch.equal(asking(codec, list(range(count))).encode(pictures()), codes[:, :count])


def test_codes_that_are_not_causal_hang_on_all_queries():
    codec = randomised([*QUERY, "codec.causal=false"])
    fewer = asking(codec, list(range(3))).encode(pictures())
    assert not torch.equal(fewer, codec.encode(pictures())[:, :3])


@pytest.mark.parametrize("local", ["true", "false"])
def test_queries_in_another_order_give_their_codes_in_that_order(local):
    codec, order = randomised([*QUERY, f"codec.local={local}"]), [3, 0, 5, 1, 4, 2]
    assert torch.equal(asking(codec, order).encode(pictures()), codec.encode(pictures())[:, order])


def test_queries_fill_the_picture_in_reading_order():
    assert query.spots(4).tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    assert query.spots(3).tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.5]]
    assert query.spots(1).tolist() == [[0.5, 0.5]]
    for count in range(1, 70):
        spots = query.spots(count)
        assert len(spots.unique(dim=0)) == count and 0 < spots.min() and spots.max() < 1
        assert spots.tolist() == sorted(spots.tolist())


def test_first_biases_are_those_of_a_normal_density():
    """Four queries over 2x2 patches: distances of 0, 1 and sqrt 2; the second head is twice as wide."""
    near = query.Shape(8, 4, 4, 16, 1, 2, local=True).near()
    assert near.shape == (2, 4, 4)
    torch.testing.assert_close(near[0, 0], torch.tensor([0.0, -2.0, -2.0, -4.0]))
    torch.testing.assert_close(near[1, 3], torch.tensor([-1.0, -0.5, -0.5, 0.0]))


def test_a_fresh_query_sees_its_own_place_most():
    """As many queries as patches: the gradient of each goes to its own patch first."""
    codec = build.codec(presets.resolve({}, [*QUERY, "codec.queries=16"]))
    pixels = to_unit(pictures()).requires_grad_()
    latents = codec.encoder(pixels)
    for number in range(16):
        (gradient,) = torch.autograd.grad(latents[:, number].sum(), pixels, retain_graph=True)
        of_patches = gradient.square().mean((0, 1)).unflatten(1, (4, 4)).unflatten(0, (4, 4)).sum((1, 3))
        assert of_patches.flatten().argmax() == number


def test_a_run_from_before_there_were_places_goes_on_loading(tmp_path):
    old = presets.resolve({}, [*QUERY, "codec.local=false"])
    text = presets.dump(old)
    assert "  local: false\n" in text
    (tmp_path / "config.yaml").write_text(text.replace("  local: false\n", ""))
    assert read_config(tmp_path) == old
    assert not any(name.endswith("near") for name in build.codec(old).state_dict())
    (tmp_path / "config.yaml").write_text(presets.dump(presets.resolve({}, QUERY)))
    assert read_config(tmp_path).codec.local


@pytest.mark.parametrize("blocks", [one_block, block_a_token])
def test_a_row_of_codes_has_one_dimension_in_the_sequence(blocks):
    """Scores of two codes hang on how far they are apart in the row alone, and no rotation follows a row of
    pixels."""
    place = torch.from_numpy(blocks(1, 12).place).float()
    assert place[:, 0].unique().tolist() == [0] and place[:, 1].tolist() == list(range(12))
    position = torch.cat([torch.full((12, 1), 5.0), place], 1)[None]
    cos, sin = rotation(position, 32)
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    turned = rotate(vector.expand(1, 12, 32), cos, sin)[0]
    scores = turned @ turned.T
    for apart in range(12):
        across = scores.diagonal(apart)
        torch.testing.assert_close(across, across[:1].expand_as(across), rtol=1e-4, atol=1e-4)
    assert len({round(scores[0, apart].item(), 3) for apart in range(6)}) == 6  # and they do tell order
    assert math.isclose(scores[0, 0].item(), vector.square().sum().item(), rel_tol=1e-5)
