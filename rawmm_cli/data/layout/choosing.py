"""The column of every role, by names and kinds, or as the user names them."""

from collections.abc import Callable, Mapping
from itertools import chain

from ...system.errors import ConfigError, DataError
from ..columns import (
    ADDRESSES,
    CAPTIONS,
    IMAGES,
    KINDS,
    LABELS,
    ROLES,
    TEMPLATE,
    Columns,
    check_template,
    parse,
)
from .captions import PYTHON_LISTS, choice, fields_in, is_python_list
from .instead import holds_picture, instead_of_picture


def choose(
    kinds: Mapping[str, str],
    option: str | None = None,
    names: Mapping[str, list[str]] = {},
    template: str | None = None,
    where: str = "the data",
    first: Callable[[str], object] = lambda column: None,
) -> Columns:
    """Choose the column of every role, by names and kinds.

    kinds: {column: one of KINDS}. option: the user's own choice, "image=a,text=b". names: {column: names of
    its classes}. template: makes captions of classes, in place of the captions. where: the table, in
    messages. first: first value of a column, for a message. Raises ConfigError where the option or template
    does not fit, DataError where no column holds images."""
    requested, field = _requested(option, kinds, where, first)
    image = requested.get("image") or _image(kinds, first)
    if image is None:
        raise _no_image(kinds, where, first)
    text = requested.get("text") or _first(CAPTIONS, kinds, ("text", "texts"))
    label = requested.get("label") or _first(LABELS, kinds, ROLES["label"])
    if template is not None:
        if label is None:
            raise ConfigError(
                f"--caption makes captions of classes and {where} has no column of classes; "
                "name one with --columns label=..."
            )
        text = None
        check_template(template)
    flags = requested.get("attributes", "*").split(",")
    if "*" in flags:
        flags = [column for column, kind in kinds.items() if kind == "boolean"]
    note = _note(text, field, kinds, first) if template is None else ""
    return Columns(
        image,
        text,
        field,
        label,
        tuple(names.get(label, ())),
        tuple(flags),
        "attributes" in requested,
        template or TEMPLATE,
        note=note,
    )


def _requested(
    option: str | None, kinds: Mapping[str, str], where: str, first: Callable[[str], object]
) -> tuple[dict[str, str], str | None]:
    """The user's own choice as {role: column}, and the field of the captions. Raises ConfigError."""
    requested, field = parse(option, kinds, where, tuple(ROLES)), None
    if (text := requested.get("text")) and text not in kinds:  # COLUMN.FIELD
        requested["text"], field = _with_field(text, kinds, where, first)
    for role, columns in requested.items():
        if role != "text" or field is None:
            _check_role(role, columns, kinds, where, first)
    return requested, field


def _with_field(
    text: str, kinds: Mapping[str, str], where: str, first: Callable[[str], object]
) -> tuple[str, str]:
    """Split "COLUMN.FIELD" of a column of structs or maps. Raises ConfigError where there is no such field of
    structs."""
    column = max((name for name in kinds if text.startswith(f"{name}.")), key=len)
    field, value = text[len(column) + 1 :], first(column)
    fields = fields_in(value)
    if isinstance(value, Mapping) and field not in fields:
        raise ConfigError(f"column '{column}' of {where} has no field '{field}'; it has {', '.join(fields)}")
    return column, field


def _note(
    text: str | None, field: str | None, kinds: Mapping[str, str], first: Callable[[str], object]
) -> str:
    """What is to be said of captions: fields to choose from, or lists that are none."""
    if text is None:
        column = _first(CAPTIONS, kinds, ("fields",))
        return choice(column, fields_in(first(column))) if column else ""
    if field is None and is_python_list(first(text)):
        return PYTHON_LISTS
    return ""


def _image(kinds: Mapping[str, str], first: Callable[[str], object]) -> str | None:
    """The usual column of images, or else the first whose first value is a picture, or that holds bytes."""
    if usual := _first(IMAGES, kinds, ROLES["image"]):
        return usual
    others = [column for kind in ROLES["image"] for column in kinds if kinds[column] == kind]
    pictures = (column for column in others if len(others) > 1 and holds_picture(first(column)))
    return next(chain(pictures, others), None)


def _check_role(
    role: str, columns: str, kinds: Mapping[str, str], where: str, first: Callable[[str], object]
) -> None:
    """Raise ConfigError where a column that the user chose does not hold what its role needs."""
    for column in columns.split(",") if role == "attributes" else [columns]:
        if column != "*" and kinds[column] not in ROLES[role]:
            allowed = " or ".join(KINDS[kind] for kind in ROLES[role])
            instead = instead_of_picture(first(column)) if role == "image" else None
            holds, remedy = instead or (KINDS[kinds[column]], "")
            if kinds[column] == "fields":
                remedy = (
                    f"or one of its fields, as {role}={column}.{next(iter(fields_in(first(column))), 'NAME')}"
                )
            raise ConfigError(
                f"--columns has {role}={column}, but that column of {where} holds {holds}; allowed: one with "
                f"{allowed}{'; ' * bool(remedy)}{remedy}"
            )


def _no_image(kinds: Mapping[str, str], where: str, first: Callable[[str], object]) -> DataError:
    """Error for a table without a column of images: what stands in place of them, and what to do."""
    for column in (*IMAGES, *ADDRESSES):
        if column in kinds and (instead := instead_of_picture(first(column))):
            return DataError(f"no column of {where} holds images; '{column}' has {instead[0]}; {instead[1]}")
    return DataError(
        f"no column of {where} holds images; there are {', '.join(sorted(kinds))}; name one with --columns "
        "image=..."
    )


def _first(names: tuple[str, ...], kinds: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    """The first of the names that is a column of an allowed kind, as it is or else in any letter case."""
    fits = [column for column, kind in kinds.items() if kind in allowed]
    by_name = {column.lower(): column for column in reversed(fits)} | {column: column for column in fits}
    return next((by_name[name] for name in names if name in by_name), None)
