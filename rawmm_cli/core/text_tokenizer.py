"""Text as UTF-8 bytes, plus four special tokens that no text can contain; or as pairs of bytes that were
learned.

A byte is a number from 0 to 255; the special tokens follow. Text is only ever turned into bytes, so a caption
that says `<image>` is seven ordinary bytes and can never open a picture. A byte-level BPE (Sennrich et al.
2016, arXiv 1508.07909; trained and applied by `tokenizers`) keeps these numbers and gives those from 260 on
to what it merges."""

import json
from collections.abc import Iterable

from ..system.errors import CheckpointError, ConfigError

OURS = {"version": None, "pre_tokenizer": "ByteLevel", "decoder": "ByteLevel", "model": "BPE"}
BOS, EOS, IMAGE, END_IMAGE = 256, 257, 258, 259
VOCABULARY = 260
LINE_END = 255  # a byte that UTF-8 never has: behind each row of a picture, where a head wants it


def encode(text: str) -> list[int]:
    """Text -> tokens, one for each UTF-8 byte. Raises ConfigError on a lone surrogate."""
    return list(checked(text).encode("utf-8"))


def decode(tokens: list[int]) -> str:
    """Tokens -> text. Special tokens are left out; bytes that are not UTF-8 become U+FFFD."""
    return bytes(token for token in tokens if token < 256).decode("utf-8", "replace")


def checked(text: str) -> str:
    """The text itself, or ConfigError where it cannot be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"text is not valid Unicode: character {error.start + 1} is a lone surrogate "
            f"(U+{ord(text[error.start]):04X}); allowed: UTF-8 text; remove it"
        ) from None
    return text


def checked_prompt(text: str, limit: int) -> str:
    """A prompt typed by a person: valid Unicode, no control characters but tab and newline, at most `limit`
    bytes."""
    size = len(checked(text).encode("utf-8"))
    if size > limit:
        raise ConfigError(f"prompt has {size:,} bytes; allowed: at most {limit:,}; shorten it")
    for place, character in enumerate(text, 1):
        if (ord(character) < 32 and character not in "\t\n") or 127 <= ord(character) < 160:
            raise ConfigError(
                f"prompt has the control character U+{ord(character):04X} at place {place}; "
                "allowed: printable text, tab and newline; remove it"
            )
    return text


class Bytes:
    """Text as bytes. encode: text -> tokens; decode: tokens -> text."""

    vocabulary = VOCABULARY
    stored = None  # nothing to keep
    encode, decode = staticmethod(encode), staticmethod(decode)


class BytePairs:
    """Text as learned pieces of bytes. stored: the JSON text of a `tokenizers` tokenizer without special
    tokens."""

    def __init__(self, stored: str):
        from tokenizers import Tokenizer

        self.stored = stored
        try:
            self.tokenizer = Tokenizer.from_str(stored)
            if _parts(self.tokenizer.to_str()) != OURS:
                raise ValueError
            byte_of, known = {c: b for b, c in _letters().items()}, self.tokenizer.get_vocab()
            pieces = {number: bytes(byte_of[letter] for letter in piece) for piece, number in known.items()}
            if sorted(pieces) != list(range(len(pieces))) or {
                p[0] for p in pieces.values() if len(p) == 1
            } != set(range(256)):
                raise ValueError
        except Exception as error:  # the library raises bare Exceptions
            raise CheckpointError(
                f"tokenizer.json is not a byte-level BPE of rawmm ({type(error).__name__})"
            ) from None
        merged = [number for number in sorted(pieces) if len(pieces[number]) > 1]
        ours = {number: VOCABULARY + place for place, number in enumerate(merged)}
        self.ours = [ours.get(number, pieces[number][0]) for number in range(len(pieces))]
        self.pieces = {self.ours[number]: piece for number, piece in pieces.items()}
        self.vocabulary = VOCABULARY + len(merged)

    def encode(self, text: str) -> list[int]:
        """Text -> tokens. Raises ConfigError on a lone surrogate."""
        return [
            self.ours[number] for number in self.tokenizer.encode(checked(text), add_special_tokens=False).ids
        ]

    def decode(self, tokens: list[int]) -> str:
        """Tokens -> text. Special tokens are left out; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.pieces.get(token, b"") for token in tokens).decode("utf-8", "replace")


def train_pairs(texts: Iterable[str], vocabulary: int) -> BytePairs:
    """Learn the most frequent merges of these texts, so many that there are `vocabulary` tokens in all (or
    fewer, where the texts have no more)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    pairs.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary - VOCABULARY + 256,
            show_progress=False,
            initial_alphabet=list(_letters().values()),
        ),
    )
    return BytePairs(pairs.to_str())


def _parts(stored: str) -> dict:
    """Kinds of the parts of a tokenizer. One that pads, cuts, changes or searches text is not ours."""
    parts = {name: part for name, part in json.loads(stored).items() if part}
    return {name: part["type"] if isinstance(part, dict) else None for name, part in parts.items()}


def _letters() -> dict[int, str]:
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2, Radford et al. 2019): itself
    where it can be seen, else the next free one from U+0100 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = (byte for byte in range(256) if byte not in seen)
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
