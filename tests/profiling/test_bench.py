"""`rawmm bench` runs real steps, and its figures are consistent."""

import json

import pytest

from rawmm_cli.config import presets
from rawmm_cli.profiling import bench
from rawmm_cli.system import machine

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def quick(monkeypatch):
    """Replace the measured matmul rate."""
    monkeypatch.setattr(machine, "matmul_rate", lambda *arguments: 1e11)


def command(rawmm, *words):
    code, out, err = rawmm("bench", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_training(rawmm, prepared_digits):
    figures = command(
        rawmm,
        "train",
        "train.optimizer=muon",
        "--preset",
        "tiny",
        "--steps",
        5,
        "--data-dir",
        prepared_digits,
    )
    assert (
        figures["data"] == "digits"
        and figures["kind"] == "train"
        and figures["compiled"] is False
        and figures["steps"] == 5
    )
    assert figures["documents_per_second"] == pytest.approx(16 / figures["step_seconds"])
    assert figures["mfu"] == pytest.approx(figures["flops_per_second"] / figures["matmul_flops_per_second"])
    assert 0 < figures["mfu"] < 1 and 0 < figures["data_wait"] < 1 and 0.8 < figures["fill"] <= 1
    assert figures["peak_memory"] > 50e6
    for name in ("step_seconds", "peak_memory"):
        ratio = figures["estimate"][name] / figures[name]
        assert figures["estimate_over_measured"][name] == pytest.approx(ratio)


def test_any_preset_without_its_data(rawmm, tmp_path, quick):
    words = ["data.set=nowhere", "data.size=16", "train.batch=4", "train.length=40"]
    figures = command(rawmm, "train", *words, "--preset", "tiny", "--steps", 3, "--data-dir", tmp_path)
    assert figures["data"] == "random pictures"


def test_drawing_and_writing(rawmm, quick):
    figures = command(rawmm, "sample", "--preset", "tiny", "--count", 4)
    assert figures["seconds_per_step"] == pytest.approx(4 / figures["pictures_per_second"] / figures["steps"])
    assert figures["tokens_per_second"] > 0 and 0 < figures["mfu"] < 1


def test_codes_are_written_beside_text_of_the_same_length(rawmm, quick):
    figures = command(
        rawmm,
        "sample",
        "--preset",
        "tiny",
        "codec.kind=subpixels",
        "head.kind=autoregressive",
        "data.size=4",
        "train.length=112",
        "--count",
        4,
    )
    assert figures["codes_per_second"] > 0 and figures["codes_over_text"] > 0.5  # docs/systems.md: about 1.5
    assert figures["steps"] is None and figures["mfu"] is None


def test_batches(rawmm, prepared_digits):
    figures = command(rawmm, "data", "--preset", "tiny", "--steps", 16, "--data-dir", prepared_digits)
    assert figures["documents_per_second"] == pytest.approx(16 / figures["seconds_per_step"])
    assert figures["positions_per_second"] * figures["seconds_per_step"] == pytest.approx(
        figures["rows"] * 40 * figures["fill"]
    )


def test_figures_are_a_table(rawmm, prepared_digits, quick):
    code, out, _ = rawmm("bench", "train", "--preset", "tiny", "--steps", 3, "--data-dir", prepared_digits)
    assert code == 0 and "positions per second" in out and "(estimated:" in out


@pytest.mark.parametrize(
    "words", [(), ("data.size=16", "train.length=20"), ("data.size=16", "train.length=200")]
)
def test_random_pictures_fit_their_rows(words, tmp_path):
    config = presets.load("tiny", ["data.set=nowhere", *words])
    data, source = bench.data_for(config, tmp_path)
    assert source == "random pictures" and data.image(3).shape == (3, config.data.size, config.data.size)
    assert bench.batches_alone(config, tmp_path, 3)["fill"] > 0.7
