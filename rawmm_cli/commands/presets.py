"""`rawmm presets`: list the presets, or show one with every setting resolved."""

from typing import Annotated, Optional

import typer

from . import tables
from .common import DATA, DataDir, DataSet, Json, choose, settle
from .screen import emit, notify


def presets(
    name: Annotated[Optional[str], typer.Argument(help="Show this preset, resolved.")] = None,
    settings: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...")] = None,
    data: DataSet = None,
    data_dir: DataDir = DATA,
    json: Json = False,
) -> None:
    """List the presets, or show one with every setting resolved.

    What is `auto` follows from a set: name one with --data."""
    from ..config import presets

    if name:
        from ..config.automatic import automatic
        from ..config.model import Config

        name, resolved = choose(name, data, settings or [])
        if resolved.data.set != "auto" and isinstance(resolved, Config) and automatic(resolved):
            resolved, _ = settle(resolved, data_dir, None, "cpu", 1)
        if json:
            return emit({"name": name, "config": resolved.model_dump(mode="json")})
        header = [line for line in presets.text(name).splitlines() if line.startswith("#")]
        typer.echo("\n".join([*header, presets.dump(resolved).rstrip()]))
        if resolved.data.set == "auto":
            notify(f"what is auto follows from a set: `rawmm presets {name} --data NAME`")
        return None
    about = {preset: presets.about(preset) for preset in presets.names()}
    if json:
        return emit({"presets": about})
    tables.write(("preset", "what it shows"), about.items())
    notify("`rawmm presets NAME` shows all settings of one.")
