"""Data that do not fit the settings are named before anything is made."""

import numpy as np
import pytest
from training_runs import go, settings

from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row
from rawmm_cli.system.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread")


# --------------------------------------------------------------------------------------- data that do not fit


def set_of(folder, sizes, captions, labels=()):
    """A data folder whose set `digits` holds pictures of these (height, width) with these captions."""
    rng = np.random.default_rng(0)
    rows = [
        picture_row(rng.integers(0, 256, (*size, 3), dtype=np.uint8), texts, source=f"{n}.png")
        for n, (size, texts) in enumerate(zip(sizes, captions))
    ]
    prepared.write(folder / "digits", {"train": rows, "held_out": rows[:1]}, {"labels": list(labels)})
    return folder


MISFITS = {
    "caption": (
        [(8, 8)] * 3,
        [["a"], ["b", "x" * 33], ["c"]],
        (),
        "picture 1.png and its caption of 33 bytes need 41 positions; train.length is 40; set "
        "train.length=41 or more, or shorten the caption",
    ),
    "bytes": ([(8, 8)] * 2, [["a"], ["\U0001f600" * 9]], (), "caption of 36 bytes need 44 positions"),
    "size": (
        [(12, 12)] * 2,
        [["a"], ["b"]],
        (),
        "set 'digits' holds pictures of 12x12 pixels and data.size is 8; set data.size=12, prepare the "
        "set again with --size 8, or take --preset small, which fits any set",
    ),
    "shorter side": (
        [(12, 16), (20, 12)],
        [["a"], ["b"]],
        (),
        "set 'digits' holds pictures whose shorter side has 12 pixels and data.size is 8; set data.size=12, "
        "prepare the set again with --size 8",
    ),
    "patch": (
        [(8, 8), (8, 10)],
        [["a"], ["b"]],
        (),
        "picture 1.png has 10x8 pixels; codec.patch = 4 must divide both; prepare the set again with --size "
        "8 --crop center, "
        "or set codec.patch to a divisor of all sides: 1, 2",
    ),
    "patch of another multiple": (
        [(24, 24), (24, 32)],
        [["a"], ["b"]],
        ("data.size=24", "codec.patch=12"),
        "picture 1.png has 32x24 pixels; codec.patch = 12 must divide both; prepare the set again with "
        "--size 24 --crop center, or set codec.patch to a divisor of all sides: 1, 2, 4, 8",
    ),
    "none to read": (
        [(8, 8)] * 2,
        [[], []],
        ("data.read=1",),
        "no picture of 'digits' has a caption and data.read = 1",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_data_that_do_not_fit_are_named_before_anything_is_made(name, tmp_path):
    sizes, captions, words, message = MISFITS[name]
    data = set_of(tmp_path / "data", sizes, captions)
    with pytest.raises(DataError) as caught:
        go(settings(*words), data, tmp_path / "run")
    assert message in str(caught.value) and caught.value.exit_code == 3
    assert not (tmp_path / "run").exists()


def test_data_that_just_fit(tmp_path):
    data = set_of(tmp_path / "data", [(8, 8), (8, 12), (24, 24)], [["x" * 32], ["\u00e9" * 15], []])
    assert go(settings("train.documents=16"), data, tmp_path / "run")[-1]["documents"] == 16


def test_no_data_is_said_with_the_remedy(tmp_path):
    with pytest.raises(
        DataError, match="data set 'digits' is not prepared in .*; run `rawmm prepare digits`"
    ):
        go(settings(), tmp_path / "none", tmp_path / "run")
    assert not (tmp_path / "run").exists()
