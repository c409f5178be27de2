import pytest

from rawmm_cli.core.text_tokenizer import (
    BOS,
    END_IMAGE,
    EOS,
    IMAGE,
    VOCABULARY,
    checked,
    checked_prompt,
    decode,
    encode,
)
from rawmm_cli.system.errors import ConfigError

TEXTS = {
    "empty": "",
    "ascii": "a red bird",
    "emoji": "🦜👩‍👩‍👧‍👦🏳️‍🌈",
    "right to left": "abc\u202edef\u202c",
    "hebrew": "שלום",
    "nul": "a\0b",
    "byte order mark": "\ufeffabc",
    "last code point": "\U0010ffff",
    "combining": "e\u0301",
    "newlines": "a\r\n\tb",
    "special": "<image></image><bos><eos>",
}


@pytest.mark.parametrize("name", TEXTS)
def test_round_trip(name):
    tokens = encode(TEXTS[name])
    assert tokens == list(TEXTS[name].encode("utf-8"))
    assert decode(tokens) == TEXTS[name] and checked(TEXTS[name]) == TEXTS[name]


def test_every_code_point_round_trips_and_is_bytes():
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x3000 + 0xE000), *range(0x1F000, 0x20000)]))
    tokens = encode(text)
    assert decode(tokens) == text and max(tokens) < 256


@pytest.mark.parametrize("text", ["<image>", "</image>", "<bos>", "<eos>", "a <image> b"])
def test_text_never_becomes_a_special_token(text):
    assert not {BOS, EOS, IMAGE, END_IMAGE} & set(encode(text)) and len(encode(text)) == len(text)


def test_special_tokens_are_four_beyond_the_bytes_and_are_left_out_of_text():
    assert sorted((BOS, EOS, IMAGE, END_IMAGE)) == [256, 257, 258, 259] and VOCABULARY == 260
    assert decode([BOS, 97, IMAGE, END_IMAGE, 98, EOS]) == "ab"


def test_broken_bytes_become_the_replacement_character():
    assert decode([97, 0xFF, 98]) == "a\ufffdb"
    assert decode(encode("é")[:1]) == "\ufffd"


@pytest.mark.parametrize(
    "text,place,code", [("\ud800", 1, "D800"), ("ab\udfffc", 3, "DFFF"), ("é\udc80", 2, "DC80")]
)
@pytest.mark.parametrize("call", [encode, checked, lambda text: checked_prompt(text, 100)])
def test_lone_surrogate(call, text, place, code):
    with pytest.raises(ConfigError) as error:
        call(text)
    assert str(error.value) == (
        f"text is not valid Unicode: character {place} is a lone surrogate (U+{code}); "
        "allowed: UTF-8 text; remove it"
    )


@pytest.mark.parametrize(
    "text,place,code",
    [
        ("\0", 1, "0000"),
        ("ab\x1b[31m", 3, "001B"),
        ("é\x7f", 2, "007F"),
        ("a\rb", 2, "000D"),
        ("\x9b", 1, "009B"),
        ("\x80", 1, "0080"),
    ],
)
def test_control_character_in_a_prompt(text, place, code):
    with pytest.raises(ConfigError) as error:
        checked_prompt(text, 100)
    assert str(error.value) == (
        f"prompt has the control character U+{code} at place {place}; "
        "allowed: printable text, tab and newline; remove it"
    )


@pytest.mark.parametrize("text", ["", "a\tb\nc", "\xa0", "🦜", "\u202e", "\ufeff"])
def test_printable_prompts_pass(text):
    assert checked_prompt(text, 100) == text


def test_prompt_length_is_counted_in_bytes():
    assert checked_prompt("é" * 5, 10) == "é" * 5
    with pytest.raises(ConfigError) as error:
        checked_prompt("é" * 600, 1100)
    assert str(error.value) == "prompt has 1,200 bytes; allowed: at most 1,100; shorten it"
