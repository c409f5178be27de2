"""The budget on data: what the user's own pictures hold at most, at their own sizes and at the tokenizer's.

Next: `bounds.py`, the codecs that say so; `likelihood.py`, what a model says; `code_bits.py`, what a
tokenizer's codes tell."""

from collections.abc import Callable, Iterator

from ..data import pictures
from ..system.errors import DataError, printable
from . import bounds


def of_images(
    found: list[tuple], size: int | None, progress: Callable[[int], None] = lambda done: None
) -> dict:
    """The pictures of `pictures.find` -> {"own", "sized": sums of `bounds.summed` (sized: None where no
    picture is so large), "each", "skipped", "missing": methods that gave nothing}. Raises DataError where
    none can be read."""
    slow = pictures.area(found) <= bounds.SLOW, bool(size) and len(found) * size * size <= bounds.SLOW
    skipped, scales, each = [], {"own": [], "sized": []}, []
    measured = bounds.over(bounds.measure, _tasks(found, size, slow))
    for n, ((name, source, number), result) in enumerate(zip(found, measured)):
        progress(n + 1)
        if "reason" in result:
            skipped.append({"file": str(source), "reason": result["reason"]})
            continue
        for scale, entries in scales.items():
            entries += [result[scale]] if result[scale] else []
        each.append(
            {
                "name": name,
                "file": str(source) if number is None else source.source(number),
                **{
                    scale: result[scale]
                    and {key: result[scale][key] for key in ("height", "width", "channels", "bits")}
                    for scale in scales
                },
            }
        )
    if not each:
        raise DataError(
            f"no picture is left: image {printable(skipped[0]['file'])} cannot be read: "
            f"{skipped[0]['reason']}"
        )
    sums = {scale: bounds.summed(entries) if entries else None for scale, entries in scales.items()}
    return {
        **sums,
        "size": size,
        "slow_webp": dict(zip(scales, slow)),
        "skipped": skipped,
        "missing": bounds.missing(sums["own"]["rows"]),
        "each": each,
    }


def _tasks(found: list[tuple], size: int | None, slow: tuple[bool, bool]) -> Iterator[tuple]:
    for _, source, number in found:
        yield (source if number is None else source.image(number).permute(1, 2, 0).numpy()), size, slow
