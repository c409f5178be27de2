"""Archives of samples: which members form a sample, the role of each, exact pixels, starting in the
middle."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from sources import card_of, pixels, png, prepare_source, rows

from rawmm_cli.data.datasets.webdataset import webdataset
from rawmm_cli.data.layout.fields import Fields
from rawmm_cli.data.layout.samples import Samples, key_of
from rawmm_cli.data.layout.unused import Unused
from rawmm_cli.system.errors import ConfigError, DataError


def write(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """Write an archive of the format that its ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members:
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def shard(path: Path, numbers) -> Path:
    return write(
        path,
        [
            member
            for n in numbers
            for member in ((f"{n:04d}.png", png(n)), (f"{n:04d}.txt", b"number %d" % n))
        ],
    )


def item(members: dict[str, bytes], **options):
    return Fields(**options).item("s", {ending: lambda data=data: data for ending, data in members.items()})


@pytest.mark.parametrize("ending", [".tar", ".tgz", ".zip"])
def test_pixels_and_captions_are_exact(tmp_path, ending):
    shard(tmp_path / "in" / f"b{ending}", range(5, 9))
    shard(tmp_path / "in" / "deep" / f"a{ending}", range(5))
    (tmp_path / "in" / "notes.md").write_text("not an archive")
    prepare_source(tmp_path / "set", webdataset(path=tmp_path / "in"), held_out=0.4)
    stored = {row["source"]: row for split in rows(tmp_path / "set").values() for row in split}
    names = [f"b{ending}/{n:04d}" for n in range(5, 9)] + [f"deep/a{ending}/{n:04d}" for n in range(5)]
    assert sorted(stored) == sorted(names)
    for name, row in stored.items():
        number = int(name[-4:])
        assert row["pixels"] == pixels(number).tobytes() and row["captions"] == [f"number {number}"]


def test_starting_in_the_middle(tmp_path):
    for name, numbers in (("a.tar", range(4)), ("b.tgz", range(4, 7)), ("c.zip", range(7, 12))):
        shard(tmp_path / name, numbers)
    source = webdataset(path=tmp_path)
    items = list(source.items(0))
    assert len(items) == 12 and [item.captions for item in items] == [(f"number {n}",) for n in range(12)]
    for start in (0, 1, 4, 5, 11, 12, 20):
        assert list(source.items(start)) == items[start:]


@pytest.mark.parametrize(
    "name, key",
    [
        ("a.jpg", "a"),
        ("x/a.b.jpg", "x/a"),
        ("a", None),
        (".hidden", None),
        ("x.d/.DS_Store", None),
        ("x.d/a.txt", "x.d/a"),
    ],
)
def test_the_name_of_a_sample(name, key):
    assert key_of(name) == key


def samples(*names: str, unused=None, **fields):
    """Samples of an archive with these members."""
    reader = Samples(Fields(**fields), unused or Unused())
    return list(reader.of("x.tar", ((name, name.encode) for name in names), lambda read: b"{}"))


def test_members_of_a_sample_are_consecutive():
    unused = Unused()
    read = samples("d/", "a.jpg", "a.seg.png", "a.TXT", "b.txt", "README", ".c.jpg", "c/a.jpg", unused=unused)
    assert [(key, list(sample)) for key, sample in read] == [
        ("a", ["jpg", "seg.png", "txt"]),
        ("b", ["txt"]),
        ("c/a", ["jpg"]),
    ]
    assert unused.card() == {"members": {"": 2, ".seg.png": 1, "hidden": 1}}
    assert read[0][1]["seg.png"]() == b"a.seg.png"


CASES = {
    "text": ({"png": b"p", "txt": b"\xef\xbb\xbf a cat \n"}, {}, ("a cat",), -1, b"p"),
    "json": (
        {"jpg": b"p", "json": json.dumps({"caption": ["a", "b", "a", 3, " "]}).encode()},
        {},
        ("a", "b"),
        -1,
        b"p",
    ),
    "text before json": ({"jpg": b"p", "txt": b"t", "json": b'{"caption": "j"}'}, {}, ("t",), -1, b"p"),
    "class": ({"jpg": b"p", "cls": b"7\n"}, {}, ("a photo of a 7",), 7, b"p"),
    "class in json": (
        {"jpg": b"p", "json": b'{"label": "tabby_cat"}'},
        {},
        ("a photo of a tabby cat",),
        -1,
        b"p",
    ),
    "template": (
        {"jpg": b"p", "cls": b"7", "txt": b"t"},
        {"template": "digit {label}"},
        ("digit 7",),
        7,
        b"p",
    ),
    "chosen": (
        {"png": b"p", "seg.png": b"q", "alt": b"t"},
        {"columns": "image=seg.png,text=alt"},
        ("t",),
        -1,
        b"q",
    ),
    "chosen key": (
        {"png": b"p", "json": b'{"caption": "x", "alt": "y", "id": 4}'},
        {"columns": "text=json.alt,label=json.id"},
        ("y",),
        4,
        b"p",
    ),
    "a class that no number holds": (
        {"jpg": b"p", "cls": b"1" + b"0" * 30},
        {},
        ("a photo of a 1" + "0" * 30,),
        -1,
        b"p",
    ),
    "a class that is no number": (
        {"jpg": b"p", "json": b'{"label": true, "text": "t"}'},
        {},
        ("t",),
        -1,
        b"p",
    ),
    "nothing": ({"webp": b"p"}, {}, (), -1, b"p"),
}


CASES["name of a class"] = ({"png": b"p", "cls": b"Red_Car\n"}, {}, ("a photo of a red car",), -1, b"p")
CASES["field of JSON"] = (
    {"png": b"p", "json": b'{"text": {"en": "a cat", "de": "Katze"}}'},
    {"columns": "text=json.text.de"},
    ("Katze",),
    -1,
    b"p",
)


@pytest.mark.parametrize("case", CASES)
def test_roles_of_the_members(case):
    members, options, captions, label, content = CASES[case]
    sample = item(members, **options)
    assert (sample.captions, sample.label, sample.content) == (captions, label, content)


WRONG = {
    "no picture": ({"txt": b"t", "json": b"{}"}, "it has no picture; it has .json, .txt"),
    "text": ({"png": b"p", "txt": b"\xff"}, "its .txt is not UTF-8"),
    "json": ({"png": b"p", "json": b"{"}, "its .json is not JSON in UTF-8"),
    "deep json": ({"png": b"p", "json": b"[" * 100_000}, "its .json is not JSON in UTF-8"),
    "class": ({"png": b"p", "cls": b"\xff"}, "its .cls is neither a whole number nor the name of a class"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_sample_is_left_out_and_reported(case, tmp_path):
    sample, reason = WRONG[case]
    members = [(f"bad.{ending}", data) for ending, data in sample.items()]
    write(tmp_path / "in.tar", [(f"{n}.png", png(n)) for n in range(3)] + members)
    card = prepare_source(tmp_path / "set", webdataset(path=tmp_path / "in.tar"), max_bad=0.5)
    assert card["skipped"] == [{"file": "in.tar/bad", "reason": reason}]
    assert card["count"]["train"] + card["count"]["held_out"] == 3


@pytest.mark.process
def test_worker_processes_make_the_same_set(tmp_path):
    """The reason for a bad sample reaches them too."""
    shard(tmp_path / "a.tar", range(40))
    write(tmp_path / "b.tar", [("bad.txt", b"t")])
    for workers in (0, 1):
        prepare_source(tmp_path / f"set{workers}", webdataset(path=tmp_path), workers=workers)
    assert rows(tmp_path / "set0") == rows(tmp_path / "set1") and card_of(tmp_path / "set1")["skipped"] == [
        {"file": "b.tar/bad", "reason": "it has no picture; it has .txt"}
    ]


def test_an_archive_that_was_cut(tmp_path):
    """What is whole is read; the member at the cut is one bad item; it is said."""
    path = shard(tmp_path / "torn.tar", range(5))
    data = path.read_bytes()
    for size, bad in ((4 * 512 * 4 + 700, ["torn.tar/0004"]), (4 * 512 * 4, [])):
        lines, folder = [], tmp_path / f"set{size}"
        path.write_bytes(data[:size])
        prepare_source(folder, webdataset(path=path, notify=lines.append), max_bad=0.2)
        assert [entry["file"] for entry in card_of(folder)["skipped"]] == bad
        sources = sorted(row["source"] for split in rows(folder).values() for row in split)
        assert sources == [f"torn.tar/000{n}" for n in range(4)]
        assert any("archives that end without an end mark" in line for line in lines)


def test_errors(tmp_path):
    with pytest.raises(DataError, match="none does not exist; allowed with --path: an archive"):
        webdataset(path=Path("none"))
    (tmp_path / "a.txt").write_text("t")
    with pytest.raises(
        DataError, match="no archives in .*; allowed: files ending in .tar, .tar.gz, .tgz, .zip"
    ):
        webdataset(path=tmp_path)
    shard(tmp_path / "a.tar", range(2))
    with pytest.raises(
        ConfigError, match="--columns has 'size=x'; allowed: image=COLUMN, text=COLUMN, label=COLUMN"
    ):
        webdataset(path=tmp_path, columns="size=x")
    with pytest.raises(ConfigError, match="allowed: text with {label} in it"):
        webdataset(path=tmp_path, caption="a cat")


def test_keys_of_json_that_are_not_used(tmp_path):
    """The caption is under the first key that has one."""
    facts = {"caption": None, "text": "a cat", "captions_fr": "un chat", "url": "x", "label": 3}
    write(tmp_path / "x.tar", [("a.png", png(0)), ("a.json", json.dumps(facts).encode())])
    source = webdataset(path=tmp_path / "x.tar")
    assert [(item.captions, item.label) for item in source.items(0)] == [(("a cat",), 3)]
    assert source.unused.card() == {"keys": {"caption": 1, "captions_fr": 1, "url": 1}}


def test_keys_of_json_that_only_a_later_sample_has(tmp_path):
    """All samples are asked; a key counts once in an archive."""
    facts = [{"caption": "a"}, {"caption": "b", "late": 1}, {"caption": "c", "late": 2, "url": 3}]
    members = [
        (f"{n}.{e}", d)
        for n, known in enumerate(facts)
        for e, d in (("png", png(n)), ("json", json.dumps(known).encode()))
    ]
    write(tmp_path / "a.tar", members)
    source = webdataset(path=tmp_path)
    assert [item.captions for item in source.items(0)] == [("a",), ("b",), ("c",)]
    assert source.unused.card() == {"keys": {"late": 1, "url": 1}}


def test_neighbours_of_one_name_stay_apart(tmp_path):
    """They are counted, and each has its own name, its own picture and its own caption."""
    members = [(f"a.{e}", d) for n in range(3) for e, d in (("png", png(n)), ("txt", str(n).encode()))]
    write(tmp_path / "x.tar", [*members, ("b.png", png(3)), ("a.png", png(4)), ("a.txt", b"4")])
    lines = []
    source = webdataset(path=tmp_path / "x.tar", notify=lines.append)
    items = list(source.items(0))
    assert [item.name for item in items] == ["x.tar/a", "x.tar/a#2", "x.tar/a#3", "x.tar/b", "x.tar/a#4"]
    assert [item.captions for item in items] == [("0",), ("1",), ("2",), (), ("4",)]
    assert [item.content for item in items if item.name != "x.tar/b"] == [png(n) for n in (0, 1, 2, 4)]
    assert lines[-1] == (
        "samples with the name of another one in the same archive, each of which is read by itself: 3, the "
        "first x.tar/a"
    )
    assert list(source.items(4)) == items[4:]


@pytest.mark.parametrize(
    "names, problem",
    [
        (["a.png", "b.png", "a.txt", "b.txt"], "those of 'a' stand in two places"),
        (["a.txt", "b.txt", "a.png", "b.png"], "those of 'a' stand in two places"),
        ([f"{n}.txt" for n in range(60)], "the first 50 have no picture, only .txt"),
    ],
)
def test_members_that_are_not_neighbours(names, problem):
    with pytest.raises(
        DataError, match=f"archive x.tar: members of a sample must be neighbours, and {problem}"
    ):
        samples(*names)


def test_dots_in_names(tmp_path):
    """The name of a sample ends at the first dot, as in `webdataset`; what to do stands beside the reason."""
    write(tmp_path / "x.tar", [("photo.2021.1.png", png(0)), ("photo.2021.2.png", png(1)), ("b.png", png(2))])
    source = webdataset(path=tmp_path / "x.tar")
    assert str(next(source.items(0)).content) == (
        "it has no picture; it has .2021.1.png, .2021.2.png; the name of a sample ends at its first dot: "
        "take the other dots out of the names, or choose with --columns image=2021.1.png"
    )
    with pytest.raises(
        DataError, match="sample 'p': it has no picture; .*the name of a sample ends at its first"
    ):
        samples(*(f"p.{n}.jpg" for n in range(20)))
    with pytest.raises(DataError, match="it has no picture; it has .jpg; choose with --columns image=jpg"):
        samples(*(f"{n}.jpg" for n in range(60)), columns="image=bild")
    chosen = list(webdataset(path=tmp_path / "x.tar", columns="image=2021.1.png").items(0))
    assert chosen[0].content == png(0)


def test_what_is_not_used(tmp_path):
    """Members without a role, counted by ending, again at every start."""
    write(
        tmp_path / "x.tar",
        [
            *(("README", b""), ("__MACOSX/._a.jpg", b"")),
            *((f"a.{ending}", png(0)) for ending in ("jpg", "seg.png", "txt", "cls", "json")),
            *((f"b.{ending}", png(1)) for ending in ("jpg", "seg.png", "npy", "json")),
        ],
    )
    (tmp_path / "stats.json").touch()
    source = webdataset(path=tmp_path)
    for start in (0, 1):
        list(source.items(start))
        assert source.unused.card() == {
            "files": {"stats.json": 1},
            "members": {"": 1, ".json": 1, ".npy": 1, ".seg.png": 2, "hidden": 1},
        }


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_splits_of_folders_in_archives(mode, tmp_path):
    ending = {"w": "tar", "w:gz": "tgz"}[mode]
    members = [(f"{'train' if n < 4 else 'val'}/{n % 2}/{n}.png", png(n)) for n in range(6)]
    with tarfile.open(tmp_path / f"x.{ending}", mode) as archive:
        for name, data in [("README.md", b"x"), *members]:
            info = tarfile.TarInfo(f"set/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    lines = []
    source = webdataset(path=tmp_path, notify=lines.append)
    splits = [item.split for item in source.items(0)]
    assert splits[-6:] == ["train"] * 4 + ["held_out"] * 2
    assert "(held out)" in lines[1] and "(held out)" in source.card["chosen"]["splits"]


@pytest.mark.parametrize("first", ["annotations", "train"])
def test_folders_of_splits_may_come_late_and_in_an_archive_named_like_one(first, tmp_path):
    """Folders tell behind any number of other members; an archive named train.tar says nothing by itself."""
    names = [f"{first}/{n:03}" for n in range(150)] + ["train/x", "test/y", "test/z"]
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for name in names:
            info = tarfile.TarInfo(f"{name}.png")
            info.size = len(png(0))
            archive.addfile(info, io.BytesIO(png(0)))
    source = webdataset(path=tmp_path)
    assert [item.split for item in source.items(0)] == ["train"] * 151 + ["held_out"] * 2
    assert [item.name for item in source.items(151)] == ["train.tar/test/y", "train.tar/test/z"]


def test_only_folders_of_pictures_tell_splits(tmp_path):
    """A README beside them makes no split of class folders, and a caption elsewhere is a bad item."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("README.md", "control/0.png", "test/1.png", "val/2.txt"):
            archive.writestr(name, png(0) if name.endswith("png") else b"x")
    assert [item.split for item in webdataset(path=tmp_path).items(0)] == [None] * 3
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("train/3.png", png(3))
    splits = {item.name[-1]: item.split for item in webdataset(path=tmp_path).items(0)}
    assert splits == {"0": "train", "1": "held_out", "2": None, "3": "train"}


def test_the_limit_takes_folders_that_are_trained_on_first(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n, name in enumerate(("test/0", "test/1", "test/2", "train/3", "train/4", "val/5")):
            archive.writestr(f"{name}.png", png(n))
            archive.writestr(f"{name}.npy", b"")
    source = webdataset(path=tmp_path)
    assert [item.name[-1] for item in source.items(0)] == ["3", "4", "0", "1", "2", "5"]
    assert source.unused.card() == {"members": {".npy": 6}}
    prepare_source(tmp_path / "set", source, limit=3)
    kept = [row["source"] for split in rows(tmp_path / "set").values() for row in split]
    assert sorted(kept) == ["a.zip/test/0", "a.zip/train/3", "a.zip/train/4"]


@pytest.mark.parametrize(
    "facts, item",
    [
        (b'"a cat"', (("a cat",), -1)),
        (b'["a cat", "a pet"]', (("a cat", "a pet"), -1)),
        (b'\xef\xbb\xbf{"caption": "a cat"}', (("a cat",), -1)),
        (b'{"text": null, "caption": "a cat", "label": -1}', (("a cat",), -1)),
        (b'{"label": -1}', ((), -1)),
        (b"[1, 2]", ((), -1)),
    ],
)
def test_json_of_others(facts, item, tmp_path):
    """Texts alone, a byte order mark, null, and -1 for no class."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in (("a.png", png(0)), ("a.json", facts)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (seen,) = webdataset(path=tmp_path).items(0)
    assert (seen.captions, seen.label) == item and seen.content == png(0)


def test_members_about_an_archive_are_no_samples(tmp_path):
    """They are counted among what is not used; a caption that lost its picture is a bad item."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("README.md", "LICENSE.txt", "metadata.jsonl", "inner.tar.gz", "a.png", "b.txt"):
            archive.writestr(name, png(0) if name == "a.png" else b"x")
    source = webdataset(path=tmp_path)
    items = {item.name: item.content for item in source.items(0)}
    assert list(items) == ["a.zip/a", "a.zip/b"] and "it has no picture" in str(items["a.zip/b"])
    members = {".jsonl": 1, ".md": 1, ".tar.gz": 1, ".txt": 1}
    assert source.unused.card() == {"members": members}


def test_splits_of_archives(tmp_path):
    for name in ("train2017.zip", "val2017.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.png", png(0))
    assert [item.split for item in webdataset(path=tmp_path).items(0)] == ["train", "held_out"]
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        shard(tmp_path / name / "0.tar", range(2))
    assert [item.split for item in webdataset(path=tmp_path).items(0)][:2] == ["train"] * 2
    for name in ("val2017.zip", "train/0.tar", "val/0.tar"):
        (tmp_path / name).unlink()
    assert [item.split for item in webdataset(path=tmp_path).items(0)] == [None]


def test_archives_that_are_joined(tmp_path):
    parts = [
        shard(tmp_path / f"{name}.tar", numbers).read_bytes()
        for name, numbers in (("a", range(3)), ("b", range(3, 5)))
    ]
    for name in "ab":
        (tmp_path / f"{name}.tar").unlink()
    (tmp_path / "x.tar").write_bytes(b"".join(parts))
    (tmp_path / "y.tar.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    (tmp_path / "z.tar").write_bytes(gzip.compress(parts[0]))  # compressed, whatever its name says
    lines = []
    items = list(webdataset(path=tmp_path, notify=lines.append).items(0))
    assert [item.captions[0] for item in items] == [f"number {n}" for n in [*range(5), *range(5), *range(3)]]
    assert lines[-1] == "archives with others joined to their end, all of which are read: 2, the first x.tar"


def test_bytes_after_the_end_of_an_archive_are_not_used(tmp_path):
    path = shard(tmp_path / "a.tar", range(2))
    path.write_bytes(path.read_bytes() + b"a signature")
    source = webdataset(path=path)
    assert len(list(source.items(0))) == 2
    assert source.unused.card() == {"others": {"archives with other bytes after their end": 1}}


def test_captions_by_field_of_json(tmp_path):
    """A line says what to give."""
    text = json.dumps({"caption": {"en": "a cat", "de": "Katze"}}).encode()
    write(tmp_path / "a.tar", [("0.json", text), ("0.png", png(0)), ("1.json", text), ("1.png", png(1))])
    webdataset(path=tmp_path, notify=(lines := []).append)
    how = "choose one, as --columns text=json.caption.en"
    assert lines[1:] == [f"captions: none; column json.caption has the fields en, de: {how}"]
    source = webdataset(path=tmp_path, columns="text=json.caption.en", notify=(lines := []).append)
    assert [item.captions for item in source.items(0)] == [("a cat",)] * 2 and len(lines) == 1
    assert source.unused.card() == {}
