"""How fast the model inside the package draws and writes on this machine.

    python -m benchmarks.sampling            # all parts, or: cold text cached many share

cold    the command `rawmm sample "a portrait of" --steps 10`, against `python -c "import torch"`
text    tokens a second, one text at a time
cached  a picture with guidance after a prefix of 100 tokens: the cached generator against the uncached one
many    64 prompts in one command against 64 commands; and the same inside one process
share   share of a denoising step spent outside matrix products and attention (torch's profiler)
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from .peers.clocks import middle

PROMPT = "a portrait of a smiling woman with long red hair, round glasses and a green hoodie"
PREFIX, MANY = 100, 64
# operations of a profile that are matrix products or parts of attention
PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::_softmax",
    "MaskedSoftmax",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
)


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="[default: all]")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for part in options.parts or PARTS:
        print(f"{part:<8}{PARTS[part](options.repeats)}", flush=True)


def loaded():
    """The model and its sampling settings, with the threads that every command chooses."""
    from rawmm_cli.system.threads import use_cpu

    use_cpu()
    import torch

    from rawmm_cli.config import build
    from rawmm_cli.runs import models

    loaded = models.load(models.find(Path("runs"), None, models.DEFAULT), torch.device("cpu"))
    return loaded.model, build.sampling(loaded.config)


def document(model, text: str) -> list:
    """A prompt that opens a picture."""
    from rawmm_cli.core.text_tokenizer import BOS, IMAGE

    return [BOS, *model.tokenizer.encode(text), IMAGE]


def command(*words: str) -> float:
    """Run Python in a process -> seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def cold(repeats: int) -> str:
    """Seconds of `rawmm sample` and of importing torch, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", "rawmm_cli", "sample", "a portrait of", "--steps", "10", "--out", folder)
        turns = [(command("-c", "import torch"), command(*words)) for _ in range(repeats + 1)][1:]
    both = [median(turn[n] for turn in turns) for n in range(2)]
    return (
        f"{both[1]:.2f} s; import torch {both[0]:.2f} s; difference {median(b - a for a, b in turns):.2f} s"
    )


def text(repeats: int) -> str:
    """Tokens a second of captions after "a portrait of"."""
    from rawmm_cli.core.generate import generate

    model, settings = loaded()
    prompt, written = document(model, "a portrait of")[:-1], []

    def write() -> None:
        captions = [
            generate(model, [prompt], [n], replace(settings, temperature=1.0, max_pictures=0))[0]
            for n in range(8)
        ]
        written.append(sum(len(caption) - len(prompt) for caption in captions))

    return f"{written[-1] / seconds:,.0f} tokens/s" if (seconds := middle(write, repeats)) else ""


def cached(repeats: int) -> str:
    """Speed of the cached generator relative to the uncached one, for the same picture."""
    from rawmm_cli.core import generate, reference
    from rawmm_cli.core.text_tokenizer import BOS, IMAGE

    model, settings = loaded()
    prompt = [BOS, *[model.tokenizer.encode("a")[0]] * (PREFIX - 2), IMAGE]
    turns = [
        [middle(lambda how=how: how.draw(model, [prompt], [0], settings), 1) for how in (generate, reference)]
        for _ in range(repeats)
    ]
    return (
        f"{median(b / a for a, b in turns):.2f} x ({median(a for a, _ in turns):.3f} s, {PREFIX} tokens "
        f"before the picture, {settings.drawing.steps} steps, guidance {settings.guidance:g})"
    )


def many(repeats: int) -> str:
    """Speed of 64 prompts at once: in one command against 64, and in one batch against 64 calls."""
    from rawmm_cli.core.generate import generate

    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", "rawmm_cli", "sample", PROMPT, "--out", folder)
        alone = median(command(*words) for _ in range(repeats))
        together = median(command(*words, "--count", str(MANY)) for _ in range(2))
    model, settings = loaded()
    import torch

    from rawmm_cli.system.machine import has_bf16

    prompt, settings = document(model, PROMPT), replace(settings, temperature=1.0)
    one = middle(lambda: generate(model, [prompt], [0], settings), repeats)
    batch = {
        p: middle(
            lambda p=p: generate(model, [prompt] * MANY, list(range(MANY)), replace(settings, precision=p)), 1
        )
        for p in ("fp32", *["bf16"] * has_bf16(torch.device("cpu")))
    }
    inside = ", ".join(f"in {p} {taken:.2f} s: {MANY * one / taken:.2f} x" for p, taken in batch.items())
    return (
        f"{MANY} commands {MANY * alone:.0f} s, one command {together:.1f} s: {MANY * alone / together:.1f} "
        f"x; in one process {MANY} x {one:.3f} s against one batch {inside}"
    )


def share(repeats: int) -> str:
    """Share of the time outside PRODUCTS, by the self time of operations."""
    from rawmm_cli.core.drawing import draw

    model, settings = loaded()
    from torch.profiler import ProfilerActivity, profile

    prompt, shares = document(model, PROMPT), []
    for count in (1, 16):
        draw(model, [prompt] * count, list(range(count)), settings)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for _ in range(repeats):
                draw(model, [prompt] * count, list(range(count)), settings)
        events = profiled.key_averages()
        inside = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
        total = sum(event.self_cpu_time_total for event in events)
        shares.append(f"{1 - inside / total:.0%} ({count} at a time)")
    return ", ".join(shares)


PARTS = {"cold": cold, "text": text, "cached": cached, "many": many, "share": share}

if __name__ == "__main__":
    main()
