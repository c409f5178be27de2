"""Inputs of `benchmarks.same`, the parts of JSON and files that it compares, and differences of
recordings."""

import hashlib
import json
import os
import shutil
import tarfile
from fnmatch import fnmatch
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path

import yaml
from PIL import Image, ImageDraw

# Keys, or paths of keys, whose values vary between runs of the same code: times, speeds, memory, versions,
# lengths and checksums of files that contain a time.
VARYING = ("*seconds*", "*per_second", "*mfu", "data_wait", "eta", "last_record", "rawmm")
VARYING += ("memory", "memory/total", "memory/process", "environment.json/*", "*machine/*")
VARYING += ("bytes", "checkpoints/*/bytes", "MANIFEST.json/state.json/*", "MANIFEST.json/model.json/*")
PROSE = ("says", "findings", "reason")  # keys of sentences


def digest(path: Path):
    """The part of a file that is compared: values of JSON and YAML, parts of pages, else SHA-256."""
    if path.suffix == ".md":
        return "(words)"
    if path.suffix not in (".json", ".yaml", ".jsonl", ".html"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return Page(text).parts
    if path.suffix == ".jsonl":
        return [steady(json.loads(line), path.name) for line in text.splitlines()]
    return steady(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text), path.name)


def steady(value, at: str = ""):
    """JSON without values that vary between runs, and without prose. at: the keys above it, joined by "/"."""
    key = at.rpartition("/")[2]
    if key in PROSE:
        return "(words)"
    if isinstance(value, dict):
        return {inner: steady(value[inner], f"{at}/{inner}".lstrip("/")) for inner in value}
    if isinstance(value, list):
        return [steady(inner, f"{at}/{n}".lstrip("/")) for n, inner in enumerate(value)]
    return "(varies)" if any(fnmatch(at, one) or fnmatch(key, one) for one in VARYING) else value


def shape(value):
    """Keys without values; of a list those of its first entry."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(inner) for inner in value[:1]] if isinstance(value, list) else "(a value)"


class Page(HTMLParser):
    """Parts of an HTML page: ids, headings, numbers of pictures, charts and tables."""

    def __init__(self, text: str):
        super().__init__()
        self.parts = {"ids": [], "headings": [], "counts": dict.fromkeys(("img", "svg", "table"), 0)}
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Count an element; a heading begins."""
        self.parts["ids"] += [value for name, value in attrs if name == "id"]
        if tag in self.parts["counts"]:
            self.parts["counts"][tag] += 1
        if tag in ("h1", "h2", "h3"):
            self.inside = True
            self.parts["headings"].append("")

    def handle_endtag(self, tag):
        """End a heading."""
        self.inside = self.inside and tag not in ("h1", "h2", "h3")

    def handle_data(self, data):
        """Add text to a heading."""
        if self.inside:
            self.parts["headings"][-1] += data


def draw(folder: Path) -> None:
    """Write what the commands read: pictures with captions, documents, text and an archive."""
    drawn = folder / "drawn"
    for path in (drawn, folder / "letters", folder / "shards"):
        path.mkdir()
    pictures(drawn)
    lines = []
    for n in (0, 1, 6, 7, 8):
        image = {"image": f"circle-{n}.png", "draw": n > 6}
        lines.append(json.dumps([{"text": f"Look, {n}:"}, image, {"text": "a circle."}]) + "\n")
    (drawn / "stories.jsonl").write_text("".join(lines))
    for n in range(6):
        (folder / f"letters/{n}.txt").write_text(f"Letter {n}.\nNothing new, Grüße.\n" * 3, encoding="utf-8")
    with tarfile.open(folder / "shards/0.tar", "w") as archive:
        for path in sorted(drawn.glob("circle-[06-8].*")):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    for path in folder.rglob("*.*"):  # `prepare` stores modification times, to resume
        os.utime(path, (10**9, 10**9))


def pictures(drawn: Path) -> None:
    """Write circles of several sizes and modes with captions, a face and its mask, and a file that is no
    picture."""
    for n, mode in enumerate(("RGB", "L", "RGBA", "P", "CMYK", "I;16", "RGB", "RGB", "RGB")):
        size = (24 + n, 40 - 2 * n)
        picture = Image.new("RGB", size, (20 * n, 250 - 20 * n, 90))
        ImageDraw.Draw(picture).ellipse((n, 2, 15 + n, 14), fill=(250, 20 * n, 30))
        picture = Image.new(mode, size, 777 * n) if mode == "I;16" else picture.convert(mode)
        if mode == "RGBA":
            picture.putalpha(picture.getchannel("R"))
        picture.save(drawn / f"circle-{n}.{'tif' if mode == 'CMYK' else 'png'}")
        (drawn / f"circle-{n}.txt").write_text(f"a circle, number {n}\na disc\n" if n % 2 else f"circle {n}")
    face, mask = Image.new("RGB", (64, 64), "tan"), Image.new("L", (64, 64))
    for box in ((18, 20, 26, 28), (38, 20, 46, 28), (22, 44, 42, 48)):
        ImageDraw.Draw(face).ellipse(box, fill="navy")
    ImageDraw.Draw(mask).rectangle((0, 0, 63, 31), fill=255)
    face.save(drawn / "face.png")
    mask.save(drawn / "mask.png")
    (drawn / "broken.png").write_text("no picture")


def spoil(folder: Path) -> None:
    """Write runs that are broken in one way each."""
    runs = folder / "runs"
    for name in ("torn", "hollow", "bare", "locked"):
        shutil.copytree(runs / "tiny", runs / name)
    (runs / "torn/config.yaml").write_text("train: {batch: [")
    for path in runs.glob("hollow/checkpoints/*/ema.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(runs / "bare/checkpoints")


def difference(before: dict, after: dict, expected: list[str]) -> int:
    """Print all differences -> number of those that match no pattern in `expected`."""
    old, new = flat(before), flat(after)
    places = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    surprises = [place for place in places if not any(fnmatch(place, pattern) for pattern in expected)]
    for place in places:
        one, two = old.get(place, "(not there)"), new.get(place, "(not there)")
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two)))
        start = max(0, same - 30)
        print(place, "" if place in surprises else " (expected)")
        print(f"    - {short(one, start)}\n    + {short(two, start)}")
    print(f"{len(new):,} values compared; {len(places):,} differ, {len(surprises):,} of them unexpectedly")
    return len(surprises)


def flat(value, at: str = "") -> dict[str, str]:
    """Nested values -> {keys from the top, joined by "/": JSON}. Empty lists and objects are values too."""
    if not isinstance(value, (dict, list)) or not value:
        return {at: json.dumps(value, ensure_ascii=False)}
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    values = {}
    for key, inner in inside:
        values |= flat(inner, f"{at}/{key}".lstrip("/"))
    return values


def short(text: str, start: int, most: int = 100) -> str:
    """At most `most` characters of a text, from `start` on."""
    if len(text) <= most:
        return text
    return ("…" if start else "") + text[start : start + most] + ("…" if len(text) > start + most else "")
