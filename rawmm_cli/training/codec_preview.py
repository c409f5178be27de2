"""What a codec can do now: PSNR and a sheet of held-out pictures while it trains, evaluation.json at its
end."""

import torch
from torch import Tensor, nn

from ..codecs.base import collapsed, usage
from ..data import images, prepared
from ..system import disk
from ..system.activity import Done, doing
from .clock import Clock, Plan
from .codec_state import WINDOW, CodecState, Used
from .state import Run, saved_bytes

# Held-out pictures: while training, at its end, on a sheet, in a row of it.
LOOKED_AT, MEASURED, SHOWN, COLUMNS = 256, 2048, 16, 8


def look(run: Run, state: CodecState, log: list = ()) -> float:
    """Mean PSNR of evenly spaced held-out pictures with the averaged weights. Writes a sheet: each picture
    above its reconstruction."""
    rows = prepared.evenly_spaced(len(run.held_out), LOOKED_AT)
    psnr = psnrs(state.averages[0], run.held_out, rows, run.device).mean().item()
    originals = torch.stack(
        [run.held_out.image(row) for row in prepared.evenly_spaced(len(run.held_out), SHOWN)]
    )
    reconstructions = through(state.averages[0], originals.to(run.device)).cpu()
    lines = [line for pair in zip(originals.split(COLUMNS), reconstructions.split(COLUMNS)) for line in pair]
    folder = run.folder / "samples"
    folder.mkdir(exist_ok=True)
    path = folder / f"step_{state.step:08d}.png"
    zoom = max(1, 96 // run.config.data.size)
    images.save_png(
        images.contact_sheet(
            [picture for line in lines for picture in line], min(COLUMNS, len(originals)), zoom=zoom
        ),
        path,
    )
    note = {"documents": state.documents, "step": state.step, "psnr": psnr, "shows": "reconstructions"}
    disk.write_json(path.with_suffix(".json"), note)
    for tracker in log:
        tracker.picture("samples", path, state.documents)
    return psnr


def costs(run: Run, state: CodecState) -> dict[str, tuple[float, float]]:
    """What follows the steps, as `clock.Plan` expects it. A picture there and back takes about half of what
    it takes to learn from it, and to its codes a quarter."""
    held_out, batch = len(run.held_out), run.config.train.batch
    coded = min(WINDOW, len(run.data[0])) / 4 if state.model.discrete else 0
    return {
        "checkpoint": (0.0, 0.5 + saved_bytes(state) / 2e8),
        "sheet": ((min(LOOKED_AT, held_out) + min(SHOWN, held_out)) / batch / 2, 0.2),
        "measuring": ((min(MEASURED, held_out) / 2 + coded) / batch, 0.2),
        "leaving": (0.0, 0.5),
    }


def share_to_measure(run: Run, state: CodecState, plan: Plan, clock: Clock) -> float:
    """Share of the pictures that a run by time has the time to measure, between a thirtieth and all. The last
    sheet tells what a picture takes."""
    if not (limit := run.config.train.time):
        return 1.0
    steps = {name: count for name, (count, _) in costs(run, state).items()}
    whole = plan.seconds("sheet") * steps["measuring"] / steps["sheet"]
    left = limit - clock.seconds() - plan.seconds("leaving")
    return min(1.0, max(1 / 30, left / max(whole, 1e-9)))


def measure(run: Run, state: CodecState, share: float = 1.0) -> dict:
    """evaluation.json of a finished run: PSNR of held-out pictures, and the codes that training pictures
    use. share: of the pictures, where time is short."""
    codec, data = state.averages[0], run.data[0]
    rows = prepared.evenly_spaced(len(run.held_out), max(1, round(share * MEASURED)))
    trained = prepared.evenly_spaced(len(data), max(1, round(share * WINDOW))) if codec.discrete else []
    size = run.config.data.size
    with doing("measuring pictures", len(rows) + len(trained)) as done:
        psnr = psnrs(codec, run.held_out, rows, run.device, done)
        result = {
            "documents": state.documents,
            "held_out": {
                "psnr": psnr.mean().item(),
                "psnr_p05": psnr.quantile(0.05).item(),
                "pictures": len(rows),
            },
        }
        if codec.discrete:
            used = Used(torch.zeros_like(state.used.now), state.used.sections)
            for part in torch.tensor(trained).split(64):
                batch = torch.stack([data.image(row) for row in part.tolist()]).to(run.device)
                used.add(codec.encode(batch), WINDOW + 1)
                done(len(rows) + used.pictures)
            result["codes"] = {
                "tokens": codec.length(size, size),
                "vocabulary": codec.vocabulary,
                "bits": codec.bits(size, size),
                **used.figures(),
                "pictures": used.pictures,
            }
            result["codes"] |= _by_section(run, used)
    disk.write_json(run.folder / "evaluation.json", result)
    return result


def _by_section(run: Run, used: Used) -> dict:
    """Usage of each codebook or scale, where there are several; and one line for each that has collapsed."""
    sections = {}
    for section, row in zip(used.sections, used.counted):
        figures = usage(row[None]) | {"collapsed": collapsed(row)}
        sections[section.name] = figures
        if figures["collapsed"]:
            where = f"codes of {section.name}" if section.name else "codes"
            run.notify(
                f"{where} have collapsed: perplexity {figures['perplexity']:.1f} of {len(row):,}; "
                "choose a smaller vocabulary, or where the codec has it a larger codec.restart"
            )
    return {"sections": sections} if len(sections) > 1 else {}


def through(codec: nn.Module, pixels: Tensor) -> Tensor:
    """(M, 3, H, W) uint8 -> the same through tokens and back."""
    return codec.decode(codec.encode(pixels), codec.grid(*pixels.shape[-2:])[0])


def psnrs(
    codec: nn.Module,
    data: prepared.Prepared,
    rows: list[int],
    device: torch.device,
    done: Done = lambda count: None,
) -> Tensor:
    """PSNR in dB of every picture, 10 log10(255^2 / mean squared error); 100 where it is exact. done: is
    called with how many there are so far."""
    values = []
    for part in torch.tensor(rows).split(64):
        batch = torch.stack([data.image(row) for row in part.tolist()]).to(device)
        error = (through(codec, batch).double() - batch.double()).square().flatten(1).mean(1)
        values.append((10 * torch.log10(255**2 / error.clamp_min(1e-12))).clamp_max(100.0))
        done(sum(map(len, values)))
    return torch.cat(values).cpu()
