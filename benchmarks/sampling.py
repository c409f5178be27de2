"""How fast the model inside the package draws and writes on this machine.

    python -m benchmarks.sampling            # all parts; or some of: cold text cached many share

cold    the command `rawmm sample "a portrait of" --steps 10` until it has ended, against `python -c "import
        torch"`
text    tokens a second, one text at a time
cached  a picture with guidance after a prefix of 100 tokens: the cached generator against the uncached one
many    64 prompts in one command against 64 commands; and inside one process
share   time of a denoising step that is spent outside matrix products and attention (torch's profiler)
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
# what the two matrix products and the softmax of attention, and the layers' products, are called in a profile
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
    """Options -> a line for each part."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts; all without")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    for part in given.parts or PARTS:
        print(f"{part:<8}{PARTS[part](given.repeats)}", flush=True)


def loaded():
    """-> model and its sampling settings, with threads as every command chooses them."""
    from rawmm_cli.system.threads import use_cpu

    use_cpu()
    import torch

    from rawmm_cli.config import build
    from rawmm_cli.runs import models

    found = models.load(models.find(Path("runs"), None, models.DEFAULT), torch.device("cpu"))
    return found.model, build.sampling(found.config)


def document(model, text: str) -> list:
    """A prompt that opens a picture."""
    from rawmm_cli.core.text_tokenizer import BOS, IMAGE

    return [BOS, *model.tokenizer.encode(text), IMAGE]


def command(*words: str) -> float:
    """Seconds of a process of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def cold(repeats: int) -> str:
    """In turn, so that a slow minute slows both."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", "rawmm_cli", "sample", "a portrait of", "--steps", "10", "--out", folder)
        turns = [(command("-c", "import torch"), command(*words)) for _ in range(repeats + 1)][1:]
    both = [median(turn[n] for turn in turns) for n in range(2)]
    return (
        f"{both[1]:.2f} s; import torch {both[0]:.2f} s; difference {median(b - a for a, b in turns):.2f} s"
    )


def text(repeats: int) -> str:
    """Captions as the model writes them after "a portrait of"."""
    from rawmm_cli.core.generate import generate

    model, settings = loaded()
    prompt, written = document(model, "a portrait of")[:-1], []

    def write() -> None:
        made = [
            generate(model, [prompt], [n], replace(settings, temperature=1.0, max_pictures=0))[0]
            for n in range(8)
        ]
        written.append(sum(len(one) - len(prompt) for one in made))

    return f"{written[-1] / seconds:,.0f} tokens/s" if (seconds := middle(write, repeats)) else ""


def cached(repeats: int) -> str:
    """The same picture by both generators."""
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
        f"before the picture, "
        f"{settings.drawing.steps} steps, guidance {settings.guidance:g})"
    )


def many(repeats: int) -> str:
    """Commands, then calls inside one process."""
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
        f"x; in one "
        f"process {MANY} x {one:.3f} s against one batch {inside}"
    )


def share(repeats: int) -> str:
    """By the time that each operation itself takes."""
    from rawmm_cli.core.drawing import draw

    model, settings = loaded()
    from torch.profiler import ProfilerActivity, profile

    prompt, found = document(model, PROMPT), []
    for count in (1, 16):
        draw(model, [prompt] * count, list(range(count)), settings)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for _ in range(repeats):
                draw(model, [prompt] * count, list(range(count)), settings)
        events = profiled.key_averages()
        inside = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
        found.append(
            f"{1 - inside / sum(event.self_cpu_time_total for event in events):.0%} ({count} at a time)"
        )
    return ", ".join(found)


PARTS = {"cold": cold, "text": text, "cached": cached, "many": many, "share": share}

if __name__ == "__main__":
    main()
