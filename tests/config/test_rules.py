"""Which settings follow from which set, in numbers that are known."""

import numpy as np
import pytest

from rawmm_cli.config import automatic, presets
from rawmm_cli.config.facts import Facts, Known
from rawmm_cli.config.rules import RULES
from rawmm_cli.system.errors import ConfigError


def facts(sizes, texts=(5,), rows=8_000, different=10, areas=None, **others):
    """Facts of pictures of these {(height, width): count}, with captions of so many bytes."""
    texts = np.array(texts)
    sides = [side for pair in sizes for side in pair]
    some = np.array([height * width for height, width in sizes] or [0])
    usual = {
        "name": "mine",
        "rows": rows,
        "sizes": sizes,
        "common": int(np.gcd.reduce(sides)) if sides else 0,
        "areas": np.resize(some if areas is None else areas, max(len(texts), len(some))),
        "texts": np.resize(texts, max(len(texts), len(some))),
        "amount": int(texts.mean() * rows),
        "marks": np.full(max(len(texts), len(some)), 4),
        "captions": rows if texts.any() else 0,
        "different": different,
        "pieces": lambda vocabulary: -(-np.resize(texts, max(len(texts), len(some))) // 4),
    }
    return Facts(**usual | others)


def square(side, **others):
    return facts({(side, side): 8_000}, **others)


def settled(given, *words, preset="small", pace=None):
    config = presets.load(preset, ["data.set=mine", *words])
    config, reasons = automatic.settle(config, given, pace)
    assert not automatic.automatic(config)
    return config, reasons


def test_digits_of_28_pixels():
    """The set of the issue: 8,000 digits with names."""
    config, reasons = settled(square(28))
    assert (config.data.size, config.codec.patch, config.train.length) == (28, 4, 49 + 5 + 4)
    assert (config.text_tokenizer.kind, config.data.read, config.data.shift) == ("bytes", 0.5, 1)
    assert (config.train.documents, config.train.batch, config.train.warmup) == (160_000, 64, 4_000)
    assert (config.sample.guidance, config.sample.max_text, config.data.long) == (2.0, 8, None)
    assert (config.train.log_every, config.train.sample_every, config.train.save_every) == (
        1600,
        40000,
        40000,
    )
    assert reasons["data.size"] == "all 8,000 pictures have 28 x 28 pixels"
    assert reasons["codec.patch"] == "49 patches a picture, of 48 values"


@pytest.mark.parametrize(
    "side, small, large",
    [
        (8, 2, 2),
        (16, 2, 2),
        (28, 4, 2),
        (32, 4, 2),
        (48, 6, 4),
        (64, 8, 4),
        (96, 8, 8),
        (128, 8, 8),
        (256, 16, 16),
        (7, 1, 1),
    ],
)
def test_patches(side, small, large):
    """Small and medium: 49 patches or a few more, of 192 values at most; large: 144 to 256."""
    assert settled(square(side))[0].codec.patch == small
    assert settled(square(side), preset="large")[0].codec.patch == large


@pytest.mark.parametrize("side, other", [(1, "8 --enlarge"), (31, "24"), (1000, "64"), (4096, "64")])
def test_sides_that_no_patch_fits(side, other):
    with pytest.raises(ConfigError) as caught:
        settled(facts({(side, side): 10, (side + 1, side): 5}))
    assert str(caught.value) == (
        "codec.patch = auto: the largest common divisor of all sides of 'mine' is 1, and the largest picture "
        f"has {side * (side + 1):,} pixels: no patch gives a picture 4 to 256 patches; prepare the set again "
        f"with --size {other}"
    )


def test_pictures_of_mixed_sizes():
    """Shorter side 64, sides in multiples of 16: the row holds the largest, drawings have the usual size."""
    config, reasons = settled(facts({(64, 64): 10, (64, 96): 30, (128, 64): 20}, texts=(12,), rows=54))
    assert (config.data.size, config.codec.patch) == (64, 8)
    assert config.train.length == 128 * 64 // 64 + 12 + 4
    assert reasons["data.size"] == "the shorter side of 60 of 60 pictures; drawings are square"


def test_pictures_without_captions_are_drawn_alone():
    config, reasons = settled(square(32, texts=(0,), different=0))
    assert (config.data.read, config.data.shift, config.sample.guidance) == (0.0, 0, 1.0)
    assert config.train.length == 64 + 4 and "no captions" in reasons["data.read"]


def test_long_captions_become_pieces():
    config, _ = settled(square(64, texts=(80, 100), different=9_000))
    assert (config.text_tokenizer.kind, config.text_tokenizer.vocabulary) == ("bpe", 512)
    assert (config.train.length, config.data.long) == (64 + 4 + 25, "cut")
    assert (config.sample.guidance, config.sample.max_text) == (3.0, 25)
    assert settled(square(64, texts=(90,), rows=60))[0].text_tokenizer.kind == "bytes"  # too few
    assert settled(square(64, texts=(90,), amount=10**8))[0].text_tokenizer.vocabulary == 4096


def test_a_few_texts_much_longer_than_most_are_cut():
    config, reasons = settled(square(32, texts=(*[20] * 999, 5_000)))
    assert (config.train.length, config.data.long) == (64 + 4 + 20, "cut")
    assert reasons["train.length"] == "99 % of the rows; the longest has 5,068 positions"


def test_text_alone():
    none = np.zeros(3, int)
    given = facts({}, texts=(10_000, 5, 300), rows=3, documents=True, areas=none, marks=none + 2)
    config, _ = settled(given)
    assert (config.train.length, config.data.long, config.text_tokenizer.kind) == (256, None, "bytes")


def test_documents_of_several_pictures():
    """Two pictures of 32 px, each drawn with a clean copy behind it."""
    config, _ = settled(
        facts({(32, 32): 20}, texts=(40,), rows=10, areas=[4 * 32 * 32], documents=True, marks=np.array([6]))
    )
    assert (config.codec.patch, config.train.length) == (4, 4 * 64 + 40 + 6)


@pytest.mark.parametrize("rows, documents", [(60, 40_000), (5_000, 100_000), (10**6, 200_000)])
def test_how_long(rows, documents):
    assert settled(square(28, rows=rows))[0].train.documents == documents
    medium = settled(square(28, rows=rows), preset="medium")[0].train.documents
    assert medium == min(max(20 * rows, 212_000), 1_062_000)


def test_by_time_small_batches_and_coarse_patches():
    """Seconds of a step in proportion to the positions: at 0.01 s each 60 s are few steps."""

    def pace(config):
        return 1e-5 * config.train.batch * config.train.length

    long, _ = settled(square(32), "train.time=600", pace=pace)
    assert (long.codec.patch, long.train.batch, long.train.warmup) == (4, 64, 657_534 // 40)
    short, reasons = settled(square(32), "train.time=20", pace=pace)
    assert (short.codec.patch, short.train.batch) == (8, 64)
    assert reasons["codec.patch"].endswith("; smaller ones would be slow for the time")
    assert list(reasons) == list(RULES)
    slow, _ = settled(square(32), "train.time=6", pace=pace)
    assert (slow.codec.patch, slow.train.batch) == (8, 32)
    assert slow.train.documents == long.train.documents == 160_000  # a tenth of it is the least of a run


def test_what_is_given_is_kept_and_the_rest_follows_from_it():
    config, reasons = settled(square(28), "codec.patch=2", "text_tokenizer=bpe", "train.batch=8")
    assert (config.codec.patch, config.train.batch, config.text_tokenizer.kind) == (2, 8, "bpe")
    assert config.train.length == 196 + 4 + 2 and not {"codec.patch", "train.batch"} & set(reasons)


def test_a_patch_of_the_users_own_must_divide():
    with pytest.raises(ConfigError, match="codec.patch = 5 does not divide data.size = 28; allowed: 1, 2, 4"):
        settled(square(28), "codec.patch=5")


def test_every_auto_of_a_preset_has_a_rule_and_every_rule_a_setting():
    known = Known(presets.load("small"))
    assert [key for key in RULES if known[key] == "auto"] == list(RULES)
    with pytest.raises(ConfigError, match="train.learning_rate = 'auto' is not allowed"):
        presets.load("small", ["train.learning_rate=auto"])


def test_line_ends_have_room_and_a_head_that_draws_nothing_reads():
    """7 rows of 7 patches, each with its end, the name of five bytes and four special tokens."""
    config, reasons = settled(square(28), "head={kind: reading}")
    assert (config.train.length, config.data.read) == (7 * 8 + 5 + 4, 1.0)
    assert reasons["data.read"] == "head.kind = reading draws nothing"
    config, _ = settled(square(28), "head={kind: reading, line_ends: false}")
    assert config.train.length == 49 + 5 + 4
