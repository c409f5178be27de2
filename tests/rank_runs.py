"""Settings of runs by several ranks, and what must be the same whatever their number."""

import pytest

FSDP = ("train.parallel=fsdp",)


EVERY = ("train.save_every=16", "train.log_every=16", "train.keep=99")


# 10 steps whose documents 1, 2 and 3 ranks can share; the checkpoint is that of step 5
SHARED = ("train.batch=12", "train.documents=120", "train.save_every=60", "train.log_every=12")


def same_losses(found, wanted, rel=1e-5):
    """Losses, norms and rates to `rel`; steps and documents exactly."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        for name in ("loss", "text", "image", "gradient_norm", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=rel), (name, one["step"])
        for name in ("step", "documents"):
            assert one[name] == other[name]
