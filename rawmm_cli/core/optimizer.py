"""Optimizers and the learning rate.

AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) for everything, or Muon (Jordan 2024; `torch.optim.Muon`) for the
hidden matrices and AdamW for the rest. Hidden are the matrices of the backbone; embeddings, inputs, outputs, norms and
vectors are not. Weight decay acts on hidden matrices only.
"""

import torch

from .config import Train


def optimizers(model: torch.nn.Module, train: Train) -> list[torch.optim.Optimizer]:
    """One or two optimizers that together own every parameter once. Groups carry their full rate as `base`."""
    matrices = [module.weight for module in model.backbone.modules() if isinstance(module, torch.nn.Linear)]
    hidden = {id(p) for p in matrices}
    rest = [{"params": [p for p in model.parameters() if id(p) not in hidden], "weight_decay": 0.0}]
    decay, adam = train.weight_decay, {"lr": train.learning_rate, "betas": train.betas, "fused": True}
    if train.optimizer == "muon":
        made = [torch.optim.AdamW(rest, **adam),
                torch.optim.Muon(matrices, lr=train.muon_learning_rate, weight_decay=decay, momentum=0.95)]
    else:
        made = [torch.optim.AdamW([*rest, {"params": matrices, "weight_decay": decay}], **adam)]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["base"] = group["lr"]
    return made


def rate(train: Train, documents: int) -> float:
    """Share of the full learning rate after so many documents: linear warm-up, constant, linear decay to zero."""
    total = train.documents
    warm = min(1.0, (documents + train.batch) / train.warmup) if train.warmup else 1.0
    tail = train.decay * total
    return warm * (min(1.0, max(0.0, total - documents) / tail) if tail else 1.0)


def set_rate(made: list[torch.optim.Optimizer], share: float) -> None:
    """Every group learns at `share` of its base rate."""
    for optimizer in made:
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * share


def state(made: list[torch.optim.Optimizer], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All optimizer state as flat tensors, `PARAMETER/KEY`."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {f"{names[id(p)]}/{key}": value for optimizer in made for p, values in optimizer.state.items()
            for key, value in values.items()}


def load_state(made: list[torch.optim.Optimizer], model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `state`."""
    owner = {id(p): optimizer for optimizer in made for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        path, key = name.rsplit("/", 1)
        parameter = parameters[path]
        # AdamW keeps its step count on the parameter's device only when fused on a GPU; `to` covers both
        owner[id(parameter)].state[parameter][key] = tensor.to(parameter.device)
