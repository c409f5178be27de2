"""The demo on one page: what models draw from captions and write about pictures, what codecs keep of some,
and what it took. Next: the template demo.html."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..evaluation.examples import Drawn, Read
from ..reconstruction.files import COLOURS, FULL
from ..reconstruction.results import Comparison
from . import page
from .cases import case


@dataclass(frozen=True, eq=False)
class Part:
    """One model: title, a sentence about it, and what it drew and read."""

    title: str
    about: str
    drawn: Sequence[Drawn] = ()
    read: Sequence[Read] = ()


@dataclass(frozen=True, eq=False)
class Demo:
    """What the page shows. notices: lines to know before looking. pictures: some (3, H, W) uint8, as the
    models see them. kept: pictures through codecs, with the folder of their files. seconds: (what was done,
    seconds). next: (what for, command)."""

    title: str
    summary: list[str]
    parts: list[Part]
    seconds: list[tuple[str, float]]
    next: list[tuple[str, str]]
    notices: list[str] = field(default_factory=list)
    pictures: Sequence[Tensor] = ()
    kept: tuple[Comparison, Path] | None = None


def write(path: Path, demo: Demo) -> None:
    """Write the page. Raises DiskFullError."""
    page.write(path, render(demo))


def render(demo: Demo) -> str:
    """The page as text."""
    cases = []
    if demo.kept:
        result, folder = demo.kept
        cases = [case(one, "", result.rows, folder) for one in result.each]
    return page.render(
        "demo",
        demo=demo,
        pictures=[_picture(pixels) for pixels in demo.pictures],
        parts=[_part(part) for part in demo.parts],
        cases=cases,
        total=sum(seconds for _, seconds in demo.seconds),
        ramp=", ".join(f"rgb({r} {g} {b})" for r, g, b in COLOURS),
        full=FULL,
    )


def _part(part: Part) -> dict:
    return {
        "title": part.title,
        "about": part.about,
        "drawn": [_drawn(one) for one in part.drawn],
        "columns": max((len(one.pictures) + (one.real is not None) for one in part.drawn), default=1),
        "read": [
            {"split": title, "pictures": pictures, "right": sum(one["right"] for one in pictures)}
            for title, held_out in (("Held out", True), ("Trained on", False))
            if (pictures := [_read(one) for one in part.read if one.held_out == held_out])
        ],
    }


def _drawn(one: Drawn) -> dict:
    return {
        "caption": one.caption,
        "real": None if one.real is None else _picture(one.real),
        "pictures": [_picture(pixels) for pixels in one.pictures],
        "held_out": one.held_out,
    }


def _read(one: Read) -> dict:
    return _picture(one.picture) | {"truth": " / ".join(one.truth), "said": one.said, "right": one.right}


def _picture(pixels: Tensor) -> dict:
    return page.picture(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))
