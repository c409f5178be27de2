"""Ranks, the processes that train one model together: their numbers, how the model is sharded, collectives.

    none   one process
    ddp    every rank holds the whole model; gradients are averaged (Li et al. 2020, arXiv 2006.15704)
    fsdp   every rank holds a part of each layer and gathers a layer while it works (Zhao et al. 2023, arXiv
           2304.11277; torch's `fully_shard`)

Ranks are told who they are by the environment (RANK, WORLD_SIZE, LOCAL_RANK), as torchrun and `launch.py` set
it. A rank that a launcher started alone (`torchrun --nproc-per-node 1`) joins a group and is sharded as
several are."""

import os
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .errors import ConfigError, RankError
from .launch import joined


@dataclass(frozen=True)
class Ranks:
    """Rank `rank` of `size` processes, the `local`-th of `here` on its machine.

    launched: a launcher started it, so that it joins a group even where it is the only rank. shared: the
    ranks of a machine work on one GPU, for tests: NCCL refuses that, so they talk through gloo."""

    rank: int = 0
    size: int = 1
    local: int = 0
    here: int = 1
    launched: bool = False
    shared: bool = False

    @property
    def grouped(self) -> bool:
        """Whether this rank is in a process group."""
        return self.size > 1 or self.launched

    @property
    def first(self) -> bool:
        """Whether this rank is the one that writes and speaks."""
        return self.rank == 0


ALONE = Ranks()
# Groups that are done. Freeing one joins gloo's threads with the GIL held, for which they may be waiting.
KEPT = []


def from_environment(device: str = "auto") -> Ranks:
    """Who this process is. device: as given by the user; 'cuda:N' is one GPU for all ranks of the machine.

    Raises ConfigError where the variables are not numbers or do not fit each other."""
    if not joined():
        return ALONE
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", min(size, max(1, torch.cuda.device_count()))))
    except ValueError:
        rank, size, local, here = -1, 0, 0, 1
    if not 0 <= rank < size:
        raise ConfigError(
            f"RANK={os.environ['RANK']} and WORLD_SIZE={os.environ['WORLD_SIZE']} do not fit; "
            "set both through torchrun, or unset both"
        )
    launched = "MASTER_ADDR" in os.environ  # some schedulers set RANK=0 and WORLD_SIZE=1, without a launcher
    return Ranks(rank, size, local, here, launched, shared=here > 1 and device.startswith("cuda:"))


@contextmanager
def started(ranks: Ranks, device: torch.device, timeout: float):
    """The process group, gloo for the CPU and NCCL for GPUs (gloo where ranks share one), while the block
    runs. `timeout`: seconds that a rank waits for the others before it gives up."""
    if not ranks.grouped:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _translated():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" and not ranks.shared else "gloo",
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=timedelta(seconds=timeout),
        )
    with _translated():
        yield
    KEPT.append(dist.group.WORLD)
    dist.destroy_process_group()  # not after an error: others would see it before its cause


@contextmanager
def _translated():
    """Raise RankError in place of what torch raises when another rank is gone."""
    try:
        yield
    except RuntimeError as error:
        if not is_rank_error(error):
            raise
        raise RankError(
            f"another rank died or did not answer in time ({str(error).splitlines()[0][:160]}); "
            "the last checkpoint is intact; run the same command again"
        ) from error


def is_rank_error(error: BaseException) -> bool:
    """Whether torch says that a collective failed."""
    words = (
        "gloo",
        "Connection closed",
        "Connection reset",
        "NCCL",
        "Timed out waiting",
        "Broken pipe",
        "TCPStore",
        "wait timeout",
        "Socket Timeout",
        "application error",
    )
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(w in str(error) for w in words)
    )


def all_gather(ranks: Ranks, values: list[float]) -> list[list[float]]:
    """The same few numbers of every rank, in order of rank: whatever is decided from them is decided alike
    everywhere."""
    if ranks.size == 1:
        return [values]
    own = torch.tensor(values, dtype=torch.float64)
    gathered = [torch.empty_like(own) for _ in range(ranks.size)]
    dist.all_gather(gathered, own)
    return [item.tolist() for item in gathered]


def largest(ranks: Ranks, value: torch.Tensor) -> torch.Tensor:
    """The largest of a number of every rank, on the device and without waiting for it."""
    if ranks.size > 1:
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return value


def broadcast(ranks: Ranks, value: Any) -> Any:
    """The value that the first rank has (text, numbers, lists), on every rank."""
    if ranks.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def barrier(ranks: Ranks) -> None:
    """Wait until every rank is here."""
    if ranks.size > 1:
        all_gather(ranks, [0.0])


# -------------------------------------------------------------------------------------------------- the model


def shard(model: nn.Module, parallel: str, ranks: Ranks, device: torch.device) -> nn.Module:
    """Shard every layer of the backbone and then the rest, in place, where `parallel` is fsdp. Call it before
    optimizers are made."""
    if parallel == "fsdp" and ranks.grouped:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device.type, (ranks.size,))
        for part in (*model.backbone.layers, model):
            fully_shard(part, mesh=mesh)
            part.set_force_sum_reduction_for_comms(ranks.shared)  # a gloo of GPUs may know sums alone
            if (
                ranks.size == 1
            ):  # torch fails where its buffers are first made under inference_mode, by a preview
                part.unshard()
                part.reshard()
    return model


def wrap(model: nn.Module, parallel: str, ranks: Ranks) -> nn.Module:
    """What is called in place of the model when training, so that gradients are averaged over the ranks."""
    if parallel == "ddp" and ranks.grouped:
        return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    return model


def synchronised(wrapped: nn.Module, on: bool) -> AbstractContextManager:
    """A context in which gradients are averaged (the last micro-batch of a step) or only summed up (the
    others)."""
    if isinstance(wrapped, nn.parallel.DistributedDataParallel):
        return nullcontext() if on else wrapped.no_sync()
    if hasattr(wrapped, "set_requires_gradient_sync"):
        wrapped.set_requires_gradient_sync(on)
    return nullcontext()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor gathered (every rank must ask), any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A whole tensor on the target's device, and sharded as the target is: this rank keeps its part."""
    value = value.to(target.device)
    if not hasattr(target, "device_mesh"):
        return value
    from torch.distributed.tensor import DTensor, Replicate

    mesh = target.device_mesh
    return DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim, run_check=False).redistribute(
        mesh, target.placements
    )
