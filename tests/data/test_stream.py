"""Documents of a set: functions of seed and number alone, with the shares of the settings."""

from collections import Counter

import numpy as np
import pytest
import torch

from rawmm_cli.config.data import Data
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, decode
from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row
from rawmm_cli.data.stream import Stream, _order, document, drawing, reading, shifted, stretch

PLAIN = {"read": 0.5, "drop": 0.1, "shift": 0}


class Rows:
    """Stand-in for a prepared set: picture i has 5 x 7 pixels, and its first pixel is i."""

    holds_documents = False

    def __init__(self, count=23, captions=("a {}", "one {}", "{}")):
        self.captions = [[text.format(i) for text in captions] for i in range(count)]
        rng = np.random.default_rng(0)
        self.pixels = torch.from_numpy(rng.integers(0, 256, (count, 3, 5, 7), dtype=np.uint8))
        self.pixels[:, 0, 0, 0] = torch.arange(count)

    def __len__(self):
        return len(self.captions)

    def image(self, index):
        return self.pixels[index].clone()


def flat(one):
    """A document in a form that can be compared."""
    return [
        (item.pixels.numpy().tobytes(), item.draw, item.key) if isinstance(item, Picture) else item
        for item in one
    ]


def picture_in(one):
    return next(item for item in one if isinstance(item, Picture))


def caption_in(one):
    return decode([item for item in one if not isinstance(item, Picture)])


def reads(one):
    return not picture_in(one).draw


def row_of(one):
    return picture_in(one).pixels[0, 0, 0].item()


def test_the_two_directions():
    pixels = Rows().image(3)
    to_draw, to_read = drawing("ab", pixels, 9), reading(pixels, "ab")
    assert to_draw[:4] == [BOS, 97, 98, IMAGE] and to_draw[5:] == [END_IMAGE, EOS]
    assert to_read[:2] == [BOS, IMAGE] and to_read[3:] == [END_IMAGE, 97, 98, EOS]
    assert to_draw[4].draw and to_draw[4].key == 9 and not to_read[2].draw
    assert torch.equal(to_draw[4].pixels, pixels) and torch.equal(to_read[2].pixels, pixels)


def test_a_document_is_a_function_of_seed_and_number_alone():
    """Independent of earlier documents, of other streams and of caches, so that a run can resume anywhere."""
    data, settings = Rows(), {"read": 0.5, "drop": 0.3, "shift": 2}
    forwards = [flat(document(data, n, 7, **settings)) for n in range(100)]
    _order.cache_clear()
    torch.manual_seed(5)
    np.random.seed(5)
    order = np.random.default_rng(1).permutation(100).tolist()
    scattered = {}
    for n in order:
        document(data, n + 1000, 8, **settings)
        scattered[n] = flat(document(Rows(), n, 7, **settings))
    assert forwards == [scattered[n] for n in range(100)]
    assert sum(a == flat(document(data, n, 8, **settings)) for n, a in enumerate(forwards)) < 20


def test_direction_and_row_do_not_depend_on_other_settings():
    """They stay when drop or shift change: experiments compare like with like."""
    data = Rows()
    plain = [document(data, n, 0, **PLAIN) for n in range(200)]
    other = [document(data, n, 0, read=0.5, drop=0.9, shift=0) for n in range(200)]
    shifting = [document(data, n, 0, read=0.5, drop=0.1, shift=3) for n in range(200)]
    assert list(map(reads, plain)) == list(map(reads, other)) == list(map(reads, shifting))
    assert list(map(row_of, plain)) == list(map(row_of, other))
    assert [caption_in(one) for one in plain] == [caption_in(one) for one in shifting]


@pytest.mark.parametrize("read,drop", [(0.5, 0.1), (0.2, 0.4), (0.0, 0.0), (1.0, 0.5), (0.0, 1.0)])
def test_shares_are_those_of_the_settings(read, drop):
    count = 4000
    documents = [document(Rows(), n, 3, read=read, drop=drop, shift=0) for n in range(count)]
    to_draw = [one for one in documents if not reads(one)]
    assert abs(1 - len(to_draw) / count - read) <= 4 * (read * (1 - read) / count) ** 0.5
    if to_draw:
        dropped = sum(caption_in(one) == "" for one in to_draw) / len(to_draw)
        assert abs(dropped - drop) <= 4 * (drop * (1 - drop) / len(to_draw)) ** 0.5
    assert all(caption_in(one) for one in documents if reads(one)), (
        "a caption is never dropped where it is to be written"
    )


def test_every_caption_is_used_equally_often():
    data = Rows(count=1)
    counts = Counter(caption_in(document(data, n, 0, read=0.5, drop=0.0, shift=0)) for n in range(3000))
    assert set(counts) == set(data.captions[0])
    assert all(abs(count - 1000) < 4 * (3000 * 2 / 9) ** 0.5 for count in counts.values())


@pytest.mark.parametrize("count", [1, 7, 23])
def test_each_epoch_visits_every_row_once(count):
    data = Rows(count)
    rows = [row_of(document(data, n, 0, **PLAIN)) for n in range(6 * count)]
    epochs = [rows[first : first + count] for first in range(0, 6 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count == 23:
        assert len(set(map(tuple, epochs))) == 6, "each in another order"


def test_captions_belong_to_their_pictures():
    data = Rows()
    for n in range(200):
        one = document(data, n, 0, read=0.5, drop=0.0, shift=0)
        assert caption_in(one) in data.captions[row_of(one)]
        assert torch.equal(picture_in(one).pixels, data.pixels[row_of(one)])


def test_every_drawn_picture_has_its_own_noise():
    data = Rows()
    keys = [
        picture_in(document(data, n, seed, read=0.0, drop=0.1, shift=0)).key
        for n in range(500)
        for seed in (0, 1)
    ]
    assert len(set(keys)) == 1000


def test_without_captions_a_picture_is_drawn_unconditionally():
    data = Rows(4, captions=("", ""))
    assert all(
        flat(one)[:2] == [BOS, IMAGE] and picture_in(one).draw
        for one in (document(data, n, 0, read=1.0, drop=0.0, shift=1) for n in range(8))
    )
    data.captions[0] = ["", "only"]
    assert {caption_in(document(data, n, 0, read=0.0, drop=0.0, shift=0)) for n in range(40)} == {"", "only"}


@pytest.mark.parametrize("down", [-7, -2, -1, 0, 1, 3, 5])
@pytest.mark.parametrize("right", [-8, -1, 0, 2, 7])
def test_shifted_is_a_roll_with_repeated_edges(down, right):
    pixels = Rows().image(2)
    expected = np.pad(pixels.numpy(), ((0, 0), (9, 9), (9, 9)), mode="edge")
    expected = np.roll(expected, (down, right), (1, 2))[:, 9:-9, 9:-9]
    assert np.array_equal(shifted(pixels, down, right).numpy(), expected)


def test_read_pictures_move_by_every_step_and_drawn_ones_never():
    data, seen = Rows(count=1), Counter()
    steps = {
        shifted(data.image(0), down, right).numpy().tobytes(): (down, right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    for n in range(1800):
        one = document(data, n, 0, read=0.5, drop=0.0, shift=1, shift_share=1.0)
        step = steps[picture_in(one).pixels.numpy().tobytes()]
        if reads(one):
            seen[step] += 1
        else:
            assert step == (0, 0)
    assert set(seen) == set(steps.values()) and min(seen.values()) > 60


def test_a_share_of_read_pictures_moves_and_no_drawn_one():
    data, count, share = Rows(), 3000, 0.3
    pairs = [
        (
            document(data, n, 0, read=0.5, drop=0.0),
            document(data, n, 0, read=0.5, drop=0.0, shift=1, shift_share=share),
        )
        for n in range(count)
    ]
    assert all(flat(still) == flat(other) for still, other in pairs if not reads(still))
    moved = np.mean([flat(still) != flat(other) for still, other in pairs if reads(still)])
    assert abs(moved - share * 8 / 9) < 4 * (0.25 * 2 / count) ** 0.5  # one move in nine is by (0, 0)


def test_a_share_of_captioned_drawings_is_finished():
    data, count, share = Rows(), 3000, 0.2
    plain = [document(data, n, 0, read=0.5, drop=0.3) for n in range(count)]
    finished = [document(data, n, 0, read=0.5, drop=0.3, finished=share) for n in range(count)]
    captioned = [(one, other) for one, other in zip(plain, finished) if not reads(one) and caption_in(one)]
    assert all(
        flat(one) == flat(other) for one, other in zip(plain, finished) if reads(one) or not caption_in(one)
    )
    done = [other for one, other in captioned if not picture_in(other).draw]
    assert abs(len(done) / len(captioned) - share) < 4 * (share * (1 - share) / len(captioned)) ** 0.5
    for one, other in captioned:  # caption first, then the same pixels, then the end
        assert other[-2:] == [END_IMAGE, EOS] and other[-4] == IMAGE and isinstance(other[-3], Picture)
        assert torch.equal(picture_in(one).pixels, picture_in(other).pixels) and caption_in(
            one
        ) == caption_in(other)


def test_pictures_of_other_sizes_take_the_place_of_the_one_that_is_drawn(tmp_path):
    """data.stretch: rows and columns stand so far apart that the picture is as large as one of data.size."""
    rows = [picture_row(np.zeros((*size, 3), np.uint8), ["a"], -1) for size in ((8, 8), (16, 16), (4, 12))]
    prepared.write(tmp_path / "mixed", {"train": rows, "held_out": rows}, {"labels": []})
    data = prepared.load(tmp_path / "mixed", "train")
    seen = {}
    for settings in (Data(set="mixed", stretch=True), Data(set="mixed")):
        stream = Stream([data], 0, settings)
        for n in range(40):
            for item in stream.document(n):
                if isinstance(item, Picture):
                    key = settings.stretch, tuple(item.pixels.shape[1:])
                    seen.setdefault(key, set()).add((item.draw, item.stretch))
    stretches = {key: {stretch for _, stretch in pairs} for key, pairs in seen.items()}
    assert stretches == {
        (True, (8, 8)): {(1.0, 1.0)},
        (True, (16, 16)): {(0.5, 0.5)},
        (True, (4, 12)): {(2.0, 8 / 12)},
        (False, (8, 8)): {(1.0, 1.0)},
        (False, (16, 16)): {(1.0, 1.0)},
        (False, (4, 12)): {(1.0, 1.0)},
    }
    assert all({draw for draw, _ in pairs} == {True, False} for pairs in seen.values())


def test_single_documents_place_pictures_as_the_stream_does():
    """With data.stretch and without: as evaluation and previews make them."""
    pixels = torch.arange(3 * 8 * 12).to(torch.uint8).reshape(3, 8, 12)
    for settings, expected in ((Data(stretch=True), (1.0, 8 / 12)), (Data(), (1.0, 1.0))):
        drawn, read = drawing("a", pixels, 7, settings=settings), reading(pixels, "a", settings=settings)
        places = {item.stretch for item in (*drawn, *read) if isinstance(item, Picture)}
        assert places == {expected} and stretch(settings, pixels) == expected


def test_read_pictures_of_documents_move_and_drawn_ones_do_not(tmp_path):
    """By up to `shift` pixels, a share of them, each for itself; the same document is always the same."""
    from sources import interleaved, prepare_source

    prepare_source(tmp_path / "stories", interleaved(60))
    data = prepared.load(tmp_path / "stories", "train")
    moved, drawn = Counter(), 0
    for n in range(4 * len(data)):
        settings = {"shift": 1, "shift_share": 0.5}
        one, still = document(data, n, 0, **settings), document(data, n, 0)
        again = document(data, n, 0, **settings)
        for picture, original, same in zip(*(list(filter(is_picture, each)) for each in (one, still, again))):
            assert torch.equal(picture.pixels, same.pixels)
            if picture.draw:
                assert torch.equal(picture.pixels, original.pixels)
                drawn += 1
                continue
            moved[
                next(
                    (down, right)
                    for down in (0, 1, -1)
                    for right in (0, 1, -1)
                    if torch.equal(picture.pixels, shifted(original.pixels, down, right))
                )
            ] += 1
    assert len(moved) == 9 and drawn > 50
    assert moved[0, 0] / moved.total() == pytest.approx(0.5 + 0.5 / 9, abs=0.12)


def is_picture(item) -> bool:
    return isinstance(item, Picture)
