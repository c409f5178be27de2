"""Facts of real sets, and runs whose settings follow from them."""

import numpy as np
import pytest
from shard_files import tars
from training_runs import SHORT, go

from rawmm_cli.config import presets
from rawmm_cli.config.automatic import automatic
from rawmm_cli.data import prepared, streamed
from rawmm_cli.data.rows import picture_row
from rawmm_cli.runs import loading
from rawmm_cli.system.errors import ConfigError, DataError
from rawmm_cli.training import auto, facts

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = (
    *SHORT,
    "train.sample_every=1000",
    "train.batch=16",
    "train.warmup=32",
    "backbone.width=32",
    "backbone.depth=2",
    "backbone.hidden=64",
    "train.compile='no'",
    "train.precision=fp32",
)


def small(name, *words):
    return presets.load("small", [f"data.set={name}", *words])


def write(folder, name, pictures, card=None):
    """A set of (height, width, captions), the last one held out."""
    rows = [picture_row(np.full((h, w, 3), n, np.uint8), texts) for n, (h, w, texts) in enumerate(pictures)]
    return prepared.write(folder / name, {"train": rows[:-1], "held_out": rows[-1:]}, card or {})


def test_facts_of_the_digits(prepared_digits):
    given = facts.facts_of(small("digits"), prepared_digits)
    assert (given.name, given.rows, given.sizes, given.common) == ("digits", 1437, {(8, 8): 1797}, 8)
    assert (given.area, given.captions, given.different, given.documents) == (64, 1797, 10, False)
    assert set(given.areas) == {64} and set(given.marks) == {4} and set(given.texts) == {3, 4, 5}
    assert given.amount == 1797 * 4 and given.texts.sum() == 7184  # by the card, and counted


def test_sides_of_all_sets_and_splits_count(tmp_path):
    write(tmp_path, "mine", [(16, 24, ["a"]), (16, 24, []), (16, 40, ["long one", "b"])])
    write(tmp_path, "other", [(12, 12, []), (12, 12, [])])
    given = facts.facts_of(small("mine", "data.mix={other: 0.5}"), tmp_path)
    assert given.sizes == {(16, 24): 2, (16, 40): 1} and given.common == 4 and given.area == 384
    assert given.texts.tolist() == [1, 0, 8, 0, 0] and given.areas.tolist() == [384, 384, 640, 144, 144]
    assert (given.rows, given.captions, given.different, given.amount) == (2, 2, 3, 10)


def test_pieces_are_counted_by_a_tokenizer_that_is_learned(tmp_path):
    texts = [f"a portrait of a man with {colour} hair" for colour in ("red", "blue", "green")] * 10
    write(tmp_path, "mine", [(8, 8, [text]) for text in texts])
    counts = facts.facts_of(small("mine"), tmp_path).pieces(400)
    assert len(counts) == 30 and 1 <= counts.min() and counts.max() <= 12  # of 34 to 36 bytes


def test_a_run_trains_and_is_evaluated_with_what_follows(prepared_digits, tmp_path):
    """And goes on with it, whatever follows by then."""
    said = []
    go(small("digits", *SMALL), prepared_digits, tmp_path / "run", until=80, notify=said.append)
    saved = loading.run_config(tmp_path / "run")
    assert not automatic(saved)
    assert (saved.data.size, saved.codec.patch, saved.train.length, saved.data.read) == (8, 2, 25, 0.5)
    assert "codec.patch = 2: 16 patches a picture, of 12 values" in said
    later, reasons = auto.settled(
        small("digits", *SMALL, "train.time=9999"), prepared_digits, tmp_path / "run"
    )
    assert later.model_dump(exclude={"train"}) == saved.model_dump(exclude={"train"}) and reasons == {}
    go(small("digits", *SMALL), prepared_digits, tmp_path / "run")


def test_no_set_is_one_line(tmp_path, prepared_digits):
    with pytest.raises(ConfigError) as caught:
        auto.settled(presets.load("small"), tmp_path)
    assert str(caught.value) == (
        "this preset is for any set, and none is named; give --data NAME; none is prepared in "
        f"{tmp_path} yet: `rawmm prepare folder --path DIR --name mine`"
    )
    with pytest.raises(ConfigError, match="; prepared in .*: digits$"):
        auto.settled(presets.load("small"), prepared_digits)
    with pytest.raises(DataError, match="'digit' is not prepared in .* \\(did you mean digits\\?\\); run"):
        auto.settled(small("digit"), prepared_digits)


def test_a_stream_is_opened_once_and_needs_its_size(tmp_path, monkeypatch):
    (tmp_path / "shards").mkdir()
    tars(tmp_path / "shards", range(40))
    words = ["data.stream=true", f"data.stream.path={tmp_path / 'shards'}", "data.stream.held_out=0.2"]
    with pytest.raises(ConfigError, match="data.size = auto: a stream has no card .* as in data.size=64"):
        auto.settled(small("pictures", *words), tmp_path)
    calls, shards_of = [], streamed.shards_of
    monkeypatch.setattr(streamed, "shards_of", lambda *given: calls.append(given) or shards_of(*given))
    go(small("pictures", *words, "data.size=8", *SMALL), tmp_path, tmp_path / "run", until=16)
    saved = loading.run_config(tmp_path / "run")
    assert (saved.data.size, saved.codec.patch, saved.data.read) == (8, 2, 0.5) and len(calls) == 1
    assert saved.train.length >= 16 + 4 + 2


def test_text_alone_and_documents_train(tmp_path):
    from rawmm_cli.data.datasets.text import text
    from rawmm_cli.data.prepare import Options, prepare

    (tmp_path / "texts").mkdir()
    for n in range(12):
        (tmp_path / "texts" / f"{n}.txt").write_text(f"a story of {n} words. " * (5 + n))
    prepare(text(path=tmp_path / "texts"), tmp_path / "stories", Options(workers=0))
    go(small("stories", *SMALL), tmp_path, tmp_path / "run", until=16)
    saved = loading.run_config(tmp_path / "run")
    assert (saved.train.length, saved.sample.guidance, saved.data.long) == (256, 1.0, None)
