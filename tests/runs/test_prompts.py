"""Prompts that are offered, from captions whose beginnings and words are known."""

from itertools import product

from rawmm_cli.runs import prompts

COLOURS, THINGS, PLACES = ("red", "blue", "green"), ("cup", "hat", "box", "key"), ("here", "there")
MANY = [
    f"a {kind} of a {c} {t}, {p}" for kind, c, t, p in product(("photo", "sketch"), COLOURS, THINGS, PLACES)
]


def test_few_captions_are_all_offered_in_their_order():
    assert prompts.offered(["two", "one", "two", "three"] * 50) == ["two", "one", "three"]
    assert prompts.offered([]) == []


def test_beginnings_that_continue_in_different_ways():
    assert prompts.openings(MANY) == ["a sketch of a", "a photo of a"]
    assert prompts.openings([f"the number {n}" for n in range(100)]) == ["the number"]
    assert prompts.openings(["the end of it"] * 100) == [], "it continues in one way"
    assert prompts.openings([f"{n} is different" for n in range(100)]) == []


def test_varied_captions_have_all_lengths_and_different_words():
    varied = prompts.varied(MANY, 6)
    assert len(set(varied)) == 6 and set(varied) <= set(MANY)
    assert list(map(len, varied)) == sorted(map(len, varied))
    words = {word.strip(",") for text in varied for word in text.split()}
    assert words >= {*COLOURS, "photo", "sketch"}
    assert prompts.offered(MANY) == [*prompts.openings(MANY), *varied]


def test_long_captions_are_cut_at_a_word_where_there_are_no_others():
    long = [f"{n} " + "word " * 40 for n in range(30)]
    for text in prompts.offered(long):
        assert len(text) <= prompts.LONGEST and text.endswith("word") and "\n" not in text
    assert prompts.shortened("x" * 200) == "x" * prompts.LONGEST
    mixed = [*long, *MANY]
    assert set(prompts.varied(mixed, 6)) <= set(MANY)
