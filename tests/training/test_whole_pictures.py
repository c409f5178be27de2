"""Sets of whole pictures: trained on in all their shapes. What does not fit is counted before the first step,
and left out where asked."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from codec_runs import settings as codec_settings
from PIL import Image
from training_runs import CPU, go, settings

from rawmm_cli.config import presets
from rawmm_cli.data import prepared, sets
from rawmm_cli.data.rows import picture_row
from rawmm_cli.evaluation.losses import picture_losses
from rawmm_cli.runs import models
from rawmm_cli.system.errors import DataError
from rawmm_cli.training.codec_state import pictures

pytestmark = pytest.mark.usefixtures("one_thread")
# height, width; image tokens in patches of 4: 4, 6, 6, 4, 64
SIDES = [(8, 8), (8, 12), (12, 8), (8, 8), (8, 128)]


def whole(folder, sides=SIDES, repeats=4, captions=("a",)):
    """A data folder whose set `digits` holds pictures of these sides, each `repeats` times."""
    rng = np.random.default_rng(0)
    rows = [
        picture_row(rng.integers(0, 256, (*size, 3), dtype=np.uint8), list(captions), source=f"{n}.png")
        for n, size in enumerate(list(sides) * repeats)
    ]
    card = {"name": "digits", "labels": []}
    prepared.write(folder / "digits", {"train": rows, "held_out": rows[: len(sides)]}, card)
    return folder


def lines_of(config, data) -> list[str]:
    lines = []
    sets.load(config, data, lines.append)
    return lines


def test_shapes_are_told(tmp_path):
    """4, 6, 6 and 4 tokens: 5 on average; half of the pictures are squares."""
    data = whole(tmp_path, SIDES[:4])
    line = (
        "pictures of 'digits' have 3 sizes, 8x8 to 12x8 pixels: 5 image tokens each on average, 4 for 8x8, "
        "which is drawn and which 8 of 16 have"
    )
    assert lines_of(settings(), data) == [f"{line}; to draw others by --size, train with data.stretch=true"]
    assert lines_of(settings("data.stretch=true"), data) == [line]
    assert lines_of(settings(), whole(tmp_path, [(8, 12)])) == [
        "all pictures of 'digits' have 12x8 pixels: 6 image tokens each on average, 4 for 8x8, which is "
        "drawn and which 0 of 4 have; to draw others by --size, train with data.stretch=true"
    ]
    assert lines_of(settings(), whole(tmp_path, [(8, 8)])) == []


def test_all_that_do_not_fit_are_counted(tmp_path):
    data = whole(tmp_path, [*SIDES, (8, 160)])
    with pytest.raises(DataError) as caught:
        go(settings(), data, tmp_path / "run")
    assert str(caught.value) == (
        "picture 4.png and its caption of 1 bytes need 69 positions; train.length is 40; 8 of 24 do not fit, "
        "the longest needs 85; set train.length=85 or more, or 'data.long=leave out', or a larger "
        "codec.patch, or prepare the set again with --crop center, which cuts it to squares"
    )


@pytest.mark.parametrize("captions", [("a",), ()])
def test_pictures_that_are_too_long_are_left_out_where_asked(tmp_path, captions):
    data, lines = whole(tmp_path / "data", captions=captions), []
    chosen = settings("data.long=leave out", "train.documents=64", "sample.context=60")
    assert go(chosen, data, tmp_path / "run", notify=lines.append)[-1]["documents"] == 64
    assert "4 of 20 pictures with their captions of 'digits' do not fit into train.length = 40" in "\n".join(
        lines
    )
    loaded = models.load(tmp_path / "run", CPU)
    losses = picture_losses(loaded.model, loaded.config, prepared.load(data / "digits", "held_out"), 0)
    assert losses.count == 4
    with pytest.raises(DataError, match="and none is left"):
        go(chosen, whole(tmp_path / "long", SIDES[-1:], captions=captions), tmp_path / "other")


def test_codecs_take_squares_and_say_so(tmp_path):
    config = codec_settings("codec.kind=fsq", "data.set=digits", "data.size=8")
    with pytest.raises(DataError) as caught:
        pictures(config, whole(tmp_path))
    assert str(caught.value) == (
        "picture 1.png of set 'digits' has 12x8 pixels and data.size is 8; a codec learns from squares of "
        "one size: prepare the set again with --size 8 --crop center, which cuts them out of the middle"
    )


# -------------------------------------------------------------------------------------------------- streams


def stream(folder, sides, *words):
    """Lines of a stream of a Parquet file with pictures of these sides."""
    folder.mkdir(parents=True)
    data = []
    for n, size in enumerate(sides):
        file = io.BytesIO()
        Image.fromarray(np.full((*size, 3), n % 256, np.uint8)).save(file, "PNG")
        data.append(file.getvalue())
    table = pa.table({"image": data, "text": ["t"] * len(data)})
    pq.write_table(table, folder / "a.parquet", row_group_size=4)
    path = f"data.stream.path={folder}"
    common = ["data.stream=true", path, "data.stream.held_out=0.1", "train.batch=16"]
    chosen, *lines = lines_of(presets.load("tiny", [*common, "train.length=40", *words]), folder)
    assert chosen.startswith("chosen: ")
    return lines


def test_a_stream_says_what_a_crop_cuts_off(tmp_path):
    sides = [(16, 16), (16, 24), (32, 16), (16, 17)] * 25
    assert stream(tmp_path / "center", sides, "data.stream.crop=center") == [
        "32 of the first 64 pictures lose more than a tenth to the crop, at most 50 %; "
        "`data.stream.crop=none` keeps all"
    ]
    assert stream(tmp_path / "none", sides) == []
    assert stream(tmp_path / "squares", [(16, 16)] * 100, "data.stream.crop=center") == []


def test_a_stream_says_what_does_not_fit(tmp_path):
    """In patches of 4: 8 x 8 has 4 tokens, 8 x 160 has 80; with <bos>, <image>, </image>, <eos>."""
    assert stream(tmp_path / "wide", [*[(16, 16)] * 7, (16, 320)] * 13) == [
        "8 of the first 64 pictures do not fit into train.length = 40 and are left out; the longest needs 84 "
        "positions: set train.length, or data.stream.crop=center, which cuts squares"
    ]
