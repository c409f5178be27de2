"""Documents longer than train.length: found before the first step, cut or left out, as packing would count
them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from sources import pixels
from test_streamed import settings as stream_settings

from rawmm_cli.config import build, presets
from rawmm_cli.core.batch import size
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, Bytes, decode, train_pairs
from rawmm_cli.data import lengths, prepared, rows, sets
from rawmm_cli.data.items import Item
from rawmm_cli.data.loader import steps_of, stream_of
from rawmm_cli.data.stream import cut_document, cut_text
from rawmm_cli.data.streaming.fitting import Fitter
from rawmm_cli.system.errors import ConfigError, DataError

LONG = "x" * 200
CAPTIONS = [
    ["a cat"],
    [LONG],
    ["a dog", LONG, ""],
    [],
    ["y" * 44],
    ["y" * 45],
]  # 44: what fits beside a picture
SETTINGS = ["data.set=p", "data.size=8", "train.length=64", "train.batch=8", "train.workers=0"]


def config_of(*words: str):
    return presets.load("tiny", ["codec.patch=2", *SETTINGS, *words])


@pytest.fixture
def folder(tmp_path) -> Path:
    """A set of pictures of 8 x 8 pixels with CAPTIONS; its held-out pictures have short ones."""
    split = {
        "train": [rows.picture_row(pixels(n), texts, source=f"{n}.png") for n, texts in enumerate(CAPTIONS)],
        "held_out": [rows.picture_row(pixels(9), ["a fox"], source="9.png")],
    }
    prepared.write(tmp_path / "p", split, {"name": "p"})
    return tmp_path


def opened(folder: Path, *words: str, tokenizer=None):
    """Settings, sets and a model on the meta device."""
    config = config_of(*words)
    data, _ = sets.load(config, folder)
    model = build.model(config, "meta")
    model.tokenizer = tokenizer or Bytes()
    return config, data, model


def test_what_is_found_is_what_packing_counts(folder):
    config, (data,), model = opened(folder, "data.long=cut")
    found = lengths.too_long(config, data, model.tokenizer.encode, model.blocks)
    assert found == {1: {0: 220}, 2: {1: 220}, 5: {0: 65}}  # 16 patches, 4 marks and the bytes


def test_learned_pieces_count_as_tokens(folder):
    pieces = train_pairs(["y" * 64, "x" * 64] * 9, 300)
    assert len(pieces.encode(LONG)) < 44
    config, (data,), model = opened(folder, "text_tokenizer=bpe", tokenizer=pieces)
    assert lengths.too_long(config, data, pieces.encode, model.blocks) == {}
    stream_of(config, data, model)  # nothing to say
    letters = train_pairs(["ab"], 261)  # no x and no y is merged
    assert list(lengths.too_long(config, data, letters.encode, model.blocks)) == [1, 2, 5]


def test_an_error_names_the_picture_and_counts(folder):
    with pytest.raises(
        DataError, match="^picture 1.png and its caption of 200 bytes need 220 positions; .*long=cut"
    ):
        opened(folder)
    config, data, model = opened(folder, "text_tokenizer=bpe", tokenizer=train_pairs(["ab"], 261))
    message = (
        "^picture 1.png and its caption need 220 positions; train.length is 64; 3 of 6 pictures with their "
        "captions of 'p' do not fit, the longest needs 220; set a larger train.length, data.long=cut, or "
        "'data.long=leave out'$"
    )
    for words in ((), ("data.long=error",)):
        config = config_of("text_tokenizer=bpe", *words)
        with pytest.raises(DataError, match=message) as caught:
            stream_of(config, data, model)
        assert caught.value.exit_code == 3


def test_cut_documents_fit_and_begin_alike(folder):
    config, data, model = opened(folder, "data.long=cut")
    stream = stream_of(config, data, model)
    share = "3 of 6 pictures with their captions of 'p' do not fit into train.length = 64"
    assert stream.notes == [f"{share}: their text is cut; the first is 1.png"]
    texts = set()
    for number in range(300):
        document, plan = stream.document(number), stream.plan(number)
        assert size(document, model.blocks) == stream.size(plan, model.blocks) <= 64
        texts.add((plan.row, decode(plan.text)))
    assert {(1, LONG[:44]), (2, LONG[:44]), (2, "a dog"), (4, "y" * 44), (5, "y" * 44)} <= texts
    for row, text in texts:
        assert any(caption.startswith(text) for caption in CAPTIONS[row] or [""])


def test_what_is_left_out_never_comes(folder):
    """A picture whose only caption does not fit; of several captions the one that does not fit."""
    config, data, model = opened(folder, "data.long=leave out")
    stream = stream_of(config, data, model)
    assert stream.notes[0].endswith(
        "in train.length = 64: these captions are left out; the first is 1.png"
    ) or ("these captions are left out; the first is 1.png" in stream.notes[0])
    drawn = [(plan.row, decode(plan.text)) for plan in map(stream.plan, range(400))]
    assert {row for row, _ in drawn} == {0, 2, 3, 4} and {text for _, text in drawn} == {
        "",
        "a cat",
        "a dog",
        "y" * 44,
    }
    for epoch in range(20):  # every epoch has every other picture once
        assert sorted(row for row, _ in drawn[4 * epoch : 4 * epoch + 4]) == [0, 2, 3, 4]
    steps = steps_of(config, data, model)
    assert all(stream.size(steps.plans[number], model.blocks) <= 64 for number in steps.numbers(0))


def test_words_without_a_space_are_taken_too():
    assert {config_of(f"data.long={word}").data.long for word in ("leave out", "leave-out", "leave_out")} == {
        "leave out"
    }
    with pytest.raises(ConfigError, match="data.long = no; allowed: error, cut, leave out"):
        config_of("data.long=no")


def test_where_nothing_is_left(folder):
    config, data, model = opened(folder, "data.long=leave out")
    config = config_of("data.long=leave out", "train.length=20")
    data[0].table = data[0].table.take([1, 5])
    data[0].__post_init__()
    with pytest.raises(DataError, match="1.png and its caption need 220 positions; .* none is left"):
        stream_of(config, data, model)


def test_sets_that_fit_are_drawn_as_ever(folder):
    """The order of documents depends on data.long only where something is left out."""
    words = ("train.length=300",)
    streams = []
    for long in ("error", "cut", "leave out"):
        config, data, model = opened(folder, *words, f"data.long={long}")
        streams.append(stream_of(config, data, model))
        assert streams[-1].notes == []
    for number in range(60):
        assert len({str(stream.plan(number)) for stream in streams}) == 1


def test_a_mix_is_checked_set_by_set(folder, tmp_path):
    short = [rows.picture_row(pixels(n), ["short"], source=f"s{n}.png") for n in range(3)]
    prepared.write(tmp_path / "s", {"train": short, "held_out": short[:1]}, {"name": "s"})
    words = ["data.set=s", "data.mix={p: 0.5}", "text_tokenizer=bpe"]
    letters = train_pairs(["ab"], 261)
    _, data, model = opened(tmp_path, *words, tokenizer=letters)
    with pytest.raises(DataError, match="3 of 6 pictures with their captions of 'p' do not fit"):
        stream_of(config_of(*words), data, model)
    stream = stream_of(config_of(*words, "data.long=leave out"), data, model)
    assert {stream.place(number) for number in range(200)} == {
        (0, 0),
        (0, 1),
        (0, 2),
        *((1, n) for n in (0, 2, 3, 4)),
    }


# Documents with several pictures


def two_pictures(text: str, between: str, last: str) -> dict:
    pieces = [(text, None, False), ("", pixels(1), True), (between, None, False), ("", pixels(2), True)]
    return rows.document_row([*pieces, (last, None, False)] if last else pieces, "d.jsonl/1")


@pytest.fixture
def documents(tmp_path) -> Path:
    import pyarrow as pa

    (tmp_path / "p").mkdir()
    short = two_pictures("a", "b", "")
    for split, entries in (
        ("train", [short, two_pictures("a" * 9, "b" * 200, "c"), short]),
        ("held_out", [short]),
    ):
        path = tmp_path / f"{split}.arrow"
        with pa.ipc.new_stream(str(path), rows.DOCUMENTS) as writer:
            writer.write_table(pa.Table.from_pylist(entries, rows.DOCUMENTS))
        prepared.write_split(tmp_path / "p" / split, [path])
    card = {"name": "p", "kind": "documents", "count": {"train": 3, "held_out": 1}, "fingerprint": "x"}
    (tmp_path / "p" / "card.json").write_text(json.dumps(card))
    return tmp_path


def test_documents_with_pictures(documents):
    config, data, model = opened(documents, "data.long=cut", "train.length=96")
    found = lengths.too_long(config, data[0], model.tokenizer.encode, model.blocks)
    stream = stream_of(config, data, model)
    whole = [
        BOS,
        *b"a" * 9,
        IMAGE,
        "picture",
        END_IMAGE,
        *b"b" * 200,
        IMAGE,
        "picture",
        END_IMAGE,
        *b"c",
        EOS,
    ]
    copies = 2 if model.head.blocks(4, 4).copied else 1  # both drawn pictures stand before text
    assert found == {1: {0: len(whole) - 2 + 2 * 16 * copies}}
    long = next(stream.document(n) for n in range(50) if stream.place(n)[1] == 1)
    kept = [item if isinstance(item, int) else "picture" for item in long]
    assert size(long, model.blocks) == 96 and kept[:-1] == whole[: len(kept) - 1] and kept[-1] == EOS
    out = stream_of(config_of("data.long=leave out", "train.length=96"), data, model)
    assert {out.place(n)[1] for n in range(50)} == {0, 2} and "they are left out" in out.notes[0]
    with pytest.raises(
        DataError, match="^d.jsonl/1 needs .* positions; train.length is 96; 1 of 3 documents of 'p'"
    ):
        stream_of(config_of("train.length=96"), data, model)


def test_a_cut_keeps_pictures_whole(documents):
    _, data, model = opened(documents, "data.long=cut", "train.length=300")
    stream = stream_of(config_of("train.length=300"), data, model)
    document = next(stream.document(n) for n in range(50) if stream.place(n)[1] == 1)
    before = None
    for length in range(size(document, model.blocks), 1, -1):
        cut = cut_document(document, length, model.blocks)
        assert size(cut, model.blocks) <= length and cut[-1] == EOS
        assert all(one is other or one == other for one, other in zip(cut[:-1], document))
        assert cut.count(IMAGE) == cut.count(END_IMAGE)
        assert before is None or len(cut) <= before
        before = len(cut)
    assert cut == [BOS, EOS]


def test_a_character_is_not_cut():
    text = "é狐".encode()
    assert [len(cut_text(list(text), room)) for room in range(6)] == [0, 0, 2, 2, 2, 5]
    assert cut_text([1, 2], 5) == [1, 2] and cut_text([1, 2], -3) == []


# Streams


def shards(folder: Path, captions: list[list[str]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sources import png

    folder.mkdir()
    images = [{"bytes": png(n), "path": None} for n in range(len(captions))]
    pq.write_table(pa.table({"image": images, "text": captions}), folder / "0.parquet", row_group_size=4)
    return folder


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_streams(kind, tmp_path):
    """What does not fit is left out and reported, or cut and reported, or ends the run by name."""
    captions = [[str(n)] for n in range(40)]
    for n in range(7, 40, 5):
        captions[n] = [str(n), LONG] if n % 2 else [LONG]
    path, letters = shards(tmp_path / "in", captions), train_pairs(["ab"], 261)

    def run(*words: str) -> tuple[set[str], set[tuple]]:
        chosen = stream_settings(path, f"text_tokenizer={kind}", "data.stream.held_out=0.1", *words)
        data, _ = sets.load(chosen, Path("nowhere"))
        report = data[0].report = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        model = build.model(chosen, "meta")
        model.tokenizer = letters if kind == "bpe" else Bytes()
        steps, texts = steps_of(chosen, data, model), set()
        for seen in range(0, 640, 16):
            steps[seen]
            texts |= {decode(plan.text) for plan in steps.plans.values()}
        entries = [json.loads(line) for line in report.read_text().splitlines()]
        assert len(entries) == len({str(entry) for entry in entries})  # each once
        assert all(entry["reason"] == reason for entry in entries)
        return texts, {(int(entry["file"].rpartition("/")[2]), entry.get("caption")) for entry in entries}

    patches = 16 if presets.load("tiny").codec.stride == 2 else 4
    reason = f"it and its caption need {len(LONG) + patches + 4} positions; train.length is 64"
    texts, report = run()
    assert report and report <= {(n, 1 if n % 2 else None) for n in range(7, 40, 5)}
    assert texts > {str(n) for n, caption in report if caption} and not any("x" in text for text in texts)
    cut, cut_report = run("data.long=cut")
    assert {n for n, _ in cut_report} == {n for n, _ in report} and {0, 1} == {n for _, n in cut_report}
    assert {text for text in cut if "x" in text} == {LONG[: 64 - 4 - patches]}
    with pytest.raises(
        DataError, match=f"^picture .*/[0-9]+: {reason}; set a larger train.length, data.long=cut"
    ):
        run("data.long=error")


@pytest.mark.parametrize("patch,shape", [(4, (24, 32)), (12, (24, 36))])
def test_pictures_of_a_stream_get_sides_that_patches_divide(patch, shape, tmp_path):
    words = ["data.size=24", f"codec.patch={patch}", "data.stream.crop=none", "train.length=200"]
    config = stream_settings(tmp_path, *words)
    for sides in ((24, 34), (34, 24), (48, 68)):
        item = Item("x", png_of(np.zeros((*sides, 3), np.uint8)))
        _, fitted = Fitter(config, print)(item)
        assert fitted.shape[:2] == (shape if sides[0] < sides[1] else shape[::-1])


def png_of(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_a_stream_says_which_pictures_were_scaled(tmp_path):
    """Twelve bits in sixteen, by a tag of the file."""
    file, entries = io.BytesIO(), []
    deep = np.full((8, 8), 4095, np.uint16)
    tifffile.imwrite(file, deep, metadata=None, extratags=[(281, 3, 1, 4095, True)])
    config = stream_settings(tmp_path)
    _, fitted = Fitter(config, lambda item, entry: entries.append(entry))(Item("x", file.getvalue()))
    assert (fitted == 255).all() and [entry["scaled"] for entry in entries] == [12]
