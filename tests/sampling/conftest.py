"""Fixtures that the tests of sampling share."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in, with pictures: noise of 8 x 8, noise of 12 x 8, masks of 8 x 8."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (8, 8, 3)), ("b.png", (8, 12, 3)), ("with space.png", (8, 8, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(name)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(mask * 0).save("black.png")
    Image.fromarray(mask[:4]).save("small.png")
    return tmp_path
