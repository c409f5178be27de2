"""`rawmm presets`: list the presets, or show one with every setting resolved."""

from typing import Annotated, Optional

import typer

from .common import Json, console, emit


def presets(
    name: Annotated[Optional[str], typer.Argument(help="Show this preset, resolved.")] = None,
    settings: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...")] = None,
    json: Json = False,
):
    """List the presets, or show one with every setting resolved."""
    from ..config import presets

    if name:
        resolved = presets.load(name, settings or [])
        if json:
            return emit({"name": name, "config": resolved.model_dump(mode="json")})
        header = [line for line in presets.text(name).splitlines() if line.startswith("#")]
        return typer.echo("\n".join(header + [presets.dump(resolved).rstrip()]))
    about = {preset: presets.about(preset) for preset in presets.names()}
    if json:
        return emit({"presets": about})
    from rich.table import Table

    table = Table("preset", "what it shows", box=None, header_style="bold", padding=(0, 2))
    for preset, text in about.items():
        table.add_row(preset, text)
    from rich.console import Console

    Console(highlight=False).print(table)
    console().print("`rawmm presets NAME` shows all settings of one.", style="dim", markup=False)
