"""Signals: the step is finished and saved, a second one acts at once, the handlers are put back."""

import os
import signal

import pytest
from forking import DIE, forked, pause, until
from training_runs import CPU, assert_equal_runs, command, finished, go, settings, step_of

from rawmm_cli.runs import checkpoint, records
from rawmm_cli.system.errors import CheckpointError, Stopped
from rawmm_cli.training import train as module
from rawmm_cli.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread", "quick")


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# ------------------------------------------------------------------------------------------------ 15: signals


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
@pytest.mark.process
def test_a_second_signal_acts_at_once(number, code, whole, few_digits, tmp_path):
    """The first one waits for the end of a step that does not end. No harm is done."""
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run), pause(tmp_path), 6)
    until((tmp_path / "here").exists)
    os.kill(process.pid, number)
    process.join(0.3)
    assert process.exitcode is None
    os.kill(process.pid, number)
    process.join(5)
    assert process.exitcode == code and step_of(run) == 5
    assert "saved" not in (tmp_path / "err").read_text()
    go(settings(), few_digits, run)
    assert_equal_runs(run, whole())


def test_a_signal_while_a_checkpoint_is_written(whole, few_digits, tmp_path, monkeypatch):
    """The checkpoint is completed, and so is that of the step after which the run stops."""
    write, sent, messages = checkpoint.write_tensors, iter([signal.SIGTERM]), []

    def writing(partial, name, tensors):
        if name == "ema":
            for number in sent:
                os.kill(os.getpid(), number)
        return write(partial, name, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", writing)
    with pytest.raises(Stopped, match="stopped at 96 documents, saved") as caught:
        go(settings(), few_digits, tmp_path / "run", notify=messages.append)
    assert caught.value.exit_code == 143
    checkpoints = checkpoint.survey(tmp_path / "run")
    assert [(item["step"], item["problems"]) for item in checkpoints] == [(5, {}), (6, {})]
    go(settings(), few_digits, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", whole())


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def test_the_handlers_are_put_back(few_digits, tmp_path):
    """Handlers after the end, after a stop by each signal, after an error, and after the loop is closed."""
    before = handlers()

    def note(number, frame):
        raise AssertionError("the run had to take it")

    for number in SIGNALS:
        signal.signal(number, note)
    installed = handlers()
    try:
        loop = train(settings(), few_digits, tmp_path / "closed", CPU, lambda message: None)
        next(loop)
        assert not set(handlers()) & set(installed)
        loop.close()
        assert handlers() == installed
        go(settings("train.documents=16"), few_digits, tmp_path / "whole")
        assert handlers() == installed
        for number in SIGNALS:
            loop = train(settings(), few_digits, tmp_path / str(int(number)), CPU, lambda message: None)
            next(loop)
            signal.raise_signal(number)
            with pytest.raises(Stopped, match="stopped at 32 documents, saved") as caught:
                list(loop)
            assert caught.value.exit_code == 128 + number and handlers() == installed
        with pytest.raises(CheckpointError):
            go(settings("train.batch=32"), few_digits, tmp_path / "whole")
        assert handlers() == installed
    finally:
        for number, handler in zip(SIGNALS, before):
            signal.signal(number, handler)


def test_under_nohup_training_goes_on(few_digits, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        loop = train(settings(), few_digits, tmp_path / "run", CPU, lambda message: None)
        next(loop)
        signal.raise_signal(signal.SIGHUP)
        assert len(list(loop)) == 9 and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


OWN_GROUP = "from forking import put\nos.setpgrp()\nput('os.killpg(os.getpid(), 15)', 6)"


@pytest.mark.process
def test_the_group_of_a_run_with_workers_is_stopped(whole, few_digits, tmp_path):
    """A signal as from a launcher or a terminal: it reaches every process of the group, and the state
    is saved all the same."""
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run, "train.workers=2"), OWN_GROUP)
    process.join(60)
    err = (tmp_path / "err").read_text()
    assert process.exitcode == 143 and "stopped at 112 documents, saved" in err, err
    finished(few_digits, run, whole)


# ---------------------------------------------------------------------------------------------------- signals


@pytest.mark.process
def test_sigterm_saves_and_exits_143(whole, few_digits, tmp_path, rawmm):
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run), "os.kill(os.getpid(), 15)", 6)
    process.join(60)
    assert process.exitcode == 143 and (tmp_path / "out").read_text() == ""
    assert (tmp_path / "err").read_text().splitlines()[-1] == (
        "stopped at 112 documents, saved; the same command goes on"
    )
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 112
    code, out, _ = rawmm(*command(few_digits, run))
    assert code == 0 and '"documents": 160' in out
    assert_equal_runs(run, whole())


@pytest.mark.process
def test_kill_9_loses_nothing_but_time(whole, few_digits, tmp_path, rawmm):
    run = tmp_path / "run"
    process = forked(tmp_path, command(few_digits, run), DIE, 8)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 80
    assert records.read(run / "records.jsonl")[-1]["documents"] == 96  # it came further than it had saved
    assert rawmm(*command(few_digits, run))[0] == 0
    assert_equal_runs(run, whole())


def test_sigint_saves_and_exits_130(few_digits, tmp_path, rawmm, monkeypatch):
    step, run = module.begin_step, tmp_path / "run"

    def interrupted(place, state, *rest):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(place, state, *rest)

    monkeypatch.setattr(module, "begin_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = rawmm(*command(few_digits, run))
    assert (code, out) == (130, "") and "stopped at 48 documents, saved" in err
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 48
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("moment", ["the consumer's turn", "the sheet is drawn"])
def test_what_is_said_to_be_saved_is_saved(moment, few_digits, tmp_path, monkeypatch):
    """A signal after it was decided that the step needs no checkpoint."""
    signals = iter([signal.SIGTERM])  # one only: a second acts at once

    def send(*rest):
        for number in signals:
            os.kill(os.getpid(), number)
        return None, {}

    monkeypatch.setattr(
        module, "preview", send if moment == "the sheet is drawn" else lambda *rest: (None, {})
    )
    loop = train(settings("train.sample_every=16"), few_digits, tmp_path / "run", CPU, lambda message: None)
    with pytest.raises(Stopped) as caught:
        for record in loop:
            send()
            assert record["documents"] < 48
    newest = checkpoint.latest(tmp_path / "run")
    assert newest is not None
    assert f"at {checkpoint.state(newest)['documents']} documents, saved" in str(caught.value)
