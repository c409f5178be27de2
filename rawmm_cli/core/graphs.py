"""CUDA graphs: the same kernels on the same addresses, launched together.

A step of a drawing is some 700 small kernels, which a CPU launches one by one more slowly than a GPU computes
them. Captured once, they are one launch (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
A graph repeats kernels and addresses, not Python: whatever changes from call to call must be an input, and
whatever else is read must stay where it is.

Next: `drawing.py` draws with it."""

import logging
from collections.abc import Callable, Hashable
from functools import cache

import torch
from torch import Tensor

MOST = 8  # graphs of one `Graphs`
FAILED: list[torch.cuda.CUDAGraph] = []  # kept, as torch's allocator goes on asking them
Work = Callable[..., Tensor]


class Captured:
    """The kernels of `work(*inputs)` as a graph, with inputs and an output of its own.

    Raises RuntimeError where the work cannot be captured, as when it waits for the GPU."""

    def __init__(self, work: Work, inputs: tuple[Tensor, ...]):
        device = inputs[0].device
        self.inputs, self.graph = [x.clone() for x in inputs], torch.cuda.CUDAGraph()
        capture = torch.cuda.graph(
            self.graph, stream=_side_stream(device), capture_error_mode="thread_local"
        )  # other threads may go on using the GPU
        try:
            with torch.cuda.stream(torch.cuda.current_stream(device)), capture:  # the first one brings back
                self.output = work(*self.inputs)  # the stream where the second one fails
        except RuntimeError:
            FAILED.append(self.graph)
            raise

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What `work` returns for these inputs."""
        for own, new in zip(self.inputs, inputs):
            own.copy_(new)
        self.graph.replay()
        return self.output.clone()


class Graphs:
    """Work that is called again with inputs of the same shapes: the second call in a row is captured.

    Where a capture fails, the work goes on uncaptured in this process, with the same results."""

    def __init__(self) -> None:
        self.made: dict[Hashable, Work] = {}
        self._last: Hashable = None

    def __call__(self, name: Hashable, work: Work, *inputs: Tensor) -> Tensor:
        """work(*inputs). name: equal for calls that differ in their inputs alone."""
        key = name, *((x.shape, x.dtype) for x in inputs)
        again, self._last = key == self._last, key
        new = key not in self.made and len(self.made) < MOST and not FAILED
        if again and new:  # the first call has loaded the kernels
            try:
                self.made[key] = Captured(work, inputs)
            except RuntimeError as error:
                logging.getLogger(__name__).debug("not captured: %s", error)
                self.made[key] = work
        return self.made.get(key, work)(*inputs)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which everything is captured: cuBLAS keeps memory for each stream that it has seen."""
    return torch.cuda.Stream(device)
