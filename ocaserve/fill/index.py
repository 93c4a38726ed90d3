"""What is held, and what is on its way: kept over restarts in an SQLite file.

The truth is on the disks: the index is rebuilt by a walk where it is missing or damaged. All
methods may wait for the disk, and for one another. They raise OSError; where it is the database's
own it has the number 0, and is no answer of a store.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct

_log = logging.getLogger(__name__)

_SCHEMA = (resources.files("ocaserve.fill") / "index.sql").read_text()
_VERSION = 2
_WRITTEN_AT_ONCE = 5_000  # others wait meanwhile
_COLUMNS = "key, store, size, seen_ns, sha256, is_ours, since, verified"


class Row(Struct, frozen=True, kw_only=True):
    """One object of one store. since, verified (by its digest): seconds since the epoch."""

    key: str
    store: str
    size: int
    seen_ns: int
    sha256: str = ""
    is_ours: bool = False
    since: float
    verified: float | None = None


class Progress(Struct, frozen=True, kw_only=True):
    """An object on its way. done: bit n (from the lowest of the first byte) is piece n.

    boot: of which start of the machine it is. What was written before a later one may not be on
    the disk, as nothing waits for that before an object is whole.
    """

    id: str
    key: str
    store: str
    size: int
    piece_size: int
    done: bytes
    since: float
    boot: str


class Index:
    """file: made if its folder is there. One that cannot be read is put aside, and begun anew."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = _connect(file)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = file.with_name(f"{file.name}.damaged-{time.time_ns():x}")
            _log.error("fill: %s is damaged (%s); it is put aside as %s", file, error, aside.name)
            file.rename(aside)
            for ending in ("-wal", "-shm"):
                file.with_name(file.name + ending).unlink(missing_ok=True)
            self._db = _connect(file)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """For one user at a time; nothing is left half done."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise OSError(0, f"the index of fill: {error}") from error

    def _do(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        with self._database() as db:
            return db.execute(statement, values).fetchall()

    def _do_many(self, statement: str, values: Sequence[Sequence[object]]) -> None:
        for start in range(0, len(values), _WRITTEN_AT_ONCE):
            with self._database() as db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(statement, values[start : start + _WRITTEN_AT_ONCE])
                db.execute("COMMIT")

    # -- stores ----------------------------------------------------------------------------------

    def mounts(self) -> dict[str, str]:
        """Where the file system of each store was mounted when it was seen last, by store."""
        return dict(self._do("SELECT name, mount FROM store"))

    def note_mounts(self, mounts: Mapping[str, str]) -> None:
        """They are mounted so."""
        self._do_many("INSERT OR REPLACE INTO store (name, mount) VALUES (?, ?)", [*mounts.items()])

    # -- what is held ----------------------------------------------------------------------------

    def hold(self, rows: Sequence[Row]) -> None:
        """They are here now, whatever was known of them."""
        self._do_many(
            f"INSERT OR REPLACE INTO held ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [
                (
                    row.key, row.store, row.size, row.seen_ns, row.sha256, row.is_ours, row.since,
                    row.verified,
                )
                for row in rows
            ],
        )  # fmt: skip

    def drop(self, key: str, store: str) -> None:
        """It is not here any more, or not what it should be."""
        self.drop_all([key], store)

    def drop_all(self, keys: Sequence[str], store: str) -> None:
        """The same of many."""
        values = [(key, store) for key in keys]
        self._do_many("DELETE FROM held WHERE key = ? AND store = ?", values)

    def age_all(self) -> None:
        """Have all that was verified be so again."""
        self._do("UPDATE held SET verified = 0 WHERE verified IS NOT NULL")

    def find(self, key: str, store: str) -> Row | None:
        """What is known of one."""
        rows = self._do(
            f"SELECT {_COLUMNS} FROM held WHERE key = ? AND store = ?",  # noqa: S608
            (key, store),
        )
        return _row(rows[0]) if rows else None

    def find_all(self, key: str) -> list[Row]:
        """The same in every store."""
        return [
            _row(row)
            for row in self._do(f"SELECT {_COLUMNS} FROM held WHERE key = ?", (key,))  # noqa: S608
        ]

    def rows(self) -> Iterator[Row]:
        """All, by key."""
        return map(_row, self._do(f"SELECT {_COLUMNS} FROM held ORDER BY key"))  # noqa: S608

    def oldest(self, count: int) -> list[Row]:
        """Those that were verified longest ago, or never."""
        return [
            _row(row)
            for row in self._do(
                f"SELECT {_COLUMNS} FROM held ORDER BY verified LIMIT ?",  # noqa: S608
                (count,),
            )
        ]

    # -- what is on its way ----------------------------------------------------------------------

    def begin(self, progress: Progress) -> None:
        """It is being fetched."""
        self._do(
            "INSERT OR REPLACE INTO partial (id, key, store, size, piece_size, done, since, boot) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                progress.id, progress.key, progress.store, progress.size, progress.piece_size,
                progress.done, progress.since, progress.boot,
            ),
        )  # fmt: skip

    def advance(self, name: str, done: bytes) -> None:
        """More of it is there."""
        self._do("UPDATE partial SET done = ? WHERE id = ?", (done, name))

    def end(self, name: str, store: str = "") -> None:
        """It is whole, or given up; where a store is named, if it was on its way there."""
        self._do("DELETE FROM partial WHERE id = ? AND ? IN ('', store)", (name, store))

    def progress(self, name: str) -> Progress | None:
        """Of one."""
        return next(self._progress("WHERE id = ?", (name,)), None)

    def all_progress(self) -> list[Progress]:
        """Of all."""
        return list(self._progress("", ()))

    def _progress(self, where: str, values: tuple[str, ...]) -> Iterator[Progress]:
        rows = self._do(
            f"SELECT id, key, store, size, piece_size, done, since, boot FROM partial {where}",  # noqa: S608
            values,
        )
        for name, key, store, size, piece_size, done, since, boot in rows:
            yield Progress(
                id=name, key=key, store=store, size=size, piece_size=piece_size, done=done,
                since=since, boot=boot,
            )  # fmt: skip


def _row(values: tuple[str, str, int, int, str, int, float, float | None]) -> Row:
    key, store, size, seen_ns, sha256, is_ours, since, verified = values
    return Row(
        key=key, store=store, size=size, seen_ns=seen_ns, sha256=sha256, is_ours=bool(is_ours),
        since=since, verified=verified,
    )  # fmt: skip


def _connect(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _make_tables(db, file)
    except BaseException:
        db.close()
        raise
    return db


def _make_tables(db: sqlite3.Connection, file: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < _VERSION:
        db.executescript(_SCHEMA)
    elif version != _VERSION:
        raise OSError(0, f"{file} is an index of version {version}; this program reads {_VERSION}")
