"""Settings whose defaults were others once: a run that has begun goes on with its own."""

import pytest
import yaml
from training_runs import SHORT, go

from rawmm_cli.config import presets
from rawmm_cli.runs import loading
from rawmm_cli.system.errors import CheckpointError
from rawmm_cli.training import auto

pytestmark = pytest.mark.usefixtures("one_thread")
OLD = ("head.time_mean=0.0", "head.time_spread=1.0", "loss.image=1.0")


def silent(*words):
    """Preset tiny without its own times and weight."""
    settings = yaml.safe_load(presets.text("tiny"))
    return presets.resolve({key: settings[key] for key in settings if key not in ("head", "loss")}, words)


def numbers(config):
    return config.head.time_mean, config.head.time_spread, config.loss.image


def test_the_defaults():
    assert numbers(presets.resolve({})) == (0.8, 0.8, 4)
    assert numbers(presets.load("patch128")) == numbers(presets.load("small")) == (0.8, 0.8, 4)
    assert numbers(presets.load("tiny")) == (0, 1, 1)


def test_a_run_begun_with_the_old_defaults_goes_on_with_them(prepared_digits, tmp_path):
    go(silent(*SHORT, *OLD), prepared_digits, tmp_path / "run", until=80)
    said = []
    lines = go(silent(*SHORT), prepared_digits, tmp_path / "run", notify=said.append)
    assert numbers(loading.run_config(tmp_path / "run")) == (0, 1, 1)
    assert any("resuming" in line for line in said)
    for line in lines:
        assert line["loss"] == pytest.approx(line["text"] + line["image"])


def test_a_new_run_takes_the_defaults_and_what_is_given_counts(prepared_digits, tmp_path):
    (tmp_path / "run").mkdir()  # with no checkpoint
    for words, expected in (((), (0.8, 0.8, 4)), (OLD[:1], (0, 0.8, 4))):
        config, reasons = auto.settled(silent(*words), prepared_digits, tmp_path / "run")
        assert numbers(config) == expected and reasons == {}


def test_a_number_that_is_given_may_not_change(prepared_digits, tmp_path):
    go(silent(*SHORT, *OLD), prepared_digits, tmp_path / "run", until=80)
    with pytest.raises(CheckpointError, match="head.time_mean was 0.0, now 3"):
        go(silent(*SHORT, "head.time_mean=3.0"), prepared_digits, tmp_path / "run")


def test_a_run_of_another_head_has_no_such_numbers_and_goes_on(few_digits, tmp_path):
    words = ("codec={kind: subpixels}", "head={kind: autoregressive}")
    words += ("train.length=210", "train.documents=32")
    chosen = silent(*SHORT, *words)
    go(chosen, few_digits, tmp_path / "run", until=16)
    config, reasons = auto.settled(chosen, few_digits, tmp_path / "run")
    assert config.head.kind == "autoregressive" and config.loss.image == 4 and reasons == {}
    other = silent(*SHORT, "loss.image=1.0")
    assert numbers(auto.settled(other, few_digits, tmp_path / "run")[0]) == (0.8, 0.8, 1)


def test_what_followed_from_the_set_and_was_none_is_none_when_the_run_goes_on(few_digits, tmp_path):
    """`data.long` of pictures with names, which all fit."""
    run = tmp_path / "run"
    first, reasons = auto.settled(presets.load("small", ["data.set=digits"]), few_digits, run)
    assert first.data.long is None and reasons
    (run / "checkpoints" / "step_00000001").mkdir(parents=True)
    (run / "config.yaml").write_text(presets.dump(first))
    again, reasons = auto.settled(presets.load("small", ["data.set=digits"]), few_digits, run)
    assert again == first and reasons == {}
