"""Seams of pictures whose steps are known."""

import math

import pytest
import torch

from rawmm_cli.metrics.seams import seam, steps


def ramp(side=8, slope=4):
    """Equal steps everywhere."""
    return (slope * torch.arange(side)).expand(2, 3, side, side).to(torch.uint8)


def test_equal_steps_have_no_seams():
    across, inside = steps(ramp(), 2)
    assert across.tolist() == inside.tolist() == [2.0, 2.0]  # 4 along rows, 0 along columns
    assert seam(ramp(), 2) == seam(ramp(), 4) == 1


def test_patches_of_one_colour_are_all_seams():
    image = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 9], [30, 30, 60, 60], [30, 30, 60, 60]])
    images = image.expand(1, 3, 4, 4).to(torch.uint8)
    across, inside = steps(images, 2)
    assert across.item() == pytest.approx((9 + 30 + 30 + 51) / 4) and inside.item() == 0
    assert math.isnan(seam(images, 2))


def test_a_step_at_a_border_counts_there():
    """One level along each row, and ten more at the borders of patches of 4."""
    row = torch.tensor([0, 1, 2, 3, 14, 15, 16, 17])
    images = row.expand(1, 3, 8, 8).to(torch.uint8)
    across, inside = steps(images, 4)
    assert across.item() == pytest.approx(11 / 2) and inside.item() == pytest.approx(1 / 2)
    assert seam(images, 4) == pytest.approx(11)
    assert seam(images.transpose(2, 3), 4) == pytest.approx(11)
    one_row, one_column = images[..., :4, :], images[..., :, :4]  # of patches
    assert seam(one_row, 4) == pytest.approx(22) and seam(one_column, 4) == 0


def test_without_pairs_there_is_nothing_to_compare():
    assert math.isnan(seam(ramp(), 1)) and math.isnan(seam(ramp(2), 2))
