"""`rawmm entropy-budget`: the formula; options that stand for its sub-commands are forwarded to them."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..common import DATA, RUNS, DataDir, Device, Json, RunsDir
from . import common
from .audit import audit
from .codec import codec
from .common import Length, Plot, Vocabulary
from .images import images
from .model import model
from .published import anchors, catalogue

group = typer.Typer(invoke_without_command=True, no_args_is_help=False)
for command in (images, codec, model, audit, catalogue, anchors):
    group.command()(command)

PANEL = "Sub-commands as options"
FORMULA = ("length", "vocabulary", "bits", "rate", "anchor", "plot")
# Options without effect, by the option that stands for a sub-command; None: without any of these.
USELESS = {
    "--codec": (*FORMULA, "steps"),
    "--audit": (*FORMULA, "size", "steps"),
    "--model": (*FORMULA, "size"),
    "--images": ("runs_dir", "device", "steps"),
    None: ("runs_dir", "device", "steps", "limit", "data_dir"),
}


@group.callback()
def entropy_budget(
    context: typer.Context,
    length: Length = None,
    vocabulary: Vocabulary = None,
    bits: Annotated[
        Optional[str],
        typer.Option("--H", help="Bits of a picture. [default: from the size, at 3 bits a byte]"),
    ] = None,
    size: Annotated[
        Optional[str],
        typer.Option(
            "--size", help="Side of the pictures in pixels, or width x height, as 640x480. [default: 64]"
        ),
    ] = None,
    rate: Annotated[
        Optional[str],
        typer.Option("--bits-per-byte", help="Bits of a byte of a picture. [default: 3]"),
    ] = None,
    anchor: Annotated[
        Optional[str],
        typer.Option(
            "--anchor", help="A published figure for it: `rawmm entropy-budget anchors` lists them."
        ),
    ] = None,
    plot: Plot = None,
    json: Json = False,
    paths: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--images", metavar="PATH", rich_help_panel=PANEL, help="entropy-budget images PATH; may repeat."
        ),
    ] = None,
    codec_word: Annotated[
        Optional[str],
        typer.Option(
            "--codec",
            metavar="WORD",
            rich_help_panel=PANEL,
            help="With --images: entropy-budget codec WORD PATH.",
        ),
    ] = None,
    run: Annotated[
        Optional[str],
        typer.Option(
            "--model",
            metavar="RUN",
            rich_help_panel=PANEL,
            help="With --images: entropy-budget model RUN PATH.",
        ),
    ] = None,
    auditing: Annotated[
        bool,
        typer.Option(
            "--audit",
            rich_help_panel=PANEL,
            help="With --model and --images: entropy-budget audit RUN PATH.",
        ),
    ] = False,
    steps: Annotated[
        int, typer.Option("--steps", min=2, max=10_000, rich_help_panel=PANEL, help="Of --model.")
    ] = common.STEPS,
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=1_000_000,
            rich_help_panel=PANEL,
            help="Pictures at most. [default: 1,000; with --model 32; with --audit all]",
        ),
    ] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    device: Device = "auto",
) -> None:
    """Count bits: a tokenizer of L tokens over V codes can be lossless only if L log2 V >= H.

    - images PATH...: upper bounds of H for your own pictures
    - codec WORD PATH...: bits of a tokenizer's codes
    - model RUN PATH...: bits a byte under a model
    - audit RUN PATH...: whether a model's input is lossless
    - catalogue, anchors: published tokenizers and entropies

    Without a sub-command, any two of --L, --V, --H give the third. The default of H is that of a picture
    of 64 x 64 x 3 bytes at 3 bits a byte."""
    if context.invoked_subcommand:
        _check_alone(context)
        return
    _check_together(context)
    if codec_word:
        codec(codec_word, paths, size, limit or common.IMAGES, data_dir, runs_dir, device, json)
    elif auditing:
        audit(run, paths, limit, data_dir, runs_dir, device, json)
    elif run:
        model(run, paths, steps, limit or common.MODEL, data_dir, runs_dir, device, json)
    elif paths:
        images(paths, length, vocabulary, size, limit or common.IMAGES, plot, data_dir, json)
    else:
        from . import formula

        formula.run(length, vocabulary, formula.Origin(bits, size, rate, anchor), plot, json)


def _passed(context: typer.Context) -> dict[str, str]:
    """Parameters that are given on the command line, with the names of their options."""
    options = {one.name: one.opts[0] for one in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name: options[name] for name, source in sources.items() if source.name == "COMMANDLINE"}


def _check_alone(context: typer.Context) -> None:
    """Raise ConfigError where options of the group stand before a sub-command."""
    from ...system.errors import ConfigError

    if _passed(context):
        command = f"entropy-budget {context.invoked_subcommand}"
        raise ConfigError(f"{command} takes its options after its name; see `rawmm {command} --help`")


def _check_together(context: typer.Context) -> None:
    """Raise ConfigError where an option is empty, has no effect with the others, or needs another one."""
    from ...system.errors import ConfigError

    passed, value = _passed(context), context.params
    for name, option in passed.items():
        if value[name] == "":
            raise ConfigError(f"{option} is empty; leave it out, or give it a value")
    if value["run"] and value["codec_word"]:
        raise ConfigError("--model and --codec are both given; allowed: one of them")
    if value["auditing"] and not value["run"]:
        raise ConfigError(
            "--audit needs the model whose input is to be audited; add --model RUN, as --model portraits"
        )
    choosing = (("codec_word", "--codec"), ("auditing", "--audit"), ("run", "--model"), ("paths", "--images"))
    chosen = next((option for name, option in choosing if value[name]), None)
    if chosen and not value["paths"]:
        raise ConfigError(f"{chosen} needs pictures; add --images PATH")
    for name in USELESS[chosen]:
        if name in passed and chosen:
            raise ConfigError(f"{chosen} takes no {passed[name]}; see `rawmm entropy-budget --help`")
        if name in passed:
            raise ConfigError(
                f"{passed[name]} has no effect without --images PATH; leave it out, or add them"
            )
    for name in ("bits", "rate", "anchor"):
        if chosen == "--images" and name in passed:
            raise ConfigError(f"--images and {passed[name]} both determine H; allowed: one of them")
