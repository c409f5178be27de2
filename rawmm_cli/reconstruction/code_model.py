"""A small autoregressive Transformer over the codes of pictures: bits of a code, given the codes before it.

It is trained on three fifths of the pictures, with early stopping on a fifth, and measured on the last: an
upper bound of the entropy of the codes. Where there are more than WINDOW codes, each window is coded on its
own."""

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST, MOST = 20, 1 << 14  # fewest pictures; largest vocabulary
STEPS, EVERY, PATIENCE = 400, 25, 4  # training steps; steps between measurements; measurements without a gain
ROWS, WINDOW = 16, 512  # pictures in a step; codes in the context
WIDTH, DEPTH = 64, 2


class CodeModel(nn.Module):
    """Predicts each code from those before it. Logits are the log frequencies of the codes plus the output of
    the network, which is 0 at first."""

    def __init__(self, vocabulary: int, length: int, frequency: Tensor) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary + 1, WIDTH), nn.Embedding(length, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.0, batch_first=True, norm_first=True)
            for _ in range(DEPTH)
        )
        self.norm, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary, bias=False)
        nn.init.zeros_(self.out.weight)
        self.register_buffer("frequency", frequency.log())

    def forward(self, codes: Tensor, at: int = 0) -> Tensor:
        """Nats of each code (M, n), given those before it. codes: (M, n). at: position of the first."""
        start = torch.full_like(codes[:, :1], self.words.num_embeddings - 1)
        x = self.words(torch.cat([start, codes[:, :-1]], 1)) + self.places.weight[at : at + codes.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(codes.shape[1], device=codes.device)
        for layer in self.layers:
            x = layer(x, mask, is_causal=True)
        logits = self.out(self.norm(x)) + self.frequency
        return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")


def conditional_bits(
    codes: Tensor, vocabulary: int, seed: int = 0, progress: Callable[[int], None] = lambda step: None
) -> tuple[float | None, str | None]:
    """Bits a code of codes (n, L), over pictures that the model was not trained on, and None; or None and the
    reason. progress: called with each step."""
    if len(codes) < LEAST:
        return None, f"fewer than {LEAST} pictures of one size"
    if vocabulary > MOST:
        return None, f"more than {MOST:,} codes"
    codes, fifth = codes.cpu(), len(codes) // 5
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        codes = codes[torch.randperm(len(codes))].clone()
        test, held_out, train = codes[:fifth], codes[fifth : 2 * fifth], codes[2 * fifth :]
        model = _trained(train, held_out, vocabulary, progress)
    return _bits(model, test), None


def _trained(train: Tensor, held_out: Tensor, vocabulary: int, progress: Callable[[int], None]) -> CodeModel:
    """Model of codes (n, L), with the weights whose bits on held-out codes are the lowest."""
    counts = torch.bincount(train.flatten(), minlength=vocabulary).float() + 0.5
    model = CodeModel(vocabulary, train.shape[1], counts / counts.sum())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    best, weights, waited = math.inf, {}, 0
    for step in range(STEPS + 1):
        progress(step)
        if step % EVERY == 0:
            bits = _bits(model, held_out)
            if bits < best:
                best, weights, waited = bits, deepcopy(model.state_dict()), 0
            else:
                waited += 1
            if waited == PATIENCE:
                break
        optimizer.zero_grad()
        at = WINDOW * int(torch.randint(-(-train.shape[1] // WINDOW), ()))
        rows = torch.randint(len(train), (min(ROWS, len(train)),))
        model(train[rows, at : at + WINDOW], at).mean().backward()
        optimizer.step()
    model.load_state_dict(weights)
    return model


@torch.no_grad()
def _bits(model: CodeModel, codes: Tensor) -> float:
    """Bits a code of codes (n, L), window by window."""
    nats = sum(
        float(model(window, n * WINDOW).sum())
        for group in codes.split(ROWS)
        for n, window in enumerate(group.split(WINDOW, 1))
    )
    return nats / codes.numel() / math.log(2)
