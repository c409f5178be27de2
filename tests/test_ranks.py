"""Several ranks: the same run whatever their number, and no step lost however one of them ends."""

import pytest
import torch
from launching import observed, together
from test_train import assert_equal_runs, everything, settings

from rawmm_cli.core import checkpoint
from rawmm_cli.core.distributed import ALONE

pytestmark = pytest.mark.usefixtures("one_thread")

def test_x(few_digits, tmp_path):
    import time
    for size, words in [(1, ()), (2, ()), (2, ("train.parallel=fsdp",)), (3, ("train.batch=12",))]:
        t = time.time()
        found = together(size, observed, settings(*words), few_digits, tmp_path / f"{size}{words}")
        print(size, words, time.time() - t, [type(f) for f in found])
        print(found[0]["records"][-1] if isinstance(found[0], dict) else found)
    assert 0
