"""Our side of `sampling.py`: the model inside the package, through the same calls as `rawmm sample`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from .clocks import middle
from .settings import EVALUATIONS, PICTURES, PROMPT, TEXT


def main(repeats: int) -> None:
    """Times -> one JSON object on stdout."""
    from rawmm_cli.commands.common import use_cpu

    use_cpu()                                           # as every command does
    import torch

    from rawmm_cli.core import build, generate, models
    from rawmm_cli.core.preview import sampling
    from rawmm_cli.core.text_tokenizer import BOS, IMAGE

    loaded = models.load(models.find(Path("runs"), None, models.DEFAULT), torch.device("cpu"))
    model, usual = loaded.model, sampling(loaded.config)
    prompt, choose = [BOS, *model.tokenizer.encode("a portrait of")][:PROMPT], generate.choose
    word = prompt[-1]

    def endless(*arguments) -> list[int]:
        """A token is chosen as always, and another, always the same, is written: no text ends before its time."""
        return [word] * len(choose(*arguments))

    def write() -> None:
        generate.choose = endless
        document, = generate.generate(model, [prompt], [0], replace(usual, temperature=1.0, max_text=TEXT, max_pictures=0))
        generate.choose = choose
        assert len(document) == PROMPT + TEXT

    drawn = replace(usual, solver="euler", grid="uniform", steps=EVALUATIONS, guidance=1.0)
    seconds = {"text": middle(write, repeats)}
    for count in PICTURES:
        seconds[f"{count} picture{'s' * (count > 1)}"] = middle(
            lambda count=count: generate.draw(model, [[BOS, IMAGE]] * count, list(range(count)), drawn), repeats)
    print(json.dumps({"parameters": build.count_parameters(model)["backbone"], "seconds": seconds, "tokens": {"text": TEXT}}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
