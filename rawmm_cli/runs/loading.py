"""A model of a run, made ready for use."""

import torch

from ..core.model import RawModel


@torch.no_grad()
def for_sampling(model: RawModel) -> RawModel:
    """The same model, ready to be used and not trained. Matrices that widen lie in memory as their
    transposes: a token of text alone then takes half the time on a CPU (`docs/log.md`), and several rows no
    longer."""
    for module in model.modules():
        if (
            isinstance(module, torch.nn.Linear)
            and module.out_features > module.in_features
            and not module.weight.is_cuda
        ):
            module.weight.data = module.weight.data.t().contiguous().t()
    return model.eval()
