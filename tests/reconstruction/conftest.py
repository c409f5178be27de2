"""Fixtures that the tests of reconstruction share."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Pictures of many sizes and modes, and one that is broken."""
    generator = np.random.default_rng(0)
    for n, (size, mode) in enumerate(
        (
            ((8, 8), "RGB"),
            ((8, 8), "RGB"),
            ((12, 8), "L"),
            ((9, 13), "P"),
            ((9, 13), "RGBA"),
            ((20, 8), "CMYK"),
            ((5, 4), "1"),
        )
    ):
        values = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(values).convert(mode).save(tmp_path / f"{n}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.fromarray(generator.integers(0, 65536, (8, 8), dtype=np.uint16)).save(tmp_path / "7.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    return tmp_path
