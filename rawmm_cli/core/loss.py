"""The joint loss: the page to read first.

One batch holds text and pictures. Pictures to be drawn are corrupted and the model says what they were (the
head's loss); text is predicted token by token (cross entropy); pictures only read stay clean and are never
predicted.

    total = text weight * mean over predicted tokens  +  image weight * mean over drawn positions
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from .document import Batch
from .model import RawModel


class Losses(NamedTuple):
    """total = weighted sum; text: nats per predicted token; image: the head's loss. All scalars, fp32."""

    total: Tensor
    text: Tensor
    image: Tensor


class Shares(NamedTuple):
    """Which part of a step's predicted tokens, and of its drawn positions, one batch holds."""

    text: float = 1.0
    image: float = 1.0


def joint_loss(
    model: RawModel,
    batch: Batch,
    text_weight: float = 1.0,
    image_weight: float = 1.0,
    shares: Shares = Shares(),
    forward: Callable[..., Tensor] | None = None,
) -> Losses:
    """Documents in, three numbers out.

    Where a step is spread over several batches, `shares` makes their losses add up to the loss of one large
    batch. `forward`: what is called in place of the model (its DDP wrapper)."""
    tokens = model.encode(batch)  # (M N, P) or (M N, G) pixels as image tokens
    corrupted = model.head.corrupt(tokens, batch.pictures)  # where drawn
    hidden = (forward or model)(batch, corrupted.inputs, corrupted.time)  # (B L, D)
    image = shares.image * model.head.loss(model.predictions(hidden, batch), corrupted, batch.pictures)
    text = F.cross_entropy(model.text(hidden, batch.predict_at), batch.predict, reduction="sum")
    text = shares.text * text / max(len(batch.predict), 1)
    return Losses(text_weight * text + image_weight * image, text, image)
