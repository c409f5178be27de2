"""How much training makes a model at all."""

import pytest

from rawmm_cli.config import enough, presets
from rawmm_cli.runs.models import shipped


@pytest.mark.parametrize(
    "warmup, batch, documents, least",
    [(1000, 64, None, 6400), (4000, 64, None, 8000), (1000, 64, 100_000, 10_000), (0, 1, None, 100)],
)
def test_the_least(warmup, batch, documents, least):
    """Twice the warm-up, 100 steps, and by time a tenth of the preset's documents: the most of them."""
    assert enough.least(warmup, batch, documents) == least
    assert enough.too_few(least, warmup, batch, documents) == ""
    line = enough.too_few(least - 1, warmup, batch, documents)
    assert line == (f"{least - 1:,} documents are too few, about {least:,} are the least; expect noise")


def test_every_preset_trains_enough():
    """But for the one of the tests, which learns nothing useful in a few seconds."""
    for name in [name for name in presets.names() if presets.load(name).data.set != "auto"]:
        train = presets.load(name).train
        few = enough.too_few(train.documents, train.warmup, train.batch, train.documents)
        assert bool(few) == (name == "tiny"), name
    assert shipped()
