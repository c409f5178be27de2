"""Requests: what can be wrong with one is said before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from rawmm_cli.sampling.request import Request, chosen, numbers_of
from rawmm_cli.system.errors import ConfigError


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"settings": {"stepz": 3}}, r"unknown setting 'stepz' \(did you mean steps\?\); allowed: steps, "),
        ({"settings": {"steps": 0}}, "--steps = 0; allowed: a whole number from 1 to 1,000"),
        ({"settings": {"max_text": 0}}, "--max-text = 0; allowed: a whole number from 1 to 100,000"),
        ({"settings": {"steps": True}}, "--steps = True; allowed: a whole number"),
        ({"settings": {"size": 64.0}, "options": False}, "^size = 64.0; allowed: a whole number"),
        ({"settings": {"top_p": "1"}, "options": False}, "^top_p = '1'; allowed: more than 0"),
        ({"count": 0}, "--count = 0; allowed: a whole number of at least 1"),
        ({"seed": -1, "options": False}, "^seed = -1; allowed: a whole number of at least 0"),
        ({"settings": {"guidance": -1}}, "--guidance = -1; allowed: a number of at least 0"),
        ({"settings": {"guidance": float("nan")}}, "--guidance = nan; allowed: a number of at least 0"),
        ({"settings": {"temperature": float("inf")}}, "--temperature = inf; allowed: a number of at least 0"),
        ({"settings": {"rescale": 1.5}}, "--rescale = 1.5; allowed: 0 to 1"),
        ({"settings": {"top_p": 0}}, "--top-p = 0; allowed: more than 0, at most 1"),
        ({"settings": {"code_top_p": 1.5}}, "--code-top-p = 1.5; allowed: more than 0, at most 1"),
        ({"settings": {"code_top_k": 0.5}}, "--code-top-k = 0.5; allowed: a whole number from 0"),
        ({"settings": {"code_temperature": -1}}, "--code-temperature = -1; allowed: a number of at least 0"),
        ({"settings": {"code_temperature": (1, -1)}}, "--code-temperature = -1; allowed: a number of at le"),
        ({"settings": {"code_top_k": ()}}, "--code-top-k = a value of type tuple; allowed: a whole number"),
        (
            {"settings": {"guidance": (1, 2)}},
            "--guidance = a value of type tuple; allowed: a number of at le",
        ),
        (
            {"settings": {"order": "haltom"}},
            r"unknown order 'haltom' \(did you mean halton\?\)",
        ),
        ({"settings": {"solver": "hun"}}, r"unknown solver 'hun' \(did you mean heun\?\); allowed: euler, "),
        ({"settings": {"grid": "x"}}, "unknown grid 'x'; allowed: uniform, shifted, quantiles, tuned"),
        ({"task": "read"}, "unknown task 'read'; allowed: continue, caption"),
        ({"strength": 0.5}, "given with --image: 0"),
        ({"prompts": ("a\x07",)}, "control character"),
        ({"prompts": ("a", "{image: }")}, "names no file"),
        ({"task": "caption"}, "needs a picture to read"),
    ],
)
def test_what_does_not_fit_is_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as error:
        Request(**fields)
    assert "\n" not in str(error.value)


def test_a_request_knows_whether_it_reads_or_paints():
    assert not Request(("a", "{{image:b}")).reads
    assert Request(("a", "{image:b}")).reads and Request((["a", Path("b")],)).reads
    assert Request(images=(Path("b"),)).reads and not Request(images=(Path("b"),)).paints
    assert Request(images=(Path("b"),), strength=0.5).paints


def test_only_given_options_count():
    assert chosen(steps=None, guidance=0.0, solver="heun") == {"guidance": 0.0, "solver": "heun"}


@pytest.mark.process
def test_a_request_needs_no_torch():
    code = (
        "import sys\nfrom rawmm_cli.sampling.request import Request\n"
        "Request(('a {image:b.png}',), settings={'steps': 3})\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_are_one_or_one_for_each_scale():
    assert numbers_of(None, "--x") is None
    assert numbers_of("0.9", "--x") == 0.9 and numbers_of("1,0.9, 0.8", "--x") == (1.0, 0.9, 0.8)
    assert numbers_of("50", "--x", whole=True) == 50 and numbers_of("0,50", "--x", whole=True) == (0, 50)
    for text in ("", "1,", "a", "1;2"):
        with pytest.raises(ConfigError, match=f"--x = '{text}'; allowed: a number, or one for each scale"):
            numbers_of(text, "--x")
    with pytest.raises(ConfigError, match=r"--x = '1\.5'; allowed: a whole number"):
        numbers_of("1.5", "--x", whole=True)
