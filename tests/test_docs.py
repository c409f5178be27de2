"""README and docs: their commands are commands, their links lead somewhere, and the README stays short."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from rawmm_cli.cli import UsageError, app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if page.exists() and page.name not in ("cli.md", "log.md")]
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


def commands(text: str) -> list[list[str]]:
    """Words of every `rawmm ...` in the code of a page, split as a shell splits them."""
    text = re.sub(r"\\\n\s*", "", text)
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    parts = [part.strip() for line in lines for part in re.split(r"&&|; ", line)]
    words = [shlex.split(part, comments=True) for part in parts if part.startswith("rawmm ")]
    return [line[1:] for line in words if "..." not in line and line[1:]]


def parse(words: list[str]) -> None:
    """Raises UsageError where the command line does not know a word. Nothing is run."""
    command = typer.main.get_command(app)
    context = command.make_context("rawmm", list(words))
    while hasattr(command, "get_command") and context._protected_args + context.args:
        name, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(name, rest, parent=context)


def anchors(page: Path) -> set[str]:
    """What `page.md#...` may name: its headings as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_commands(page):
    for words in commands(page.read_text(encoding="utf-8")):
        try:
            parse(words)
        except UsageError as error:
            if type(error).__name__ == "MissingParameter" and len(words) == 1:  # a command that is only named
                continue
            pytest.fail(f"{page.name}: rawmm {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("words", (["draw"], ["sample", "--stepz", "10"], ["sample", "--steps", "ten"]))
def test_a_command_that_is_none_is_seen(words):
    with pytest.raises(UsageError):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = link.partition("#")
        if not file.startswith("http"):
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_the_readme_is_short_and_has_the_four_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    for command in (
        "rawmm prepare celebahq",
        "rawmm train --preset patch128 --gpus 8",
        'rawmm sample "a portrait of" --steps 10',
        "rawmm entropy-budget --L 256",
    ):
        assert f"`{command}`" in text or f"\n{command}" in text
        assert shlex.split(command)[1:] in commands(text)


def test_installing_from_a_checkout_uses_the_tested_versions():
    """Every `pip install` of rawmm itself in README, docs and CONTRIBUTING names constraints.txt."""
    for page in PAGES:
        for command in re.findall(r"pip install [^`\n#]*", page.read_text(encoding="utf-8")):
            if re.search(r"(^|[\s'])(\.|-e)(\s|\[|'|$)", command):
                assert "-c constraints.txt" in command, f"{page.name}: {command}"


def test_every_preset_is_described():
    text = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    for preset in PRESETS:
        assert f"`{preset.stem}`" in text, f"docs/train.md does not describe preset {preset.stem}"


def test_the_house_names_every_member_of_the_interfaces():
    """docs/house.md has each attribute of the protocols, and each method with its arguments."""
    text = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    source = (ROOT / "rawmm_cli" / "core" / "parts.py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if "Protocol" in {getattr(base, "id", "") for base in node.bases}]
    assert len(protocols) >= 3
    for member in (member for protocol in protocols for member in protocol.body):
        if isinstance(member, ast.FunctionDef):
            arguments = ", ".join(argument.arg for argument in member.args.args[1:])
            assert f"`{member.name}({arguments})`" in text, f"docs/house.md lacks {member.name}({arguments})"
        elif isinstance(member, ast.AnnAssign):
            assert f"`{member.target.id}`" in text, f"docs/house.md lacks {member.target.id}"
