"""Archives: every dangerous one is refused with the name of its member, and nothing is ever written."""

import gzip
import io
import random
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rawmm_cli.data import archives
from rawmm_cli.data.layout import members as safety
from rawmm_cli.system.errors import DataError

FILES = [("a.txt", b"first"), ("deep/b.jpg", b"\0" * 1000), ("c", b"")]


def member(name: str, size: int = 0, kind=tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def tar(path: Path, *infos, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def zipped(path: Path, *infos, data: bytes = b"x", compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for info in infos:
            archive.writestr(info, data, compress_type=compression)
    return path


def tree(folder: Path) -> dict:
    """Everything below a folder, {path: content, None for a folder}."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("ending", archives.ENDINGS)
def test_members_are_what_was_written(tmp_path, ending):
    path = tmp_path / f"good{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("deep/", b"")  # a folder
            for name, data in FILES:
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz" if ending.endswith("gz") else "w") as archive:
            archive.addfile(member("deep", kind=tarfile.DIRTYPE))
            for name, data in FILES:
                archive.addfile(member(name, len(data)), io.BytesIO(data))
    before = tree(tmp_path)
    assert [(name, read()) for name, read in archives.members(path)] == FILES
    later = (
        list(archives.members(path)) if ending == ".tar.gz" else []
    )  # data that was read ahead stays readable
    assert [read() for _, read in later] == [data for _, data in FILES][: len(later)]
    assert tree(tmp_path) == before


NAMES = {
    "../../out": "leads out",
    "/etc/passwd": "leads out",
    "a/../../b": "leads out",
    "..\\out": "leads out",
    "C:\\out": "leads out",
    "x" * 1001: "has a name of 1,001 characters; allowed: up to 1,000",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", [".tar", ".tgz", ".zip"])
def test_names_that_lead_out(tmp_path, name, ending):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"evil{ending}"
    if ending == ".zip":
        info = zipfile.ZipInfo("safe")
        info.filename = name
        zipped(path, info)
    else:
        tar(path, member("safe"), member(name, 1), mode="w:gz" if ending == ".tgz" else "w")
    before = tree(tmp_path)
    with pytest.raises(
        DataError, match=re.escape(f"archive {path} is refused: its member '{name[:40]}") + ".*" + NAMES[name]
    ):
        list(archives.members(path))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "kind, name",
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device or pipe"),
        (tarfile.BLKTYPE, "device or pipe"),
        (tarfile.FIFOTYPE, "device or pipe"),
    ],
)
def test_members_that_are_not_files(tmp_path, kind, name):
    path = tar(tmp_path / "a.tar", member("door", kind=kind, link="/etc/passwd"))
    with pytest.raises(DataError, match=f"its member 'door' is a {name}; allowed: plain files"):
        list(archives.members(path))


def test_a_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("door")
    info.external_attr = 0o120777 << 16
    with pytest.raises(DataError, match="its member 'door' is a link"):
        list(archives.members(zipped(tmp_path / "a.zip", info, data=b"/etc/passwd")))


def test_bombs(tmp_path):
    """50 MB of zeros in 50 kB; a member that claims a terabyte."""
    zeros = bytes(50 << 20)
    with pytest.raises(
        DataError, match="its member 'zeros' is more than 200 times as large as in the archive"
    ):
        list(archives.members(zipped(tmp_path / "a.zip", zipfile.ZipInfo("zeros"), data=zeros)))
    with pytest.raises(
        DataError, match="its member 'zeros' makes it more than 200 times as large as the archive"
    ):
        list(archives.members(tar(tmp_path / "a.tgz", member("zeros", len(zeros)), mode="w:gz")))
    with open(tmp_path / "b.tar", "wb") as file:
        file.write(member("huge", 10**12).tobuf())
    with pytest.raises(DataError, match="its member 'huge' has 1,000,000 MB; allowed: at most 256"):
        list(archives.members(tmp_path / "b.tar"))


def test_bombs_of_many_members(tmp_path):
    """Each member alone is too small to be one."""
    names = [f"n{n}" for n in range(4)]
    path = zipped(tmp_path / "a.zip", *map(zipfile.ZipInfo, names), data=bytes(9 * 10**6))
    with pytest.raises(
        DataError, match="its member 'n1' makes it more than 200 times as large as the archive"
    ):
        list(archives.members(path))


@pytest.mark.parametrize("kind", archives.HEADERS)
def test_headers_that_claim_to_be_huge(tmp_path, kind):
    """`tarfile` would allocate the memory first."""
    path = tmp_path / "a.tar"
    path.write_bytes(member("x", 10**12, kind).tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(DataError, match="a header of 1,000,000,000,000 bytes"):
        list(archives.members(path))


def test_a_chain_of_headers(tmp_path):
    """`tarfile` reads each of them within the one before."""
    path = tmp_path / "a.tar"
    path.write_bytes((member("x", 512, tarfile.GNUTYPE_LONGNAME).tobuf() + bytes(512)) * 5000)
    with pytest.raises(DataError, match="cannot be read to its end"):
        list(archives.members(path))


def test_a_sparse_file(tmp_path):
    """2 kB that claim to be 200 MB."""
    info = member("holes", 200 * 10**6)
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": str(info.size),
        "GNU.sparse.name": "holes",
    }
    info.size = 512
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(512 * 5))
    with pytest.raises(DataError, match="its member 'holes' is a sparse file; allowed: plain files"):
        list(archives.members(path))


@pytest.mark.parametrize("ending", [".tar", ".tgz", ".zip"])
def test_any_damage_is_an_error_of_one_line(tmp_path, ending):
    """Bytes changed at random: the members, or a DataError."""
    path, rng = tmp_path / f"a{ending}", random.Random(0)
    zipped(
        path, zipfile.ZipInfo("é.txt"), zipfile.ZipInfo("b"), data=b"abc" * 50
    ) if ending == ".zip" else tar(
        path, member("é.txt", 150), member("d" * 200, 9), mode="w:gz" if ending == ".tgz" else "w"
    )
    whole, errors = path.read_bytes(), 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.randrange(min(len(data), 4096))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            for _, read in archives.members(path):
                read()
        except DataError as error:
            errors += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert errors > 100


def test_the_command_line(tmp_path, rawmm, monkeypatch):
    """One line, exit code 3, and nothing beside the archive."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    tar(tmp_path / "in" / "evil.tar", member("../../out.png", 9))
    code, out, err = rawmm("prepare", "webdataset", "--path", "in", "--name", "x", "--workers", 0)
    last = err.splitlines()[-1]
    assert (
        code == 3
        and out == ""
        and last.startswith("error: ")
        and "evil.tar is refused: its member '../../out.png'" in last
    )
    assert (
        not [path for path in tree(tmp_path) if "out" in path.name]
        and not (tmp_path.parent / "out.png").exists()
    )


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(safety, "MEMBERS", 5)
    names = [f"n{n}" for n in range(6)]
    fine = (
        tar(tmp_path / "b.tar", *map(member, names[:5])),
        zipped(tmp_path / "b.zip", *map(zipfile.ZipInfo, names[:5])),
    )
    assert [len(list(archives.members(path))) for path in fine] == [5, 5]
    for path in (
        tar(tmp_path / "a.tar", *map(member, names)),
        zipped(tmp_path / "a.zip", *map(zipfile.ZipInfo, names)),
    ):
        with pytest.raises(DataError, match="has more than 5 members; split it"):
            list(archives.members(path))


def test_an_encrypted_zip(tmp_path):
    path = zipped(tmp_path / "a.zip", zipfile.ZipInfo("secret"))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags in both headers
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="its member 'secret' is encrypted"):
        list(archives.members(path))


@pytest.mark.parametrize("ending", [".tar", ".tgz", ".zip"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6])
def test_torn_archives(tmp_path, ending, keep):
    path = tmp_path / f"torn{ending}"
    infos = [member(f"n{n}", 5000) for n in range(4)]
    zipped(
        path, *[zipfile.ZipInfo(i.name) for i in infos], data=bytes(range(256)) * 20
    ) if ending == ".zip" else tar(path, *infos, mode="w:gz" if ending == ".tgz" else "w")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    notes = []
    try:
        for _, read in archives.members(path, notes.append):
            read()
        assert notes == [archives.CUT] and ending == ".tgz"  # zeros are packed so well that all are there
    except DataError as error:
        assert f"archive {path} cannot be read to its end" in str(error)


def test_an_archive_inside_is_an_ordinary_member(tmp_path):
    inner = tar(tmp_path / "inner.tar", member("../../out", 1))
    with tarfile.open(tmp_path / "outer.tar", "w") as archive:
        archive.add(inner, "inner.tar")
    assert [name for name, _ in archives.members(tmp_path / "outer.tar")] == ["inner.tar"]


def joined(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def read(path: Path) -> tuple[list[str], list[str]]:
    """Names of the members, and what was noted."""
    notes = []
    return [name for name, _ in archives.members(path, notes.append)], notes


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archives_joined_end_to_end(tmp_path, mode):
    """As `tar --ignore-zeros` reads them, and said."""
    parts = [tar(tmp_path / f"part{n}", member(f"a{n}", 700 * n), mode=mode).read_bytes() for n in range(3)]
    path = joined(tmp_path / "all.tar", *parts)
    assert read(path) == (["a0", "a1", "a2"], [archives.JOINED])
    assert [len(data()) for _, data in archives.members(path)] == [0, 700, 1400]
    assert read(joined(tmp_path / "one.tar", parts[1])) == (["a1"], [])
    empty = tar(tmp_path / "empty", mode=mode).read_bytes()
    assert read(joined(tmp_path / "late.tar", empty, parts[1])) == (["a1"], [archives.JOINED])


def test_bytes_after_the_end_of_an_archive(tmp_path):
    """Others are left alone, and said; a damaged header of a second archive is an error."""
    one, other = (tar(tmp_path / name, member(name, 10)).read_bytes() for name in "ab")
    assert read(joined(tmp_path / "t.tar", one, b"signature")) == (["a"], [archives.TAIL])
    assert read(joined(tmp_path / "t.tar", one, b"x" * 4096)) == (["a"], [archives.TAIL])
    damaged = bytes([other[0] ^ 1]) + other[1:]
    for parts in ((damaged,), (one, damaged)):
        with pytest.raises(
            DataError, match="t.tar cannot be read to its end .a damaged header: bad checksum"
        ):
            read(joined(tmp_path / "t.tar", *parts))
    assert read(joined(tmp_path / "t.tar", one[:1024])) == (["a"], [archives.CUT])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("long", [False, True])
def test_an_archive_that_was_cut(tmp_path, mode, long):
    """Whole members are read, the one at the cut is an error of its own, and it is said."""
    names = [f"{'long' * 40 * long}{n}" for n in range(4)]
    entries = [(member(name, 2000), np.random.default_rng(n).bytes(2000)) for n, name in enumerate(names)]
    path, cut = tmp_path / "whole", tmp_path / "cut.tar"
    with tarfile.open(path, mode) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    whole, counts, blocks = path.read_bytes(), set(), 1 + 4 + 2 * long
    for size in range(2300, 4 * blocks * 512 if mode == "w" else len(whole) - 600, 211):
        cut.write_bytes(whole[:size])
        notes, good, bad = [], [], []
        for n, (name, read_member) in enumerate(archives.members(cut, notes.append)):
            assert name == names[n] and not bad
            try:
                assert read_member() == entries[n][1]
                good.append(name)
            except DataError as error:
                assert "cut.tar cannot be read to its end (unexpected end of data)" in str(error)
                bad.append(name)
        assert notes == [archives.CUT] and len(bad) < 2
        assert list(archives.names(cut)) == good + bad
        if mode == "w":
            assert len(good) == sum(size >= (n * blocks + blocks - 4) * 512 + 2000 for n in range(4))
        counts.add((len(good), len(bad)))
    assert {(1, 1), (2, 1), (3, 1)} <= counts


def test_a_damaged_member_of_a_zip_file(tmp_path):
    """The others are found by the list at the end of the file."""
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(3):
            archive.writestr(f"{n}", b"content %d" % n)
    path.write_bytes(path.read_bytes().replace(b"content 1", b"CONTENT 1"))
    (_, first), (_, second), (_, third) = archives.members(path)
    assert (first(), third()) == (b"content 0", b"content 2")
    with pytest.raises(DataError, match="t.zip cannot be read to its end .Bad CRC-32"):
        second()


def test_a_header_that_is_damaged_in_the_middle(tmp_path):
    """Everything after it would be lost."""
    for mode in ("w", "w:gz"):
        whole = bytearray(tar(tmp_path / "whole", *(member(f"n{n}", 10) for n in range(5))).read_bytes())
        whole[2 * 1024 + 2] ^= 1
        data = gzip.compress(whole) if mode == "w:gz" else whole
        with pytest.raises(DataError, match="a damaged header: bad checksum"):
            read(joined(tmp_path / "t.tar", data))


def test_zip_files_joined_end_to_end(tmp_path):
    """Only the list of members of the last one would be seen."""
    parts = [zipped(tmp_path / name, zipfile.ZipInfo(name)).read_bytes() for name in "ab"]
    with pytest.raises(DataError, match="several zip files are joined end to end; allowed: one"):
        read(joined(tmp_path / "t.zip", *parts))
    assert read(joined(tmp_path / "t.zip", b"#!/bin/sh\n", parts[0])) == (["a"], [])


@pytest.mark.parametrize("mode, kind", [("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_other_compressions_are_named(mode, kind, tmp_path):
    path = tar(tmp_path / "t.tar", member("a", 10), mode=mode)
    with pytest.raises(
        DataError, match=f"it is compressed with {kind}; allowed: a tar file, or one compressed"
    ):
        read(path)


def test_backslashes_of_a_zip_file_separate_folders(tmp_path):
    path = zipped(tmp_path / "t.zip", zipfile.ZipInfo("cat\\1.png"))
    assert [name for name, _ in archives.members(path)] == ["cat/1.png"] == list(archives.names(path))
