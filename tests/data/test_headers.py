"""Names by the headers alone are those of tarfile, or tarfile has to be asked."""

import io
import tarfile

import pytest

from rawmm_cli.data import archives
from rawmm_cli.data.layout.headers import plain_names

SHORT = ["a.jpg", "train/b.jpg", "train/deep/er/c.txt", "ü/ö.jpg", "x" * 100]


def tar_of(path, names, form, folders=(), mode="w"):
    with tarfile.open(path, mode, format=form) as archive:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for n, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 300 * n
            archive.addfile(info, io.BytesIO(b"7" * info.size))
    return path


def names_of(path):
    with open(path, "rb") as file:
        return plain_names(file)


def expected(path):
    with tarfile.open(path, ignore_zeros=True) as archive:
        return [info.name for info in archive if info.isreg()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_short_names(form, tmp_path):
    path = tar_of(tmp_path / "x.tar", SHORT, form, folders=("train", "train/deep"))
    assert names_of(path) == expected(path) == SHORT
    assert list(archives.names(path)) == SHORT


def test_a_long_name_in_two_fields(tmp_path):
    """POSIX.1-1988 keeps up to 155 bytes of folders in a field of their own."""
    name = "/".join(["folder" * 5] * 5) + "/name.jpg"
    path = tar_of(tmp_path / "x.tar", [name, "b.jpg"], tarfile.USTAR_FORMAT)
    assert names_of(path) == expected(path) == [name, "b.jpg"]


def test_joined_archives(tmp_path):
    path = tar_of(tmp_path / "x.tar", SHORT[:3], tarfile.USTAR_FORMAT)
    other = tar_of(tmp_path / "y.tar", ["later.jpg"], tarfile.GNU_FORMAT)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    assert names_of(path) == expected(path) == [*SHORT[:3], "later.jpg"] == list(archives.names(path))


@pytest.mark.parametrize(
    "names, form",
    [(["y" * 120], tarfile.GNU_FORMAT), (["z" * 300], tarfile.PAX_FORMAT), (["é.jpg"], tarfile.PAX_FORMAT)],
)
def test_what_has_headers_of_its_own_is_left_to_tarfile(names, form, tmp_path):
    path = tar_of(tmp_path / "x.tar", ["a.jpg", *names, "b.jpg"], form)
    assert names_of(path) in (None, ["a.jpg", *names, "b.jpg"])
    assert list(archives.names(path)) == expected(path) == ["a.jpg", *names, "b.jpg"]


def test_other_bytes(tmp_path):
    path = tmp_path / "x.tar"
    for content in (
        b"",
        b"abc",
        b"z" * 2048,
        tar_of(path, SHORT, tarfile.GNU_FORMAT).read_bytes() + b"q" * 512,
    ):
        path.write_bytes(content)
        assert names_of(path) is None
