import pytest
import torch
from helpers import blocks, blocks_in_order, random_documents

from rawmm_cli.core.batch import assemble, fit, pack, size
from rawmm_cli.core.document import Labels
from rawmm_cli.core.layers import attention
from rawmm_cli.core.mask import allowed, by_layer, dense, flex

# name: (document, block, private, table: row = query, column = key)
TABLES = {
    "causal text": ("0000", "0123", "0000", "1000 1100 1110 1111"),
    "picture sees itself in both directions": ("00000", "01112", "00000", "10000 11110 11110 11110 11111"),
    "prefix, then causal text": ("00000", "00012", "00000", "11100 11100 11100 11110 11111"),
    "a block per patch is causal": ("00000", "01234", "00000", "10000 11000 11100 11110 11111"),
    "two documents in one row": ("00111", "01011", "00000", "10000 11000 00100 00111 00111"),
    "order of blocks counts, not of positions": ("0000", "2100", "0000", "1111 0111 0011 0011"),
    "noised picture is private, its clean copy is not": (
        "000000",
        "011223",
        "011000",
        "100000 111000 111000 100110 100110 100111",
    ),
    "private in one document, open in the other": (
        "001111",
        "010112",
        "010100",
        "100000 110000 001000 001110 001110 001011",
    ),
    "padding sees padding only": ("00__", "0100", "0000", "1000 1100 0011 0011"),
}


def labels(document, block, private) -> Labels:
    return Labels(
        *(
            torch.tensor([[-1 if mark == "_" else int(mark) for mark in row]])
            for row in (document, block, private, "0" * len(block), "0" * len(block))
        )
    )


def packed_labels(seed, length=40, count=20, cut=blocks) -> Labels:
    """Full rows, and one of padding."""
    documents = random_documents(count, seed)
    rows = fit([size(document, cut) for document in documents], length)
    return assemble(documents, [*rows, []], length, cut).labels


def random_labels(seed, length, rows=2) -> Labels:
    """Labels without any order or sense: the rule must hold for them all the same."""
    rng = torch.Generator().manual_seed(seed)
    ranges = ((-1, 3), (0, 6), (0, 2), (0, 3), (0, 3))
    return Labels(*(torch.randint(low, high, (rows, length), generator=rng) for low, high in ranges))


def seen(query, key=None):
    """The dense mask as bool (B, Q, K): it adds nothing where a key is seen and -inf elsewhere."""
    mask = dense(query, key)
    assert mask.dtype == torch.float32 and ((mask == 0) | (mask == -torch.inf)).all()
    return mask[:, 0] == 0


def flex_everywhere(block_mask, rows, queries, keys):
    """The rule inside a BlockMask at all (b, q, k) -> (B, Q, K) bool."""
    b, q, k = torch.arange(rows), torch.arange(queries), torch.arange(keys)
    return block_mask.mask_mod(b[:, None, None], torch.tensor(0), q[None, :, None], k[None, None])


@pytest.mark.parametrize("name", TABLES)
def test_hand_written_table(name):
    *marks, table = TABLES[name]
    expected = torch.tensor([[mark == "1" for mark in row] for row in table.split()])
    assert torch.equal(seen(labels(*marks))[0], expected)
    assert torch.equal(flex_everywhere(flex(labels(*marks)), 1, *expected.shape)[0], expected)


@pytest.mark.parametrize("seed", range(4))
def test_dense_equals_three_plain_loops(seed):
    given = random_labels(seed, 17)
    mask, both, strided = seen(given), dense(given, isolated=True), dense(given, strided=True)
    for b in range(2):
        document, block, private, picture, stride = (label[b].tolist() for label in given)
        for q in range(17):
            for k in range(17):
                sees = (
                    document[q] == document[k]
                    and block[k] <= block[q]
                    and not (private[k] and block[k] != block[q])
                )
                assert mask[b, q, k].item() == sees
                alone = sees and (not picture[q] or picture[q] == picture[k])
                assert (both[b, 0, q, k].item() == 0) == alone and (both[b, 1, q, k].item() == 0) == sees
                behind, own = block[q] - block[k], stride[q] and picture[q] == picture[k]
                near = sees and not (own and behind >= stride[q] and behind % stride[q])
                assert (strided[b, 0, q, k].item() == 0) == near


@pytest.mark.parametrize(
    "given",
    [packed_labels(1), packed_labels(2, 200), random_labels(3, 300)],
    ids=["packed", "packed long", "random"],
)
def test_flex_is_dense(given):
    rows, length = given.document.shape
    block_mask, mask = flex(given), seen(given)
    assert torch.equal(flex_everywhere(block_mask, rows, length, length), mask)
    forms = [by_layer(make(given, isolated=True, strided=True)) for make in (flex, dense)]
    for form, dense_form in zip(*forms):
        assert torch.equal(flex_everywhere(form, rows, length, length), dense_form[:, 0] == 0)
    block = block_mask.BLOCK_SIZE[0]  # kept: blocks where anyone sees anyone
    count = -(-length // block)
    padded = torch.zeros(rows, count * block, count * block, dtype=torch.bool)
    padded[:, :length, :length] = mask
    kept = padded.unflatten(2, (count, block)).unflatten(1, (count, block)).any(4).any(2)
    assert torch.equal(block_mask.to_dense()[:, 0].bool(), kept)


@pytest.mark.parametrize("make", [dense, flex])
def test_queries_may_be_a_part_of_the_keys(make):
    """As a generator with a cache asks: the last five positions look at all."""
    everything = random_labels(5, 20)
    part = Labels(*(label[:, -5:] for label in everything))
    mask = seen(part, everything) if make is dense else flex_everywhere(flex(part, everything), 2, 5, 20)
    assert torch.equal(mask, seen(everything)[:, -5:])


@pytest.mark.filterwarnings("ignore:.*flex_attention.*")
@pytest.mark.parametrize("wide", [1, 2, 4])
@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_the_same_under_both_forms(heads, wide):
    given = packed_labels(6, 30, 8)
    rows, length = given.document.shape
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(rows, heads, length, 16, generator=rng) for _ in range(2))
    v = torch.randn(rows, heads, length, 16 * wide, generator=rng)
    by_dense, by_flex = attention(q, k, v, dense(given)), attention(q, k, v, flex(given))
    assert by_dense.shape == by_flex.shape == v.shape
    torch.testing.assert_close(by_flex, by_dense, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cut", [blocks, blocks_in_order])
def test_padding_never_leaks_and_every_query_sees_something(cut):
    given = packed_labels(3, 40, 12, cut)
    mask, padding = seen(given), given.document < 0
    assert padding.any() and padding.all(1).any(), "the case needs padding and an empty row"
    assert not (mask & (padding[:, :, None] != padding[:, None, :])).any()
    assert mask.any(-1).all() and mask.diagonal(0, 1, 2).all()


def test_rule_broadcasts():
    one = Labels(*(torch.tensor(value) for value in (0, 1, 0, 0, 0)))
    many = Labels(*(torch.tensor(value) for value in ([0, 0, 1], [0, 2, 0], *[[0, 0, 0]] * 3)))
    assert allowed(one, many).tolist() == [True, False, False]


def test_a_picture_of_an_isolated_layer_sees_itself_alone():
    """Text, a picture, text, a picture, text: text sees all before it, pictures nothing but themselves."""
    marks = "0000000", "0112334", "0000000", "0220440", "0000000"
    given = Labels(*(torch.tensor([[int(mark) for mark in row]]) for row in marks))
    alone, usual = (mask[0, 0] == 0 for mask in by_layer(dense(given, isolated=True)))
    table = "1000000 0110000 0110000 1111000 0000110 0000110 1111111"
    assert torch.equal(alone, torch.tensor([[mark == "1" for mark in row] for row in table.split()]))
    assert torch.equal(usual, seen(given)[0])


@pytest.mark.parametrize("cut", [blocks, blocks_in_order])
def test_pictures_of_a_document_have_labels_of_their_own(cut):
    """The clean copy of a drawn picture too; text has 0."""
    for document in random_documents(30, 5):
        batch = pack([document], size(document, cut), cut)
        picture, patches = batch.labels.picture.flatten(), torch.zeros(batch.tokens.numel(), dtype=torch.bool)
        patches[batch.patch_at] = True
        assert torch.equal(picture > 0, patches)
        of = picture[batch.patch_at].tolist()
        pairs = set(zip(batch.pictures.picture_of.tolist(), of))
        assert len(pairs) == len(batch.pictures.drawn) == len(set(of))
