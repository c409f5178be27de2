"""rawmm's side of `sampling.py`: by the same calls as `rawmm sample`."""

import json
from dataclasses import replace
from pathlib import Path

from .clocks import middle
from .settings import EVALUATIONS, GIVEN, PATCHES, PICTURES, SAMPLED, TEXT, preset, side_arguments


def main(setting: str, repeats: int) -> None:
    """Print one JSON object of times."""
    from rawmm_cli.system.threads import use_cpu

    use_cpu()  # as every command does
    import torch

    from rawmm_cli.config import build
    from rawmm_cli.core import generate
    from rawmm_cli.core.document import Picture
    from rawmm_cli.core.model import count_parameters
    from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE
    from rawmm_cli.system import machine

    model, config = network(setting)
    usual, choose, word = build.sampling(config), generate.choose, model.tokenizer.encode("a")[0]
    picture = Picture(torch.randint(256, (3, *usual.size), dtype=torch.uint8), False, 0)
    seen = [IMAGE, picture, END_IMAGE]
    prompts = {
        "text": [BOS, word, word],
        "text after a picture": [BOS, word, *seen, word],
        "text after 3 pictures": [BOS, word, *seen * 3, word],
    }

    def write(prompt: list) -> None:
        """A token is chosen as always, and another, always the same, is written: no text ends before its
        time."""
        generate.choose = lambda *arguments: [word] * len(choose(*arguments))
        (document,) = generate.generate(
            model, [prompt], [0], replace(usual, temperature=1.0, max_text=TEXT, max_pictures=0)
        )
        generate.choose = choose
        assert len(document) == len(prompt) + TEXT

    drawn = usual.changed(solver="euler", grid="uniform", steps=EVALUATIONS, guidance=1.0)
    seconds = {what: middle(lambda prompt=prompt: write(prompt), repeats) for what, prompt in prompts.items()}
    ways = (("pictures", "fp32"), *[("pictures in bf16", "bf16")] * machine.has_bf16(torch.device("cpu")))
    for count in PICTURES:
        for name, precision in ways:
            settings = replace(drawn, precision=precision)
            seconds[f"{name}: {count}"] = middle(
                lambda count=count, settings=settings: generate.draw(
                    model, [[BOS, IMAGE]] * count, list(range(count)), settings
                ),
                repeats,
            )
    patches = model.codec.grid(*usual.size)
    print(
        json.dumps(
            {
                "parameters": count_parameters(model)["backbone"],
                "patches": patches[0] * patches[1],
                "seconds": seconds,
            }
        )
    )


def network(setting: str):
    """The model inside the package, or an untrained one of the size of the peer's example; and its
    settings."""
    import torch

    from rawmm_cli.config import build, presets
    from rawmm_cli.runs import models

    if setting == "package":
        loaded = models.load(models.find(Path("runs"), None, models.DEFAULT), torch.device("cpu"))
        return loaded.model, loaded.config
    settings = presets.resolve(preset(SAMPLED[setting]["ours"], "transformer", PATCHES + GIVEN, 0))
    model = build.model(settings, torch.device("cpu")).eval()
    for weights in model.parameters():  # so that outputs are not 0, as in a fresh model
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.05)
    return model, settings


if __name__ == "__main__":
    main(*side_arguments(__doc__))
