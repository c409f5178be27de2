"""Every layout through every source: what the table in docs/data.md says is what happens.

read      all pictures, captions, classes and splits are as they should be
told      all pictures are read, and a line says what is not used
refused   one line says what is wrong and what to do
"""

import re
from pathlib import Path

import numpy as np
import pytest
from layouts import COUNT, LAYOUTS, Fact, Facts
from sources import pixels

from rawmm_cli.config import presets
from rawmm_cli.data import sets, sources
from rawmm_cli.data.items import Item, Source
from rawmm_cli.data.layout.unused import sentence
from rawmm_cli.system.errors import RawmmError

SOURCES = ("folder", "webdataset", "parquet", "hf:", "stream")
NUMBERS = {pixels(n).tobytes(): n for n in range(COUNT)}
SETTINGS = ["data.set=x", "data.size=8", "train.batch=4", "train.length=64"]
HINT = "makes captions of"  # part of a line that says that captions could be made of classes


def table() -> dict[str, dict[str, str]]:
    """{layout: {source: cell}} of docs/data.md."""
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    section = text.split("## Which layout is read by which source")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \|(.*)\|$", section, re.M)
    header, *rows = [(first, [cell.strip().strip("`") for cell in rest.split("|")]) for first, rest in rows]
    assert tuple(header[1]) == SOURCES
    return {layout: dict(zip(SOURCES, cells)) for layout, cells in rows}


def prepared(path: Path, name: str) -> tuple[Facts, str, list[str]]:
    """What `prepare` reads -> (facts, what it says was not used, its lines)."""
    lines, stored, roles = [], {}, []
    source = sources.source("hf:owner/name" if name == "hf:" else name, {"path": path}, lines.append)
    for item in source.items(0):
        roles.append(item.split or "")
        if isinstance(item, Item):
            label = _class(item.label, source.card.get("labels", []))
            stored[number(source, item.content)] = Fact(item.captions, label, item.split)
            continue
        texts = tuple(piece.text for piece in item.pieces if piece.text)
        for piece in item.pieces:
            if piece.content is not None:
                stored[number(source, piece.content)] = Fact(texts, None, item.split)
    assert roles == sorted(roles, reverse=True)  # trained on first, or --limit takes none of them
    return stored, sentence(source.unused.card()), lines


def number(source: Source, content: object) -> int:
    return NUMBERS[np.asarray(source.open(content, (0, 0, 0))).tobytes()]


def streamed(path: Path) -> tuple[Facts, str, list[str]]:
    """What a stream reads, as `prepared`."""
    words = [*SETTINGS, "data.stream=true", f"data.stream.path={path}", "data.stream.lanes=1"]
    config, lines, stored = presets.load("tiny", [*words, "data.stream.held_out=0.3"]), [], {}
    (stream,), _ = sets.load(config, Path("nowhere"), lines.append)
    for split in ("train", "held_out"):
        data = stream.first_pictures(split, COUNT + 1)
        for n in range(len(data)):
            if data.holds_documents:
                *texts, first, second = data.pieces(n)
                assert first == second == (8, 8, True)
                shown = [NUMBERS[data.image(n, m).permute(1, 2, 0).numpy().tobytes()] for m in range(2)]
                stored |= dict.fromkeys(shown, Fact(tuple(texts), None, split))
                continue
            shown = NUMBERS[data.image(n).permute(1, 2, 0).numpy().tobytes()]
            assert shown not in stored
            stored[shown] = Fact(
                tuple(data.captions[n]), _class(int(data.labels[n]), stream.card["labels"]), split
            )
    return stored, sentence(stream.unused.card()), lines


def _class(label: int, names: list[str]) -> str | None:
    return None if label < 0 else names[label] if names else str(label)


def lost(truth: Facts, seen: Facts) -> set[str]:
    """What is not as it should be. A class without captions may become one; without splits, any may hold."""
    losses = set()
    for number, fact in truth.items():
        if number not in seen:
            losses.add("pictures")
            continue
        made = {(f"a photo of a {fact.label}",)} if fact.label and not fact.captions else set()
        if seen[number].captions not in {fact.captions, *made}:
            losses.add("captions")
        if seen[number].label != fact.label:
            losses.add("classes")
        if fact.split and seen[number].split != fact.split:
            losses.add("splits")
    return losses


def cell(layout: str, name: str, path: Path) -> str:
    """What a source makes of a layout. Asserts that nothing is lost without a word."""
    truth = LAYOUTS[layout](path)
    try:
        seen, unused, lines = streamed(path) if name == "stream" else prepared(path, name)
    except RawmmError as error:
        assert error.exit_code in (2, 3) and "\n" not in str(error) and re.search("allowed|;", str(error))
        return "refused"
    losses = lost(truth, seen)
    assert not losses & {"pictures", "splits"}, losses
    assert not losses or unused or any(HINT in line for line in lines), f"{losses} without a word"
    if name == "stream":
        assert not unused or unused in lines
    return "told" if losses or unused else "read"


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_table_is_true(layout, name, tmp_path, monkeypatch):
    if name == "hf:":
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert cell(layout, name, tmp_path / "set") == table()[layout][name]


def test_the_table_has_every_layout():
    assert list(table()) == list(LAYOUTS)


def test_prepare_and_stream_agree():
    """A stream reads every layout as the source of `prepare` that reads it: the first of them that does."""
    for layout, row in table().items():
        assert row["stream"] == next(
            (row[name] for name in SOURCES[:4] if row[name] != "refused"), "refused"
        ), layout
