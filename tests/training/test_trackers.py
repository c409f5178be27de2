"""Trackers: a resumed run is one curve, what is not installed is said, and nothing that fails there harms the
run."""

import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.runs import records
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.training import trackers

CONFIG = {"data": {"set": "digits"}, "train": {"betas": [0.9, 0.95]}}


def record(documents: int) -> dict:
    return {
        "loss": documents / 3,
        "learning_rate": 0.002,
        "step": documents // 16,
        "documents": documents,
        "kind": "x",
    }


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "seven"
    run.mkdir()
    return run


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "sheet.png"
    Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)).save(path)
    return path


def train(names, run: Path, start: int, end: int, sheet=None, **options) -> list[str]:
    """Log like the loop from document `start` to `end`: 16 a step, a record each -> messages."""
    messages = []
    records.truncate(run / "records.jsonl", start)
    active = trackers.trackers(names, run, CONFIG, start, notify=messages.append)
    for documents in range(start + 16, end + 1, 16):
        records.append(run / "records.jsonl", record(documents))
        for tracker in active:
            tracker.log(record(documents), documents)
        if sheet and documents % 32 == 0:
            for tracker in active:
                tracker.picture("samples", sheet, documents)
    if options.get("close", True):
        for tracker in active:
            tracker.close()
    return messages


def recorded(run: Path, key: str) -> list[tuple[int, float]]:
    return [(row["documents"], row[key]) for row in records.read(run / "records.jsonl")]


# ------------------------------------------------------------------------------------------------ TensorBoard


def in_tensorboard(run: Path, key: str) -> list[tuple[int, float]]:
    """The curve as TensorBoard itself reads it back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "learning_rate", "step"}
    return [(event.step, event.value) for event in events.Scalars(key)]


def assert_same_curves(run: Path, last: int):
    assert [documents for documents, _ in recorded(run, "loss")] == list(range(16, last + 1, 16))
    for key in ("loss", "learning_rate", "step"):
        curve, expected = in_tensorboard(run, key), recorded(run, key)
        assert [step for step, _ in curve] == [documents for documents, _ in expected]
        assert [value for _, value in curve] == [float(np.float32(value)) for _, value in expected]


@pytest.fixture
def tensorboard():
    return pytest.importorskip("tensorboard", reason="tensorboard is not installed")


@pytest.mark.parametrize("closed", [True, False])
def test_a_stopped_and_resumed_run_is_one_curve(tensorboard, run, closed):
    """Stopped at 160, resumed at 96 and stopped at 128, resumed at 96 again: as in records.jsonl, each
    document once."""
    train(("tensorboard",), run, 0, 160, close=closed)
    assert_same_curves(run, 160)
    train(("tensorboard",), run, 96, 128, close=closed)
    assert_same_curves(run, 128)
    train(("tensorboard",), run, 96, 208, close=closed)
    assert_same_curves(run, 208)
    train(("tensorboard",), run, 0, 32, close=closed)  # no checkpoint was left: from the beginning
    assert_same_curves(run, 32)


def test_the_clock_may_be_set_back(tensorboard, run, monkeypatch):
    clock, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() - clock[0])
    for hours, start, end in ((0, 0, 160), (1, 96, 128), (9, 96, 208), (9, 128, 144), (-5, 112, 240)):
        clock[0] = 3600.0 * hours
        train(("tensorboard",), run, start, end)
        assert_same_curves(run, end)


def test_a_tracker_that_joins_late_gets_what_was_recorded(tensorboard, run):
    train((), run, 0, 160)
    assert not (run / "tensorboard").exists()
    train(("auto",), run, 96, 208)
    assert_same_curves(run, 208)


def test_pictures_and_settings_are_there(tensorboard, run, sheet):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(("auto",), run, 0, 64, sheet)
    train(("auto",), run, 32, 96, sheet)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [image.step for image in events.Images("samples")] == [32, 64, 96]
    (run / "back.png").write_bytes(events.Images("samples")[0].encoded_image_string)
    with Image.open(run / "back.png") as back, Image.open(sheet) as original:
        assert np.array_equal(np.array(back), np.array(original))
    (text,) = events.Tensors("config/text_summary")
    assert b"set: digits" in text.tensor_proto.string_val[0]


# ------------------------------------------------------------------------------------------ wandb and trackio


class Service:
    """wandb or trackio as far as they are used: keeps what was sent, for each run as the service knows it."""

    def __init__(self, name: str):
        self.runs, self.fail, self.started, self.finished = {}, False, [], 0
        self.module = types.ModuleType(name)
        self.module.init, self.module.finish, self.module.Settings = (
            self.init,
            self.finish,
            lambda **options: options,
        )
        self.module.Image = lambda path: ("image", Path(path).read_bytes()[:4])

    def init(self, **options):
        print("welcome to the service")  # trackio does
        self.started.append(options)
        self.sent = self.runs.setdefault(options.get("id") or options["name"], [])
        return self

    def log(self, values, step):
        if self.fail:
            raise ConnectionError("no route\nto host")
        self.sent.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture(params=["wandb", "trackio"])
def service(request, monkeypatch):
    service = Service(request.param)
    service.name = request.param
    monkeypatch.setitem(sys.modules, request.param, service.module)
    return service


def curve(service) -> list[tuple[int, float]]:
    """The curve of the one run that the service knows of, and each of its steps once."""
    (sent,) = service.runs.values()
    return [(step, values["loss"]) for step, values in sent if "loss" in values]


def test_what_a_service_has_is_not_sent_again(service, run, sheet, capsys):
    for start, end in ((0, 160), (96, 128), (96, 208)):
        assert train((service.name,), run, start, end, sheet) == []
    assert curve(service) == recorded(run, "loss") and len(curve(service)) == 13
    (sent,) = service.runs.values()
    assert [step for step, values in sent if "samples" in values] == [32, 64, 96, 128, 160, 192]
    assert all(set(values) in ({"loss", "learning_rate"}, {"samples"}) for _, values in sent)
    assert service.finished == 3 and {str(options["project"]) for options in service.started} == {"rawmm"}
    assert all("seven" in options["name"] and options["config"] == CONFIG for options in service.started)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("welcome") == 3  # stdout belongs to --json


def test_a_run_that_begins_anew_is_another_run(service, run):
    train((service.name,), run, 0, 160)
    train((service.name,), run, 0, 48)
    assert [len(sent) for sent in service.runs.values()] == [10, 3]


def test_two_services_do_not_mix(run, monkeypatch):
    both = [Service("wandb"), Service("trackio")]
    for one in both:
        monkeypatch.setitem(sys.modules, one.module.__name__, one.module)
    train(("wandb",), run, 0, 64)
    for start, end in ((32, 96), (80, 128)):
        train(("wandb", "trackio"), run, start, end)
        assert curve(both[0]) == curve(both[1]) == recorded(run, "loss")  # trackio joined late


@pytest.mark.parametrize(
    "torn", ["", "[]", "{", '{"wandb": 5, "trackio": 5}', '{"wandb": {"id": 1}, "trackio": {}}']
)
def test_a_torn_note_begins_a_new_run(service, run, torn):
    train((service.name,), run, 0, 64)
    (run / "trackers.json").write_text(torn)
    train((service.name,), run, 32, 96)
    assert [[step for step, _ in sent] for sent in service.runs.values()] == [
        [16, 32, 48, 64],
        [16, 32, 48, 64, 80, 96],
    ]


# ----------------------------------------------------------------------------------------------------- faults


def test_a_service_that_fails_is_said_once_and_gets_the_rest_later(service, run, sheet):
    train((service.name,), run, 0, 64)
    service.fail = True
    (message,) = train((service.name,), run, 64, 160, sheet)
    assert message == (
        f"{service.name} failed (ConnectionError: no route to host); the run goes on without it, and "
        "records.jsonl has everything"
    )
    service.fail = False
    assert train((service.name,), run, 128, 208) == []
    assert curve(service) == recorded(run, "loss")


def test_a_service_that_cannot_begin_is_left_out(service, run):
    def fail(**options):
        raise RuntimeError("no key")

    service.module.init = fail
    (message,) = train((service.name, "auto"), run, 0, 64)
    assert message.startswith(f"{service.name} failed (RuntimeError: no key)")


def test_a_full_disk_stops_tensorboard_alone(tensorboard, run, monkeypatch):
    """An error in the writer's thread is reported, and log does not wait for a thread that has
    ended."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    messages = []
    active = trackers.trackers(("tensorboard",), run, CONFIG, 0, notify=messages.append)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", fail)
    for documents in range(16, 1600, 16):
        active[0].log(record(documents), documents)
    active[0].close()
    assert len(messages) == 1 and "tensorboard failed (OSError: [Errno 28] No space left" in messages[0]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_what_is_not_installed_is_said_with_the_one_command(name, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    message = rf"train.trackers = {name} cannot be used .*; install it: pip install 'rawmm\[{name}\]'"
    with pytest.raises(ConfigError, match=message):
        trackers.trackers((name,), run, CONFIG, 0)
    with pytest.raises(ConfigError):
        trackers.trackers(("auto", name), run, CONFIG, 0)


def test_auto_without_tensorboard_is_nothing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert trackers.trackers(("auto",), run, CONFIG, 0) == [] == trackers.trackers((), run, CONFIG, 0)
    assert list(run.iterdir()) == []


def test_by_default_it_speaks_on_stderr(run, monkeypatch, capsys):
    service = Service("wandb")
    monkeypatch.setitem(sys.modules, "wandb", service.module)
    (tracker,) = trackers.trackers(("wandb",), run, CONFIG, 0)
    service.fail = True
    tracker.log(record(16), 16)
    captured = capsys.readouterr()
    assert captured.out == "" and "wandb failed" in captured.err


@pytest.mark.process
def test_importing_this_module_imports_no_tracker_and_no_torch():
    import subprocess

    code = (
        "import sys, rawmm_cli.training.trackers; "
        "sys.exit(bool({'torch', 'tensorboard', 'wandb', 'trackio', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
