"""Streams of what people bring: files of one name, splits of their own, columns that change, text in place of
pictures, joined archives, the folder that img2dataset writes."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shard_files import parquet, tars
from sources import pixels, png

from rawmm_cli.config import presets
from rawmm_cli.data import sets
from rawmm_cli.data.datasets.folder import folder as folder_source
from rawmm_cli.data.datasets.parquet import parquet as parquet_source
from rawmm_cli.data.datasets.webdataset import webdataset
from rawmm_cli.data.layout import streams
from rawmm_cli.data.streamed import Streamed
from rawmm_cli.system.errors import DataError

SETTINGS = ["data.stream=true", "data.stream.lanes=1", "data.size=8", "train.batch=4", "train.length=64"]
SETTINGS += ["data.stream.held_out=0.3"]


def opened(path, *words: str, lines: list[str] | None = None) -> Streamed:
    """A set that is streamed, as a run opens it. lines: what is said."""
    config = presets.load("tiny", [*SETTINGS, "data.set=x", f"data.stream.path={path}", *words])
    (streamed,), _ = sets.load(config, Path("nowhere"), (lines if lines is not None else []).append)
    return streamed


def captions(data: Streamed) -> list[int]:
    """Captions of one epoch of all lanes, sorted; the pixels are those of the caption."""
    seen = []
    for lane, size in enumerate(data.sizes):
        for position in range(size):
            item = data.item(lane, position)
            if item.name not in data.skipped:
                assert item.content in (b"bad", png(int(item.captions[0])))
                seen.append(int(item.captions[0]))
    return sorted(seen)


def held_out(data: Streamed) -> list[int]:
    return sorted(int(texts[0]) for texts in data.first_pictures("held_out", 1000).captions)


@pytest.mark.parametrize("make", [parquet, tars])
def test_files_of_one_name_in_two_folders(make, tmp_path):
    """A bad picture in one costs nothing in the other; what is held out does not stand at the same places."""
    make(tmp_path / "in" / "a", range(60), files=1, bad=range(0, 60, 5))
    make(tmp_path / "in" / "b", range(60, 120), files=1)
    data = opened(tmp_path / "in")
    for lane, size in enumerate(data.sizes):
        for position in range(size):
            data.picture(lane, position)
    assert set(captions(data)) | set(held_out(data)) == set(range(120)) - set(range(0, 60, 5))
    assert all(name.startswith("a/0.") for name in data.skipped)
    first, second = ({n % 60 for n in held_out(data) if low <= n < low + 60} for low in (0, 60))
    assert first and second and first != second


@pytest.mark.parametrize("make", [parquet, tars])
@pytest.mark.parametrize("names", [("train/0", "test/0"), ("train-0", "val-0")])
def test_splits_of_the_source(make, names, tmp_path):
    ending = {parquet: "parquet", tars: "tar"}[make]
    for name, numbers in zip(names, (range(40), range(40, 50))):
        make(tmp_path / "out", numbers, files=1)
        target = tmp_path / "in" / f"{name}.{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / f"0.{ending}").rename(target)
    data = opened(tmp_path / "in", lines=(lines := []))
    assert captions(data) == list(range(40)) and held_out(data) == list(range(40, 50))
    assert data.card["count"] == {"train": 40, "held_out": 10} and any("(held out)" in line for line in lines)


def test_splits_inside_of_an_archive(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for n in range(30):
            for ending, content in (("png", png(n)), ("txt", str(n).encode())):
                info = tarfile.TarInfo(f"{'train' if n < 25 else 'test'}/{n}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    data = opened(tmp_path / "a.tar")
    assert captions(data) == list(range(25)) and held_out(data) == list(range(25, 30))


def test_splits_of_the_hub(tmp_path, monkeypatch):
    """The files of all splits, by their paths in the repository; none from elsewhere."""
    import datasets

    for split, numbers in (("train", range(40)), ("validation", range(40, 50))):
        parquet(tmp_path / "out", numbers, files=1)
        (tmp_path / "repo" / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "0.parquet").rename(
            tmp_path / "repo" / "data" / f"{split}-00000-of-00001.parquet"
        )
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    real = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda repo: real(str(tmp_path / "repo")))
    data = opened("hf:some/one")
    assert captions(data) == list(range(40)) and held_out(data) == list(range(40, 50))
    parquet(tmp_path / "elsewhere", range(3), files=1)
    readme = "---\nconfigs:\n- config_name: default\n  data_files: '{}'\n---\n"
    for pattern in (f"{tmp_path}/elsewhere/*.parquet", "../elsewhere/*.parquet"):
        (tmp_path / "repo" / "README.md").write_text(readme.format(pattern))
        with pytest.raises(
            DataError, match="hf:some/one is refused: it names .*, which is not in the set; allowed"
        ):
            streams.find("hf:some/one")
    for name in ("hf:../some", "hf:/etc", "hf:some", "hf:some/one/two"):
        with pytest.raises(DataError, match="names no set of the hub; allowed: hf:OWNER/NAME"):
            streams.find(name)


def test_text_in_place_of_pictures_is_never_opened(tmp_path):
    """In a later file, and in the rows of a struct."""
    Image.fromarray(pixels(99)).save(tmp_path / "secret.png")
    parquet(tmp_path / "in", range(40), files=2)
    paths = pa.table({"image": [str(tmp_path / "secret.png")] * 20, "text": ["99"] * 20})
    pq.write_table(paths, tmp_path / "in" / "2.parquet")
    with pytest.raises(DataError, match="2.parquet has text in column 'image', where .*0.parquet has images"):
        opened(tmp_path / "in")
    rows = [{"bytes": png(n), "path": None} for n in range(40, 60)]
    rows[3] = rows[9] = {"bytes": None, "path": str(tmp_path / "secret.png")}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(rows, kind), "text": ["99"] * 20}), tmp_path / "in" / "2.parquet"
    )
    data = opened(tmp_path / "in")
    for lane, size in enumerate(data.sizes):
        assert all((data.picture(lane, n)[1] != pixels(99)).any() for n in range(size))
    assert set(data.skipped) <= {"2.parquet/3", "2.parquet/9"} and len(data.skipped) > 0
    assert all("which is not read; store the bytes" in reason for reason in data.skipped.values())


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"image": [png(0)]}, "1.parquet lacks column 'text', which .*0.parquet has"),
        ({"picture": [png(0)], "text": ["a"]}, "1.parquet lacks column 'image', which .*0.parquet has"),
        ({"image": [png(0)], "text": [7]}, "1.parquet has whole numbers in column 'text', where"),
    ],
)
def test_columns_are_compared_before_the_first_step(columns, message, tmp_path):
    parquet(tmp_path / "in", range(40), files=1)
    pq.write_table(pa.table(columns), tmp_path / "in" / "1.parquet")
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path / "in")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_first_file_without_captions(rows, tmp_path):
    """Its column has no kind yet: captions are those of the other files."""
    parquet(tmp_path / "in", range(40), files=1)
    without = pa.table(
        {"image": pa.array([png(100 + n) for n in range(rows)], pa.binary()), "text": pa.nulls(rows)}
    )
    pq.write_table(without, tmp_path / "in" / "+.parquet")
    data = opened(tmp_path / "in")
    items = [data.item(lane, n) for lane, size in enumerate(data.sizes) for n in range(size)]
    trained = {int(item.captions[0]) for item in items if item.captions}
    others = {int(texts[0]) for texts in data.first_pictures("held_out", 99).captions if texts}
    assert trained | others == set(range(40))


def test_archives_joined_end_to_end(tmp_path):
    tars(tmp_path / "in", range(40), files=2)
    (tmp_path / "in" / "0.tar").write_bytes(
        b"".join((tmp_path / "in" / f"{n}.tar").read_bytes() for n in range(2))
    )
    (tmp_path / "in" / "1.tar").unlink()
    data = opened(tmp_path / "in", lines=(lines := []))
    assert sorted(captions(data) + held_out(data)) == list(range(40))
    assert "archives with others joined to their end, all of which are read: 1, the first 0.tar" in lines


def test_the_folder_of_img2dataset(tmp_path):
    """Shards with pictures are taken; tables of addresses and statistics are not used."""
    tars(tmp_path / "in", range(40), files=2)
    for n in range(2):
        table = pa.table({"url": ["https://x/1.png"], "caption": ["c"], "embedding": [bytes(64)]})
        pq.write_table(table, tmp_path / "in" / f"{n}.parquet")
        (tmp_path / "in" / f"{n}_stats.json").write_text(json.dumps({"count": 20}))
    data = opened(tmp_path / "in", lines=(lines := []))
    assert sorted(captions(data) + held_out(data)) == list(range(40))
    assert lines[-1] == "Not used: 0.parquet, 1.parquet, 0_stats.json, 1_stats.json"
    assert list(data.card["unused"]["files"]) == ["0.parquet", "0_stats.json", "1.parquet", "1_stats.json"]
    parquet(tmp_path / "in", range(3), files=1)
    with pytest.raises(DataError, match="holds .parquet, .tar; allowed for data.stream"):
        opened(tmp_path / "in")


@pytest.mark.parametrize("make, name", [(tars, "1.tar"), (parquet, "1.parquet")])
def test_what_git_lfs_left_in_place_of_a_shard(make, name, tmp_path):
    make(tmp_path / "in", range(20), files=1)
    (tmp_path / "in" / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(
        DataError, match=f"{name} .*Git LFS pointer and not the file: fetch that with git lfs pull"
    ):
        opened(tmp_path / "in")


def test_what_cannot_be_streamed_says_why(tmp_path):
    """A picture that nobody can use is named."""
    pq.write_table(pa.table({"image": [b"https://x/1.png"] * 60}), tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match="for held_out .'a.parquet/.*': it has no picture, only the address 'https"
    ):
        opened(tmp_path / "a.parquet")


def test_samples_without_a_picture_are_counted_at_the_start(tmp_path):
    """Text files in another folder of the archive: no captions are lost without a word."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for n in range(30):
            for name, content in ((f"images/{n}.png", png(n)), (f"texts/{n}.txt", b"t")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    opened(tmp_path / "a.tar", lines=(lines := []))
    assert "samples without a picture, which are left out: 30, the first a.tar/texts/0" in lines


def test_an_archive_that_was_cut(tmp_path):
    """Whole members are read; the one at the cut is a bad picture, whatever its first bytes are."""
    tars(tmp_path / "in", range(60), files=1)
    path = tmp_path / "in" / "0.tar"
    whole = path.read_bytes()
    for size, number in ((59 * 2048, 59), (58 * 2048 + 512 + 20, 58)):
        path.write_bytes(whole[:size])
        data = opened(tmp_path / "in", lines=(lines := []))
        for lane, count in enumerate(data.sizes):
            for position in range(count):
                data.picture(lane, position)
        assert [*captions(data), *held_out(data)] and any("without an end mark" in line for line in lines)
        assert {*captions(data), *held_out(data)} == set(range(number))


def test_a_packed_archive_that_was_cut(tmp_path):
    """As `prepare` reads it, to the last whole member."""
    tars(tmp_path / "in", range(60), files=1)
    path = tmp_path / "in" / "0.tar"
    whole = gzip.compress(path.read_bytes())
    for share in (0.9, 0.97, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        source = webdataset(path=tmp_path / "in", notify=(said := []).append)
        names = [i.name for i in source.items(0) if isinstance(i.content, bytes) and i.content]
        data = opened(tmp_path / "in", lines=(lines := []))
        for lane, count in enumerate(data.sizes):
            for position in range(count):
                data.picture(lane, position)
        assert {*captions(data), *held_out(data)} == {int(name.rpartition("/")[2]) for name in names}
        assert any("without an end mark" in line for line in said) and set(said[1:]) <= set(lines)


def test_folders_in_archives_are_classes(tmp_path):
    """As `prepare` has them: their numbers, the hint, and captions where they are asked for; not where
    samples have classes of their own."""

    def archive(*endings: str) -> None:
        members = {f"{n:02}": png(n) for n in range(60)}
        with tarfile.open(tmp_path / "0.tar", "w") as file:
            for n, (name, picture) in enumerate(members.items()):
                content = {"png": picture, "txt": b"%d" % n, "cls": b"7", "json": b'{"label": "x"}'}
                for ending in ("png", *endings):
                    info = tarfile.TarInfo(f"{('Red_Car', 'dog', 'dog')[n % 3]}/{name}.{ending}")
                    info.size = len(content[ending])
                    file.addfile(info, io.BytesIO(content[ending]))

    def both(*words: str) -> tuple[set, list[str]]:
        """{(captions, class)} of a stream, which are those of `prepare`, and what the stream says."""
        data = opened(tmp_path, *words, lines=(lines := []))
        items = [data.item(lane, place) for lane, size in enumerate(data.sizes) for place in range(size)]
        streamed = {(item.captions, item.label) for item in items}
        caption = words[0].partition("=")[2] if words else None
        source = webdataset(path=tmp_path, caption=caption)
        assert source.card["labels"] == data.card["labels"]
        assert {(item.captions, item.label) for item in source.items(0)} >= streamed
        return streamed, lines

    archive()
    made = "data.stream.caption='a photo of a {label}' makes captions of them"
    hint = f"2 classes by folder (Red_Car, dog); {made}"
    seen, lines = both()
    assert seen == {((), 0), ((), 1)} and hint in lines
    assert both("data.stream.caption=my {label}")[0] == {(("my red car",), 0), (("my dog",), 1)}
    archive("txt")
    seen, lines = both()
    assert {label for _, label in seen} == {0, 1} and hint not in lines and all(texts for texts, _ in seen)
    archive("cls")
    assert both()[0] == {(("a photo of a 7",), 7)}
    archive("json")
    assert both()[0] == {(("a photo of a x",), -1)}


def test_shards_that_are_links_are_read_and_said(tmp_path):
    parquet(tmp_path / "out", range(60), files=2)
    (tmp_path / "in").mkdir()
    for file in (tmp_path / "out").iterdir():
        (tmp_path / "in" / file.name).symlink_to(file)
    data = opened(tmp_path / "in", lines=(lines := []))
    assert {*captions(data), *held_out(data)} == set(range(60))
    assert "2 files are links that lead out of the set; read as any other" in lines


def pictures(folder: Path, numbers, files: int = 1) -> None:
    """As `parquet`, as files with captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number}.png").write_bytes(png(number))
        (folder / f"{number}.txt").write_text(str(number))


SOURCES = {parquet: parquet_source, tars: webdataset, pictures: folder_source}
SPLITS = "data_files: [{{split: train, path: {}}}, {{split: test, path: {}}}]"
BOTH = {*range(40)}, {*range(40, 50)}


def a_and_b(make, folder: Path, *configs: str) -> Path:
    """A set of 40 pictures in a/, 10 in b/, and a README with these configurations."""
    make(folder / "a", range(40), files=2)
    make(folder / "b", range(40, 50), files=1)
    entries = "".join(f"- {{{config}}}\n" for config in configs)
    (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{entries}---\n# Set\n")
    return folder


def read(make, path: Path) -> tuple[tuple[set[int], set[int] | None], list[str]]:
    """Numbers of the pictures that a source and a stream train on and hold out, and what both say.

    All numbers and None where their names decide."""
    source = SOURCES[make](path=path, notify=(said := []).append)
    items = [(item.split, int(item.captions[0])) for item in source.items(0)]
    data = opened(path, lines=(lines := []))
    trained = {int(texts[0]) for texts in data.first_pictures("train", 1000).captions}
    others = {*held_out(data)}
    if {role for role, _ in items} == {None}:
        assert trained | others == {number for _, number in items}
        trained, others = trained | others, None
    else:
        assert [role for role, _ in items] == ["train"] * len(trained) + ["held_out"] * len(others)
        assert {number for role, number in items if role == "held_out"} == others
    assert source.card.get("chosen", {}).get("split list") == data.shards.about.get("split list")
    assert source.unused.card() == data.unused.card()
    return (trained, others), [line for line in said if line in lines]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize(
    "config",
    [
        SPLITS.format("a/*", "b/*"),
        SPLITS.format("['a/**', c/d/*]", "'b/**'"),
        SPLITS.format("'**'", "'**/b/*'"),  # what both list is held out
        "data_files: {train: 'a/*', test: ['./b/*', nowhere/*]}",
        SPLITS.format("'[ac]/*'", "'b/?*.*'"),
        "data_dir: a, data_files: [{split: train, path: '*'}, {split: test, path: ../b/*}]",
    ],
)
def test_splits_that_the_readme_of_a_copy_lists(make, config, tmp_path):
    """Where no name tells them: what is of another split there is held out, in sources and in streams."""
    a_and_b(make, tmp_path, f"config_name: x, {config}")
    assert read(make, tmp_path)[0] == BOTH
    source = SOURCES[make](path=tmp_path)
    assert source.card["chosen"]["split list"] == "README.md"
    (tmp_path / "README.md").unlink()
    assert read(make, tmp_path)[0] == (BOTH[0] | BOTH[1], None)
    assert SOURCES[make](path=tmp_path).state != source.state


@pytest.mark.parametrize("make", [parquet, tars])
def test_splits_of_the_hub_that_a_readme_lists(make, tmp_path, monkeypatch):
    """As of a local copy, by `datasets`."""
    import datasets

    a_and_b(make, tmp_path / "repo", f"config_name: x, {SPLITS.format('a/*', 'b/*')}")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    real = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda repo: real(str(tmp_path / "repo")))
    data = opened("hf:some/one")
    assert ({*captions(data)}, {*held_out(data)}) == BOTH


@pytest.mark.parametrize("make", SOURCES)
def test_the_readme_of_a_copy_comes_before_names(make, tmp_path):
    """It also says what is no part of the set; where it says what names say, they tell the splits."""
    a_and_b(make, tmp_path, SPLITS.format("train/*", "'b/**'"))
    (tmp_path / "a").rename(tmp_path / "train")
    make(tmp_path / "test", range(50, 60), files=1)
    assert read(make, tmp_path)[0] == BOTH
    unused = SOURCES[make](path=tmp_path).unused.card()
    left = {parquet: {"files": {"test/0.parquet": 1}}, tars: {"files": {"test/0.tar": 1}}}
    left[pictures] = {"others": {"pictures that README.md does not list": 10}}
    assert left[make].items() <= unused.items()
    a_and_b(make, tmp_path / "in", SPLITS.format("train/*", "test/*"))
    (tmp_path / "in" / "a").rename(tmp_path / "in" / "train")
    (tmp_path / "in" / "b").rename(tmp_path / "in" / "test")
    assert read(make, tmp_path / "in")[0] == BOTH
    assert "split list" not in SOURCES[make](path=tmp_path / "in").card["chosen"]


@pytest.mark.parametrize("make", SOURCES)
def test_several_configurations_in_the_readme_of_a_copy(make, tmp_path):
    """The default one is read; where there is none, a line says so, unless names tell splits."""
    one, other = SPLITS.format("a/*", "b/*"), SPLITS.format("b/*", "a/*")
    for name, more in (("default", ""), ("x", ", default: true")):
        configs = f"config_name: {name}{more}, {one}", f"config_name: y, {other}"
        assert read(make, a_and_b(make, tmp_path, *configs))[0] == BOTH
    a_and_b(make, tmp_path)
    files = "".join(f"  - split: {split}\n    path: {split}/*\n" for split in ("train", "test"))
    configs = "".join(f"- config_name: {name}\n  data_files:\n{files}" for name in "xy")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    line = (
        "README.md tells splits (test, train) of several configurations, none the default; all files are "
        "taken; for one of them give its folder as --path"
    )
    seen, lines = read(make, tmp_path)
    assert seen == (BOTH[0] | BOTH[1], None) and line in lines
    (tmp_path / "a").rename(tmp_path / "train")
    (tmp_path / "b").rename(tmp_path / "test")
    seen, lines = read(make, tmp_path)
    assert seen == BOTH and line not in lines


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize(
    "config, reason",
    [
        (SPLITS.format("c/*", "d/*"), "lists none of the files that are here (c/*, d/*)"),
        (SPLITS.format("'*'", "'?'"), "lists none of the files that are here (*, ?)"),  # * ends at a slash
        (SPLITS.format("a/*", "../../*"), "names '../../*', which leads out of the folder; allowed: files"),
        (SPLITS.format("a/*", "/tmp/*"), "names '/tmp/*', which leads out of the folder; allowed: files"),
        (SPLITS.format("a/*", "'hf://a/b'"), "names 'hf://a/b', which is an address and is not fetched"),
        (SPLITS.format("a/*", "[b/*"), "is not valid YAML: "),
        ("x: &x [a], data_files: *x", "is not valid YAML: aliases (*name) are not allowed"),
        ("data_files: [{split: train, path: a/*}, 7]", "has entries of `data_files` that are no split with"),
        ("data_files: [{split: '\x1b[31m', path: a/*}]", "is not valid YAML: "),
        ("data_files: {train: [7]}", "has paths in `data_files` or `data_dir` that are no text"),
        (f"data_files: {['*' * n for n in range(1, 1003)]}", "lists 1,002 patterns; allowed: 1,000"),
    ],
)
def test_a_readme_of_a_copy_that_cannot_be_used(make, config, reason, tmp_path):
    """All files are read, and one line says why."""
    seen, lines = read(make, a_and_b(make, tmp_path, f"config_name: x, {config}"))
    assert seen == (BOTH[0] | BOTH[1], None)
    (line,) = [line for line in lines if line.startswith("README.md tells no splits, as it ")]
    assert reason in line and line.endswith("; mend it or remove it") and line.isprintable()


def test_a_readme_of_a_copy_that_lists_files_of_one_split(tmp_path):
    """They are all there is; names tell their splits, or else a column."""
    a_and_b(parquet, tmp_path, "data_files: 'a/*'")
    assert read(parquet, tmp_path)[0] == (BOTH[0], None)
    (tmp_path / "a" / "0.parquet").rename(tmp_path / "a" / "train-0.parquet")
    (tmp_path / "a" / "1.parquet").rename(tmp_path / "a" / "test-0.parquet")
    assert read(parquet, tmp_path)[0] == ({*range(20)}, {*range(20, 40)})
