"""What the codec of a system leaves of some held-out pictures, for the page.

kept.png    the pictures, and below each what came back
kept.json   {"psnr": [dB of each, or null where it is exact]}
"""

import math
from pathlib import Path

import torch

from ..core.parts import Codec
from ..data import images
from ..evaluation.subject import Subject, evenly
from ..metrics import pixels
from ..system import disk

COUNT, SIDE = 10, 64  # pictures; pixels to which smaller ones are enlarged
MEASURED = 256  # pictures whose quality is measured


def keep(of: Subject, folder: Path) -> None:
    """Write both files, the same pictures for every system; nothing where the codec is exact, or where the
    set has no pictures of the size that is drawn."""
    rows = evenly(of.real_rows(of.held_out, len(of.held_out)), COUNT)
    if not rows:
        return
    originals = torch.stack([of.held_out.image(row) for row in rows])
    model = of.loaded.model
    back = round_trip(model.codec, originals.to(next(model.parameters()).device)).cpu()
    if torch.equal(back, originals):
        return
    zoom = max(1, SIDE // originals.shape[-1])
    images.save_png(images.contact_sheet([*originals, *back], len(rows), zoom), folder / "kept.png")
    quality = [round(one, 2) if math.isfinite(one) else None for one in pixels.psnr(back, originals).tolist()]
    disk.write_json(folder / "kept.json", {"psnr": quality})


def psnr(of: Subject) -> float | None:
    """dB of what the codec leaves of held-out pictures, a mean; None where it is exact, or where the set has
    no pictures of the size that is drawn."""
    rows = of.real_rows(of.held_out, MEASURED)
    if not rows:
        return None
    originals = torch.stack([of.held_out.image(row) for row in rows])
    back = round_trip(of.loaded.model.codec, originals.to(next(of.loaded.model.parameters()).device)).cpu()
    quality = [one for one in pixels.psnr(back, originals).tolist() if math.isfinite(one)]
    return round(sum(quality) / len(quality), 3) if quality else None


@torch.no_grad()
def round_trip(codec: Codec, originals: torch.Tensor) -> torch.Tensor:
    """(M, 3, H, W) uint8 -> the same after encoding and decoding."""
    rows, _ = codec.grid(*originals.shape[-2:])
    return codec.decode(codec.encode(originals), rows)
