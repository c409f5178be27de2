"""The shell of every HTML page: one Jinja environment, one style sheet, one policy, one way to write.

A page NAME is the template NAME.html, which extends page.html, and NAME.js where it has a script; scripts of
several pages are SHARED. It stands alone: style, script and pictures are inside, it loads nothing, and its
Content-Security-Policy allows no request and no script but its own, which it names by hash. (Styles are not
named so: widths of bars stand in `style` attributes, which no hash covers.) Names, captions
and texts are hostile input: all of them go through Jinja's autoescape."""

import base64
import hashlib
import io
import re
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from ..system import disk
from ..system.errors import printable
from ..system.figures import counted, duration, number, plural, size

HERE = Path(__file__).parent
SHARED = {"compare": ("sort",), "reconstruct": ("sort",)}  # scripts of several pages


def render(page: str, **values: Any) -> str:
    """The page named `page` as text, without the lone surrogates that JSON may hold."""
    script = _script(page)
    text = (
        environment()
        .get_template(f"{page}.html")
        .render(page=page, style=_style(), script=script, script_hash=_sha256(script), **values)
    )
    return text.encode("utf-8", "replace").decode()


def write(path: Path, text: str) -> None:
    """Write a page in one go: a reader sees the old one or the new one. Raises DiskFullError."""
    disk.sweep(path.parent)
    disk.write(path, text)


@cache
def environment() -> jinja2.Environment:
    """Templates of this folder. A variable that is missing is an error."""
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "breaks": lambda name: Markup("<wbr>").join(re.split("(?<=[/:@._-])(?=.)", name)),
        "unbroken": _unbroken,
        "number": number,
        "counted": counted,
        "plural": plural,
        "size": size,
        "duration": duration,
        "time": _time,
        "printable": printable,
        "label": lambda name: printable(str(name)).replace("_", " "),
    }
    return jinja


def picture(image: Image.Image, kind: str = "PNG") -> dict:
    """A picture that stands inside a page: {"uri", "width", "height"}. kind: PNG, which is exact, or JPEG."""
    return {"uri": data_uri(image, kind), "width": image.width, "height": image.height}


def data_uri(image: Image.Image, kind: str = "PNG") -> str:
    """The picture as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _unbroken(text: str) -> str:
    """Text whose [1.2, 4.9] stay on one line, with real minus signs."""
    text = re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)
    return re.sub(r"\[[^\]]*\]", lambda interval: interval[0].replace(" ", "\xa0"), text)


@cache
def _style() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


@cache
def _script(page: str) -> str:
    paths = [HERE / f"{name}.js" for name in (*SHARED.get(page, ()), page)]
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _time(seconds: float | None) -> str:
    """Seconds since 1970 -> '2026-07-01 12:00 UTC'."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"
