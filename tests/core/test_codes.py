"""Codes drawn from logits: against counts, torch's multinomial law and the writer of text."""

import numpy as np
import pytest
import torch

from rawmm_cli.core import denoising
from rawmm_cli.core.codes import collapse, pick, probabilities
from rawmm_cli.core.drawing import Sampling
from rawmm_cli.core.generate import choose
from rawmm_cli.core.heads import autoregressive, masked
from rawmm_cli.core.text_tokenizer import LINE_END, VOCABULARY

LOGITS = torch.tensor([[1.0, -0.5, 2.0, 0.3, -1.0]])


def even(count):
    """The middles of `count` equal parts of [0, 1)."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_even_numbers_give_the_distribution_itself(temperature):
    codes = pick(LOGITS.expand(100_000, -1), even(100_000), temperature)
    share = torch.bincount(codes, minlength=5) / 100_000
    torch.testing.assert_close(share, (LOGITS[0] / temperature).softmax(-1), atol=2e-5, rtol=0)


def test_without_temperature_the_likeliest_code():
    assert pick(LOGITS.expand(3, -1), torch.tensor([0.0, 0.5, 0.999]), 0.0).tolist() == [2, 2, 2]


def test_a_temperature_near_0_is_that_of_the_likeliest_code():
    logits = torch.tensor([[0.0, 3.0, 2.9], [5.0, -1.0, 4.0]])
    for temperature in (1e-300, 1e-30):
        assert pick(logits, torch.tensor([0.999, 0.0]), temperature).tolist() == [1, 0]
    assert pick(logits * 1e6, torch.tensor([0.999, 0.0])).tolist() == [1, 0]


@pytest.mark.parametrize("top_k, allowed", [(1, {2}), (2, {0, 2}), (3, {0, 2, 3}), (5, set(range(5)))])
def test_top_k(top_k, allowed):
    codes = pick(LOGITS.expand(10_000, -1), even(10_000), top_k=top_k)
    assert set(codes.tolist()) == allowed
    kept = LOGITS[0].softmax(-1)[sorted(allowed)]
    share = torch.bincount(codes, minlength=5)[sorted(allowed)] / 10_000
    torch.testing.assert_close(share, kept / kept.sum(), atol=2e-4, rtol=0)


@pytest.mark.parametrize("top_p", [0.001, 0.5, 0.75, 0.9, 1.0])
def test_top_p_keeps_what_the_writer_of_text_keeps(top_p):
    """`generate.choose` is the same rule for tokens of text."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (1, VOCABULARY))).float()
    logits[:, LINE_END:] = -torch.inf  # bytes of text alone
    kept = set(probabilities(logits, top_p=top_p)[0].nonzero()[:, 0].tolist())
    sampling, tokens = Sampling(temperature=1.0, top_p=top_p), set()
    for n in range(2000):
        tokens |= set(choose(logits, [False], [n], sampling))
    assert tokens <= kept and (len(kept) > 20 or tokens == kept)


def test_extreme_numbers_and_logits_give_codes_that_exist():
    logits = torch.tensor([[-1e30, 5.0, -1e30], [0.0, -1e30, -1e30]])
    for number in (0.0, 1 - 2.0**-53, 1.0):
        assert pick(logits, torch.full((2,), number)).tolist() == [1, 0]


def test_ties_are_kept_in_order_and_never_more_than_k():
    chances = probabilities(torch.zeros(1, 6), top_k=2)
    assert chances.tolist() == [[0.5, 0.5, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "drawing, told",
    [
        (None, []),
        (denoising.Drawing(), []),
        (autoregressive.Drawing(), []),
        (autoregressive.Drawing(code_temperature=0), ["code_temperature"]),
        (masked.Drawing(), []),
        (masked.Drawing(order="halton", order_temperature=0), []),
        (masked.Drawing(order_temperature=0), ["order_temperature"]),
        (masked.Drawing(order_temperature=0, code_temperature=0), ["code_temperature", "order_temperature"]),
    ],
)
def test_temperatures_at_which_pictures_become_alike_are_told(drawing, told):
    lines = collapse(drawing)
    assert [line.split(" = 0 ")[0] for line in lines] == told
    assert all("pictures of a prompt become alike" in line for line in lines)
