"""Interleaved documents: reading order, drawn pictures, exact pixels, and every line that is not a
document."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from sources import prepare_source

from rawmm_cli.config.data import Data
from rawmm_cli.core.document import Picture
from rawmm_cli.data.datasets.documents import documents
from rawmm_cli.data.prepared import load
from rawmm_cli.data.stream import Stream
from rawmm_cli.system.errors import DataError


def pixels(number: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for n in range(3):
        Image.fromarray(pixels(n, 8 + 8 * n)).save(tmp_path / "in" / "deep" / f"{n}.png")
    return tmp_path / "in"


def lines(folder, *entries) -> object:
    path = folder / "set.jsonl"
    path.write_text(
        "\ufeff"
        + "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)
        + "\n\n"
    )
    return path


DOCUMENTS = [
    [{"text": "first "}, {"image": "deep/0.png"}, {"image": "deep/1.png", "draw": True}, {"text": "then"}],
    [{"image": "deep/2.png", "draw": True}],
    [{"text": "no picture: é \u202e\U0001f642"}],
]


def test_documents_come_back_as_they_are(folder, tmp_path):
    """Every piece in its order, with its size and its exact pixels, in whichever split."""
    card = prepare_source(tmp_path / "set", documents(path=lines(folder, *DOCUMENTS)), held_out=0.3)
    stored = {}
    for split in ("train", "held_out"):
        data = load(tmp_path / "set", split)
        for row in range(len(data)):
            numbers = iter(range(9))
            stored[data.source(row)] = [
                piece
                if isinstance(piece, str)
                else (data.image(row, next(numbers)).permute(1, 2, 0).numpy().tobytes(), *piece)
                for piece in data.pieces(row)
            ]

    def picture(n, draw):
        return pixels(n, 8 + 8 * n).tobytes(), 8 + 8 * n, 8 + 8 * n, draw

    assert stored == {
        "set.jsonl/1": ["first ", picture(0, False), picture(1, True), "then"],
        "set.jsonl/2": [picture(2, True)],
        "set.jsonl/3": ["no picture: é \u202e\U0001f642"],
    }
    assert card["kind"] == "documents" and card["count"]["train"] + card["count"]["held_out"] == 3


def test_starting_in_the_middle(folder):
    source = documents(path=lines(folder, *DOCUMENTS, *DOCUMENTS))
    items = list(source.items(0))
    assert len(items) == source.count == 6
    for start in range(7):
        assert list(source.items(start)) == items[start:]


WRONG = {
    '{"text": "a"}': "is not a list; allowed: ",
    "[]": "is not a list",
    "[1]": "has the part 1; allowed: ",
    '[{"text": 1}]': 'has the part {"text": 1}',
    '[{"text": "a", "image": "b"}]': "has the part",
    '[{"image": "deep/0.png", "draw": "yes"}]': "has the part",
    "[": "is not JSON in UTF-8 (",
    "[" * 100_000: "is not JSON in UTF-8 (",
    '[{"image": "none.png"}]': "names 'none.png', which does not exist; add it or mend the line",
    '[{"image": "../out.png"}]': "names '../out.png', which leads out of the folder of the file",
    '[{"image": "/etc/passwd"}]': "names '/etc/passwd', which leads out",
    '[{"image": "deep/../../out.png"}]': "leads out",
    '[{"image": "a\\u0000b"}]': "names 'a\ufffdb', which cannot be opened; mend the line",
    '[{"image": "\\ud800"}]': "names '\ufffd', which cannot be opened",
    f'[{{"image": "{"x" * 300}"}}]': f"names '{'x' * 200}...', which cannot be opened",
    '[{"image": "loop"}]': "names 'loop', which",
    '[{"image": "door.png"}]': "names 'door.png', a link that leads out of the folder",
}


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[:40])
def test_lines_that_are_not_documents(line, folder, tmp_path):
    """Named by file and line, before any picture is decoded."""
    Image.fromarray(pixels(9)).save(tmp_path / "out.png")
    (folder / "door.png").symlink_to(tmp_path / "out.png")
    (folder / "loop").symlink_to(folder / "loop")
    path = lines(folder, DOCUMENTS[0], line)
    with pytest.raises(
        DataError, match=re.escape(f"{path} line 2: ") + ".*" + re.escape(WRONG[line])
    ) as caught:
        documents(path=path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_text_that_is_not_utf_8(folder):
    path = folder / "set.jsonl"
    path.write_bytes(b'[{"text": "\xff"}]\n')
    with pytest.raises(DataError, match="line 1: is not JSON in UTF-8"):
        documents(path=path)
    with pytest.raises(DataError, match="is not a file; allowed with --path: a .jsonl file with a line like"):
        documents(path=folder)
    path.write_text("\n \n")
    with pytest.raises(DataError, match="has no documents; allowed: lines like"):
        documents(path=path)


def test_a_bad_picture_leaves_its_document_out(folder, tmp_path):
    (folder / "deep" / "1.png").write_bytes(b"not a picture")
    card = prepare_source(
        tmp_path / "set", documents(path=lines(folder, *DOCUMENTS)), max_bad=0.5, held_out=0.3
    )
    assert [entry["file"] for entry in card["skipped"]] == ["set.jsonl/1"] and "damaged" in card["skipped"][
        0
    ]["reason"]


def test_a_share_of_documents_ends_with_a_finished_picture(folder, tmp_path):
    """Only the picture behind which nothing stands: others are seen clean by what follows them anyway."""
    source = documents(path=lines(folder, *DOCUMENTS[:2], *DOCUMENTS[:2]))
    prepare_source(tmp_path / "set", source, held_out=0.0)
    sets, count, share = [load(tmp_path / "set", "train")], 3000, 0.2
    usual, finishing = (
        Stream(sets, 0, Data(set="set", size=8, shift=0, finished=part)) for part in (0.0, share)
    )
    ended = []
    for n in range(count):
        before, after = (
            [item for item in stream.document(n) if isinstance(item, Picture)]
            for stream in (usual, finishing)
        )
        if len(before) == 2:  # "then" follows the one that is drawn
            assert [one.draw for one in after] == [one.draw for one in before] == [False, True]
            continue
        assert before[0].draw and torch.equal(before[0].pixels, after[0].pixels)
        ended.append(not after[0].draw)
    assert abs(np.mean(ended) - share) < 4 * (share * (1 - share) / len(ended)) ** 0.5
