"""Evaluator: what a drawing costs: evaluations of the network, positions, FLOPs, seconds, memory.

FLOPs are those of matmuls and convolutions, a multiplication and an addition as two, as torch counts them
where a picture is drawn; for one pass that is what the formulae of `core/flops.py` say (tested). The text
before the picture is a part of it, and so is the codec."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..core import drawing
from ..core.baselines.density import Density
from ..core.document import Document
from ..core.drawing import Sampling
from ..core.model import RawModel
from ..core.text_tokenizer import BOS, IMAGE
from ..system import machine
from ..system.seeds import key
from .subject import Subject

TOGETHER, SECONDS = 64, 2.0  # pictures that are drawn at once, and for how long at least


@dataclass(frozen=True)
class Cost:
    """Of a picture.

    evaluations: of the network, one after the other. positions: that it computes in all of them together, of
    a picture that is guided twice as many; of a baseline its own. flops: the text before the picture, the
    network and the codec; codec_flops: of the codec alone. seconds: where `together` are drawn at once;
    seconds_alone: of one. memory: bytes that drawing them at once adds, on a GPU at most, on a CPU to what is
    resident; None where that is not known."""

    evaluations: int
    positions: int
    flops: int
    codec_flops: int
    seconds: float
    seconds_alone: float
    together: int
    guidance: float
    device: str
    threads: int
    memory: int | None


def measure(subject: Subject) -> dict[str, Cost]:
    """Applies where pictures are drawn."""
    if not subject.draws:
        return {}
    model, settings = subject.loaded.model, subject.settings
    text = next((text for text in subject.held_out.all_texts() if text), "")
    room = settings.context - len(model.blocks(*settings.size).block) - 3
    prompt: Document = [BOS, *model.tokenizer.encode(text)[: max(0, room)], IMAGE]
    device = model.words.weight.device
    evaluations, positions = steps_of(model, prompt, settings)
    together = min(TOGETHER, subject.prompts)

    def draw(count: int) -> Callable[[], object]:
        keys = [key(subject.seed, "cost", n) for n in range(count)]
        return lambda: drawing.draw(model, [prompt] * count, keys, settings)

    flops, codec = flops_of(model, prompt, settings)
    memory = machine.added_memory(draw(together), device)  # and everything is warm
    seconds = machine.best(draw(together), device, SECONDS) / together
    return {
        "cost": Cost(
            evaluations=evaluations,
            positions=positions,
            flops=flops,
            codec_flops=codec,
            seconds=seconds,
            seconds_alone=machine.best(draw(1), device, SECONDS),
            together=together,
            guidance=settings.guidance,
            device=str(device),
            threads=torch.get_num_threads(),
            memory=memory,
        )
    }


@torch.inference_mode()
def steps_of(model: RawModel, prompt: Document, settings: Sampling) -> tuple[int, int]:
    """Evaluations of the network and positions that they compute, while one picture is drawn."""
    network = drawing.Network(model, [prompt], settings, graphs=False)
    network.begin([prompt], settings)
    calls: list[int] = []

    def predict(inputs: Tensor, time: float = 0.0, share: float = 1.0, at: Any = None) -> Any:
        prediction = network.predict(inputs, time, share, at)
        twice = prediction.unconditional is not prediction.conditional
        calls.append(prediction.guided.shape[1] * (1 + twice))
        return prediction

    with ExitStack() as stack:
        own = _watched(model.head)
        for module in own:  # of a baseline: `predict` only reads the caption
            hook = module.register_forward_hook(
                lambda module, given, out: calls.append(_tokens(given, model))
            )
            stack.callback(hook.remove)
        drawing.pictures_of(model, predict, [0], settings)
    calls = calls[1:] if own else calls
    return len(calls), sum(calls)


def _watched(head: Any) -> list[torch.nn.Module]:
    """Modules of a baseline that are called once an evaluation."""
    network = getattr(head, "network", None)
    if isinstance(head, Density):
        return [block.out for block in cast(Any, network).blocks]
    return [] if network is None else [network]


def _tokens(given: tuple, model: RawModel) -> int:
    """Positions that a baseline computes in one call: a token of each row, or all places of each picture."""
    first = given[0]
    if isinstance(model.head, Density):
        return len(first) * first.shape[1]
    return len(first) * first.shape[-2] * first.shape[-1]


def flops_of(model: RawModel, prompt: Document, settings: Sampling) -> tuple[int, int]:
    """FLOPs of one drawing behind the prompt, and of the codec's part of it."""
    whole = counted(lambda: drawing.draw(model, [prompt], [0], settings, graphs=False))
    height, width = settings.size
    with torch.inference_mode():
        tokens = model.codec.encode(torch.zeros(1, 3, height, width, dtype=torch.uint8).to(_device(model)))
        codec = counted(lambda: model.codec.decode(tokens, model.codec.grid(height, width)[0]))
    return whole, codec


def counted(work: Callable[[], object]) -> int:
    """FLOPs of what is computed, as torch counts them."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # which torch does not count
    with FlopCounterMode(display=False, custom_mapping={kernel: _attention}) as counter:
        work()
    return int(counter.get_total_flops())


def _attention(query: Any, key: Any, value: Any, *others: Any, out_shape: Any = None, **more: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _device(model: RawModel) -> torch.device:
    return model.words.weight.device
