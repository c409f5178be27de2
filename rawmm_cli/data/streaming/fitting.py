"""An item of a stream -> pixels as `rawmm prepare` would have them, with the captions that fit.

What is longer than `train.length` is found as it comes: left out, cut, or an error (`data.long`)."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...config.model import Config
from ...core.batch import BlocksOf, size
from ...core.document import Picture
from ...core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from ...system.errors import DataError, printable
from ..images import WHITE, ImageError, fit, multiple_of
from ..items import DocumentItem, Item, open_content
from ..lengths import PICTURE, REMEDY, policy
from ..rows import check_unicode

if TYPE_CHECKING:
    from ..stream import Encode

Pixels = np.ndarray | list[np.ndarray | None]  # of an item; of a document, None where a piece is text


def longer_multiple(config: Config) -> int:
    """What the longer side of whole pictures of a stream is a multiple of: as in `rawmm prepare`, or of the
    patch where that would not divide it."""
    multiple, stride = multiple_of(config.data.size), config.codec.stride
    return stride if multiple % stride else multiple


class Fitter:
    """Fits items to the settings of a run.

    report(item, entry): called for each caption that is cut or left out, and where samples are scaled by the
    bits that the file says. encode: None where no tokenizer has been learned yet. blocks: of pictures, None
    where there is no model yet; documents are not measured before there are both."""

    def __init__(self, config: Config, report: Callable[[Item | DocumentItem, dict], None]) -> None:
        self.tokens, self.takes, self.stride = config.positions, config.codec.takes, config.codec.stride
        self.size, self.crop = config.data.size, config.data.stream.crop
        self.multiple = longer_multiple(config)
        self.length, self.policy, self.report = config.train.length, policy(config), report
        self.encode: Encode | None = encode if config.text_tokenizer.kind == "bytes" else None
        self.blocks: BlocksOf | None = None
        self.rooms: dict[
            tuple[int, ...], int
        ] = {}  # height, width -> positions that it leaves to its caption

    def __call__(self, item: Item | DocumentItem) -> tuple[Item | DocumentItem, Pixels]:
        """An item with the captions that fit, and its pixels, (H, W, 3) uint8 each.

        Raises ImageError where a picture cannot be decoded, cut into patches or fit into train.length, or no
        caption of it fits, and DataError where data.long is `error`."""
        if isinstance(item, DocumentItem):
            return item, self._document(item)
        for text in item.captions:
            check_unicode(text)
        pixels = self._pixels(item, item.content)
        room = self._room(pixels)
        for text in item.captions:
            if len(text.encode()) > room:  # a token stands for a byte or more
                return self._shortened(item, room), pixels
        return item, pixels

    def _pixels(self, item: Item | DocumentItem, content: object) -> np.ndarray:
        picture = open_content(content, WHITE)
        if bits := picture.info.get("bits_used"):
            self.report(
                item, {"scaled": bits, "reason": f"its file says that samples use {bits} bits: scaled"}
            )
        return fit(picture, self.size, self.crop, False, self.multiple)

    def _room(self, pixels: np.ndarray) -> int:
        """Positions that a picture leaves to its caption. Raises ImageError where it does not fit."""
        room = self.rooms.get(pixels.shape)
        if room is None:
            height, width, _ = pixels.shape
            if not self.takes(height, width):
                raise ImageError(f"{width} x {height} pixels cannot be cut into patches of {self.stride}")
            needed = self.tokens(height, width) + PICTURE
            if needed > self.length:
                raise ImageError(f"it needs {needed} positions; train.length is {self.length}")
            room = self.rooms[pixels.shape] = self.length - needed
        return room

    def _shortened(self, item: Item, room: int) -> Item:
        """An item without the captions that are too long."""
        if self.encode is None:
            return item
        long = {}
        for number, text in enumerate(item.captions):
            if len(text.encode()) > room and (tokens := len(self.encode(text))) > room:
                needed = tokens + self.length - room
                long[number] = f"it and its caption need {needed} positions; train.length is {self.length}"
        if not long:
            return item
        first = next(iter(long.values()))
        captions = tuple(text for number, text in enumerate(item.captions) if number not in long)
        if self.policy == "error":
            raise DataError(f"picture {printable(item.name)}: {first}; {REMEDY}")
        if self.policy == "cut":
            captions = item.captions  # `stream.py` cuts their tokens
        elif not any(captions):
            raise ImageError(first)
        for number, reason in long.items():
            self.report(item, {"caption": number, "reason": reason})
        return replace(item, captions=captions)

    def _document(self, item: DocumentItem) -> list[np.ndarray | None]:
        """Pixels of the pictures of a document."""
        texts = [check_unicode(piece.text) for piece in item.pieces]
        pixels = [
            None if piece.content is None else self._pixels(item, piece.content) for piece in item.pieces
        ]
        rooms = [self._room(picture) for picture in pixels if picture is not None]
        # a drawn picture may need a clean copy behind it
        most = sum(2 * (self.length - room) for room in rooms) + sum(len(text.encode()) for text in texts)
        if most > self.length and self.encode is not None and self.blocks is not None:
            needed = self._positions(item, pixels)
            reason = f"it needs {needed} positions; train.length is {self.length}"
            if needed > self.length and self.policy == "error":
                raise DataError(f"document {printable(item.name)}: {reason}; {REMEDY}")
            if needed > self.length and self.policy == "leave out":
                raise ImageError(reason)
            if needed > self.length:  # `stream.py` cuts it
                self.report(item, {"reason": f"{reason}: cut"})
        return pixels

    def _positions(self, item: DocumentItem, pixels: list[np.ndarray | None]) -> int:
        """Positions that a document needs."""
        document = [BOS]
        for piece, picture in zip(item.pieces, pixels):
            if picture is None:
                document += self.encode(piece.text)
            else:
                shown = Picture(torch.from_numpy(picture).permute(2, 0, 1), piece.draw)
                document += [IMAGE, shown, END_IMAGE]
        return size([*document, EOS], self.blocks)
