"""What a tokenizer's codes tell, in bits, beside what the pictures hold.

    nominal       L log2 V
    used          L times the entropy of the codes over these pictures, pooled over places (Miller and
                  Madow's correction)
    conditional   what a small autoregressive Transformer needs for codes of pictures that it has not seen:
                  trained here on three fifths of the pictures, stopped where a fifth says so, told for the
                  last fifth. An upper bound of their entropy. Every code counts: of more than PLACES, each
                  window of so many is coded on its own

Bits of codes are not bits of pixels: a code of n bits says at most n bits of its picture, and which of them,
no bit count tells. The test of losslessness is the share of pictures that come back to the bit."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.images import ImageError, fit
from ..data.pictures import Shown, area, batches, read
from ..information import bounds
from ..metrics import codes as entropies
from ..metrics import pixels
from ..system.errors import ConfigError, DataError, printable
from .choices import Choice

LEAST, MOST = 20, 1 << 14  # pictures that a model is trained on; entries of a vocabulary
STEPS, EVERY, ROWS, PLACES = (
    400,
    25,
    16,
    512,
)  # of its training; pictures in a step; places that it sees together
WIDTH, DEPTH = 64, 2


def of_codec(
    choice: Choice,
    found: list[tuple],
    size: int | None,
    skipped: list[dict],
    told: Callable[[int], None] = lambda done: None,
    learned: Callable[[int], None] = lambda step: None,
) -> dict:
    """The pictures of `pictures.find`, cropped to `size` where it is given, through a codec -> {"rows": the
    codec and raw pixels, "pictures", ...}. Of a picture that is measured its codes are kept. told: pictures
    done; learned: steps of the model over codes. Raises ConfigError where it has no codes, DataError where no
    picture is left."""
    trips, entries = _Trips(), []
    for entry in bounds.over(
        bounds.measure, _through(choice, _sized(found, size, skipped), _slow(found, size), trips)
    ):
        entries.append(entry["own"])
        told(len(entries))
    if not entries:
        reason = f"{printable(skipped[0]['file'])}: {skipped[0]['reason']}" if skipped else "none was named"
        raise DataError(f"no picture is left: {reason}")
    return _rows(choice, trips, entries, learned)


@dataclass
class _Trips:
    """What is kept of pictures that went through. codes: by their number; lengths, bits: of each; squares:
    errors, summed."""

    codes: dict[int, list[Tensor]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    squares: float = 0.0
    values: int = 0
    exact: int = 0


def _through(choice: Choice, shown: Iterator[Shown], slow: bool, trips: _Trips) -> Iterator[tuple]:
    """Pictures through the codec, as tasks of `bounds.measure`."""
    for group in batches(shown):
        images = torch.stack([picture.pixels for picture in group])
        trip = choice.go(images)
        if trip.codes is None:
            raise ConfigError(
                f"--codec {choice.word} has no codes whose bits could be counted; allowed: a tokenizer of "
                f"integers "
                "(a run, hf:OWNER/NAME, python:MODULE:FACTORY)"
            )
        error = pixels.mse(trip.back, images)
        trips.squares, trips.values = (
            trips.squares + float(error.sum()) * images[0].numel(),
            trips.values + images.numel(),
        )
        trips.exact += int((error == 0).sum())
        trips.codes.setdefault(trip.codes.shape[1], []).append(trip.codes)
        trips.lengths += trip.tokens
        trips.bits += trip.bits
        yield from ((picture.pixels.permute(1, 2, 0).numpy(), None, (slow, slow)) for picture in group)


def _slow(found: list[tuple], size: int | None) -> bool:
    return (len(found) * size**2 if size else area(found)) <= bounds.SLOW


def _sized(found: list[tuple], size: int | None, skipped: list[dict]):
    for one in read(found, skipped):
        if size is None or tuple(one.pixels.shape[1:]) == (size, size):
            yield one
            continue
        try:
            yield _fitted(one, size)
        except ImageError as error:
            skipped.append({"file": one.file, "reason": error.reason})


def _fitted(one: Shown, size: int) -> Shown:
    smaller = fit(one.pixels.permute(1, 2, 0).numpy(), size)
    return replace(one, pixels=torch.from_numpy(smaller.copy()).permute(2, 0, 1).contiguous())


def _rows(choice: Choice, trips: _Trips, entries: list[dict], learned: Callable[[int], None]) -> dict:
    """A row for the codec and one for raw pixels."""
    codes, error = (
        {length: torch.cat(some) for length, some in trips.codes.items()},
        trips.squares / trips.values,
    )
    known = bounds.summed(entries)
    best, order0 = known["bound"]["bits"], _mean([entry["bits"]["order-0"] for entry in entries])
    raw = _mean([8.0 * own["height"] * own["width"] * own["channels"] for own in entries])
    counts = sum(torch.bincount(some.flatten(), minlength=choice.vocabulary) for some in codes.values())
    entropy, tokens = entropies.entropy(counts), _mean(trips.lengths)
    conditional, reason = None, f"pictures have {len(codes):,} different numbers of tokens"
    if len(codes) == 1:
        conditional, reason = conditional_bits(next(iter(codes.values())), choice.vocabulary, learned=learned)
    nominal = _mean(trips.bits)
    row = {
        "codec": choice.word,
        "tokens": tokens,
        "vocabulary": choice.vocabulary,
        "nominal_bits": nominal,
        "used_bits": entropy * tokens,
        "entropy": entropy,
        "perplexity": 2**entropy,
        "dead_codes": int((counts == 0).sum()),
        "enough_codes": entropies.enough(counts),
        "conditional_bits": conditional and conditional * tokens,
        "conditional_missing": reason,
        "share": nominal / best,
        "used_share": entropy * tokens / best,
        "exact_rate": trips.exact / len(entries),
        "psnr": 10 * math.log10(255**2 / error) if error else None,
    }
    pixels_row = {
        "codec": "raw",
        "tokens": raw / 8,
        "vocabulary": 256,
        "nominal_bits": raw,
        "used_bits": order0,
        "conditional_bits": best,
        "share": raw / best,
        "used_share": order0 / best,
        "exact_rate": 1.0,
        "psnr": None,
    }
    return {
        "rows": [row, pixels_row],
        "pictures": len(entries),
        "best_bound_bits": best,
        "best_bound_by": known["bound"]["by"],
        "bounds": known["rows"],
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# ----------------------------------------------------------------------------------------- a model over codes


class Coder(nn.Module):
    """The next code from those before it: logits are those of the codes' frequencies, plus what the network
    has learned."""

    def __init__(self, vocabulary: int, length: int, frequency: Tensor):
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
        """(M, n) that stand from place `at` on -> nats of each code (M, n), from those of them before it
        alone."""
        start = torch.full_like(codes[:, :1], self.words.num_embeddings - 1)
        x = self.words(torch.cat([start, codes[:, :-1]], 1)) + self.places.weight[at : at + codes.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(codes.shape[1], device=codes.device)
        for layer in self.layers:
            x = layer(x, mask, is_causal=True)
        logits = self.out(self.norm(x)) + self.frequency
        return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")


def conditional_bits(
    codes: Tensor, vocabulary: int, seed: int = 0, learned: Callable[[int], None] = lambda step: None
) -> tuple[float | None, str | None]:
    """Codes (n, L) of pictures -> bits a code, of all L, on pictures that were not learned from, or (None,
    why not)."""
    if len(codes) < LEAST or vocabulary > MOST:
        return None, f"fewer than {LEAST} pictures of one size" if len(
            codes
        ) < LEAST else f"more than {MOST:,} codes"
    codes, third = codes.cpu(), len(codes) // 5
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        codes = codes[torch.randperm(len(codes))].clone()
        test, held, known = codes[:third], codes[third : 2 * third], codes[2 * third :]
        counts = torch.bincount(known.flatten(), minlength=vocabulary).float() + 0.5
        model = Coder(vocabulary, codes.shape[1], counts / counts.sum())
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
        best, kept, waited = math.inf, {}, 0
        for step in range(STEPS + 1):
            learned(step)
            if step % EVERY == 0:
                score = _bits(model, held)
                best, kept, waited = (
                    (score, deepcopy(model.state_dict()), 0) if score < best else (best, kept, waited + 1)
                )
                if waited == 4:
                    break
            optimizer.zero_grad()
            at = PLACES * int(torch.randint(-(-codes.shape[1] // PLACES), ()))
            model(
                known[torch.randint(len(known), (min(ROWS, len(known)),)), at : at + PLACES], at
            ).mean().backward()
            optimizer.step()
        model.load_state_dict(kept)
    return _bits(model, test), None


@torch.no_grad()
def _bits(model: Coder, codes: Tensor) -> float:
    nats = sum(
        float(model(window, n * PLACES).sum())
        for some in codes.split(ROWS)
        for n, window in enumerate(some.split(PLACES, 1))
    )
    return nats / codes.numel() / math.log(2)
