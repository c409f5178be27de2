"""What the tests on a card share: tiny models of the package's parts, the same noise on two devices,
distances of tensors, short runs."""

import math

import torch
from combinations import COMBINATIONS, made
from helpers import BACKBONES, CODECS, FORMS, HEADS
from training_runs import settings, single_thread

from rawmm_cli.core.batch import pack
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.runs import loading
from rawmm_cli.training.train import train

CPU = torch.device("cpu")
# Toys stay at home: they make tensors on the CPU.
PARTS = [c for c in COMBINATIONS if c[0] in HEADS and c[1] in BACKBONES | FORMS and c[2] in CODECS]


def far(one, other):
    """|one - other| / |other| over all values: one number, whatever the size of a single value."""
    one, other = (x.detach().cpu().double() for x in (one, other))
    return ((one - other).norm() / other.norm().clamp_min(1e-12)).item()


def on(device, combination, documents, length=96, seen=None):
    """-> (model, batch) on the device; the model corrupts as `seen` says, where it is given: noise of a GPU
    is not that of a CPU."""
    model = made(combination).to(device)
    batch = pack(documents, length, model.blocks).to(device)
    if seen is not None:
        there = type(seen)(*(x.to(device) for x in seen))
        model.head.corrupt = lambda tokens, pictures: there
    return model, batch


def backward(model, batch, precision="fp32", forward=None):
    """-> losses as numbers (total, text, image), and {name: gradient} on the CPU."""
    device = batch.tokens.device.type
    model.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        losses = joint_loss(model, batch, forward=forward)
    losses.total.backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return [loss.item() for loss in losses], gradients


def joined(gradients):
    """All gradients as one vector."""
    return torch.cat([gradient.flatten().double() for gradient in gradients.values()])


def go(data, run, device, *words, until=math.inf):
    """A short run of preset tiny on a device, left as if killed after the step that reaches `until` documents
    -> all records."""
    loop, lines = train(settings("train.workers=0", *words), data, run, device, lambda message: None), []
    with single_thread():
        for record in loop:
            lines.append(record)
            if record["documents"] >= until:
                loop.close()
    return lines


def weights(checkpoint, name="ema"):
    """All tensors of a file of a checkpoint as one vector."""
    return torch.cat(
        [value.flatten().double() for _, value in sorted(loading.tensors(checkpoint, name).items())]
    )
