"""Both backbones against their equations, written out as loops over single numbers in float64."""

import math

import pytest
import torch
from helpers import BACKBONES, blocks, random_documents, randomised, tiny_backbone

from rawmm_cli.core.backbones.gau import GAU, GatedAttentionUnit
from rawmm_cli.core.backbones.transformer import Layer, Transformer
from rawmm_cli.core.batch import pack
from rawmm_cli.core.layers import rotation
from rawmm_cli.core.mask import dense

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}  # the core in fp32, the reference in float64


def silu(x):
    return x / (1 + torch.exp(-x))


def rms(x, weight=1.0):
    return x / (x.square().mean() + 1e-7).sqrt() * weight


def turn(x, position):
    """One vector, turned pair by pair."""
    half, out = len(x) // 2, x.clone()
    axes = [(0, 10_000.0, half // 2), (1, 100.0, half // 4), (2, 100.0, half // 4)]
    angles = [
        position[axis].item() * base ** (-j / count) for axis, base, count in axes for j in range(count)
    ]
    for i, angle in enumerate(angles):
        out[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        out[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
    return out


def attend(q, k, v, seen):
    """Vectors in lists; seen[i][j]: may i look at j."""
    out = []
    for i in range(len(q)):
        weights = [math.exp(q[i] @ k[j] / math.sqrt(len(q[i]))) if seen[i][j] else 0.0 for j in range(len(k))]
        out.append(sum(w * v[j] for j, w in enumerate(weights)) / sum(weights))
    return out


def gau_reference(unit, x, position, seen):
    """(L, D) of one row."""
    p = {name: value.double() for name, value in unit.state_dict().items()}
    q, k, u, v = [], [], [], []
    for n in range(len(x)):
        gate, value, shared = silu(p["into.weight"] @ rms(x[n], p["norm.weight"])).split(unit.sizes)
        u.append(gate)
        v.append(value)
        q.append(turn(rms(shared * p["scale"][0] + p["offset"][0]), position[n]))
        k.append(turn(rms(shared * p["scale"][1] + p["offset"][1]), position[n]))
    mixed = attend(q, k, v, seen)
    return torch.stack([x[n] + p["out.weight"] @ (u[n] * mixed[n]) for n in range(len(x))])


def transformer_reference(layer, x, position, seen):
    p = {name: value.double() for name, value in layer.state_dict().items()}
    width, length = x.shape[1], len(x)
    size = width // layer.heads
    heads = []
    for head in range(layer.heads):
        rows = slice(head * size, (head + 1) * size)
        weights = [p["qkv.weight"][part * width : (part + 1) * width][rows] for part in range(3)]
        normed = [rms(x[n], p["attention_norm.weight"]) for n in range(length)]
        q = [turn(rms(weights[0] @ y, p["query_norm.weight"]), position[n]) for n, y in enumerate(normed)]
        k = [turn(rms(weights[1] @ y, p["key_norm.weight"]), position[n]) for n, y in enumerate(normed)]
        heads.append(attend(q, k, [weights[2] @ y for y in normed], seen))
    out = []
    for n in range(length):
        y = x[n] + p["mix.weight"] @ torch.cat([head[n] for head in heads])
        gate, value = (p["into.weight"] @ rms(y, p["mlp_norm.weight"])).chunk(2)
        out.append(y + p["out.weight"] @ (silu(gate) * value))
    return torch.stack(out)


def case(width, seed=0):
    """-> x (B, L, D), position, mask of real packed documents with padding."""
    batch = pack(random_documents(4, seed), 24, blocks)
    x = torch.randn(*batch.tokens.shape, width, generator=torch.Generator().manual_seed(seed))
    return x, batch.position, dense(batch.labels)


def compare(module, reference, key, width):
    x, position, mask = case(width)
    with torch.no_grad():
        result = module(x, *rotation(position, key), mask)
    for row in range(len(x)):
        expected = reference(module, x[row].double(), position[row], (mask[row, 0] == 0).tolist())
        torch.testing.assert_close(result[row].double(), expected, **TOLERANCE)


@pytest.mark.parametrize("width,key,expansion", [(16, 8, 2), (12, 16, 1), (16, 8, 3)])
def test_gated_attention_unit(width, key, expansion):
    torch.manual_seed(1)
    compare(randomised(GatedAttentionUnit(width, key, expansion)), gau_reference, key, width)


@pytest.mark.parametrize("width,heads,hidden", [(16, 2, 24), (16, 1, 40), (32, 4, 20)])
def test_transformer_layer(width, heads, hidden):
    torch.manual_seed(1)
    compare(randomised(Layer(width, heads, hidden)), transformer_reference, width // heads, width)


@pytest.mark.parametrize(
    "make,sizes,reference",
    [(GAU, (16, 3, 8, 2), gau_reference), (Transformer, (16, 3, 2, 24), transformer_reference)],
)
def test_a_backbone_is_its_layers_one_after_another(make, sizes, reference):
    torch.manual_seed(2)
    backbone = make(*sizes)
    x, position, mask = case(16, seed=3)
    with torch.no_grad():
        result = randomised(backbone, 0.1)(x, position, mask)[0].double()
    expected = x[0].double()
    for layer in backbone.layers:
        expected = reference(layer, expected, position[0], (mask[0, 0] == 0).tolist())
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_fresh_backbone_is_the_identity(kind):
    x, position, mask = case(32)
    assert torch.equal(tiny_backbone(kind)(x, position, mask), x)


@pytest.mark.parametrize("kind", BACKBONES)
def test_order_of_positions_in_the_row_does_not_matter(kind):
    """Attention is a set operation: only labels and positions tell where a token stands."""
    torch.manual_seed(4)
    backbone = randomised(tiny_backbone(kind))
    x, position, mask = case(32)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, mixed = (
            backbone(x, position, mask),
            backbone(x[:, order], position[:, order], mask[:, :, order][:, :, :, order]),
        )
    torch.testing.assert_close(mixed, plain[:, order], atol=1e-5, rtol=1e-5)
