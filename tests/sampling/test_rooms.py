"""The way of a prompt through the rooms: every call goes to the same room or to one below it."""

import sys
from pathlib import Path

import pytest
from test_architecture import PACKAGE, ROOMS

HANDED_IN = {("core", "codecs")}  # the codec is a part of the model that the core was given
# Text, frames and what is done now, shown as they come
LISTENERS = {("core", "sampling"), ("sampling", "commands"), ("system", "commands")}


def room(frame) -> str | None:
    """The room of a frame's code; None outside of the package and while modules are imported."""
    path = Path(frame.f_code.co_filename)
    if frame.f_code.co_name == "<module>" or not path.is_relative_to(PACKAGE):
        return None
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in ROOMS else "cli"


def calls(work) -> set[tuple[str, str]]:
    """(room, room that it calls), whatever stands between them."""
    edges = set()

    def look(frame, event, _):
        if event == "call" and (callee := room(frame)):
            caller = frame.f_back
            while caller is not None and room(caller) is None:
                caller = caller.f_back
            if caller is not None:
                edges.add((room(caller), callee))

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return edges


def upwards(edges) -> set[tuple[str, str]]:
    order = ("cli", *ROOMS)
    return {(caller, callee) for caller, callee in edges if order.index(callee) < order.index(caller)}


@pytest.mark.parametrize("words, allowed", [(["--json"], HANDED_IN), (["--gif"], HANDED_IN | LISTENERS)])
def test_a_prompt_goes_down_through_the_rooms(words, allowed, rawmm, tiny_run, tmp_path):
    edges = calls(
        lambda: rawmm("sample", "seven", "--run", tiny_run, "--out", tmp_path, "--steps", "2", *words)
    )
    assert {
        ("commands", "sampling"),
        ("commands", "runs"),
        ("sampling", "core"),
        ("sampling", "data"),
    } <= edges
    assert upwards(edges) == allowed
    assert list(tmp_path.glob("*.png"))
