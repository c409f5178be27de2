"""Options, settings, names and folders that commands share. Nothing here imports torch at the top."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..system.activity import doing
from ..system.threads import use_cpu
from .screen import notify

if TYPE_CHECKING:
    from ..config.codecs import CodecConfig
    from ..config.model import Config
    from ..runs.models import Loaded

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="RAWMM_DATA", help="Folder of prepared data sets.")
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", envvar="RAWMM_RUNS", help="Folder of runs.")]
Preset = Annotated[
    Optional[str],
    typer.Option(
        "--preset",
        "-p",
        help="Name of a preset, or a YAML file of your own. [default: digits; of another set: small]",
    ),
]
DataSet = Annotated[
    Optional[str],
    typer.Option(
        "--data",
        "-d",
        help="Name of a prepared set: data.set=NAME. Presets small, medium and large fit any set.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; logs go to stderr.")]
Run = Annotated[Optional[str], typer.Option("--run", help="A run, by its name.")]
Model = Annotated[
    Optional[str],
    typer.Option(
        "--model",
        help="A model inside the package, or the folder of one that `rawmm "
        "export` wrote. [default: portraits, unless --run is given]",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DATA, RUNS = Path("data"), Path("runs")
MOST_SEED = 2**63 - 1
ANY = "small"  # the preset of a set that is named without one


def load_model(runs_dir: Path, run: str | None, model: str | None, device: str) -> "Loaded":
    """The model that --run or --model names. Raises ConfigError, CheckpointError."""
    with doing("loading the model"):
        use_cpu()
        from ..config.enough import too_few
        from ..runs import models
        from ..system import machine

        loaded = models.load(models.find(runs_dir, run, model), machine.device(device), notify)
    train = loaded.config.train
    documents = train.documents if train.time else None
    if note := too_few(loaded.documents, train.warmup, train.batch, documents):
        notify(f"{loaded.name} is no model yet: {note}")
    return loaded


def writable_folder(path: Path, what: str) -> Path:
    """Create a folder where it does not exist. Raises ConfigError where that fails or it is read-only."""
    from ..system.errors import ConfigError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{what} {path} cannot be created ({error.strerror}); give a folder that can be written"
        ) from None
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{what} {path} cannot be written; give another folder")
    return path


def run_name(name: str) -> str:
    """The name, unchanged. Raises ConfigError where it cannot be the name of a folder."""
    from ..config.fields import NAME
    from ..system.errors import ConfigError

    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"run name '{name}' cannot be a folder; allowed: letters, digits, '.', '_' and '-', up to 100"
        )
    return name


def seconds_of(text: str, option: str = "--time") -> float:
    """'90s', '10m', '2h30m', '1d' or a number of seconds -> seconds. Raises ConfigError."""
    from ..system.errors import ConfigError

    unit = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        parts = [(text, "s")]
    total = sum(float(number) * unit[name] for number, name in parts)
    if not total or "".join(map("".join, parts)) not in (text, text + "s"):
        raise ConfigError(f"{option} '{text}' is not a time; allowed: as in 90s, 10m, 2h30m or 1d")
    return total


def open_page(address: str, wanted: bool = True) -> bool:
    """Open a page in the desktop's browser, and say where it is -> whether a browser was started.

    Without a desktop none is tried: `webbrowser` would start a text browser in this terminal."""
    opened = wanted and _desktop() and _opened(address)
    notify(
        f"{'opened' if opened else 'the page, to open in a browser:' if wanted else 'the page:'} {address}"
    )
    return opened


def _desktop() -> bool:
    named = any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    return named or sys.platform in ("darwin", "win32")


def _opened(address: str) -> bool:
    import webbrowser

    try:
        return webbrowser.open(address if "://" in address else Path(address).resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


# ------------------------------------------------------------------------------------ settings of a run


def choose(preset: str | None, data: str | None, words: list[str]) -> "tuple[str, Config | CodecConfig]":
    """Name of the preset, and its settings. data: of --data; words: key=value. Raises ConfigError.

    Without a preset it is `digits`, or `small` where --data or data.set names a set that is not `digits`."""
    from ..config import presets
    from ..system.errors import ConfigError

    if data and ("/" in data or data.endswith(".")):
        raise ConfigError(
            f"--data {data} is not the name of a prepared set; prepare it first: `rawmm prepare folder "
            f"--path {data} --name mine`, then --data mine"
        )
    words = [f"data.set={data}"] * bool(data) + words
    if preset is None:
        named = [word.partition("=")[2] for word in words if word.startswith("data.set=")]
        preset = ANY if data or (named and named[-1] != "digits") else "digits"
    return preset, presets.load(preset, words)


def usual_name(preset: str, config: "Config | CodecConfig") -> str:
    """The usual name of a run: the preset's or, of a preset for any set, the set's, and the preset's behind
    it."""
    from ..config import presets

    stem = Path(preset).stem
    if presets.load(preset).data.set != "auto":
        return stem
    return config.data.set if stem == ANY else f"{config.data.set}-{stem}"


def settle(
    config: "Config | CodecConfig", data_dir: Path, run: Path | None, device: str, ranks: int
) -> "tuple[Config | CodecConfig, dict[str, str]]":
    """Settings without `auto`, and {name: reason} of each that was; prints a line for each reason.

    run, and what is raised: as in `training/auto.py: settled`. Ranks take what their launcher has settled, as
    each would measure another pace."""
    from ..config import presets
    from ..config.automatic import automatic
    from ..config.model import Config
    from ..system import launch

    if settled := launch.settled():
        config = presets.changed(config, {key: value for key, (value, _) in settled.items()})
        reasons = {key: reason for key, (_, reason) in settled.items()}
        if os.environ.get("RANK") == "0":
            from ..training import auto

            auto.say(config, reasons, notify)
        return config, reasons
    if not isinstance(config, Config) or (config.codec.known and not automatic(config)):
        return config, {}
    with doing("looking at the set"):
        use_cpu(config.train.threads, here=ranks)
        from ..training import auto

        config, reasons = auto.settled(config, data_dir, run, _pace(device, ranks))
    if ranks == 1 or os.environ.get("RANK") == "0":
        auto.say(config, reasons, notify)
    return config, reasons


def values_of(config: "Config | CodecConfig", reasons: dict[str, str]) -> dict[str, list]:
    """{setting: [value, reason]} of settings that were `auto`, for `launch.launch`."""
    from ..config.facts import Known

    return {key: [Known(config)[key], reason] for key, reason in reasons.items()}


def _pace(device: str, ranks: int) -> "Callable[[Config], float] | None":
    """Seconds of a step of settings on `ranks` GPUs, or on this CPU, whose cores ranks share; compiled where
    there is time for it. None for ranks of another launcher, who must agree."""
    from ..config import presets
    from ..profiling import estimate
    from ..system import launch, machine
    from ..training.compile import PAYS, SECONDS

    on = machine.device(device)
    if launch.joined():
        return None

    def pace(config: "Config") -> float:
        short = config.train.compile == "auto" and (config.train.time or 0) < PAYS * SECONDS[on.type]
        config = presets.changed(config, {"train.compile": "no"}) if short else config
        return estimate.estimate(config, on, None, ranks if on.type == "cuda" else 1)["step_seconds"]

    return pace


def check_read(config: "Config | CodecConfig", words: list[str], data_dir: Path) -> None:
    """Raise DataError where key=value asks for reading, and no picture of the set has a caption."""
    folder = data_dir / config.data.set
    if not any(word.startswith("data.read=") for word in words) or not (folder / "card.json").is_file():
        return
    from ..data.prepared import read_card
    from ..system.errors import DataError

    card = read_card(folder)
    pictures = card.get("kind", "pictures") == "pictures" and not config.data.stream
    if pictures and config.data.read and (card.get("captions") or {}).get("count") == 0:
        remedy = "--caption '{label}'" if card.get("labels") else "captions"
        raise DataError(
            f"data.read = {config.data.read:g}, and no picture of '{config.data.set}' has a caption: nothing "
            f"can be read; set data.read=0, or prepare it again with {remedy}"
        )
