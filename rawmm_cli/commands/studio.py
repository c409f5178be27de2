"""`rawmm studio`: a local page to draw and read with a model."""

from typing import Annotated

import typer

from ..system import interrupts
from .common import RUNS, Device, Json, Model, Run, RunsDir, load_model, open_page
from .screen import emit, notify


def studio(
    run: Run = None,
    model: Model = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = 8765,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    device: Device = "auto",
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Open a local page: type a prompt and watch the picture appear, or drop a picture to get a caption.

    Only this machine can reach the page, and the page loads nothing from elsewhere. Ctrl-C ends it."""
    loaded = load_model(runs_dir, run, model, device)
    from ..pages import page
    from ..sampling.studio import Studio
    from ..sampling.studio import server as serve

    with serve(Studio(loaded), page.render("studio"), port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        if json:
            emit({"model": loaded.name, "model_hash": loaded.hash, "url": address})
        else:
            typer.echo(f"{loaded.name}: {address} (Ctrl-C ends it)")
        if browser:
            open_page(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # the usual end
            interrupts.taken()
            notify("ended")
