"""Samples on the screen: text as it is written, pictures where the terminal can show them, names of files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .screen import notify, printable

if TYPE_CHECKING:
    from ..core.document import Picture

PREVIEWS = ("auto", "none", "blocks", "kitty", "iterm", "sixel")


class Screen:
    """What the user sees of a request.

    preview: one of PREVIEWS. live: print text while it is written (one sample)."""

    def __init__(self, preview: str, live: bool, may_draw: bool = True) -> None:
        from ..config.explain import nearest
        from ..system.errors import ConfigError

        if preview not in PREVIEWS:
            raise ConfigError(
                f"unknown preview '{preview}'{nearest(preview, PREVIEWS)}; allowed: {', '.join(PREVIEWS)}"
            )
        self.preview, self.live, self.may_draw = preview, live, may_draw
        self.shown, self.column = "", 0

    def say(self, number: int, item: "str | Picture") -> None:
        """Print text of a sample as it is written. item: all text since the last picture, or a Picture."""
        if not self.live:
            return
        if not isinstance(item, str):
            self.shown = ""
            return
        self._print(printable(item)[len(printable(self.shown)) :])
        self.shown = item

    def _print(self, text: str) -> None:
        if text:
            typer.echo(text, nl=False)
            sys.stdout.flush()
            self.column = 0 if text.endswith("\n") else self.column + len(text)

    def rest(self, result: dict) -> None:
        """Print what is not on the screen yet."""
        if self.column:
            typer.echo()
        for entry in result["samples"]:
            for item in entry["items"]:
                if "image" in item:
                    self._picture(Path(item["image"]), single=len(result["samples"]) == 1)
                    typer.echo(printable(item["image"]))
                elif not self.live:
                    typer.echo(printable(item["text"]))
        if result["sheet"]:
            self._picture(Path(result["sheet"]), single=True)
            notify(f"contact sheet: {result['sheet']}")
        if result["gif"]:
            notify(f"GIF of the denoising: {result['gif']}")
        if not result["items"]:
            notify("the model wrote nothing")
        elif self.may_draw and result["temperature"] and not any("image" in item for item in result["items"]):
            notify(
                "the model wrote no <image> after this prompt; try a caption like those of its training set"
            )

    def _picture(self, path: Path, single: bool) -> None:
        """Show a picture, where stdout is a terminal."""
        if self.preview == "none" or not single or (self.preview == "auto" and not sys.stdout.isatty()):
            return
        from ..data.images import read_image
        from ..pages.terminal import escapes, half_blocks, protocol

        pixels, kind = read_image(path), protocol() if self.preview == "auto" else self.preview
        if kind == "blocks":
            from rich.console import Console

            screen = Console(highlight=False, force_terminal=True)
            if screen.color_system is not None and not screen.no_color:  # else all blocks have one colour
                screen.print(half_blocks(pixels, min(64, screen.width)))
            return
        zoom = max(1, 256 // max(pixels.shape[:2]))
        typer.echo(escapes(pixels.repeat(zoom, 0).repeat(zoom, 1), kind))
