"""The command line: one line a command. Nothing here imports torch; a command imports what it needs when it
runs."""

import errno
import os
import sys
import time
from contextlib import nullcontext, suppress
from typing import NoReturn

import typer

from .commands.average import average
from .commands.bench import bench
from .commands.checkpoint import group as checkpoint
from .commands.compare import compare
from .commands.demo.command import demo
from .commands.doctor import doctor
from .commands.entropy_budget.group import group as entropy_budget
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.prepare.command import prepare
from .commands.presets import presets
from .commands.reconstruct import reconstruct
from .commands.report import report
from .commands.sample import sample
from .commands.show import show
from .commands.studio import studio
from .commands.train import train
from .commands.tune_sampler import tune_sampler

app = typer.Typer(
    name="rawmm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One Transformer that reads and writes text and images, images as raw pixel patches.",
    epilog='Try it: [bold]rawmm sample "a portrait of"[/bold] draws in seconds; '
    "[bold]rawmm demo[/bold] trains "
    "on real digits, and with --path on your own pictures, and opens a page, in minutes.",
)

START, USE, LOOK = "Start here", "Train and use a model", "Look"
app.command(rich_help_panel=START)(sample)
app.command(rich_help_panel=START)(demo)
app.command(rich_help_panel=USE)(prepare)
app.command(rich_help_panel=USE)(train)
app.command(rich_help_panel=USE)(studio)
app.command(rich_help_panel=USE)(evaluate)
app.command(rich_help_panel=USE)(compare)
app.command(rich_help_panel=USE)(reconstruct)
app.command(rich_help_panel=USE)(average)
app.command(rich_help_panel=USE)(export)
app.command(name="tune-sampler", rich_help_panel=USE)(tune_sampler)
app.add_typer(checkpoint, name="checkpoint", rich_help_panel=LOOK)
app.add_typer(entropy_budget, name="entropy-budget", rich_help_panel=LOOK)
app.add_typer(entropy_budget, name="info-budget", hidden=True)
app.command(rich_help_panel=LOOK)(show)
app.command(rich_help_panel=LOOK)(presets)
app.command(rich_help_panel=LOOK)(report)
app.command(rich_help_panel=LOOK)(bench)
app.command(rich_help_panel=LOOK)(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        typer.echo(f"rawmm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    try:
        os.getcwd()
    except OSError:  # libraries would end the process, with exit codes of their own
        from .system.errors import ConfigError

        raise ConfigError(
            "the working folder was removed; allowed: one that exists; change to it and run the command again"
        ) from None


OUT_OF_MEMORY = (
    "not enough memory; set a smaller train.batch, train.length or backbone.width, or close other programs"
)
_reserve: list[bytearray] = []  # memory for what is said when there is none, where it is limited
UsageError = typer.BadParameter.__bases__[0]  # typer carries click inside and does not export this name


def main(began: float | None = None) -> None:
    """Run the command line. An error that the user can fix becomes one line and an exit code. began: when the
    process was started, on the clock of time.perf_counter; None: now."""
    from .system import interrupts
    from .system.launch import joined

    installed = interrupts.install()
    for name in ("stdout", "stderr"):  # None where the shell closed it, as with >&-
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        with suppress(AttributeError, OSError):  # characters outside the terminal's encoding become "?"
            getattr(sys, name).reconfigure(errors="replace")
    try:
        _main(time.perf_counter() if began is None else began)
    except Exception as error:  # a bug; in a rank its launcher shows it, once
        if not joined():
            raise
        import traceback

        _fail(f"{type(error).__name__}: {error}", 1, traceback.format_exc())
    finally:
        if installed:  # in a process that goes on, as in tests
            interrupts.remove()


def _main(began: float) -> None:
    from .commands.screen import activity
    from .system import interrupts
    from .system.activity import shown_by
    from .system.errors import RawmmError, Stopped, address_space, is_out_of_memory

    if address_space() is not None:
        _reserve.append(bytearray(8 << 20))
    silent = "--json" in sys.argv or os.environ.get("RANK", "0") != "0"
    try:
        with nullcontext() if silent else shown_by(activity):
            code = app(standalone_mode=False, obj=began)
        if code == 130 or interrupts.taken():
            _fail("stopped", 130)
        _leave(code if isinstance(code, int) else 0)
    except SystemExit as leaving:  # typer exits with 1 on a broken pipe
        sys.exit(0 if leaving.code == 1 else leaving.code)
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code, kind="")
    except RawmmError as error:
        _fail(str(error), error.exit_code)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is already printed
            sys.exit(error.exit_code)
        command = error.ctx.command_path if error.ctx else "rawmm"
        _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped", 130)
    except (MemoryError, RuntimeError, ImportError, OSError, SystemError) as error:
        limit = address_space()
        if is_out_of_memory(error) or (limit is not None and isinstance(error, SystemError)):
            _reserve.clear()
            error.__traceback__ = None  # what its frames hold is room for the line
            _fail(OUT_OF_MEMORY + (f" (ulimit -v: {limit:,} bytes)" if limit is not None else ""), 5)
        if not isinstance(error, OSError):
            raise
        _fail_system(error)


def _fail_system(error: OSError) -> None:
    """Exit with a line about an error of the operating system. Raises it again where it names no file."""
    from .system.disk import FULL

    if isinstance(error, BrokenPipeError) or (error.errno == errno.EIO and not error.filename):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader or the terminal is gone
        sys.exit(0)
    if error.errno in FULL:
        place = error.filename or "while writing"
        _fail(f"no room on the disk ({place}); make room and run the same command again", 28)
    if not error.filename or not error.strerror:
        raise error
    _fail(f"{error.filename}: {error.strerror}; change its permissions, or give another path", 2)


def _fail(message: str, code: int, traceback: str = "", kind: str = "error: ") -> NoReturn:
    """Print one line of a `kind` on stderr, or send it to the launcher where this process is a rank, and exit
    with `code`."""
    from .commands.screen import printable
    from .system import interrupts
    from .system.launch import tell

    interrupts.taken()
    line = " ".join(printable(message).split())
    if not tell(line, code, traceback) and line:
        print(f"{traceback}{kind}{line}", file=sys.stderr)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Exit. A rank skips the interpreter's shutdown: torch may block a failed rank there, and threads of gloo
    may abort."""
    from .system.launch import joined

    if joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
