"""The demo of own pictures: a folder becomes a page in minutes."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..screen import notify
from .steps import KEPT, Stopwatch, look, reconstruct

if TYPE_CHECKING:
    from ...config.model import Config
    from ...evaluation.subject import Subject
    from ...pages.demo import Demo, Part

FEW = 1_000  # training pictures below which a model learns them by heart
DRAWN, EACH, ALONE = (8, 4), 3, 18  # captions trained on, and others; drawings of each; of none
READ, SEEN = (12, 12), 24  # pictures that are read, held out and trained on; pictures shown as they are


def execute(
    path: Path, folder: Path, seconds: float, size: int, words: list[str], data_dir: Path, quiet: bool = False
) -> dict:
    """Prepare the pictures below `path`, train the run `folder` on them for `seconds`, draw, read,
    reconstruct, and write the page -> the object of `--json`."""
    from ...pages import demo as page
    from ...system.figures import counted, duration
    from .. import train

    watch, name = Stopwatch(), folder.name
    notify(f"1/5 prepare: the pictures in {path}, the largest square of each, at {size} x {size} pixels")
    with watch("preparing"):
        card = prepare(path, name, size, data_dir)
    for line in _cropped(card):
        notify(line)
    captions = card["captions"]["count"]
    if not captions:
        notify("the pictures have no captions: the model will draw, not read; how to give them: docs/data.md")
    config = settings(name, seconds, words, folder, data_dir)
    notify(f"2/5 train: {counted(card['count']['train'], 'picture')}, {duration(seconds)}")
    with watch("training"):
        record = train.execute(config, data_dir, folder, "auto", quiet=quiet)
    subject = look(folder, data_dir)
    notify("3/5 draw and read" if captions else "3/5 draw")
    with watch("drawing and reading" if captions else "drawing"):
        part = examples(subject)
    notify(
        f"4/5 reconstruct: {counted(KEPT, 'picture')} through raw patches, and through codecs that keep less"
    )
    with watch("codecs"):
        kept = reconstruct(path, folder / "reconstructed")
    notify("5/5 write the page")
    contents = page.Demo(
        title=name.removesuffix("-demo"),
        summary=_summary(card, record),
        parts=[part],
        seconds=watch.seconds,
        next=_next(folder, bool(captions)),
        notices=_notices(card, size, record),
        pictures=_pictures(subject),
        kept=kept,
    )
    page.write(folder / "demo.html", contents)
    return _result(contents, folder, card, record)


def prepare(path: Path, name: str, size: int, data_dir: Path) -> dict:
    """Prepare the pictures as squares of `size` -> the card. Names of classes are captions where there are
    no others."""
    from ..prepare import command

    def run(**more: str) -> dict:
        options = {"path": path, "size": size, **more}
        return command.run("folder", options, name=name, crop="center", enlarge=True, data_dir=data_dir)

    card = run()
    return run(caption="{label}") if card["labels"] and not card["captions"]["count"] else card


def settings(name: str, seconds: float, words: list[str], folder: Path, data_dir: Path) -> "Config":
    """Settings of the run `folder` of `seconds` on the set `name`: those of the smallest preset for any set,
    which follow from the set. words: settings that win."""
    from ..common import choose, settle

    _, config = choose("small", name, [f"train.time={seconds}", *words])
    return settle(config, data_dir, folder, "auto", 1)[0]


def examples(subject: "Subject") -> "Part":
    """What the model draws and reads."""
    from ...evaluation import examples
    from ...pages.demo import Part
    from ...system.figures import counted

    captions = examples.captions_of(subject, *DRAWN)
    drawn = examples.draw(subject, captions or [("", None, False)], EACH if captions else ALONE)
    steps = subject.settings.flat().get("steps")
    about = f"{counted(steps, 'denoising step')} a picture, each from noise of its own"
    if captions:
        about += "; the same weights write about the pictures below"
    read = examples.read(subject, *READ) if subject.loaded.config.data.read else []
    return Part("Draws and reads" if captions else "Draws", f"{about}.", drawn, read)


def _cropped(card: dict) -> list[str]:
    """What the squares cut off."""
    from ...data.shapes.figures import crop_lines

    return crop_lines(card.get("originals"), "rawmm prepare folder --size N")


def _notices(card: dict, size: int, record: dict) -> list[str]:
    """Lines to know before looking at the page."""
    from ...system.figures import counted

    count = card["count"]["train"]
    lines = [f"No model yet: {record['too_few']}."] if record["too_few"] else []
    if count < FEW:
        lines.append(
            f"{counted(count, 'training picture')}: so few are learned by heart. What the model makes of "
            "captions and pictures that it was not trained on tells more than what it makes of the others."
        )
    lines.append(
        "All pictures were made to fit, so that a short training is enough: the largest square in the middle "
        f"of each, at {size} × {size} pixels."
    )
    lines += [line.replace("`", "") + "." for line in _cropped(card)]
    if not card["captions"]["count"]:
        lines.append("The pictures have no captions, so the model draws and does not read.")
    return lines


def _summary(card: dict, record: dict) -> list[str]:
    from ...system.figures import counted

    count = card["count"]
    lines = [f"{counted(count['train'], 'training picture')}, {count['held_out']:,} held out"]
    if "documents" in record:
        lines.append(f"trained on {counted(record['documents'], 'document')}")
    return lines


def _pictures(subject: "Subject") -> list:
    """Some training pictures as the model sees them."""
    from ...evaluation.subject import evenly

    return [subject.train.image(row) for row in evenly(range(len(subject.train)), SEEN)]


def _next(folder: Path, captions: bool) -> list[tuple[str, str]]:
    name, place = folder.name, "" if folder.parent == Path("runs") else f" --runs-dir {folder.parent}"
    lines = [
        ("train on; larger pictures", "the same command with --time 20m; with --size 64 and another --run"),
        ("draw and read on a local page", f"rawmm studio --run {name}{place}"),
        ("curves, settings, checkpoints", f"rawmm report {name}{place}"),
    ]
    if captions:
        lines.insert(1, ("draw more", f'rawmm sample "a caption" --run {name} --count 16{place}'))
    return lines


def _result(contents: "Demo", folder: Path, card: dict, record: dict) -> dict:
    """The object of `--json`."""
    read = [one for part in contents.parts for one in part.read]
    return {
        "page": str(folder / "demo.html"),
        "set": card["name"],
        "count": card["count"],
        "captions": card["captions"]["count"],
        "train": record,
        "drawn": sum(len(one.pictures) for part in contents.parts for one in part.drawn),
        "read": {
            name: {"right": sum(one.right for one in pictures), "count": len(pictures)}
            for name, pictures in (
                ("held_out", [one for one in read if one.held_out]),
                ("trained", [one for one in read if not one.held_out]),
            )
        },
        "notices": contents.notices,
        "next": contents.next,
        "seconds": {what: round(seconds, 1) for what, seconds in contents.seconds},
        "total_seconds": round(sum(seconds for _, seconds in contents.seconds), 1),
    }
