"""Losses on held-out documents while training, as the records of steps have them for those trained on."""

import torch

from ..config.model import Config
from ..core.batch import pack, size
from ..core.loss import joint_loss
from ..core.model import RawModel
from ..data.prepared import Prepared, PreparedDocuments, evenly_spaced
from ..data.stream import Stream

COUNT = 64  # documents


@torch.inference_mode()  # as drawings: FSDP keeps what it gathers in one mode
def losses(model: RawModel, config: Config, held_out: Prepared | PreparedDocuments) -> dict[str, float]:
    """Mean losses of COUNT documents of the held-out split: `held_out_text` and `held_out_image`, where there
    are such.

    The documents are made as those trained on (read, drawn, captions dropped) and always the same ones, with
    the same noise; few pictures come several times, with other noise. `evaluation/losses.py` measures all of
    the split."""
    tokens, train = model.tokenizer.encode, config.train
    stream = Stream(
        [held_out], train.seed, config.data, length=train.length, encode=tokens, blocks=model.blocks
    )
    rows = evenly_spaced(len(held_out), COUNT)
    plans = [stream.plan_of(0, rows[n % len(rows)], n) for n in range(COUNT)]
    documents = [stream.finish(plan) for plan in plans]
    documents = [one for one in documents if size(one, model.blocks) <= train.length]
    chunk, sums, counts = max(1, train.batch // train.accumulate), [0.0, 0.0], [0, 0]
    for first in range(0, len(documents), chunk):
        batch = pack(documents[first : first + chunk], train.length, model.blocks)
        batch = batch.to(model.words.weight.device)
        measured = joint_loss(model, batch)
        for n, (loss, learned) in enumerate(zip((measured.text, measured.image), batch.learned)):
            sums[n], counts[n] = sums[n] + loss.item() * learned, counts[n] + learned
    pairs = zip(("held_out_text", "held_out_image"), sums, counts)
    return {name: total / count for name, total, count in pairs if count}
