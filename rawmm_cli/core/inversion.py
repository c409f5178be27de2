"""Pictures to noise and back: the probability-flow ODE of a model, walked both ways.

From the picture (t = 0) to the noise from which the model would draw exactly this picture (t = 1), and back
(Song et al. 2021, arXiv 2011.13456, section 4.3). The ODE has one solution through every point, so the way
there and back is lossless in the limit of small steps; how far it is from that at a given number of steps is
what `reconstruct` reports."""

from typing import cast

import torch
from torch import Tensor

from .denoising import Denoising
from .drawing import Sampling, predictor
from .model import RawModel
from .noise import rectified
from .solvers import SOLVERS
from .text_tokenizer import BOS, IMAGE

BEGIN = 0.05  # at t = 0 the velocity (x - clean) / t is not defined, and an error of `clean` is divided by t


@torch.inference_mode()
def ode(
    model: RawModel, pictures: Tensor, steps: int, solver: str = "heun", learned: int | None = None
) -> tuple[Tensor, Tensor]:
    """(n, 3, H, W) uint8 -> the same through noise and back, and that noise (n, N, P), N(0, scale^2) if the
    model were perfect.

    Unconditional, without guidance, which would be another ODE. Steps are in proportion to t, as the velocity
    changes; fp32. learned: side of the pictures whose place these take (`data.stretch`)."""
    height, width = pictures.shape[2:]
    settings = Sampling(size=(height, width), learned=None if learned is None else (learned, learned))
    head = cast(Denoising, model.head)
    predict = predictor(model, [[BOS, IMAGE]] * len(pictures), settings)
    predict = head.of_patches(predict, model.codec.grid(height, width))

    def denoise(z: Tensor, t: float) -> Tensor:
        output = predict(z, t).guided
        return head.clean(output, z, torch.full((1,), float(t), device=z.device))

    up = [BEGIN ** (1 - step / steps) for step in range(steps + 1)]
    clean = model.codec.encode(pictures.to(model.words.weight.device))
    noise = SOLVERS[solver](denoise, rectified, clean, up)
    back = SOLVERS[solver](denoise, rectified, noise, up[::-1])
    return model.codec.decode(back, model.codec.grid(height, width)[0]).cpu(), noise.cpu()
