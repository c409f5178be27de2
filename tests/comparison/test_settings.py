"""Files of comparisons: what they may hold, and every error word for word."""

import pytest

from rawmm_cli.config import comparison
from rawmm_cli.system.errors import ConfigError

RAW, UNET = {"name": "raw", "preset": "tiny"}, {"name": "unet", "preset": "digits-unet"}


@pytest.mark.parametrize("name", comparison.names())
def test_every_comparison_that_ships_is_sound(name):
    settings = comparison.load(name)
    assert settings.name == name and settings.question and len(settings.systems) > 1
    assert comparison.about(name).endswith(".")


def test_seeds_are_a_list_or_how_many():
    assert comparison.load("tiny", seeds=3).seeds == (0, 1, 2)
    assert comparison.load("tiny", seeds=[5, 7]).seeds == (5, 7)


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"systems": [{"name": "raw"}]}, "system 'raw' has no preset; allowed: one of `rawmm presets`"),
        ({"systems": [RAW, RAW]}, "two systems are named 'raw'; allowed: a name once"),
        ({"systems": []}, "systems is empty; allowed: a name and a preset each"),
        ({"budget": {}}, "budget has nothing; allowed: one of time (seconds), documents, flops"),
        ({"budget": {"time": 1.0, "documents": 2}}, "budget has time and documents; allowed: one of"),
        ({"seeds": [1, 1]}, "seeds = [1, 1]; allowed: at least one, each once"),
        ({"seeds": 0}, "seeds = 0; allowed: 1 to 100"),
        ({"sedes": [1]}, "unknown key 'sedes' (did you mean seeds?)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(changes, line):
    with pytest.raises(ConfigError) as caught:
        comparison.load("tiny", **changes)
    assert str(caught.value).startswith(f"comparison tiny: {line}")
    assert "\n" not in str(caught.value)


def test_an_unknown_name_has_the_nearest_one():
    with pytest.raises(ConfigError, match=r"unknown comparison 'tinny' \(did you mean tiny\?\)"):
        comparison.load("tinny")
