"""Months as files of SQLite in a folder."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ocaserve.bills.months import Month
from ocaserve.bills.vault import SCHEMA, LedgerUnavailableError, MonthTables, Row

_BUSY_S = 30.0  # while another process writes
_CACHE_KIB = 64 << 10
_CHECKPOINT_PAGES = 8_192  # 32 MB of changes before they are moved into the file
_VERSION = 1
_NOTES = "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL)"


class SqliteTables:
    """`MonthTables` over a connection in whose transaction they are used."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def ask(self, statement: str, *values: Any) -> list[Row]:
        return self._database.execute(statement, values).fetchall()

    def stream(self, statement: str, *values: Any) -> Iterator[Row]:
        return iter(self._database.execute(statement, values))

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        self._database.executemany(statement, rows)

    def append(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            places = ", ".join("?" * len(rows[0]))
            self.run_many(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608 - our own


class SqliteVault:
    """A `Vault` below a folder, which is made. Connections that write are kept open."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite://{folder}"
        self._folder = folder
        self._writers: dict[Month, sqlite3.Connection] = {}
        self._writing = threading.Lock()

    def _file(self, month: Month) -> Path:
        return self._folder / f"{month.name}.db"

    def months(self) -> list[Month]:
        with _told(self._folder):
            names = os.listdir(self._folder) if self._folder.exists() else []
        found = []
        for name in names:
            with suppress(ValueError):
                if name.endswith(".db"):
                    found.append(Month.parse(name.removesuffix(".db")))
        return sorted(found)

    @contextmanager
    def writing(self, month: Month) -> Iterator[MonthTables]:
        with self._turn(), _told(self._file(month)):
            database = self._writers.get(month)
            if database is None:
                database = self._writers[month] = self._open(month)
            with _transaction(database):
                if not database.execute("PRAGMA user_version").fetchone()[0]:
                    _make_tables(database)
                yield SqliteTables(database)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Among the threads of this process, and among processes, over all months."""
        with self._writing:
            with _told(self._folder):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                os.close(lock)

    def _open(self, month: Month) -> sqlite3.Connection:
        file = self._file(month)
        database = _connect(file)
        try:
            os.chmod(file, 0o600)
            _check_version(database)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def reading(self, month: Month) -> Iterator[MonthTables | None]:
        file = self._file(month)
        if not file.exists():
            yield None
            return
        with _told(file), closing(_connect(file)) as database:
            database.execute("PRAGMA query_only = ON")
            database.execute("BEGIN")
            is_made = database.execute("PRAGMA user_version").fetchone()[0]
            yield SqliteTables(database) if is_made else None

    def discard(self, month: Month) -> None:
        with self._turn(), _told(self._file(month)):
            if month in self._writers:
                self._writers.pop(month).close()
            for ending in ("", "-wal", "-shm"):
                self._file(month).with_name(f"{month.name}.db{ending}").unlink(missing_ok=True)

    def read_note(self, name: str) -> str:
        file = self._folder / "notes.sqlite"
        if not file.exists():
            return ""
        with _told(file), closing(_connect(file)) as database:
            database.execute(_NOTES)
            rows = database.execute("SELECT text FROM notes WHERE name = ?", (name,)).fetchall()
        return rows[0][0] if rows else ""

    def write_note(self, name: str, text: str) -> None:
        file = self._folder / "notes.sqlite"
        with (
            self._turn(),
            _told(file),
            closing(_connect(file)) as database,
            _transaction(database),
        ):
            database.execute(_NOTES)
            database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    def close(self) -> None:
        with self._writing:
            while self._writers:
                self._writers.popitem()[1].close()


def _connect(file: Path) -> sqlite3.Connection:
    # Transactions are begun by hand: the library's own would begin them at a write, too late.
    database = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # what an appliance was told is held is so
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    except BaseException:
        database.close()
        raise
    return database


def _check_version(database: sqlite3.Connection) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _VERSION):
        raise sqlite3.DatabaseError(f"it is of version {version}, not {_VERSION}")


def _make_tables(database: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):  # `executescript` would end the transaction
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {_VERSION}")


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk has ended it already
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnavailableError(f"the ledger's {place}: {error}") from error
