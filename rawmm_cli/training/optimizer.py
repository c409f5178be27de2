"""Optimizers and the learning rate.

AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) for everything, or Muon (Jordan 2024; `torch.optim.Muon`)
for the hidden matrices and AdamW for the rest. Hidden are the matrices of the backbone; embeddings, inputs,
outputs, norms and vectors are not. Weight decay acts on hidden matrices only."""

import math

import torch
from torch import Tensor

from ..config.codecs import CodecTrain
from ..config.model import Train
from ..core import flops
from ..system.distributed import like
from ..system.machine import has_bf16


class Muon(torch.optim.Muon):
    """torch's Muon with all matrices of one shape orthogonalised together: few large matmuls in place of many
    small ones, which on two cores takes half the time. Sharded matrices go torch's way."""

    @torch.no_grad()
    def step(self) -> None:
        """One update, with torch's settings, state and formula."""
        if any(hasattr(p, "device_mesh") for group in self.param_groups for p in group["params"]):
            super().step()
            return
        for group in self.param_groups:
            shapes: dict[torch.Size, list] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, matrices in shapes.items():
                self._update(group, matrices, group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1])))

    def _update(self, group: dict, matrices: list, rate: float) -> None:
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers, gradients = [self.state[p]["momentum_buffer"] for p in matrices], [p.grad for p in matrices]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        nesterov = torch.stack(torch._foreach_lerp(gradients, buffers, group["momentum"]))
        updates = orthogonal(nesterov, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(
            matrices[0].dtype
        )
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, updates.unbind(0), alpha=-rate)


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """(N, A, B) -> (N, A, B): singular values pushed towards 1 by Newton-Schulz iterations of degree 5
    (Jordan 2024), X <- a X + (b X X^T + c (X X^T)^2) X. In bf16, which is enough, where the hardware has
    it."""
    a, b, c = coefficients
    x = matrices.bfloat16() if has_bf16(matrices.device) else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(eps)).contiguous()
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def optimizers(model: torch.nn.Module, train: Train) -> list[torch.optim.Optimizer]:
    """One or two optimizers that together own every parameter once."""
    return owned(model, [linear.weight for linear in flops.hidden(model)], train)


def owned(
    model: torch.nn.Module, matrices: list[torch.nn.Parameter], train: Train | CodecTrain
) -> list[torch.optim.Optimizer]:
    """Optimizers of a model whose hidden matrices are `matrices`. Groups carry their full rate as `base`."""
    hidden = {id(p) for p in matrices}
    rest = [{"params": [p for p in model.parameters() if id(p) not in hidden], "weight_decay": 0.0}]
    decay, adam = train.weight_decay, {"lr": train.learning_rate, "betas": train.betas, "fused": True}
    if train.optimizer == "muon":
        optimizers = [
            torch.optim.AdamW(rest, **adam),
            Muon(matrices, lr=train.muon_learning_rate, weight_decay=decay, momentum=0.95),
        ]
    else:
        optimizers = [torch.optim.AdamW([*rest, {"params": matrices, "weight_decay": decay}], **adam)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base"] = group["lr"]
    return optimizers


def rate(train: Train, documents: int, remaining: float) -> float:
    """Share of the full learning rate: linear warm-up over documents, constant, and over the last `decay` of
    the run a linear fall to zero (warm-up-stable-decay, Hu et al. 2024, arXiv 2404.06395). `remaining`:
    share of the run to come."""
    warm = min(1.0, (documents + train.batch) / train.warmup) if train.warmup else 1.0
    return warm * (min(1.0, max(0.0, remaining) / train.decay) if train.decay else 1.0)


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Set the learning rate of every group to `share` of its base rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * share


def judges(optimizers: list[torch.optim.Optimizer]) -> bool:
    """Whether these optimizers look on the device whether a step is finite (`judge`): fused AdamW does, on
    a GPU that holds whole parameters."""
    return all(
        group.get("fused") and all(p.is_cuda and not hasattr(p, "device_mesh") for p in group["params"])
        for one in optimizers
        for group in one.param_groups
    )


def judge(optimizers: list[torch.optim.Optimizer], bad: Tensor) -> None:
    """Let the next step change nothing where `bad` is 1 and not 0, a fp32 scalar on the device: the protocol
    of torch's GradScaler, without a scale."""
    for one in optimizers:
        one.found_inf = bad


def state(optimizers: list[torch.optim.Optimizer], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All optimizer state as flat tensors, `PARAMETER/KEY`."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{names[id(p)]}/{key}": value
        for optimizer in optimizers
        for p, values in optimizer.state.items()
        for key, value in values.items()
    }


def load_state(
    optimizers: list[torch.optim.Optimizer], model: torch.nn.Module, tensors: dict[str, torch.Tensor]
) -> None:
    """The inverse of `state`."""
    owner = {
        id(p): optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for p in group["params"]
    }
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        path, key = name.rsplit("/", 1)
        parameter = parameters[path]
        # AdamW keeps its step count, a scalar, on the parameter's device only when fused on a GPU; `to`
        # covers both
        value = like(tensor, parameter) if tensor.ndim else tensor.to(parameter.device)
        if (
            value.shape == parameter.shape and value.stride() != parameter.stride()
        ):  # channels last: the fused kernel goes
            value = torch.empty_like(parameter).copy_(value)  # through both as they lie in memory
        owner[id(parameter)].state[parameter][key] = value
