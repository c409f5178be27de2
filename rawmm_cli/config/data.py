"""Settings of what is trained on: sets, streams, and how text becomes tokens. No torch here."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..core.text_tokenizer import VOCABULARY
from .fields import Amount, Auto, Long, Settings, Share, Side, Vocabulary, Whole


class Streaming(Settings):
    """A source that is read while training and never written to disk. `stream: true` is short for all of
    these defaults."""

    path: str | None = Field(
        None,
        description="a folder of .parquet files, archives or pictures, a set saved by `datasets`, a file, or "
        "hf:OWNER/NAME; default: the folder of data.set",
    )
    crop: Literal["center", "none"] = Field(
        "none", description="as in `rawmm prepare`; data.size is the size"
    )
    columns: str | None = Field(None, description="as in `rawmm prepare`: image=...,text=...,label=...")
    caption: str | None = Field(
        None, description="as in `rawmm prepare`: caption made of a class, with {label}"
    )
    keep_uncaptioned: bool = Field(
        False, description="as in `rawmm prepare`: keep pictures whose caption is null, where others have one"
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="share of the pictures that is never trained on"
    )
    lanes: Amount = Field(
        4, description="parts of the source that are read side by side; a multiple of the ranks"
    )


class Data(Settings):
    """What is trained on."""

    set: str = Field(
        "digits", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a folder under the data folder"
    )
    mix: dict[str, Share] = Field(
        {}, description="other sets and their shares of the documents, {name: share}"
    )
    size: Auto[Side] = Field(8, description="side of the pictures to draw, in pixels")
    read: Auto[Share] = Field(
        0.5, description="share of documents that read a picture and then write its caption"
    )
    drop: Share = Field(0.1, description="share of captions dropped when drawing, for guidance")
    finished: Share = Field(
        0.0, description="share of drawing documents that show the picture clean, to learn what follows it"
    )
    shift: Auto[Whole] = Field(0, description="pictures that are read may move by up to so many pixels")
    shift_share: Share = Field(0.3, description="share of the pictures read that move")
    stretch: bool = Field(
        False, description="pictures of other sizes take the place of one of data.size: `--size` draws them"
    )
    long: Auto[Long | None] = Field(
        None,
        description="captions that do not fit into train.length with their picture; default: an error before "
        "the first step, and left out and reported in a stream",
    )
    stream: Streaming | None = Field(
        None, description="read the source while training: true, or settings of its own"
    )

    @model_validator(mode="after")
    def _mix_fits(self) -> "Data":
        if self.mix and self.stream:
            raise ValueError("data.mix cannot be combined with data.stream; allowed: one of them")
        for name in self.mix:
            if name == self.set or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(
                    f"data.mix names '{name}'; allowed: names of prepared sets other than data.set"
                )
        if sum(self.mix.values()) >= 1:
            raise ValueError(
                f"the shares of data.mix sum to {sum(self.mix.values()):g}; allowed: less than 1, the rest "
                f"is '{self.set}'"
            )
        return self


class TextTokenizer(Settings):
    """How text becomes tokens. `text_tokenizer: bpe` is short for its kind."""

    kind: Auto[Literal["bytes", "bpe"]] = Field(
        "bytes", description="bpe: pieces of bytes, learned from the captions of the set"
    )
    vocabulary: Auto[Vocabulary] = Field(
        4096, description="bpe: tokens in all; 260 are bytes and special tokens"
    )

    @property
    def size(self) -> int:
        """Tokens that the model knows."""
        return VOCABULARY if self.kind == "bytes" else self.vocabulary
