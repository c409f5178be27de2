"""A set names no file outside of itself."""

import os

import pytest

from rawmm_cli.data.layout.copies import relative_to
from rawmm_cli.data.layout.inside import OutsideError, inside, relative


@pytest.fixture
def root(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "out.png").touch()
    for name in ("a.png", "sub/b.png", "back\\slash.png"):
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "link.png").symlink_to("a.png")
    (tmp_path / "in" / "away.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "in" / "far").symlink_to(tmp_path)
    (tmp_path / "in" / "gone.png").symlink_to("none")
    (tmp_path / "in" / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "in" / "pipe")
    return tmp_path / "in"


@pytest.mark.parametrize(
    "name,file",
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("sub/../sub//b.png", "sub/b.png"),
        ("sub\\b.png", "sub/b.png"),
        (".\\sub\\..\\a.png", "a.png"),
        ("back\\slash.png", "back\\slash.png"),
        ("link.png", "link.png"),
    ],
)
def test_names_of_files_inside(root, name, file):
    assert inside(root, name) == f"{root}/{file}"


@pytest.mark.parametrize(
    "name,reason",
    [
        (name, "leads out of the folder")
        for name in (
            "../out.png",
            "sub/../../out.png",
            "..",
            "/etc/passwd",
            "//host/x",
            "..\\out.png",
            "sub\\..\\..\\out.png",
            "\\\\host\\share\\x.png",
            "C:\\pictures\\x.png",
            "c:/x.png",
            "away.png",
            "far/out.png",
        )
    ]
    + [
        (name, "is an address")
        for name in ("https://a.b/c.png", "file:///etc/passwd", "s3://a/b", "zip://a::b")
    ]
    + [(name, "does not exist") for name in ("none.png", "gone.png", "A.png", "x" * 300, "a.png/b")]
    + [(name, "is not the name of a file") for name in ("", ".", "./", "sub/..", "a\0.png")]
    + [(name, "is not a file") for name in ("sub", "pipe")]
    + [(name, "cannot be opened") for name in ("circle",)],
)
def test_all_others_are_refused_with_their_name(root, name, reason):
    with pytest.raises(OutsideError) as error:
        inside(root, name)
    assert reason in error.value.reason and len(str(error.value)) < 250 and "\0" not in str(error.value)
    if ("leads" in reason and "link" not in error.value.reason) or "address" in reason:
        with pytest.raises(OutsideError):
            relative(name)


def test_a_root_that_is_a_link_is_a_root(root, tmp_path):
    (tmp_path / "other").symlink_to(root)
    assert inside(tmp_path / "other", "sub/b.png") == f"{tmp_path}/other/sub/b.png"


def test_a_snapshot_in_the_cache_of_the_hub(tmp_path):
    """Its files are links to blobs of the same repository."""
    repository = tmp_path / "hub" / "datasets--a--b"
    snapshot = repository / "snapshots" / "0f1e"
    for folder in (repository / "blobs", snapshot / "data", tmp_path / "hub" / "datasets--c--d"):
        folder.mkdir(parents=True)
    (repository / "blobs" / "77").touch()
    (tmp_path / "hub" / "datasets--c--d" / "88").touch()
    (snapshot / "data" / "a.png").symlink_to("../../../blobs/77")
    (snapshot / "b.png").symlink_to("../../../datasets--c--d/88")
    assert inside(snapshot, "data/a.png") == f"{snapshot}/data/a.png"
    assert inside(snapshot / "data", "a.png") == f"{snapshot}/data/a.png"
    with pytest.raises(OutsideError):
        inside(snapshot, "b.png")
    assert relative_to(str(snapshot), [f"{snapshot}/data/a.png"]) == ["data/a.png"]
    for path in (f"{snapshot}/b.png", f"{repository}/blobs/77", f"{snapshot}/../x.png"):
        with pytest.raises(OutsideError):
            relative_to(str(snapshot), [path])
