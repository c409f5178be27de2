"""Comparisons that ship: every system builds, and what is to be equal is equal."""

import json

import pytest
from sources import prepare_source

from rawmm_cli.comparison.estimates import _with_codec
from rawmm_cli.config import build, comparison, presets
from rawmm_cli.config.codecs import CodecConfig
from rawmm_cli.core.model import count_parameters
from rawmm_cli.data.datasets.digits import digits
from rawmm_cli.data.datasets.pairs import pairs
from rawmm_cli.data.datasets.text_images.drawing import text_images

NAMES = comparison.names()
CASES = [(name, system.name) for name in NAMES for system in comparison.load(name).systems]
TEXT = {"digits": 5, "pairs": 0, "words": 7, "portraits32": 40}  # tokens of a caption, at most


def settings(name, system):
    """Settings of the model of a system, and of its codec."""
    asked = comparison.load(name)
    one = next(one for one in asked.systems if one.name == system)
    words, codec = [f"data.set={asked.data}", *one.settings], None
    if one.codec:
        codec = presets.load(one.codec.preset, [f"data.set={asked.data}", *one.codec.settings])
        words += [f"codec.kind={codec.codec.kind}", "codec.run=mine"]
    config = presets.load(one.preset, words)
    return (_with_codec(config, codec) if codec else config), codec


@pytest.mark.parametrize("name, system", CASES, ids=map(" ".join, CASES))
def test_every_system_builds_and_a_picture_fits_with_its_caption(name, system):
    config, codec = settings(name, system)
    assert codec is None or isinstance(codec, CodecConfig)
    build.model(config, "meta")
    if name != "isolation":  # two pictures a document
        needed = config.positions(config.data.size, config.data.size) + 4 + TEXT[config.data.set]
        assert config.train.length >= needed


def count(name, system):
    return count_parameters(build.model(settings(name, system)[0], "meta"))["total"]


def test_backbones_have_equal_parameters():
    counts = [count("backbones", system.name) for system in comparison.load("backbones").systems]
    assert max(counts) < 1.01 * min(counts)
    said = (presets.folder() / "compare" / "backbones.yaml").read_text()
    assert all(f"{number:,}" in said for number in counts)


def test_clocks_have_equal_parameters_but_for_the_one_that_has_none():
    counts = {system.name: count("clock", system.name) for system in comparison.load("clock").systems}
    without = counts.pop("none")
    assert max(counts.values()) < 1.01 * min(counts.values()) and without < min(counts.values())


def test_systems_of_words_have_as_many_positions():
    """What a model sees of a picture differs; how long its sequence is does not."""
    positions = {
        settings("words", system.name)[0].positions(64, 64) for system in comparison.load("words").systems
    }
    assert positions == {64}


def test_bits_of_words_are_those_of_the_names():
    for system in comparison.load("words").systems:
        kind, _, bits = system.name.removesuffix("-photos").partition("-")
        if kind in ("fsq", "vq"):
            _, codec = settings("words", system.name)
            assert build.codec(codec).bits(64, 64) == int(bits)
            assert codec.data.set == ("photos64" if system.name.endswith("photos") else "words")


@pytest.mark.parametrize("values, name", [(12, "targets"), (48, "targets-48"), (192, "targets-192")])
def test_targets_differ_in_the_prediction_alone(values, name):
    systems = comparison.load(name).systems
    configs = [settings(name, system.name)[0] for system in systems]
    assert [config.head.prediction for config in configs] == [system.name for system in systems]
    assert {3 * config.codec.patch**2 for config in configs} == {values}
    plain = {config.model_copy(update={"head": configs[0].head}).model_dump_json() for config in configs}
    assert len(plain) == 1


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Small sets in the place of those that the comparisons name, of the same sizes."""
    folder = tmp_path_factory.mktemp("data")
    prepare_source(folder / "digits", digits())
    prepare_source(folder / "pairs", pairs(digits(), count=400))
    for name, size in {"words": 64, "photos64": 64, "portraits32": 32}.items():
        prepare_source(folder / name, text_images(count=40, size=size, glyph="10", letters="2", words=1))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_dry_runs(name, sets, rawmm, tmp_path):
    """Every system has an estimate, with the parameters of what is built."""
    options = ("--comparisons-dir", tmp_path / "comparisons", "--runs-dir", tmp_path, "--data-dir", sets)
    code, out, err = rawmm("compare", name, "--dry-run", "--json", *options)
    assert code == 0, err
    said = {one["system"]: one for one in json.loads(out)["systems"]}
    assert list(said) == [system.name for system in comparison.load(name).systems]
    for system, one in said.items():
        assert one["parameters"] == count(name, system) and one["seconds"] > 0 and one["flops"] > 0
        assert all(number > 0 for number in one["documents"].values()), f"{system} does not fit the budget"
