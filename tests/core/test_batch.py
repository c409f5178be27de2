from collections import Counter

import numpy as np
import pytest
import torch
from helpers import PATCH, blocks, blocks_in_order, picture, random_documents

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.core.batch import assemble, assembled, fit, layout, pack, singles, size
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE
from rawmm_cli.system.errors import DataError

CODEC = RawPatches(PATCH)


def shown(draw, size=(2, 4), key=5):
    return picture(np.random.default_rng(key), draw, size, key)


def flat_patches(batch):
    return torch.cat([CODEC.encode(images).flatten(0, 1) for images in batch.images])


def test_layout_of_a_drawn_picture_followed_by_text():
    """The noised picture is private; a clean copy stands behind it at the same place."""
    batch = pack([[BOS, 7, IMAGE, shown(True), END_IMAGE, 9, EOS]], 12, blocks)
    assert batch.tokens.tolist() == [[BOS, 7, IMAGE, 0, 0, 0, 0, END_IMAGE, 9, EOS, 0, 0]]
    assert batch.labels.document.tolist() == [[0] * 10 + [-1] * 2]
    assert batch.labels.block.tolist() == [[0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 0, 0]]
    assert batch.labels.private.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]]
    assert batch.position.tolist() == [
        [
            [0, 0, 0],
            [1, 0, 0],
            [2, 0, 0],
            [3, 0, 0],
            [3, 0, 1],
            [3, 0, 0],
            [3, 0, 1],
            [4, 0, 0],
            [5, 0, 0],
            [6, 0, 0],
            [0, 0, 0],
            [0, 0, 0],
        ]
    ]
    assert batch.predict_at.tolist() == [0, 1, 7, 8]
    assert batch.predict.tolist() == [7, IMAGE, 9, EOS]
    assert batch.patch_at.tolist() == [3, 4, 5, 6]
    assert batch.pictures.picture_of.tolist() == [0, 0, 1, 1]
    assert batch.pictures.drawn.tolist() == [True, False]
    assert batch.pictures.keys == (5, 5)
    assert torch.equal(batch.images[0][0], batch.images[0][1])
    assert batch.last.tolist() == [9]


@pytest.mark.parametrize("rest", [[], [END_IMAGE], [END_IMAGE, EOS]])
def test_a_drawn_picture_that_ends_its_document_needs_no_copy(rest):
    item = layout([BOS, IMAGE, shown(True), *rest], blocks)
    assert item.labels[0].tolist() == [0, 1, 2, 2, 3, 4][: 4 + len(rest)]
    assert not any(item.labels[1]) and len(item.placed) == 1


@pytest.mark.parametrize("rest", [[END_IMAGE, 65], [65], [END_IMAGE, IMAGE], [END_IMAGE, shown(False)]])
def test_whatever_else_follows_asks_for_a_clean_copy(rest):
    placed = layout([BOS, IMAGE, shown(True), *rest], blocks).placed
    assert [(first, cut.grid, one.draw) for first, cut, one in placed[:2]] == [
        (2, (1, 2), True),
        (4, (1, 2), False),
    ]


def test_a_read_picture_is_laid_out_once():
    document = [BOS, IMAGE, shown(False), END_IMAGE, 65, EOS]
    item = layout(document, blocks)
    assert item.labels[0].tolist() == [0, 1, 2, 2, 3, 4, 5] and not any(item.labels[1])
    places = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 0, 1), (3, 0, 0), (4, 0, 0), (5, 0, 0)]
    assert list(map(tuple, item.position.tolist())) == places
    assert (pack([document], 8, blocks).predict_at + 1).tolist() == [1, 5, 6]


def test_causal_layout_gives_every_patch_its_own_block():
    item = layout([BOS, IMAGE, shown(True), END_IMAGE, EOS], blocks_in_order)
    assert item.labels[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_causal_patches_see_the_earlier_patches_of_their_own_picture():
    """Also where text follows, so that an autoregressive head may draw in the middle of a document."""
    from rawmm_cli.core.mask import dense

    batch = pack([[BOS, IMAGE, shown(True, (2, 6)), END_IMAGE, 65, EOS]], 16, blocks_in_order)
    mask, first = dense(batch.labels)[0, 0] == 0, batch.patch_at[:3]
    assert torch.equal(mask[first][:, first], torch.ones(3, 3, dtype=torch.bool).tril())


def test_best_fit_decreasing():
    sizes = (5, 4, 3, 4, 8, 1)
    batch = pack([[65 + n] * size for n, size in enumerate(sizes)], 8, blocks)
    assert batch.labels.document.tolist() == [[4] * 8, [0] * 5 + [2] * 3, [1] * 4 + [3] * 4, [5] + [-1] * 7]
    assert batch.last.tolist() == [12, 19, 15, 23, 7, 24]


def test_size_is_the_length_of_the_layout():
    for document in random_documents(40, seed=4):
        for cut in (blocks, blocks_in_order):
            assert size(document, cut) == len(layout(document, cut).tokens)


def test_fit_leaves_nothing_out_and_no_row_too_full():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = rng.integers(1, 50, 60).tolist()
        rows = fit(sizes, 64)
        assert sorted(index for row in rows for index in row) == list(range(60))
        assert all(sum(sizes[index] for index in row) <= 64 for row in rows)
        assert len(rows) <= 11 / 9 * -(-sum(sizes) // 64) + 6 / 9 + 1, (
            "Johnson's bound, against the least that could do"
        )
    with pytest.raises(DataError, match="needs 65 positions; train.length is 64"):
        fit([3, 65], 64)


def test_blocks_and_orders_begin_anew_in_every_document():
    batch = pack([[BOS, 65, EOS], [BOS, 66, EOS]], 6, blocks)
    assert batch.labels.block.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert batch.position[..., 0].tolist() == [[0, 1, 2, 0, 1, 2]]
    assert batch.predict_at.tolist() == [0, 1, 3, 4], "nothing is predicted across the border"


def numbered_document(start):
    """Three pictures of several sizes, every patch of one level, its number -> (document, levels in
    order)."""
    document, levels = [BOS], []
    for rows, columns, draw in ((2, 3, False), (1, 2, True), (3, 2, False)):
        grid = start + len(levels) + np.arange(rows * columns, dtype=np.uint8).reshape(1, rows, columns)
        pixels = np.broadcast_to(grid.repeat(PATCH, 1).repeat(PATCH, 2), (3, rows * PATCH, columns * PATCH))
        document += [IMAGE, Picture(torch.from_numpy(pixels.copy()), draw), END_IMAGE]
        copies = 2 if draw else 1
        levels += grid.flatten().tolist() * copies
    return document, levels


def test_flat_order_of_patches_is_the_order_of_the_codec():
    (one, levels), (two, more) = numbered_document(10), numbered_document(100)
    batch = pack([one, two], 64, blocks)
    level = ((flat_patches(batch) + 1) * 127.5).round().long()
    assert (level == level[:, :1]).all(), "a patch holds pixels of one patch only"
    sequence = torch.full((batch.tokens.numel(),), -1)
    sequence[batch.patch_at] = level[:, 0]
    assert sequence[sequence >= 0].tolist() == levels + more
    first = batch.patch_at[:6]  # the 2 x 3 picture of the first document
    assert batch.position.flatten(0, 1)[first][:, 1:].tolist() == [
        [0, 0],
        [0, 1],
        [0, 2],
        [1, 0],
        [1, 1],
        [1, 2],
    ]
    assert [len(group) for group in batch.images] == [2, 4, 2]


def test_keys_and_draws_follow_their_pictures():
    small, large = (2, 2), (4, 4)
    batch = pack(
        [
            [BOS, shown(False, small, 1), shown(False, large, 2)],
            [BOS, shown(False, small, 3)],
            [BOS, shown(True, large, 4)],
        ],
        20,
        blocks,
    )
    assert batch.pictures.keys == (1, 3, 2, 4)
    assert batch.pictures.drawn.tolist() == [False, False, False, True]
    assert batch.pictures.picture_of.tolist() == [0, 1] + [2] * 4 + [3] * 4


def test_a_document_as_long_as_the_row_fits_and_one_longer_is_a_data_error():
    document = [BOS, IMAGE, shown(True), END_IMAGE, 65, EOS]  # 5 tokens, 2 patches, 2 more in the copy
    assert pack([document], 9, blocks).tokens.shape == (1, 9)
    with pytest.raises(DataError, match=r"needs 9 positions; train\.length is 8"):
        pack([document], 8, blocks)


@pytest.mark.parametrize("documents", [[], [[BOS, EOS]]])
def test_empty_rows_are_padding(documents):
    batch = assemble(documents, [[0]] * len(documents) + [[]] * (3 - len(documents)), 4, blocks)
    assert batch.tokens.shape == (3, 4) and batch.position.shape == (3, 4, 3)
    assert pack([], 4, blocks).tokens.shape == (1, 4)
    assert (batch.labels.document[len(documents) :] == -1).all()
    assert len(batch.last) == len(batch.predict) == len(documents)
    assert len(batch.patch_at) == len(batch.pictures.keys) == 0 and batch.images == ()


def test_to_moves_every_tensor_and_keeps_the_rest():
    batch = pack(random_documents(6), 40, blocks)
    moved = batch.to("meta")
    assert moved.pictures.keys == batch.pictures.keys
    assert all(
        tensor.device.type == "meta"
        for tensor in (
            moved.tokens,
            *moved.images,
            moved.pictures.picture_of,
            moved.pictures.drawn,
            *moved.labels,
            moved.position,
            moved.patch_at,
            moved.predict_at,
            moved.predict,
            moved.last,
        )
    )


def expected_sequence(document):
    """The items of a document as they should stand in a row, without `layout`: tokens and the patches'
    bytes."""
    out = []
    for place, item in enumerate(document):
        if isinstance(item, Picture):
            later = [x for x in document[place + 1 :] if isinstance(x, Picture) or x not in (END_IMAGE, EOS)]
            patches = [one.numpy().tobytes() for one in CODEC.encode(item.pixels[None])[0]]
            out += patches * (2 if item.draw and later else 1)
        else:
            out.append(item)
    return out


@pytest.mark.parametrize("seed", range(8))
def test_every_token_and_patch_appears_exactly_once(seed):
    documents = random_documents(25, seed)
    batch = pack(documents, 60, blocks)
    assert len(set(batch.patch_at.tolist())) == len(batch.patch_at)
    row = batch.tokens.flatten().tolist()
    for at, patch in zip(batch.patch_at.tolist(), flat_patches(batch)):
        assert row[at] == 0
        row[at] = patch.numpy().tobytes()
    owner = batch.labels.document.flatten().tolist()
    for number, document in enumerate(documents):
        at = [place for place, one in enumerate(owner) if one == number]
        assert at == list(range(at[0], at[-1] + 1)) and at[0] // 60 == at[-1] // 60, "one piece, in one row"
        assert [row[place] for place in at] == expected_sequence(document)
        assert batch.last[number] == at[-1]
    assert sum(one >= 0 for one in owner) == sum(len(expected_sequence(document)) for document in documents)
    learned = [item for document in documents for item in document[1:] if not isinstance(item, Picture)]
    assert Counter(batch.predict.tolist()) == Counter(item for item in learned if item != END_IMAGE)
    assert [row[at + 1] for at in batch.predict_at.tolist()] == batch.predict.tolist()


def test_single_tokens_are_what_assembled_makes_of_them():
    documents = [[BOS, 5], [BOS, IMAGE, shown(False), END_IMAGE, 7], [BOS, 9, 9, 9, EOS]]
    last = [layout(document, blocks).after(size(document, blocks) - 1) for document in documents]
    one, other = singles(last), assembled(last, [0, 1, 2], 3, 1)
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.position, other.position)
    assert all(torch.equal(*pair) for pair in zip(one.labels, other.labels)) and torch.equal(
        one.last, other.last
    )
    assert one.images == other.images == () and len(one.patch_at) == len(other.patch_at) == 0
    assert one.learned == (0, 0)
