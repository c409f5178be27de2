"""Names in a tar file, at a tenth of the time that tarfile takes: by the headers alone, which nothing checks.

Whoever reads the members checks them. Format: POSIX.1-1988 ("ustar"), blocks of 512 bytes."""

import mmap
import os
from typing import BinaryIO

BLOCK = 512
NOTHING = bytes(BLOCK)


def plain_names(file: BinaryIO) -> list[str] | None:
    """Names of the plain files of an uncompressed tar file on disk, as tarfile gives them; None where it has
    anything but plain files and folders with short names: tarfile must then be asked."""
    names, at = [], 0
    if os.fstat(file.fileno()).st_size < BLOCK:
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while at + BLOCK <= len(data):
            header = data[at : at + BLOCK]
            at += BLOCK
            if header == NOTHING:  # the end, or what stands before another archive that is joined to it
                continue
            kind, size = header[156:157], header[124:136].strip(b"\0 ")
            if kind not in (b"0", b"\0", b"5") or not size or size.strip(b"01234567"):
                return None
            parts = (header[345:500].partition(b"\0")[0], header[:100].partition(b"\0")[0])
            name = b"/".join(filter(None, parts)).decode("utf-8", "surrogateescape")
            if name.endswith("/") and kind == b"0":
                return None
            if kind != b"5" and not name.endswith("/"):
                names.append(name)
                at += -(-int(size, 8) // BLOCK) * BLOCK
    return names
