import math

import pytest
import torch

from rawmm_cli.core import layers
from rawmm_cli.core.layers import MaskedSoftmax, RMSNorm, attention, rotate, rotation, unit_rms

NOT = -torch.inf

WIDTHS = (8, 16, 32, 64)
AXES = (0, 1, 2)


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(x, position):
    """x (K,) at position (3)."""
    return rotate(x[None, None], *rotation(torch.as_tensor(position)[None, None], x.shape[-1]))[0, 0]


def score(q, k, at, other):
    return turned(q, at) @ turned(k, other)


@pytest.mark.parametrize("width", WIDTHS)
def test_scores_depend_on_differences_of_positions_only(width):
    q, k = vectors(2, width)
    positions = torch.randint(0, 12, (20, 2, 3), generator=torch.Generator().manual_seed(1))
    moves = torch.randint(0, 50, (20, 3), generator=torch.Generator().manual_seed(2))
    for (at, other), move in zip(positions, moves):
        torch.testing.assert_close(
            score(q, k, at + move, other + move), score(q, k, at, other), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_axis_counts(width, axis):
    q, k = vectors(2, width)
    step = torch.eye(3, dtype=torch.long)[axis]
    here = torch.tensor([3, 2, 1])
    assert (score(q, k, here + step, here) - score(q, k, here, here)).abs() > 1e-3
    assert (score(q, k, here + step, here) - score(q, k, here, here + step)).abs() > 1e-3, (
        "a direction counts too"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_norm_is_kept_and_position_zero_is_the_identity(width):
    x = vectors(2, 5, width)
    position = torch.randint(0, 900, (2, 5, 3), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(rotate(x, *rotation(position, width)).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, *rotation(torch.zeros(2, 5, 3, dtype=torch.long), width)), x)


def test_rotation_is_a_complex_product():
    """Width 16: four pairs turn with the order, two with the row, two with the column."""
    order, row, column = 7, 3, 5
    angles = (
        [order * 10_000 ** (-j / 4) for j in range(4)]
        + [row * 100 ** (-j / 2) for j in range(2)]
        + [column * 100 ** (-j / 2) for j in range(2)]
    )
    x = vectors(16)
    pairs = [
        complex(x[i], x[i + 8]) * complex(math.cos(angle), math.sin(angle)) for i, angle in enumerate(angles)
    ]
    expected = torch.tensor([pair.real for pair in pairs] + [pair.imag for pair in pairs])
    torch.testing.assert_close(turned(x, [order, row, column]), expected)


@pytest.mark.parametrize("width", [4, 12, 24])
def test_rotation_gives_half_a_width_of_angles_or_refuses(width):
    """A width that does not divide must not silently lose an axis."""
    try:
        cos, sin = rotation(torch.ones(1, 1, 3, dtype=torch.long), width)
    except Exception as error:
        assert str(width) in str(error)
    else:
        assert cos.shape == sin.shape == (1, 1, width // 2)


def test_unit_rms():
    x = 5 * vectors(4, 3, 24) + 2
    out = unit_rms(x)
    torch.testing.assert_close(out.square().mean(-1), torch.ones(4, 3))
    torch.testing.assert_close(unit_rms(1000 * x), out)
    torch.testing.assert_close(out * x.square().mean(-1, keepdim=True).sqrt(), x)
    assert unit_rms(x.bfloat16()).dtype == torch.float32
    assert torch.equal(unit_rms(torch.zeros(2, 8)), torch.zeros(2, 8))


def test_attention_is_the_masked_mean_where_scores_are_equal():
    mask = torch.tensor([[0, NOT, NOT], [0, 0, NOT], [NOT, 0, 0]])[None, None]
    value = torch.tensor([[1.0], [3.0], [8.0]])[None, None]
    out = attention(torch.zeros(1, 1, 3, 4), vectors(1, 1, 3, 4), value, mask)
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 2.0, 5.5]))


def random_mask(rows, length):
    return torch.zeros(rows, 1, length, length).masked_fill(
        (vectors(rows, 1, length, length) > 0.3).tril(-1), NOT
    )


def gradients(out, *inputs):
    return torch.autograd.grad((out * vectors(*out.shape).to(out.dtype)).sum(), inputs)


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_masked_softmax_and_its_gradient(dtype, tolerance):
    scores, mask = (3 * vectors(2, 3, 9, 9)).to(dtype).requires_grad_(), random_mask(2, 9)
    result, expected = MaskedSoftmax.apply(scores, mask), (scores.double() + mask).softmax(-1)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, atol=tolerance, rtol=tolerance)
    (one,), (other,) = gradients(result, scores), gradients(expected, scores)
    assert one.dtype == dtype and (one[mask.expand_as(one) == NOT] == 0).all()
    torch.testing.assert_close(one, other, atol=3 * tolerance, rtol=3 * tolerance)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.process)])
def test_written_out_equals_the_kernel_of_torch(compiled, monkeypatch):
    """Values and gradients; the written-out form also as inductor compiles it."""
    if compiled:
        from torch._inductor import config

        monkeypatch.setattr(config, "compile_threads", 1)  # no pool of processes for one kernel
    inputs = [vectors(2, 3, 40, 16).requires_grad_() for _ in range(3)]
    result = []
    for short in (0, 40):
        monkeypatch.setattr(layers, "SHORT", short)
        form = torch.compile(attention, fullgraph=True) if compiled and short else attention
        out = form(*inputs, random_mask(2, 40))
        result.append([out, *gradients(out, *inputs)])
    for one, other in zip(*result):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 256), (2, 4, 7, 32)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_rms_norm_while_sampling_is_that_of_training(shape, size):
    """The same values by fewer passes; zeros stay zeros; bf16 in, as under autocast."""
    norm = RMSNorm(shape[-1])
    norm.weight.data.normal_()
    x = size * torch.randn(shape)
    for one in (x, x.bfloat16(), 0 * x):
        expected = norm(one.float()).detach()
        with torch.inference_mode():
            result = norm(one)
        torch.testing.assert_close(
            result, expected, rtol=1e-4 if one.dtype == torch.float32 else 1e-2, atol=1e-4
        )
    with torch.inference_mode():
        torch.testing.assert_close(
            norm(x), torch.nn.functional.rms_norm(x, shape[-1:], norm.weight), rtol=1e-4, atol=1e-5
        )


def test_rows_and_their_gradients():
    """Gradients arrive where rows were taken; a row that is taken twice gets the sum."""
    x = vectors(5, 3).requires_grad_()
    for at in ([4, 0, 2], [1, 1], []):
        x.grad, at = None, torch.tensor(at, dtype=torch.long)
        rows = layers.Rows.apply(x, at)
        assert torch.equal(rows, x[at])
        rows.backward(weight := vectors(len(at), 3, seed=1))
        expected = torch.zeros(5, 3)
        for row, number in enumerate(at):
            expected[number] += weight[row]
        assert torch.equal(x.grad, expected)
