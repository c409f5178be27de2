"""Trackers: TensorBoard, Weights & Biases and trackio show a run while it trains. None is needed, and none
may harm it.

Scalars stand against documents seen, under the keys of records.jsonl. A resumed run goes on in the same curve
without a fork: TensorBoard is told what to forget; wandb and trackio cannot forget, so what they have is not
sent again (a resumed run repeats it bit for bit), and trackers.json remembers how far that is. A tracker that
joins late, or that was cut off, gets the earlier records first. What a tracker prints goes to stderr, and
whatever it raises is said once; then the run goes on without it."""

import importlib
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..config.yaml_text import dump_yaml
from ..runs import records
from ..system import disk
from ..system.errors import ConfigError

PROJECT = "rawmm"


class Tracker(NamedTuple):
    """Three functions: log(record, documents), picture(name, path of a PNG, documents, numbers beside it),
    close()."""

    log: Callable[[dict, int], None]
    picture: Callable[..., None]
    close: Callable[[], None]


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def trackers(
    names: tuple[str, ...], run: Path, config: dict, resumed_at: int, notify: Callable[[str], None] = _say
) -> list[Tracker]:
    """The named trackers, ready for a run that begins (resumed_at 0) or goes on after so many documents.

    "auto" is TensorBoard where it is installed. Raises ConfigError where a named one is not installed."""
    requested = list(dict.fromkeys("tensorboard" if name == "auto" else name for name in names))
    ready = []
    for name in requested:
        try:
            module = importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)
        except Exception as error:  # not installed, or at odds with another package
            if name not in names:  # asked for by "auto" alone
                continue
            raise ConfigError(
                f"train.trackers = {name} cannot be used ({' '.join(str(error).split())[:200]}); "
                f"install it: pip install 'rawmm[{name}]'"
            ) from None
        begin = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}[name]
        ready += _guarded(
            name, lambda begin=begin, module=module: begin(module, run, config, resumed_at), notify
        )
    return ready


def _guarded(name: str, begin: Callable[[], Tracker], notify: Callable[[str], None]) -> list[Tracker]:
    """[the tracker] whose functions never raise and print nothing on stdout, or [] where it cannot even
    begin."""
    working = [True]

    def guarded(act: Callable) -> Callable:
        def call(*arguments: Any) -> Any:
            try:
                with redirect_stdout(sys.stderr):
                    return act(*arguments) if working[0] else None
            except Exception as error:
                working[0] = False
                message = " ".join(f"{type(error).__name__}: {error}".split())
                notify(
                    f"{name} failed ({message[:200]}); the run goes on without it, and records.jsonl has "
                    f"everything"
                )

        return call

    tracker = guarded(begin)()
    return [Tracker(*map(guarded, tracker))] if tracker else []


def _scalars(record: dict) -> dict[str, float]:
    """The values of a record that are curves; `documents` is the axis."""
    return {
        key: value
        for key, value in record.items()
        if key != "documents" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }


# ------------------------------------------------------------------------------------------------ TensorBoard


def _tensorboard(module: ModuleType, run: Path, config: dict, resumed_at: int) -> Tracker:
    folder = run / "tensorboard"
    joins = not _older(folder)
    usual = threading.excepthook

    def quietly(failed: threading.ExceptHookArgs) -> None:
        """A full disk in the writer's own thread: the next scalar says so, in one line."""
        if not issubclass(failed.exc_type, OSError) or "tensorboard" not in type(failed.thread).__module__:
            usual(failed)

    threading.excepthook = quietly
    writer = module.SummaryWriter(
        str(folder), purge_step=resumed_at + 1
    )  # forget what came after the checkpoint

    def log(record: dict, documents: int, flush: bool = True) -> None:
        for key, value in _scalars(record).items():
            writer.add_scalar(key, value, documents)
        if flush:
            writer.flush()  # so that a killed run lacks nothing that it had recorded

    def picture(name: str, path: Path, documents: int, numbers: dict | None = None) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            writer.add_image(name, np.array(image.convert("RGB")), documents, dataformats="HWC")
        for key, value in (numbers or {}).items():
            writer.add_scalar(key, value, documents)
        writer.flush()

    if joins:
        writer.add_text("config", f"```yaml\n{dump_yaml(config)}```")
        for record in _records(run, resumed_at):
            log(record, record["documents"], flush=False)
    return Tracker(log, picture, writer.close)


def _records(run: Path, until: int) -> list[dict]:
    return [record for record in records.read(run / "records.jsonl") if record["documents"] <= until]


def _older(folder: Path) -> int:
    """TensorBoard reads event files in the order of the seconds in their names
    (events.out.tfevents.SECONDS.HOST.PID.N). Where the clock was set back, or a second has not passed,
    earlier files get names that are older than now. -> how many there are."""
    paths, now = sorted(folder.glob("events.out.tfevents.*")), int(time.time())
    for back, path in enumerate(reversed(paths), 1):
        first, second, third, seconds, rest = path.name.split(".", 4)
        if seconds.isdecimal() and int(seconds) > now - back:
            path.rename(path.with_name(f"{first}.{second}.{third}.{now - back:010d}.{rest}"))
    return len(paths)


# ---------------------------------------------------------------------------------- Weights & Biases, trackio


def _wandb(module: ModuleType, run: Path, config: dict, resumed_at: int) -> Tracker:
    known = _known(run, "wandb", resumed_at)
    live = module.init(
        project=PROJECT,
        name=run.name,
        id=known["id"],
        dir=str(run),
        config=config,
        resume="allow",
        settings=module.Settings(console="off"),
    )
    return _once("wandb", module, live, run, known, resumed_at)


def _trackio(module: ModuleType, run: Path, config: dict, resumed_at: int) -> Tracker:
    known = _known(run, "trackio", resumed_at)  # trackio knows a run by its name alone
    live = module.init(
        project=PROJECT, name=f"{run.name}-{known['id']}", config=config, resume="allow", embed=False
    )
    return _once("trackio", module, live, run, known, resumed_at)


def _all_known(run: Path) -> dict:
    try:
        known = json.loads((run / "trackers.json").read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def _known(run: Path, name: str, resumed_at: int) -> dict:
    """Contents of trackers.json: the tracker's id of the run, documents of the last record and picture it
    got. A run that begins anew, even in the same folder, is a new one."""
    known = _all_known(run).get(name)
    kinds = {key: type(value) for key, value in known.items()} if isinstance(known, dict) else {}
    if resumed_at > 0 and kinds == {"id": str, "record": int, "picture": int}:
        return known
    return {"id": uuid.uuid4().hex[:8], "record": 0, "picture": 0}


def _once(name: str, module: ModuleType, live: Any, run: Path, known: dict, resumed_at: int) -> Tracker:
    """A tracker that sends each record and each picture once, however often the run is resumed, and begins
    with the records that it has missed."""

    def send(record: dict) -> None:  # `step` is a word that trackio keeps for its own axis
        live.log(
            {key: value for key, value in _scalars(record).items() if key != "step"}, step=record["documents"]
        )

    def sent(what: str, documents: int) -> None:
        known[what] = documents
        disk.write_json(run / "trackers.json", _all_known(run) | {name: known})

    def log(record: dict, documents: int) -> None:
        if documents > known["record"]:
            send(record)
            sent("record", documents)

    def picture(title: str, path: Path, documents: int, numbers: dict | None = None) -> None:
        if documents > known["picture"]:
            live.log({title: module.Image(str(path)), **(numbers or {})}, step=documents)
            sent("picture", documents)

    missed = [record for record in _records(run, resumed_at) if record["documents"] > known["record"]]
    for record in missed:
        send(record)
    if missed:
        sent("record", missed[-1]["documents"])
    return Tracker(
        log, picture, module.finish
    )  # not live.finish: trackio would finish again at exit, on stdout
