"""When the GPU has nothing to do: how much of a step, and what the host did meanwhile."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from unittest import mock

import torch
from torch.autograd import DeviceType
from torch.profiler import record_function

MARK = "part: "
BETWEEN = "between steps"
LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaMemcpy", "cudaMemset", "cudaGraphLaunch")
MOST = 20
Span = tuple[float, float]


@contextmanager
def marked() -> Iterator[None]:
    """While the block runs, the parts of a training step stand in what torch's profiler records."""
    from rawmm_cli.training import step, train

    places = {
        "forward": (step, "joint_loss"),
        "backward": (torch.Tensor, "backward"),
        "clipping": (torch.nn.utils, "clip_grad_norm_"),
        "optimizer": (step, "_update"),
        "averages": (step, "_average"),
        "rest of a step": (train, "begin_step"),
        "waiting for the numbers": (train, "finish_step"),
    }
    with ExitStack() as patches:
        for part, (owner, name) in places.items():
            patches.enter_context(mock.patch.object(owner, name, _in_part(part, getattr(owner, name))))
        yield


def _in_part(part: str, function):
    def recorded(*arguments, **named):
        with record_function(MARK + part):
            return function(*arguments, **named)

    return recorded


def gaps(profiled, work: list[tuple[str, float, Span]], steps: int) -> dict:
    """-> {idle: rows, a part of the host's work each; gaps: rows, the largest first}. work: (name, seconds,
    (begin, end)) of all that the GPU did in so many steps."""
    host = [event for event in profiled.events() if event.device_type == DeviceType.CPU]
    parts = [(event.name[len(MARK) :], _span(event)) for event in host if event.name.startswith(MARK)]
    operations = [(event.name, _span(event)) for event in host if not event.name.startswith(MARK)]
    holes = list(_holes(work))
    whole = max(end for _, _, (_, end) in work) - min(begin for _, _, (begin, _) in work)
    idle, launches = defaultdict(float), defaultdict(int)
    for _, _, hole in holes:
        for part, seconds in _by_part(hole, parts).items():
            idle[part] += seconds
    for name, (begin, _) in operations:
        if name.startswith(LAUNCHES):
            launches[_part_at(begin, parts)] += 1
    names = sorted(idle.keys() | launches.keys(), key=lambda part: -idle[part])
    largest = sorted(holes, key=lambda hole: hole[2][0] - hole[2][1])[:MOST]
    return {
        "idle": [
            {
                "the host is at": part,
                "GPU idle, ms a step": 1e3 * idle[part] / steps,
                "share": idle[part] / whole,
                "launches a step": round(launches[part] / steps),
            }
            for part in names
        ],
        "gaps": [
            {
                "ms": 1e3 * (end - begin),
                "the host is at": _part_at((begin + end) / 2, parts),
                "operation": _operation((begin + end) / 2, operations),
                "after": before[:48],
                "before": after[:48],
            }
            for before, after, (begin, end) in largest
        ],
    }


def _span(event) -> Span:
    """Begin and end of an event in seconds."""
    return event.time_range.start * 1e-6, event.time_range.end * 1e-6


def _holes(work: list[tuple[str, float, Span]]) -> Iterator[tuple[str, str, Span]]:
    """(what ran before, what runs after, (begin, end)) of the times in which nothing runs."""
    last, until = "", float("inf")
    for name, _, (begin, end) in sorted(work, key=lambda one: one[2]):
        if begin > until:
            yield last, name, (until, begin)
        if last == "" or end > until:
            last, until = name, end


def _by_part(hole: Span, parts: list[tuple[str, Span]]) -> dict[str, float]:
    """Seconds of a hole in each part of the host's work. A part inside of another counts for itself alone."""
    edges = sorted({*hole, *(x for _, span in parts for x in span if hole[0] < x < hole[1])})
    seconds = defaultdict(float)
    for begin, end in pairwise(edges):
        seconds[_part_at((begin + end) / 2, parts)] += end - begin
    return seconds


def _part_at(time: float, parts: list[tuple[str, Span]]) -> str:
    """The innermost part of the host's work at a time."""
    return next(reversed(_around(time, parts)), BETWEEN)


def _operation(time: float, operations: list[tuple[str, Span]]) -> str:
    """What the host does at a time: the two innermost operations, of whichever thread."""
    return " > ".join(name[:48] for name in _around(time, operations)[-2:]) or "nothing that torch records"


def _around(time: float, spans: list[tuple[str, Span]]) -> list[str]:
    """Names of the spans in which a time lies, the innermost last."""
    around = [(begin, -end, name) for name, (begin, end) in spans if begin <= time < end]
    return [name for _, _, name in sorted(around)]
