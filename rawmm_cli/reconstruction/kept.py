"""Measurements that are kept in the output folder, kept.sqlite: a command goes on where it was stopped, and a
second one has little to do.

An entry belongs to the bytes of a picture and the text on it, to a codec (the hash of its weights,
`keys.py`), to the settings of the measurement, and to the code that measures. It counts only while the files
of the reconstruction are those that were written with it. The oldest entries go where all take more than MOST
bytes. A damaged file is deleted and begun anew."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from .measure import After, Before
from .results import Measures

NAME = "kept.sqlite"
MOST = 1 << 29  # bytes
CODE = ("metrics", "reconstruction", "codecs", "core")  # rooms whose code the measurements depend on
ORIGINAL = "original"
SCHEMA = """
create table if not exists entry (key text primary key, used real, facts text, tensors blob);
create table if not exists file (path text primary key, key text);
"""


class Kept:
    """Entries of one command. codecs: key of each codec, by its word. settings: of the measurement. With no
    folder nothing is kept."""

    def __init__(self, folder: Path | None, codecs: dict[str, str], settings: dict[str, Any]) -> None:
        self.folder, self.codecs = folder, {ORIGINAL: "", **codecs}
        self.settings = json.dumps([settings, _code()], sort_keys=True)
        self.used: set[str] = set()
        self.files: dict[str, str] = {}  # path below the folder -> key of the entry that it was written with
        self.connection: sqlite3.Connection | None = None
        if folder and (folder / NAME).is_file():
            self._open()

    def before(self, picture: str | None, file: str) -> Before | None:
        """The original of a digest, if it was measured and its file is still there."""
        entry = self._get(picture, ORIGINAL, [file])
        return entry and Before(**entry[0], features=entry[1].get("features"))

    def after(self, picture: str | None, word: str, files: list[str]) -> After | None:
        """A picture after a codec, if it was measured and its files are still there."""
        entry = self._get(picture, word, files)
        if entry is None:
            return None
        facts, tensors = entry
        measures = facts.pop("measures")
        padded = measures["padded"]
        measures = Measures(**measures | {"padded": padded and tuple(padded)})
        return After(measures, **facts, codes=tensors.get("codes"), features=tensors.get("features"))

    def put(self, picture: str | None, word: str, entry: Before | After, files: list[str]) -> None:
        """Keep an original (word ORIGINAL) or a picture after a codec, whose `files` are written."""
        if picture is None or self.folder is None:
            return
        values = {each.name: getattr(entry, each.name) for each in fields(entry)}
        tensors = {name: values.pop(name) for name in ("codes", "features") if name in values}
        tensors = {name: one.contiguous() for name, one in tensors.items() if one is not None}
        facts = json.dumps({name: asdict(one) if name == "measures" else one for name, one in values.items()})
        key = self._key(picture, word)
        rows = [(file, key) for file in files]
        self._do(
            "insert or replace into entry values (?, ?, ?, ?)", [(key, time.time(), facts, save(tensors))]
        )
        self._do("insert or replace into file values (?, ?)", rows)
        self.used.add(key)

    def commit(self) -> None:
        """Write what was put."""
        if self.connection:
            with suppress(sqlite3.Error):
                self.connection.commit()

    def close(self) -> None:
        """Note what this command used, delete the oldest entries beyond MOST bytes, and close the file."""
        if self.connection is None:
            return
        now = time.time()
        self._do("update entry set used = ? where key = ?", [(now, key) for key in self.used])
        sizes = "sum(length(facts) + length(tensors)) over (order by used desc, key)"
        old = f"select key from (select key, {sizes} as total from entry) where total > ?"
        self._do(f"delete from entry where key in ({old})", [(MOST,)])
        self._do("delete from file where key not in (select key from entry)", [()])
        self.commit()
        if self.connection:
            self.connection.close()

    def _key(self, picture: str, word: str) -> str:
        return hashlib.sha256(json.dumps([picture, self.codecs[word], self.settings]).encode()).hexdigest()

    def _get(self, picture: str | None, word: str, files: list[str]) -> tuple[dict, dict[str, Tensor]] | None:
        if picture is None or self.connection is None:
            return None
        key = self._key(picture, word)
        try:
            entry = self.connection.execute(
                "select facts, tensors from entry where key = ?", [key]
            ).fetchone()
            whole = all(self.files.get(file) == key and (self.folder / file).is_file() for file in files)
            if entry is None or not whole:
                return None
            self.used.add(key)
            return json.loads(entry[0]), load(entry[1])
        except Exception:  # a damaged file may fail in any way: measure again
            return None

    def _do(self, statement: str, rows: Iterable[tuple]) -> None:
        """Change the file, which is made with the first change. Nothing more is kept where that fails."""
        if self.folder is None:
            return
        try:
            if self.connection is None:
                self._open()
            self.connection.executemany(statement, rows)
        except (sqlite3.Error, AttributeError):
            self.folder = None

    def _open(self) -> None:
        """Open the file; a damaged one is begun anew. Without a connection where that fails."""
        path = self.folder / NAME
        for _ in range(2):
            connection = sqlite3.connect(path, timeout=10)
            try:
                connection.executescript(SCHEMA)
                self.files = dict(connection.execute("select path, key from file"))
                self.connection = connection
                return
            except sqlite3.DatabaseError as error:
                connection.close()
                if isinstance(error, sqlite3.OperationalError):  # locked, or not writable
                    return
                path.unlink(missing_ok=True)


@cache
def _code() -> str:
    """Hash of the code that measures."""
    package, total = Path(__file__).parents[1], hashlib.sha256(torch.__version__.encode())
    for room in CODE:
        for file in sorted((package / room).rglob("*.py")):
            total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()
