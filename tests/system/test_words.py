"""Counted nouns agree with their number everywhere: messages and pages ask `figures.counted` or
`figures.plural` where a number may be one."""

import ast
import re
from pathlib import Path

import pytest

from rawmm_cli.system.figures import counted, plural

ROOT = Path(__file__).parents[2] / "rawmm_cli"
NOUNS = (
    "archives captions classes codecs cores documents entries files fonts groups guesses images items "
    "patches pictures pieces processes ranks snapshots steps texts threads tokenizers"
)
WORD = re.compile(rf" ((?:[a-z-]+ )?(?:{'|'.join(NOUNS.split())}))\b(?!/)")
NO_ADJECTIVES = "needs holds for of in and or".split()
# Where a number of one cannot be, or the sentence is about more than one.
MANY = {
    "{loaded.name} reads pictures": "a name, and what it does",
    "all {total:,} pictures": "a set has a training and a held-out picture at least",
    "{total:,} pictures": "the same",
    "{len(parts)} images": "refused because there are more than one",
    "{seen:,} documents": "too few, and more than one step",
    "{len(half)} pictures": "half of those that are drawn to tune a sampler",
    "{steps} steps": "a grid has two times at least",
    "{of} documents": "of the whole run",
    "{about:,} documents": "a whole run",
    "{self.linked:,} files": "has a sentence of its own for one",
    "{drawn['steps']} steps": "asked before, and none for heads without steps",
    "{prod(self.levels):,} codes": "two levels at least",
    "{facts.rows:,} training pictures": "enough of them",
    "{pictures:,} test pictures": "none, or two at least",
    "{sum((note['items'] for note in notes)):,} items": "parts of thousands",
}


def unequal(text: str) -> list[str]:
    """Pairs of a number and a plural noun in the f-strings of a module."""
    pairs = []
    for node in ast.walk(ast.parse(text)):
        for number, words in zip(node.values, node.values[1:]) if isinstance(node, ast.JoinedStr) else ():
            if not (isinstance(number, ast.FormattedValue) and isinstance(words, ast.Constant)):
                continue
            spec = ast.unparse(number.format_spec)[2:-1] if number.format_spec else ""
            value = ast.unparse(number.value)
            noun = WORD.match(words.value)
            amount = re.fullmatch(r"[\w.\[\]'()\s=-]+", value) and spec in ("", ",")
            if (
                noun
                and amount
                and noun[1].split()[0] not in NO_ADJECTIVES
                and not re.fullmatch(r"([\w]+\.)?[A-Z_]+", value)
            ):
                pairs.append(f"{{{value}{':' * bool(spec)}{spec}}} {noun[1]}")
    return pairs


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.stem)
def test_messages_count(path):
    allowed = [words.removeprefix("all ") for words in MANY]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "state=f" in line]
    for pair in unequal(path.read_text(encoding="utf-8")):
        if pair not in allowed and not any(pair in line for line in lines):  # `state` is no message
            pytest.fail(f"{path.name}: {pair}; use figures.counted")


def test_a_wrong_plural_is_seen():
    assert unequal('f"{count:,} training pictures"') == ["{count:,} training pictures"]
    assert unequal("f\"{counted(count, 'picture')}, {speed:.1f} documents/s, {MOST} codecs\"") == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("pages/*.html")), ids=lambda path: path.stem)
def test_pages_count(path):
    """{{ count | counted("picture") }}, not {{ count }} pictures."""
    text = path.read_text(encoding="utf-8")
    wrong = re.findall(rf"\}}\}}(?:</b>)?\s+(?:{'|'.join(NOUNS.split())})\b", text)
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("thing", "things"),
    [
        *(("picture", "pictures"), ("training picture", "training pictures"), ("entry", "entries")),
        *(("patch", "patches"), ("class", "classes"), ("first guess", "first guesses"), ("axis", "axes")),
        *(("process", "processes"), ("code", "codes")),
    ],
)
def test_plurals(thing, things):
    assert (plural(1, thing), plural(0, thing), plural(2, thing)) == (thing, things, things)
    assert counted(1437, thing) == f"1,437 {things}"
