"""Speed of drawing with patch128: one picture and 64, 10 steps, guidance; eager, by CUDA graphs, compiled."""

import statistics
import sys
import time
from contextlib import contextmanager

from .parts import one_line, part
from .train import Setup

COUNTS = (1, 64)
# how, precision
VARIANTS = (
    ("eager", "fp32"),
    ("graphs", "bf16"),
    ("eager", "bf16"),
    ("graphs", "fp32"),
    ("graphs", "tf32"),
    ("eager", "tf32"),
)
SECONDS, LEAST = 1.0, 3  # of repeating a drawing


def main() -> None:
    """Time each variant, then writing, then one picture by kernel, then what must be compiled first."""
    job = part("sampling")
    import torch

    from rawmm_cli.config import build, presets
    from rawmm_cli.core.text_tokenizer import IMAGE
    from rawmm_cli.data.stream import drawing, reading
    from rawmm_cli.profiling import bench
    from rawmm_cli.system import machine
    from rawmm_cli.system.threads import use_cpu

    use_cpu()
    device = machine.device(job.device)
    words = Setup("patch128", "dense", False).words(job.tiny)
    config = presets.load("patch128", [*words, "sample.steps=10", "sample.guidance=2.5"])
    model, settings = build.model(config, device).eval(), build.sampling(config)
    blank = torch.zeros(3, config.data.size, config.data.size, dtype=torch.uint8)
    prompt = drawing(bench.CAPTION, blank, 0)
    prompt = prompt[: prompt.index(IMAGE) + 1]
    for how, precision in variants(job.tiny, job.device):
        measured(job, model, prompt, settings, how, precision)
    count, picture = 4 if job.tiny else 64, reading(blank, "")[:-1]
    written, alone = (bench._writing(config, model, picture, n, device) for n in (count, 1))
    job.say(f"text: {written:,.0f} tokens/s of {count} at once, {alone:,.0f} of one")
    job.save(tokens_per_second=written, tokens_per_second_alone=alone)
    add_table(
        job,
        "writing",
        [{"texts at once": count, "tokens/s": written}, {"texts at once": 1, "tokens/s": alone}],
    )
    by_kernel(job, model, prompt, settings, device)
    if not job.tiny and job.remaining > 40:
        measured(job, model, prompt, settings, "compiled", "bf16")


def add_table(job, title: str, rows: list[dict]) -> None:
    """A table of the results, new or in place of an earlier one."""
    job.save(tables=job.values.get("tables", {}) | {title: rows})


def measured(job, model, prompt, settings, how: str, precision: str) -> None:
    """Time a variant, and report it. Layers that cannot be compiled with a cache are no problem."""
    rows, problems = job.values.setdefault("drawing", []), job.values.setdefault("problems", [])
    try:
        row = variant(job, model, prompt, settings, how, precision)
    except Exception as error:
        row = {"how": how, "precision": precision, "error": one_line(error)}
        if how != "compiled":
            problems.append(f"{how} {precision}: {row['error']}")
    rows.append(row)
    add_table(job, "drawing, 10 steps, guidance 2.5", rows)
    parts = [
        f"{name.removesuffix(', seconds')} {value * 1e3:.1f} ms"
        for name, value in row.items()
        if name.endswith(", seconds")
    ]
    parts += [f"{name}: {row[name]}" for name in row if name == "error" or "captured" in name]
    job.say(f"{how} {precision}: {', '.join(parts)}")


def variants(tiny: bool, device: str) -> list[tuple[str, str]]:
    """What is measured here."""
    if tiny:
        return [("eager", "fp32"), ("eager", "bf16")]
    return [one for one in VARIANTS if device == "cuda" or one[0] != "graphs"]


def variant(job, model, prompt, settings, how: str, precision: str) -> dict:
    """Seconds of one picture and of 64 -> a row."""
    import torch

    from rawmm_cli.system import machine

    row, device = {"how": how, "precision": precision}, machine.device(job.device)
    with prepared(model, how, precision):
        for count in (1, 4) if job.tiny else COUNTS:
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            work = drawer(model, prompt, settings, how, precision, count)
            first, seconds, spread = timed(work, device)
            name = "one picture" if count == 1 else f"{count} pictures"
            row |= {f"{name}, seconds": seconds, f"{name}, slowest": spread, f"{name}, first call": first}
            if how == "graphs":
                row[f"{name}, captured"] = captured(model)
            row[f"{name}, memory"] = machine.peak_memory(device)
    return row


def captured(model) -> bool:
    """Whether steps of the last drawing were repeated by a graph."""
    from rawmm_cli.core.graphs import Captured

    made = getattr(getattr(vars(model).get("network"), "graphs", None), "made", {})
    return any(isinstance(work, Captured) for work in made.values())


def drawer(model, prompt, settings, how: str, precision: str, count: int):
    """A function that draws `count` pictures, as a session does."""
    from rawmm_cli.core.drawing import draw
    from rawmm_cli.system.seeds import key

    chosen = settings.changed(precision="bf16" if precision == "bf16" else "fp32")
    keys = [key(0, "bench", n) for n in range(count)]
    return lambda: draw(model, [prompt] * count, keys, chosen, graphs=how == "graphs")


@contextmanager
def prepared(model, how: str, precision: str):
    """The model as a variant needs it, and then as it was."""
    import torch

    before, layers = torch.get_float32_matmul_precision(), model.backbone.layers
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    if how == "compiled":
        torch._dynamo.reset()
        for layer in layers:
            layer.forward = torch.compile(layer.forward, dynamic=False)
    vars(model).pop("network", None)  # what was kept for another variant
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        vars(model).pop("network", None)
        for layer in layers:
            vars(layer).pop("forward", None)


def timed(work, device) -> tuple[float, float, float]:
    """Seconds of the first call, the median of several others, and the slowest of these."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def once() -> float:
        wait()
        started = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - started

    first, spent = once(), []
    once()  # a graph may be made in the second call
    while sum(spent) < SECONDS or len(spent) < LEAST:
        spent.append(once())
    return first, statistics.median(spent), max(spent)


def by_kernel(job, model, prompt, settings, device) -> None:
    """One picture by kernel, eager in bf16: what a graph could save."""
    from .kernels import kernels

    try:
        with prepared(model, "eager", "bf16"):
            work = drawer(model, prompt, settings, "eager", "bf16", 1)
            _, seconds, _ = timed(work, device)
            profile = kernels(work, device, seconds)
    except Exception as error:
        return print(one_line(error), file=sys.stderr)
    if "kernels" not in profile:
        return None
    share = f"{profile['busy']:.0%} of the time busy, {profile['launches']:,} kernels"
    groups = [{"group": name, "share": value} for name, value in profile["groups"].items()]
    add_table(job, f"one picture, eager bf16: {share}", groups)
    add_table(job, "one picture: the largest kernels", profile["kernels"][:12])
    job.say(f"one picture, eager bf16: {share}")
    job.save(profile=profile)


if __name__ == "__main__":
    main()
