"""Write docs/cli.md from the real --help of every command. `python docs/make_cli.py` (or `make docs`)."""

from pathlib import Path

import typer

from rawmm_cli.cli import app

HEADER = """# The command line

Made by `make docs` from the definitions that `--help` prints; a test fails when it is stale.
"""


def text() -> str:
    """The whole page."""
    import typer.main

    group = typer.main.get_command(app)
    context = group.make_context("rawmm", ["prepare"], resilient_parsing=True)
    parts = [HEADER]
    for name, command in _commands(group, context):
        parts.append(f"## rawmm {name}\n\n{command.help.strip()}\n")
        rows = ["| option | what it does |", "|---|---|"]
        for parameter in command.params:
            if parameter.name == "help":
                continue
            names = (
                ", ".join(f"`{option}`" for option in parameter.opts)
                if parameter.param_type_name == "option"
                else f"`{parameter.metavar or parameter.name.upper()}`"
            )
            rows.append(f"| {names} | {_about(parameter)} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _commands(group, context, prefix: str = ""):
    """Every command with its whole name; those of a group follow each other, and the group where it is a
    command itself."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            if command.invoke_without_command:
                yield prefix + name, command
            yield from _commands(command, context, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _about(parameter) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    default = parameter.default
    if default not in (None, False, "", []) and "[default" not in text:
        text += f" Default: `{default}`."
    if parameter.envvar:
        text += f" Environment: `{parameter.envvar}`."
    return text


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(text(), encoding="utf-8")
    typer.echo("wrote docs/cli.md")
