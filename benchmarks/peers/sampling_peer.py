"""The peer's side of `sampling.py`, run by the Python of its virtual environment: an untrained model,
sampled by each of its functions."""

import json

from .clocks import middle
from .settings import EVALUATIONS, HEAD_WIDTH, HEADS, PICTURES, SAMPLED, TEXT, side_arguments

WORD = 7  # the token that is written in place of the sampled one


def main(setting: str, repeats: int) -> None:
    """Print one JSON object of times."""
    import torch
    from transfusion_pytorch import Transfusion, transfusion

    torch.manual_seed(0)
    size = SAMPLED[setting]["peer"]
    side, values = int(size["patches"] ** 0.5), size["values"]
    model = Transfusion(
        num_text_tokens=size["vocabulary"],
        dim_latent=values,
        modality_default_shape=(side, side),
        modality_num_dim=2,
        add_pos_emb=True,
        transformer={"dim": size["width"], "depth": size["depth"], "heads": HEADS, "dim_head": HEAD_WIDTH},
    ).eval()
    choose, written, word = transfusion.sample_text_token, [0], torch.tensor([WORD])
    picture = (0, torch.rand(side, side, values))
    prompts = {
        "text": word.repeat(3),
        "text after a picture": [word.repeat(2), picture, word],
        "text after 3 pictures": [word.repeat(2), picture, picture, picture, word],
    }

    def endless(logits, *arguments):
        written[0] += 1
        return torch.full_like(choose(logits, *arguments), WORD)

    transfusion.sample_text_token = endless

    def write(prompt, cache: bool) -> None:
        written[0] = 0
        with torch.inference_mode():
            model.sample(
                prompt=list(prompt) if isinstance(prompt, list) else prompt,
                max_length=TEXT - 1,
                cache_kv=cache,
            )
        assert written[0] == TEXT, written

    def write_text() -> None:
        with torch.inference_mode():
            assert model.generate_text_only(prompts["text"][None], 3 + TEXT).shape[-1] == TEXT

    def draw(pictures: int) -> None:
        with torch.inference_mode():  # midpoint: two evaluations for each of the steps - 1
            model.generate_modality_only(batch_size=pictures, modality_steps=EVALUATIONS // 2 + 1)

    seconds = {"generate_text_only": middle(write_text, repeats)}
    for what, prompt in prompts.items():
        for name, cache in (("sample", False), ("sample, cache_kv", True)):
            seconds[f"{name}: {what}"] = middle(
                lambda prompt=prompt, cache=cache: write(prompt, cache), repeats
            )
    for pictures in PICTURES:
        seconds[f"pictures: {pictures}"] = middle(lambda pictures=pictures: draw(pictures), repeats)
    parameters = sum(p.numel() for p in model.transformer.parameters())
    print(json.dumps({"parameters": parameters, "patches": side * side, "seconds": seconds}))


if __name__ == "__main__":
    main(*side_arguments(__doc__))
