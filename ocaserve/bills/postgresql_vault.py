"""Months as schemas of a database of PostgreSQL, which several instances of the fleet may share."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg

from ocaserve.bills.months import Month
from ocaserve.bills.vault import SCHEMA, LedgerUnavailableError, MonthTables, Row

_CONNECT_S = 10
_FETCHED = 10_000  # rows at a time of what is streamed
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
_DEFAULT_PREFIX = "ocaserve"
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class PostgresqlTables:
    """`MonthTables` over a connection whose search path is the month's schema."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection
        self._numbers = count()

    def ask(self, statement: str, *values: Any) -> list[Row]:
        cursor = self._connection.execute(_translate(statement), values)
        return cursor.fetchall() if cursor.description else []

    def stream(self, statement: str, *values: Any) -> Iterator[Row]:
        with self._connection.cursor(name=f"stream{next(self._numbers)}") as cursor:
            cursor.itersize = _FETCHED
            cursor.execute(_translate(statement), values)
            yield from cursor

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_translate(statement), rows)

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """By COPY: one statement for all rows."""
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


@lru_cache(256)
def _translate(statement: str) -> str:
    assert "%" not in statement, "it would be taken for the place of a value"
    return statement.replace("?", "%s")


class PostgresqlVault:
    """A `Vault` in schemas `PREFIX_2026_11`; the URL's own option `schema` is another PREFIX."""

    def __init__(self, url: str) -> None:
        """Raises ValueError where the option is wrong."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self._prefix = options.pop("schema", _DEFAULT_PREFIX)
        if not _PREFIX.match(self._prefix):
            raise ValueError("the option schema must be 1 to 31 of a-z 0-9 _, the first a letter")
        self._conninfo = parts._replace(query=urlencode(options)).geturl()
        shown = parts.netloc.rpartition("@")
        user = shown[0].partition(":")[0] + shown[1]
        self.url = parts._replace(netloc=user + shown[2]).geturl()
        self._writer: psycopg.Connection[Row] | None = None
        self._idle: list[psycopg.Connection[Row]] = []
        self._writing = threading.Lock()

    def _connect(self) -> psycopg.Connection[Row]:
        return psycopg.connect(self._conninfo, autocommit=True, connect_timeout=_CONNECT_S)

    def _schema(self, month: Month) -> str:
        return f"{self._prefix}_{month.name.replace('-', '_')}"

    # -- months ----------------------------------------------------------------------------------

    def months(self) -> list[Month]:
        with self._borrowed() as connection:
            rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
        found = []
        for (name,) in rows:
            if name.startswith(f"{self._prefix}_"):
                with suppress(ValueError):
                    found.append(
                        Month.parse(name.removeprefix(f"{self._prefix}_").replace("_", "-"))
                    )
        return sorted(found)

    @contextmanager
    def writing(self, month: Month) -> Iterator[MonthTables]:
        with self._turn() as connection:
            schema = self._schema(month)
            is_new = not _exists(connection, schema)
            if is_new:
                _run(connection, f"CREATE SCHEMA {schema}")
            _run(connection, f"SET LOCAL search_path TO {schema}")
            if is_new:
                _run(connection, SCHEMA)
            yield PostgresqlTables(connection)

    @contextmanager
    def reading(self, month: Month) -> Iterator[MonthTables | None]:
        with self._borrowed() as connection, connection.transaction():
            _run(connection, _SNAPSHOT)
            if not _exists(connection, self._schema(month)):
                yield None
                return
            _run(connection, f"SET LOCAL search_path TO {self._schema(month)}")
            yield PostgresqlTables(connection)

    def discard(self, month: Month) -> None:
        with self._turn() as connection:
            _run(connection, f"DROP SCHEMA IF EXISTS {self._schema(month)} CASCADE")

    # -- notes -----------------------------------------------------------------------------------

    def read_note(self, name: str) -> str:
        notes = f"{self._prefix}_notes"
        with self._borrowed() as connection:
            if not _exists(connection, notes):
                return ""
            asked = _translate(f"SELECT text FROM {notes}.notes WHERE name = ?")  # noqa: S608
            rows = connection.execute(asked, (name,)).fetchall()
        return rows[0][0] if rows else ""

    def write_note(self, name: str, text: str) -> None:
        notes = f"{self._prefix}_notes"
        with self._turn() as connection:
            _run(connection, f"CREATE SCHEMA IF NOT EXISTS {notes}")
            _run(
                connection,
                f"CREATE TABLE IF NOT EXISTS {notes}.notes "
                "(name TEXT PRIMARY KEY, text TEXT NOT NULL)",
            )
            noted = f"INSERT INTO {notes}.notes VALUES (?, ?) "  # noqa: S608 - our own name
            noted += "ON CONFLICT (name) DO UPDATE SET text = excluded.text"
            connection.execute(_translate(noted), (name, text))

    # -- connections -----------------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Iterator[psycopg.Connection[Row]]:
        """A transaction, one at a time over all who use this prefix."""
        with self._writing, self._told():
            if self._writer is None or self._writer.closed:
                self._writer = self._connect()
            connection = self._writer
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._prefix,))
                yield connection

    @contextmanager
    def _borrowed(self) -> Iterator[psycopg.Connection[Row]]:
        """A connection to read by, which goes back if nothing was wrong."""
        with self._told():
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            while self._idle:  # a server that was restarted knows none of them
                self._idle.pop().close()
            said = " ".join(str(error).split())
            raise LedgerUnavailableError(f"the ledger's {self.url}: {said}") from error

    def close(self) -> None:
        with self._writing:
            if self._writer is not None:
                self._writer.close()
            while self._idle:
                self._idle.pop().close()


def _run(connection: psycopg.Connection[Row], statement: str) -> None:
    """Statements without values, of names that are our own."""
    connection.execute(statement)


def _exists(connection: psycopg.Connection[Row], schema: str) -> bool:
    rows = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (schema,)).fetchall()
    return bool(rows[0][0])
