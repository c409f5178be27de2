"""One model, both modalities in one table: bits a byte of pictures (`likelihood.py`), and of text by
next-token loss.

Pictures are brought to the side that was learned, as `prepare` does. Captions come from prepared sets; a
picture is then also costed given its caption, and a caption alone and given its picture. A grey picture has
one byte a pixel, as in `bounds.py`: what the model needs for its three channels is divided by H W."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.batch import pack, size
from ..core.document import Document, Picture
from ..core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
from ..data.images import ImageError, fit
from ..data.pictures import Shown, read
from ..data.stream import reading
from ..runs.models import Loaded
from ..system.errors import DataError, printable
from ..system.seeds import key
from . import bounds, likelihood
from .likelihood import BEGINS, WIDTHS

BATCH = 16  # pictures together
UNIFORMS = (
    0.004,
    0.015,
    0.03,
    0.06,
    0.1,
    0.2,
    0.3,
)  # where the ODE may begin from uniform noise: tried on a few pictures
WORDS = {"bound": "variational bound", "uniform": "ODE, uniform noise", "decoded": "ODE, the bound's noise"}


def pictures_for(loaded: Loaded, found: list[tuple], skipped: list[dict]) -> tuple[list[Shown], list[str]]:
    """The pictures of `pictures.find` as the model learned them, (3, S, S) uint8, and their captions, ""
    where there are none. What cannot be read, or is smaller, goes into `skipped`. Raises DataError where none
    is left."""
    side, kept, captions = loaded.config.data.size, [], []
    for one in read(found, skipped):
        pixels = one.pixels
        if tuple(pixels.shape[1:]) != (side, side):
            try:
                pixels = torch.from_numpy(fit(pixels.permute(1, 2, 0).numpy(), side).copy()).permute(2, 0, 1)
            except ImageError as error:
                skipped.append({"file": one.file, "reason": error.reason})
                continue
        _, source, number = found[one.number]
        said = source.captions[number] if number is not None else []
        kept.append(replace(one, pixels=pixels.contiguous()))
        captions.append(said[0] if said else "")
    if not kept:
        raise DataError(
            f"no picture is left: image {printable(skipped[0]['file'])} cannot be used: "
            f"{skipped[0]['reason']}"
        )
    return kept, captions


def denoiser(loaded: Loaded, images: Tensor, captions: list[str]) -> likelihood.Denoise:
    """z (M, N, P), times (M,) -> clean (M, N, P) of pictures (M, 3, H, W) behind their captions. Gradients
    flow."""
    model, stretch = loaded.model.requires_grad_(False), (1.0, 1.0)
    documents = [
        [BOS, *(model.tokenizer.encode(said) if said else []), IMAGE, Picture(image, True, 0, stretch)]
        for image, said in zip(images, captions)
    ]
    length = max(size(document, model.codec.grid, model.head.causal) for document in documents)
    batch = pack(documents, length, model.codec.grid, model.head.causal).to(model.words.weight.device)

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        flat, time = z.flatten(0, 1), t.to(z)
        output = model.patches(model(batch, flat, time), batch)
        return model.head.clean(output, flat, time[batch.pictures.picture_of]).view_as(z)

    return denoise


def of_pictures(
    loaded: Loaded,
    images: Tensor,
    captions: list[str],
    steps: int,
    seed: int = 0,
    told: Callable[[int], None] = lambda done: None,
    ways: tuple[str, ...] = tuple(WORDS),
) -> dict:
    """Pictures (M, 3, S, S) uint8 behind their captions -> {way: mean, standard error and each, in bits a
    byte, "begin", "width", "difference": bound minus ODE of the same noise, "solver_error": change of that
    ODE where its steps are halved}."""
    clean = loaded.model.codec.encode(images.to(loaded.model.words.weight.device))
    keys, scale = [key(seed, "bits", n) for n in range(len(clean))], loaded.model.head.noise_scale
    parts = [slice(at, at + BATCH) for at in range(0, len(clean), BATCH)]
    denoisers = [denoiser(loaded, images[part], captions[part]) for part in parts]
    terms, done = [], 0
    with torch.no_grad():
        for part, denoise in zip(parts, denoisers):
            terms.append(likelihood.bound(denoise, clean[part], keys[part], scale))
            done += len(clean[part])
            told(done)
    bounds = likelihood.Bound(
        *(torch.cat([getattr(one, name) for one in terms]) for name in ("diffusion", "decoder"))
    )
    at, wide = likelihood.choose(bounds)
    begin, width = BEGINS[at], WIDTHS[wide]
    each = {"bound": likelihood.bound_of(bounds, at, wide, clean[0].numel())}

    def uniform(denoise, part: slice, count: int, at: float = 0.0) -> Tensor:
        return likelihood.uniform(denoise, clean[part], at or from_uniform, keys[part], scale, count)

    def decoded(denoise, part: slice, count: int) -> Tensor:
        return likelihood.decoded(denoise, clean[part], begin, width, keys[part], scale, count)

    few = slice(0, min(BATCH, len(clean)))
    from_uniform = (
        min(UNIFORMS, key=lambda at: float(uniform(denoisers[0], few, max(1, steps // 4), at).mean()))
        if "uniform" in ways
        else None
    )
    ends = {"uniform": uniform, "decoded": decoded}
    channels = torch.tensor([3.0 if grey(image) else 1.0 for image in images], dtype=torch.float64)
    result: dict = {
        "begin": begin,
        "width": width,
        "steps": steps,
        "uniform_begin": from_uniform,
        "solver_error": {},
    }
    for way in ways:
        if way == "bound":
            continue
        found = []
        for part, denoise in zip(parts, denoisers):
            found.append(ends[way](denoise, part, steps))
            told(len(torch.cat(found)))
        each[way] = torch.cat(found)
        half = ends[way](denoisers[0], parts[0], max(1, steps // 2))
        result["solver_error"][way] = float(((half - found[0]) * channels[parts[0]]).mean().abs())
    each = {way: values * channels for way, values in each.items()}
    result |= {way: _mean(values) for way, values in each.items()}
    if "decoded" in each:
        result["difference"] = _mean(each["bound"] - each["decoded"])
    return result


def grey(image: Tensor) -> bool:
    """Whether one channel (3, H, W) counts as one, as `bounds.channels` says."""
    return bounds.channels(image.permute(1, 2, 0).numpy()).ndim == 2


def _mean(values: Tensor) -> dict:
    """Of M pictures; the error holds what pictures differ by, and noise, times, probes."""
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
    return {"bits_per_byte": float(values.mean()), "standard_error": error, "pictures": len(values)}


# ------------------------------------------------------------------------------------------------------- text


@torch.inference_mode()
def of_texts(loaded: Loaded, images: list[Tensor] | None, captions: list[str]) -> dict | None:
    """Captions, given their pictures or alone (`images` is None) -> bits a byte by next-token loss; None
    where there are no captions. Both count the same: the text and its end, given that there is one. kind:
    exact for bytes; of learned pieces one spelling of several is counted, an upper bound. The standard error
    is that of a ratio of sums over texts."""
    at = [n for n, said in enumerate(captions) if said]
    if not at:
        return None
    encode = loaded.model.tokenizer.encode
    documents = [
        [BOS, *encode(captions[n]), IMAGE] if images is None else reading(images[n], captions[n], encode)
        for n in at
    ]
    nats = torch.cat(
        [_nats(loaded.model, documents[start : start + BATCH]) for start in range(0, len(at), BATCH)]
    )
    counts = torch.tensor([len(captions[n].encode()) for n in at], dtype=torch.float64)
    ratio = float(nats.sum() / counts.sum())
    spread = float(
        (nats - ratio * counts).square().mean().sqrt() / counts.mean() / math.sqrt(max(1, len(at) - 1))
    )
    return {
        "bits_per_byte": ratio / math.log(2),
        "standard_error": spread / math.log(2) if len(at) > 1 else None,
        "kind": "exact" if loaded.model.tokenizer.stored is None else "upper bound",
        "texts": len(at),
        "bytes": int(counts.sum()),
    }


def _nats(model, documents: list[Document]) -> Tensor:
    """Of the text of each document and of its end (`<image>` or `<eos>`). Its first token is chosen among
    text alone: whether a text or something else begins is another question."""
    length = max(size(document, model.codec.grid, model.head.causal) for document in documents)
    batch = pack(documents, length, model.codec.grid, model.head.causal).to(model.words.weight.device)
    still = torch.zeros(len(batch.pictures.drawn), device=batch.tokens.device)
    logits = model.text(model(batch, model.clean(batch), still), batch.predict_at)
    first = torch.isin(
        batch.tokens.flatten()[batch.predict_at], torch.tensor([BOS, END_IMAGE], device=logits.device)
    )
    special = torch.zeros_like(logits[0], dtype=torch.bool).index_fill(
        0, torch.tensor([BOS, EOS, IMAGE, END_IMAGE], device=logits.device), True
    )
    losses = F.cross_entropy(
        logits.masked_fill(first[:, None] & special, -math.inf), batch.predict, reduction="none"
    )
    losses = losses.masked_fill(first & (batch.predict == IMAGE), 0)  # of the picture that is read
    of = batch.labels.document.flatten()[batch.predict_at + 1]
    return torch.zeros(len(documents), dtype=torch.float64).index_add(0, of.cpu(), losses.double().cpu())
