"""`rawmm presets`: list the presets, or show one with every setting resolved."""

from typing import Annotated, Optional

import typer

from . import tables
from .common import Json
from .screen import emit, notify


def presets(
    name: Annotated[Optional[str], typer.Argument(help="Show this preset, resolved.")] = None,
    settings: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...")] = None,
    json: Json = False,
) -> None:
    """List the presets, or show one with every setting resolved."""
    from ..config import presets

    if name:
        resolved = presets.load(name, settings or [])
        if json:
            return emit({"name": name, "config": resolved.model_dump(mode="json")})
        header = [line for line in presets.text(name).splitlines() if line.startswith("#")]
        return typer.echo("\n".join([*header, presets.dump(resolved).rstrip()]))
    about = {preset: presets.about(preset) for preset in presets.names()}
    if json:
        return emit({"presets": about})
    tables.write(("preset", "what it shows"), about.items())
    notify("`rawmm presets NAME` shows all settings of one.")
