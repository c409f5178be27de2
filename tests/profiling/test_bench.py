"""The benchmark runs the real steps and its figures fit each other."""

import json

import pytest

from rawmm_cli.config import presets
from rawmm_cli.profiling import bench
from rawmm_cli.system import machine

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def quick(monkeypatch):
    """The matmul rate is not measured."""
    monkeypatch.setattr(machine, "matmul_rate", lambda *given: 1e11)


def command(rawmm, *words):
    code, out, err = rawmm("bench", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_training(rawmm, prepared_digits):
    found = command(
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
        found["data"] == "digits"
        and found["kind"] == "train"
        and found["compiled"] is False
        and found["steps"] == 5
    )
    assert found["documents_per_second"] == pytest.approx(16 / found["step_seconds"])
    assert found["mfu"] == pytest.approx(found["flops_per_second"] / found["matmul_flops_per_second"])
    assert 0 < found["mfu"] < 1 and 0 < found["data_wait"] < 1 and 0.8 < found["fill"] <= 1
    assert found["peak_memory"] > 50e6
    for name in ("step_seconds", "peak_memory"):
        ratio = found["estimate"][name] / found[name]
        assert found["estimate_over_measured"][name] == pytest.approx(ratio)


def test_any_preset_without_its_data(rawmm, tmp_path, quick):
    words = ["data.set=nowhere", "data.size=16", "train.batch=4", "train.length=40"]
    found = command(rawmm, "train", *words, "--preset", "tiny", "--steps", 3, "--data-dir", tmp_path)
    assert found["data"] == "random pictures"


def test_drawing_and_writing(rawmm, quick):
    found = command(rawmm, "sample", "--preset", "tiny", "--count", 4)
    assert found["seconds_per_step"] == pytest.approx(4 / found["pictures_per_second"] / found["steps"])
    assert found["tokens_per_second"] > 0 and 0 < found["mfu"] < 1


def test_batches(rawmm, prepared_digits):
    found = command(rawmm, "data", "--preset", "tiny", "--steps", 16, "--data-dir", prepared_digits)
    assert found["documents_per_second"] == pytest.approx(16 / found["seconds_per_step"])
    assert found["positions_per_second"] * found["seconds_per_step"] == pytest.approx(
        found["rows"] * 40 * found["fill"]
    )


def test_people_get_a_table(rawmm, prepared_digits, quick):
    code, out, _ = rawmm("bench", "train", "--preset", "tiny", "--steps", 3, "--data-dir", prepared_digits)
    assert code == 0 and "positions per second" in out and "(estimated:" in out


@pytest.mark.parametrize(
    "words", [(), ("data.size=16", "train.length=20"), ("data.size=16", "train.length=200")]
)
def test_random_pictures_fit_their_rows(words, tmp_path):
    chosen = presets.load("tiny", ["data.set=nowhere", *words])
    data, source = bench.data_for(chosen, tmp_path)
    assert source == "random pictures" and data.image(3).shape == (3, chosen.data.size, chosen.data.size)
    assert bench.batches_alone(chosen, tmp_path, 3)["fill"] > 0.7
