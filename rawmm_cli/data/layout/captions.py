"""Captions in values of the data: texts, bytes of texts, lists of them, JSON lists in a text, fields of
structs and maps."""

import json
from collections.abc import Iterable, Mapping

from ...system.errors import DataError, printable
from .instead import holds_picture

PYTHON_LISTS = "lists as Python prints them, read as they stand: write lists of texts, or JSON"
SHOWN = 8  # names of fields in a message


def texts_of(value: object) -> list[str] | None:
    """The captions in a text or a list of texts and nulls, stripped, without blank ones; None where it is
    neither. A text that is a JSON list of texts is that list, as tables have it where cells are texts."""
    value = listed(value) if isinstance(value, str) else value
    values = [text for text in value if text is not None] if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in values):
        return None
    return [stripped for text in values if (stripped := text.strip())]


def listed(text: str) -> str | list[str | None]:
    """A text, or the list of texts and nulls that it is in JSON."""
    if text[:1] != "[" or text.rstrip()[-1:] != "]":
        return text
    try:
        texts = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return texts if all(one is None or isinstance(one, str) for one in texts) else text


def is_python_list(value: object) -> bool:
    """Whether a text is a list as Python prints it, which is read as it stands."""
    return (
        isinstance(value, str)
        and value.startswith(("['", '["'))
        and value.endswith("]")
        and listed(value) == value
    )


def decoded(value: object) -> object:
    """A value whose bytes are texts, in lists too. Raises DataError where they are not UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError("a text of it is not UTF-8") from None
    return list(map(decoded, value)) if isinstance(value, list) else value


def is_text(value: object) -> bool:
    """Whether bytes, or the first of a list of them, are a text and no picture."""
    value = next(iter(value), None) if isinstance(value, list) else value
    if not isinstance(value, bytes) or holds_picture(value):
        return False
    try:
        decoded(value)
    except DataError:
        return False
    return b"\0" not in value


def field_of(value: object, field: str) -> object:
    """The field of a struct or map, or those of a list of structs; None where there is none."""
    if isinstance(value, Mapping):
        return value.get(field)
    if isinstance(value, list) and value and isinstance(value[0], tuple):  # a map, as pyarrow gives it
        return dict(value).get(field)
    return [field_of(each, field) for each in value] if isinstance(value, list) else None


def column_of(name: str, columns: Iterable[str]) -> str | None:
    """The column of that name, as it is or in any letter case, or COLUMN.FIELD; None where there is none."""
    if {name, name.partition(".")[0]} & {*columns}:
        return name
    return next((column for column in columns if isinstance(column, str) and column.lower() == name), None)


def value_of(row: Mapping, name: str) -> object:
    """What a row or JSON has under a name, or under the name of a field: COLUMN.FIELD."""
    if name in row or "." not in name:
        return row.get(name)
    column, _, field = name.partition(".")
    return field_of(row.get(column), field)


def fields_in(value: object) -> list[str]:
    """Names of the fields of a struct or map, or of the structs in a list."""
    if isinstance(value, list) and value:
        return [pair[0] for pair in value] if isinstance(value[0], tuple) else fields_in(value[0])
    return list(value) if isinstance(value, Mapping) else []


def choice(column: str, fields: list[str]) -> str:
    """What is said of a column of captions by field, of which none was chosen."""
    names = ", ".join(map(printable, fields[:SHOWN])) + ", ..." * (len(fields) > SHOWN)
    example = printable(f"{column}.{fields[0] if fields else 'NAME'}")
    return f"none; column {printable(column)} has the fields {names}: choose one, as --columns text={example}"


def which(column: str, value: object) -> str:
    """The end of a message about a caption with fields: how to choose one; "" for others."""
    fields = fields_in(value)
    return f"; choose a field, as --columns text={printable(f'{column}.{fields[0]}')}" if fields else ""
