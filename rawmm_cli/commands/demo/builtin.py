"""The demo without own pictures, with nothing to download: a model is trained on real handwritten digits, and
the model inside the package draws and reads portraits that it has not seen. With --long, one is trained on
others."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.figures import counted
from ..common import load_model
from ..screen import notify
from .steps import Stopwatch, look, reconstruct

if TYPE_CHECKING:
    from ...config.model import Config
    from ...evaluation.subject import Subject
    from ...pages.demo import Part

PROMPTS = 400  # captions to draw portraits from, and portraits to caption, where a model was trained on them
UNSEEN, FIRST, COUNT = (
    "portraits-unseen",
    20_000_338,
    24,
)  # its attributes are together those of no portrait below 50,000


def execute(
    folder: Path, words: list[str], portraits: int | None, data_dir: Path, quiet: bool = False
) -> dict:
    """Run the demo into the run `folder`, and write its page -> the object of `--json`. portraits: to train a
    second model on; None: none, only the model inside the package draws some; 0: no portraits at all."""
    from ...pages import demo as page

    chosen = _configs(words, bool(portraits))
    watch, parts, more = Stopwatch(), [], {}
    result = _digits(chosen["digits"], folder, data_dir, watch, quiet)
    parts.append(
        _part(
            "Digits", "Trained just now on real handwritten digits.", look(folder, data_dir), (10, 0), (20, 0)
        )
    )
    if portraits != 0:
        notify("portraits: the model inside the package draws and reads some that it has not seen")
        with watch("portraits by the model inside the package"):
            subject = _packaged(data_dir)
            about = (
                f"The model inside the package, trained on "
                f"{counted(subject.loaded.documents, 'document')}: what "
                "rawmm sample draws with."
            )
            parts.append(_part("Portraits", about, subject, (0, 9), (12, 0), each=2))
            more["packaged"] = {"model": subject.loaded.name, **_read(parts[-1])}
    if portraits:
        place = folder.with_name(f"{folder.name}-portraits")
        more["portraits"] = _portraits(chosen["portraits32"], place, portraits, data_dir, watch, quiet)
        side = chosen["portraits32"].data.size
        about = f"Trained just now on {counted(portraits, 'drawn portrait')} of {side} pixels."
        parts.append(_part("Portraits, trained here", about, look(place, data_dir), (0, 9), (12, 0), each=2))
    notify("codecs: two photographs through raw patches, and through codecs that keep less")
    with watch("photographs through codecs"):
        kept = reconstruct(_photographs(), folder / "reconstructed")
    contents = page.Demo(
        title="What it draws and reads",
        summary=["real handwritten digits" + (", and portraits" if portraits != 0 else "")],
        parts=parts,
        seconds=watch.seconds,
        next=_next(folder, portraits),
        kept=kept,
    )
    path = folder / "demo.html"
    page.write(path, contents)
    seconds = {what: round(value, 1) for what, value in contents.seconds}
    total = {"seconds_of": seconds, "total_seconds": round(sum(value for _, value in contents.seconds), 1)}
    return result | more | {"page": str(path), "next": contents.next} | total


def _configs(words: list[str], portraits: bool) -> "dict[str, Config]":
    """Settings of what is trained, by preset. Raises ConfigError where they name another set."""
    from ...config import presets
    from ...system.errors import ConfigError

    chosen = {name: presets.load(name, words) for name in ("digits", *["portraits32"] * portraits)}
    for name, config in chosen.items():
        if config.data.set != name:
            raise ConfigError(
                f"data.set = {config.data.set}; the demo trains on digits and portraits only; give your own "
                "pictures with --path, or use `rawmm train` for other sets"
            )
    return chosen


def _digits(config: "Config", folder: Path, data_dir: Path, watch: Stopwatch, quiet: bool) -> dict:
    """Prepare, train and evaluate the digits -> the results of `evaluate`, and paths of two sheets."""
    from ...sampling.request import Request
    from .. import evaluate, sample, train
    from ..prepare import command as prepare

    notify("digits 1/4 prepare: the real handwritten digits inside scikit-learn")
    with watch("preparing digits"):
        prepare.run("digits", data_dir=data_dir)
    notify("digits 2/4 train: one model that draws digits from their names and names the digits it reads")
    with watch("training on digits"):
        train.execute(config, data_dir, folder, "auto", quiet=quiet)
    notify("digits 3/4 draw and read: 10 denoising steps a picture; the same weights caption held-out digits")
    with watch("drawing, reading and judging digits"):
        result = evaluate.execute(folder, Request(), data_dir)
        notify("digits 4/4 write: the model continues an empty prompt")
        loaded = load_model(folder.parent, str(folder), None, "auto")
        drawn = sample.execute(loaded, Request(count=16), folder / "samples" / "prompted")
    if not quiet:
        _show("digits", result | {"sheet": str(folder / "samples" / "drawn.png")})
    return result | {"sheet": str(folder / "samples" / "drawn.png"), "prompted": drawn["sheet"]}


def _portraits(
    config: "Config", folder: Path, count: int, data_dir: Path, watch: Stopwatch, quiet: bool
) -> dict:
    """Prepare, train and evaluate the portraits -> the results of `evaluate`, on combinations of attributes
    that were held out."""
    from ...sampling.request import Request
    from .. import evaluate, train
    from ..prepare import command as prepare

    notify(f"portraits 1/3 prepare: {counted(count, 'drawn portrait')} with captions")
    options = {"count": count, "size": config.data.size}
    with watch("preparing portraits"):
        prepare.run("portraits", options, name=config.data.set, data_dir=data_dir)
    notify("portraits 2/3 train: one model that draws portraits from captions and captions portraits")
    with watch("training on portraits"):
        train.execute(config, data_dir, folder, "auto", quiet=quiet)
    notify(
        "portraits 3/3 draw and read: captions and portraits it has never seen; first, judges are trained "
        "to classify them"
    )
    with watch("drawing, reading and judging portraits"):
        result = evaluate.execute(folder, Request(), data_dir, prompts=PROMPTS)
    result["sheet"] = str(folder / "samples" / "drawn.png")
    if not quiet:
        _show("portraits", result)
    return result


def _packaged(data_dir: Path) -> "Subject":
    """The model inside the package, with portraits that it has not seen."""
    from ...data import prepared
    from ...data.datasets.portraits import drawing
    from ...data.prepare import Options, prepare
    from ...evaluation.subject import Subject
    from ...pages import card
    from ...sampling.request import Request

    loaded, name = load_model(Path("runs"), None, None, "auto"), data_dir / UNSEEN
    source = drawing.portraits(count=COUNT, size=loaded.config.data.size, first=FIRST)
    prepare(source, name, Options(held_out=0.8, workers=0), write_page=card.write)
    return Subject(loaded, Request(), prepared.load(name, "train"), prepared.load(name, "held_out"), data_dir)


def _part(
    title: str, about: str, subject: "Subject", drawn: tuple[int, int], read: tuple[int, int], each: int = 3
) -> "Part":
    """What a model draws and reads. drawn, read: captions and pictures, of both splits."""
    from ...evaluation import examples
    from ...pages.demo import Part

    captions = examples.captions_of(subject, *drawn)
    return Part(title, about, examples.draw(subject, captions, each), examples.read(subject, *read))


def _read(part: "Part") -> dict:
    return {"read": {"right": sum(one.right for one in part.read), "count": len(part.read)}}


def _photographs() -> Path:
    """The folder of the two photographs inside scikit-learn."""
    return Path(find_spec("sklearn").origin).parent / "datasets" / "images"


def _show(what: str, result: dict) -> None:
    """Print the figures and the paths of the sheet and the page."""
    from .. import evaluate

    evaluate.show(result)
    notify(f"drawn {what}: {result['sheet']}   report: {result['report']}")


def _next(folder: Path, portraits: int | None) -> list[tuple[str, str]]:
    name, picture = folder.name, folder / "samples" / "read" / "0000.png"
    place = "" if folder.parent == Path("runs") else f" --runs-dir {folder.parent}"
    lines = [
        ("draw digits", f'rawmm sample "seven" --run {name} --count 16{place}'),
        ("read a digit", f"rawmm sample --run {name} --task caption --image {picture}{place}"),
        ("draw portraits", 'rawmm sample "a portrait of" --steps 10'),
        ("your own pictures", "rawmm demo --path my-pictures"),
    ]
    return lines + [("train on portraits too", "rawmm demo --long")] * (not portraits)
