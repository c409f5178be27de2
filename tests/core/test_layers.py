import math

import pytest
import torch
from helpers import blocks

from rawmm_cli.core import layers
from rawmm_cli.core.batch import layout, pack
from rawmm_cli.core.document import Picture
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


# ------------------------------------------------------------------------------ pictures longer than learned

BLANK = torch.zeros(3, 12, 16, dtype=torch.uint8)  # 6 x 8 patches of 2
KEY = 64  # pairs: 16 of the order, 8 of rows, 8 of columns


def table(positions, stretch=(1.0, 1.0), key=KEY):
    """cos and sin of the patches of a picture, (N, K/2) each."""
    item = Picture(BLANK, False, 0, stretch, positions=positions)
    place = torch.from_numpy(layout([item], blocks).position[None].copy())
    return tuple(part[0] for part in rotation(place, key))


@pytest.mark.parametrize("key", [8, 16, 64])
@pytest.mark.parametrize("positions", ["ntk", "yarn"])
def test_at_scale_1_all_tables_are_those_learned_to_the_bit(positions, key):
    for one, other in zip(table(positions, key=key), table("linear", key=key)):
        assert torch.equal(one, other)
    shorter = table(positions, (2.0, 1.5), key)  # a smaller picture stands as learned: s = max(., 1)
    assert torch.equal(shorter[0], table("linear", key=key)[0])


def test_linear_at_even_positions_is_the_learned_table_at_half_the_index():
    """Up to a shift of the whole picture by a quarter, which puts its middle where that of a small one is."""
    place = torch.zeros(1, 8, 3)
    place[0, :, 2] = torch.arange(8)
    learned = rotation(place, KEY)
    place[0, :, 2] /= 2
    half = rotation(place, KEY)
    for one, other in zip(half, learned):
        assert torch.equal(one[:, ::2], other[:, :4])
    position = layout([Picture(BLANK, False, 0, (0.5, 0.5))], blocks).position.reshape(6, 8, -1)
    assert (position[0, :, 2] == torch.arange(8).numpy() / 2 - 0.25).all()
    assert (position[:, 0, 1] == torch.arange(6).numpy() / 2 - 0.25).all()


@pytest.mark.parametrize("scale", [1.5, 2.0, 4.0])
def test_ntk_is_another_base(scale):
    """base s^(d / (d - 2)), d the dimensions of one axis: the fastest pair as learned, the slowest linear."""
    pairs = KEY // 8
    angle = torch.arange(8)[:, None] * (100.0 * scale ** (2 * pairs / (2 * pairs - 2))) ** (
        -torch.arange(pairs) / pairs
    )
    cos, sin = (part[:8, -pairs:] for part in table("ntk", (1.0, 1 / scale)))  # the first row: columns 0 to 7
    torch.testing.assert_close(cos, angle.cos(), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(sin, angle.sin(), atol=2e-6, rtol=1e-5)
    rows = [part[:, KEY // 4 : KEY // 4 + pairs] for part in table("ntk", (1.0, 1 / scale))]
    assert all(torch.equal(a, b[:, KEY // 4 : KEY // 4 + pairs]) for a, b in zip(rows, table("linear")))


def test_yarn_slows_slow_pairs_and_sharpens():
    """Pairs that turn less than once over the length learned are linear; cos and sin grow by 0.1 ln s + 1."""
    pairs, scale = KEY // 8, 2.0
    cos, sin = (part[:8, -pairs:] for part in table("yarn", (1.0, 1 / scale)))
    sharper = 1 + 0.1 * math.log(scale)
    torch.testing.assert_close(cos**2 + sin**2, torch.full_like(cos, sharper**2))
    frequency = 100.0 ** (-torch.arange(pairs) / pairs)
    turns = 4 * frequency / (2 * math.pi)  # over the 4 columns learned: all less than once
    assert (turns < 1).all()
    torch.testing.assert_close(
        cos / sharper, (torch.arange(8)[:, None] * frequency / scale).cos(), atol=1e-5, rtol=1e-5
    )
    position = torch.zeros(1, 8, 7)
    position[..., 2], position[..., 3:5], position[..., 6] = torch.arange(8), 1, 0
    position[..., 4], position[..., 6] = (
        scale,
        1e6,
    )  # learned so long that the fastest turn more than 32 times
    fast = rotation(position, KEY)[0][0, :, -pairs:] / sharper
    torch.testing.assert_close(fast, (torch.arange(8)[:, None] * frequency).cos(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["linear", "ntk", "yarn"])
def test_attention_inside_a_picture_depends_on_offsets_alone(positions):
    cos, sin = table(positions, (0.5, 0.5))
    rng = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, KEY, generator=rng)
    scores = (rotate(q.expand(48, -1), cos, sin) @ rotate(k.expand(48, -1), cos, sin).T).view(6, 8, 6, 8)
    for rows, columns in ((0, 1), (2, 3), (1, 0)):
        same = [scores[r + rows, c + columns, r, c] for r in range(6 - rows) for c in range(8 - columns)]
        torch.testing.assert_close(torch.stack(same), same[0].expand(len(same)), atol=2e-5, rtol=2e-5)


def test_text_beside_a_picture_of_other_frequencies_turns_as_ever():
    document = [*b"some text", Picture(BLANK, False, 0, (0.5, 0.5), positions="yarn"), *b"and more"]
    plain = [*b"some text", Picture(BLANK, False), *b"and more"]
    wide, usual = (rotation(pack([one], 80, blocks).position, KEY)[0][0] for one in (document, plain))
    text = [*range(9), *range(57, 65)]
    assert torch.equal(wide[text], usual[text]) and not torch.equal(wide[9:57], usual[9:57])
