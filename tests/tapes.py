"""What stands in for a CUDA graph where there is no GPU: a tape of the operations on the tensors that they
were done on. Played again, it does the same on the same memory, whatever Python would do now, as a graph."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rawmm_cli.core import drawing, graphs

# what waits for a GPU, or brings numbers from the host
FORBIDDEN = (
    "_local_scalar_dense",
    "item",
    "nonzero",
    "lift_fresh",
    "equal",
    "masked_select",
    "unique",
    "bincount",
)


class Tape(TorchDispatchMode):
    """As `graphs.Captured`. made: how many there were; played: how often."""

    made = played = 0

    def __init__(self, work, inputs):
        super().__init__()
        self.inputs, self.operations = [x.clone() for x in inputs], []
        with self:
            self.output = work(*self.inputs)
        self.output.fill_(7)  # a graph that was captured has not run yet
        Tape.made += 1

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        if name in FORBIDDEN:
            raise RuntimeError(f"{name} while capturing")
        result = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    def __call__(self, *inputs):
        for own, new in zip(self.inputs, inputs):
            own.copy_(new)
        for operation, args, kwargs, result in self.operations:
            for old, new in zip(tensors(result), tensors(operation(*args, **kwargs))):
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)  # the memory of the first time
        Tape.played += 1
        return self.output.clone()


def tensors(result):
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def use(monkeypatch):
    """Draw by tapes from now on."""
    monkeypatch.setattr(graphs, "Captured", Tape)
    monkeypatch.setattr(drawing.Network, "_is_small", lambda self: True)
    monkeypatch.setattr(Tape, "made", 0)
    monkeypatch.setattr(Tape, "played", 0)
