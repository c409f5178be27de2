"""card.json of a prepared set, as it is read back. Imported where one is read: its types take 20 ms."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ...system.stored import Shape

Number = Annotated[int, Field(ge=0, lt=2**63)]
Counted = Annotated[list[Any], Field(min_length=2, max_length=2)]  # [a word, how often]


class _Count(Shape):
    train: Number
    held_out: Number


class _Sizes(Shape):
    largest: list[Number] | None


class _Captions(Shape):
    count: Number
    different: Number
    vocabulary: Number
    frequent: list[Counted]
    bytes: dict[Literal["min", "median", "p95", "max"], Number]


class _Groups(Shape):
    across_splits: Number


class _Example(Shape):
    source: str
    picture: Number
    height: Annotated[int, Field(ge=1, lt=2**31)]
    width: Annotated[int, Field(ge=1, lt=2**31)]
    split: Literal["train", "held_out"]
    index: Number
    file: str


class _Originals(_Sizes):
    pictures: Number
    different: Number
    frequent: list[Annotated[list[Number], Field(min_length=3, max_length=3)]]
    cropped: Number
    cropped_much: Number
    lost_most: float
    reshaped: Number
    reshaped_most: float
    examples: list[_Example]


class _Question(Shape):
    chance: Annotated[float, Field(gt=0, le=1)]
    control: bool


class Card(Shape):
    """card.json of a prepared set. Sets of tests and of earlier versions lack some of it."""

    count: _Count
    fingerprint: str
    columns: dict[str, str] | None = None
    name: str | None = None
    kind: Literal["pictures", "documents"] = "pictures"
    labels: list[str] | None = None
    label_counts: dict[str, Number] | None = None
    attributes: dict[str, dict[str, Number]] | None = None
    options: dict[str, Any] | None = None
    questions: dict[str, _Question] | None = None
    chosen: dict[str, Any] | None = None
    size: list[Number] | None = None
    pictures: Number | None = None
    sizes: _Sizes | None = None
    originals: _Originals | None = None
    captions: _Captions | None = None
    without_caption: Number | None = None
    duplicates: dict[Literal["exact", "near"], _Groups] | None = None
    skipped_count: Number | None = None
    skipped: list[dict[str, Any]] | None = None
