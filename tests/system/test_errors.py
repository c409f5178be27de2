"""Which errors are a lack of memory."""

import pytest
import torch

from rawmm_cli.system.errors import is_out_of_memory


@pytest.mark.parametrize(
    "error, expected",
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4096 bytes."),
            True,
        ),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False),
        (ValueError(), False),
    ],
)
def test_errors_for_lack_of_memory(error, expected):
    assert is_out_of_memory(error) == expected


def test_the_error_of_torchs_allocator():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
