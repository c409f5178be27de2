"""Settings of a cell's model within its budget."""

import pytest

from rawmm_cli.comparison import learn
from rawmm_cli.config import presets
from rawmm_cli.system.errors import ConfigError

TASK = {"preset": "tiny", "settings": ["train.seed=3"], "rate": 1.0, "part": 1.0}
NONE = {"seconds": 0.0, "flops": 0.0}


def config(data, codec=NONE, **task):
    return learn.model_config({**TASK, **task}, codec, data / "run", data)


def test_documents_are_those_of_the_model(prepared_digits):
    train = config(prepared_digits, {"seconds": 9.0, "flops": 1e9}, budget="documents", amount=700).train
    assert (train.documents, train.time, train.seed) == (700, None, 3)


def test_time_is_what_the_codec_left(prepared_digits):
    codec = {"seconds": 12.5, "flops": 1e9}
    assert config(prepared_digits, codec, budget="time", amount=60.0).train.time == 47.5
    assert config(prepared_digits, codec, budget="time", amount=60.0, part=0.5).train.time == 23.75
    with pytest.raises(
        ConfigError, match="the codec took 12.5 s, and the budget is 12 s; give a larger budget"
    ):
        config(prepared_digits, codec, budget="time", amount=12.0)


def test_flops_are_those_of_documents_and_of_the_codec(prepared_digits):
    """As many documents as FLOPs pay for, by the formula that training counts with (`core/flops.py`)."""
    each = learn.document_flops(presets.load("tiny", TASK["settings"]), prepared_digits)
    assert each > 0
    whole = config(prepared_digits, budget="flops", amount=1000.5 * each).train.documents
    less = config(
        prepared_digits, {"seconds": 1.0, "flops": 400 * each}, budget="flops", amount=1000.5 * each
    )
    assert (whole, less.train.documents) == (1000, 600)
    with pytest.raises(ConfigError, match="a document takes .* give a larger --flops"):
        config(prepared_digits, budget="flops", amount=0.5 * each)


def test_both_learning_rates_are_multiplied(prepared_digits):
    usual = presets.load("tiny").train
    train = config(prepared_digits, budget="documents", amount=700, rate=0.5).train
    assert train.learning_rate == usual.learning_rate / 2
    assert train.muon_learning_rate == usual.muon_learning_rate / 2


def test_flops_of_a_codec_grow_with_the_places_of_a_picture():
    """Four times as many places are four times as many multiplications of a network of convolutions."""
    small, large = (presets.load("digits-fsq", ["codec.width=8", f"data.size={side}"]) for side in (8, 16))
    assert learn.codec_flops(large) == 4 * learn.codec_flops(small) > 0


def test_a_curve_ends_with_the_last_record(tmp_path):
    lines = [{"documents": 16 * n, "seconds": n / 10, "loss": 1 / (n + 1), "step": n} for n in range(1001)]
    path = tmp_path / "records.jsonl"
    for line in lines:
        learn.records.append(path, line)
    curve = learn.curve(tmp_path)
    assert curve[-1] == {"documents": 16_000, "seconds": 100.0, "loss": 0.001} and len(curve) <= 202
    assert [point["documents"] for point in curve] == sorted(point["documents"] for point in curve)
