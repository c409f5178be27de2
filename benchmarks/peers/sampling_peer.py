"""The peer's side of `sampling.py`, with the Python of its own virtual environment: its three ways to sample."""

import json
import sys

from .clocks import middle
from .settings import EVALUATIONS, HEAD_WIDTH, PATCHES_DRAWN, PICTURES, PROMPT, SAMPLING, TEXT

WORD = 7                                                # the token that is written, whatever was chosen


def main(repeats: int) -> None:
    """Times -> one JSON object on stdout."""
    import torch
    from transfusion_pytorch import Transfusion, transfusion

    torch.manual_seed(0)
    side, size = int(PATCHES_DRAWN ** 0.5), SAMPLING["peer"]
    model = Transfusion(num_text_tokens=SAMPLING["vocabulary"], dim_latent=SAMPLING["values"],
                        modality_default_shape=(side, side), modality_num_dim=2, add_pos_emb=True,
                        transformer={"dim": size["width"], "depth": size["depth"], "heads": size["heads"],
                                     "dim_head": HEAD_WIDTH}).eval()
    choose, count, prompt = transfusion.sample_text_token, [0], torch.full((PROMPT,), WORD)

    def endless(logits, *arguments):
        count[0] += 1
        return torch.full_like(choose(logits, *arguments), WORD)

    transfusion.sample_text_token = endless

    def write(cache: bool) -> None:
        count[0] = 0
        with torch.inference_mode():
            model.sample(prompt=prompt, max_length=TEXT - 1, cache_kv=cache)
        assert count[0] == TEXT, count

    def write_text() -> None:
        with torch.inference_mode():
            assert model.generate_text_only(prompt[None], PROMPT + TEXT).shape[-1] == TEXT

    def draw(pictures: int) -> None:
        with torch.inference_mode():                    # midpoint: two evaluations for each of the steps - 1
            model.generate_modality_only(batch_size=pictures, modality_steps=EVALUATIONS // 2 + 1)

    seconds = {"sample": middle(lambda: write(False), repeats), "sample, cache_kv": middle(lambda: write(True), repeats),
               "generate_text_only": middle(write_text, repeats)}
    tokens = dict.fromkeys(seconds, TEXT)
    for pictures in PICTURES:
        seconds[f"{pictures} picture{'s' * (pictures > 1)}"] = middle(lambda pictures=pictures: draw(pictures), repeats)
    parameters = sum(p.numel() for p in model.transformer.parameters())
    print(json.dumps({"parameters": parameters, "seconds": seconds, "tokens": tokens}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
