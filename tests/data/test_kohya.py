"""Captions of many pictures in one file, as kohya's scripts write it."""

import json
from pathlib import Path

import pytest
from sources import png

from rawmm_cli.data import sources

LINK = "2 files are links that lead out of the set; read as any other"


def fill(folder: Path, names: list[str], **files: object) -> Path:
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(n))
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def read(folder: Path, **options) -> tuple[dict[str, tuple[str, ...]], dict, list[str]]:
    """{picture: its captions, None where it is bad}, what was not used, what was said."""
    source = sources.source("folder", {"path": folder, **options}, (lines := []).append)
    items = {i.name: i.captions if isinstance(i.content, str) else None for i in source.items(0)}
    return items, source.unused.card(), lines


def test_names_without_endings_and_whole_paths(tmp_path):
    """Captions, or else tags; paths may be those of another machine, and nothing is opened by them."""
    names = ["a.png", "sub/b.v2.png", "sub/c.png", "d.png"]
    known = {
        "a": {"caption": "an a", "tags": "x, y"},
        "D:\\train\\sub\\b.v2.png": {"caption": "a b", "train_resolution": [64, 64]},
        "/home/x/train/sub/c": {"tags": "c, 1girl"},
        "d": {"caption": ""},
    }
    items, unused, _ = read(fill(tmp_path, names, meta_cap=known))
    assert items == {"a.png": ("an a",), "sub/b.v2.png": ("a b",), "sub/c.png": ("c, 1girl",), "d.png": ()}
    assert unused == {"keys": {"train_resolution": 1}}
    items, unused, _ = read(tmp_path, columns="text=tags")
    assert items["a.png"] == ("x, y",) and items["sub/b.v2.png"] == ()
    assert set(unused["keys"]) == {"caption", "train_resolution"}


@pytest.mark.parametrize("name", ["meta_cap", "meta_clean", "metadata", "meta_cap_dd"])
def test_names_that_fit_no_picture_or_several(name, tmp_path):
    known = {key: {"caption": key} for key in ("a", "b", "none", "/etc/passwd")}
    items, _, _ = read(fill(tmp_path, ["x/a.png", "y/a.png", "b.png"], **{name: known}))
    bad = {f"{name}.json: {key}": None for key in ("a", "none", "/etc/passwd")}
    assert items == {"x/a.png": (), "y/a.png": (), "b.png": ("b",)} | bad
    (tmp_path / f"{name}.json").rename(tmp_path / "x" / f"{name}.json")
    items, _, _ = read(tmp_path)
    assert items["x/a.png"] == ("a",) and items["y/a.png"] == () and items["b.png"] == ("b",)


@pytest.mark.parametrize("content", ["{", "[1]", {"a": 1}, {"a": {"size": 3}}, {}, "null"])
def test_other_files_of_that_name_are_not_used(content, tmp_path):
    items, unused, _ = read(
        fill(tmp_path, ["a.png", "b.png"], metadata=content, other={"a": {"caption": "x"}})
    )
    assert items == {"a.png": (), "b.png": ()}
    assert unused == {"files": {"metadata.json": 1, "other.json": 1}}


def test_links_to_files_elsewhere_are_read_and_said(tmp_path):
    """As of DVC and git-annex; a link that stays inside of the set is a file as any other."""
    inside = fill(tmp_path / "in", ["a.png", "b.png"])
    fill(tmp_path / "out", ["c.png"])
    (tmp_path / "out" / "c.txt").write_text("far")
    for name in ("c.png", "c.txt"):
        (inside / name).symlink_to(tmp_path / "out" / name)
    (inside / "d.png").symlink_to("a.png")
    items, _, lines = read(inside)
    assert items == {"a.png": (), "b.png": (), "c.png": ("far",), "d.png": ()} and LINK in lines
    (inside / "c.txt").unlink()
    (inside / "c.png").unlink()
    assert not any("links" in line for line in read(inside)[2])
