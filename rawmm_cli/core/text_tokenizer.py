"""Text as UTF-8 bytes, plus four special tokens that no text can contain.

A byte is a number from 0 to 255; the special tokens follow. Text is only ever turned into bytes, so a caption that
says `<image>` is seven ordinary bytes and can never open a picture.
"""

from .errors import ConfigError

BOS, EOS, IMAGE, END_IMAGE = 256, 257, 258, 259
VOCABULARY = 260


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
        raise ConfigError(f"text is not valid Unicode: character {error.start + 1} is a lone surrogate "
                          f"(U+{ord(text[error.start]):04X}); allowed: UTF-8 text; remove it") from None
    return text


def checked_prompt(text: str, limit: int) -> str:
    """A prompt typed by a person: valid Unicode, no control characters but tab and newline, at most `limit` bytes."""
    size = len(checked(text).encode("utf-8"))
    if size > limit:
        raise ConfigError(f"prompt has {size:,} bytes; allowed: at most {limit:,}; shorten it")
    for place, character in enumerate(text, 1):
        if (ord(character) < 32 and character not in "\t\n") or 127 <= ord(character) < 160:
            raise ConfigError(f"prompt has the control character U+{ord(character):04X} at place {place}; "
                              "allowed: printable text, tab and newline; remove it")
    return text
