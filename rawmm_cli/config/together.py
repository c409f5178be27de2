"""Which settings of a model go together. No torch here."""

from typing import Any

from .explain import kinds_of, models
from .fields import AUTO
from .heads import Head
from .tokens import ImageCodec


def goes_with(head: Head | type[Head], codec: ImageCodec | type[ImageCodec], kind: str) -> bool:
    """Whether a head can learn the tokens of a codec of this kind."""
    return head.integers == codec.integers and head.scales == (kind == "multiscale")


def check_lists(values: dict[str, Any], head: Head, codec: ImageCodec) -> None:
    """Raise ValueError for values, by what they are called, that are one for each scale where there are no
    scales, or fewer."""
    for name, value in values.items():
        if not isinstance(value, tuple):
            continue
        listed = f"{name} = {', '.join(map(str, value))} has a value for each scale"
        if not head.scales:
            raise ValueError(f"{listed}, and head.kind = {head.kind} has no scales; give one number")
        if codec.known and len(value) > len(codec.learned.scales):
            raise ValueError(
                f"{listed}, and the codec of run {codec.run} has {len(codec.learned.scales)}; give at most "
                "as many: the last one is that of all further scales"
            )


def misfit(head: Head, codec: ImageCodec) -> str:
    """What is wrong where a head learns other tokens than the codec gives."""
    learns, gives = ("integers", "vectors") if head.integers else ("vectors", "integers")
    if head.integers == codec.integers:
        learns, gives = "tokens of several scales", "tokens of one scale"
        learns, gives = (learns, gives) if head.scales else (gives, learns)
    heads = [kind for part in models(Head) if goes_with(part, codec, codec.kind) for kind in kinds_of(part)]
    codecs = [kind for part in models(ImageCodec) for kind in kinds_of(part) if goes_with(head, part, kind)]
    other = f"head.kind={' or '.join(heads)}, or " if heads else ""
    return (
        f"head.kind = {head.kind} learns {learns}, and codec.kind = {codec.kind} gives {gives}; allowed: "
        f"{other}codec.kind={', '.join(codecs)}"
    )


def check_reads(head: Head, read: float | str) -> None:
    """Raise ValueError where a head draws nothing and not all documents read."""
    if not head.draws and read not in (AUTO, 1):
        raise ValueError(
            f"head.kind = {head.kind} draws no pictures, and data.read = {read:g}: other documents would "
            "draw; set data.read=1"
        )


def check_strided(head: Head, backbone: Any) -> None:
    """Raise ValueError where pictures are to see themselves sparsely and their positions have no order."""
    if getattr(backbone, "strided", False) and not head.ordered:
        raise ValueError(
            f"backbone.strided = true is for positions in order, and with head.kind = {head.kind} those of a "
            "picture see each other; allowed: head.kind=autoregressive, or reading with head.order=raster"
        )
