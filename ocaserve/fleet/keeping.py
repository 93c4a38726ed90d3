"""What was reported, in a SQLite file, so that a restart answers at once.

The file is a copy of what is in memory, some seconds old. Where it cannot be read, it is put aside
and begun anew; where it cannot be written, the control plane goes on without.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ocaserve.fleet.kept_atlas import KeptAtlas
from ocaserve.fleet.kept_tables import decode_table, encode_table
from ocaserve.fleet.pushed_documents import (
    CapacityRow,
    Copy,
    HealthRow,
    HeldObjects,
    PlaceRow,
    judge_place,
)
from ocaserve.fleet.tables import Table, Tables
from ocaserve.fleet.turn_up import TurnUp

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS appliances (
    id TEXT PRIMARY KEY, heard_at REAL NOT NULL, digest TEXT NOT NULL, known BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS drains (id TEXT PRIMARY KEY, reason TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tables (digest TEXT PRIMARY KEY, routes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS listening (until REAL NOT NULL);
"""
_VERSION = 2


class KeptAppliance(NamedTuple):
    """An appliance. heard_at: seconds since the epoch."""

    copy: Copy
    heard_at: float


class KeptDrain(NamedTuple):
    """Which appliance clients are kept from, why, and since when, in seconds since the epoch."""

    appliance: str
    reason: str
    since: float


class Kept(NamedTuple):
    """All of it. until: when there was still somebody to hear appliances, in seconds since the
    epoch; None where that is not known.
    """

    appliances: list[KeptAppliance]
    drains: list[KeptDrain]
    until: float | None = None


class _Known(Struct, frozen=True, kw_only=True):
    """What is known of an appliance beside its table."""

    site: str
    session: str
    serial: int
    place: PlaceRow
    health: HealthRow
    capacity: CapacityRow
    ended: tuple[str, ...]
    objects: HeldObjects | None = None
    is_complete: bool = True
    turn_up: TurnUp = TurnUp.IN_SERVICE  # what was kept before there was a gate took clients


class Keeper:
    """One file, and `atlas` beside it. Its calls wait for the disk: they are for a thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.atlas = KeptAtlas(file.with_name(f"{file.stem}-atlas"))

    def load(self, tables: Tables) -> Kept:
        """All that is kept. A file that cannot be understood is put aside, and said so."""
        try:
            with closing(self._open()) as connection:
                drains = connection.execute("SELECT id, reason, since FROM drains").fetchall()
                until = connection.execute("SELECT max(until) FROM listening").fetchone()[0]
                return Kept(
                    list(_read_all(connection, tables)),
                    [KeptDrain(*each) for each in drains],
                    until,
                )
        except (sqlite3.OperationalError, OSError) as error:
            _log.error("fleet: begins without what was kept: %s: %s", self._file, error)
            return Kept([], [])
        except (sqlite3.DatabaseError, msgspec.MsgspecError, ValueError, zlib.error) as error:
            aside = self._file.with_name(f"{self._file.name}.damaged")
            _log.error("fleet: %s is put aside as %s: %s", self._file, aside.name, error)
            for ending in ("-wal", "-shm"):
                self._file.with_name(self._file.name + ending).unlink(missing_ok=True)
            os.replace(self._file, aside)
            return Kept([], [])

    def save(self, kept: Kept, forgotten: Iterable[str]) -> list[Exception]:
        """Appliances of which more is known, all drains. Raises sqlite3.Error and OSError.

        Returns what single appliances met that could not be written; the others are.
        """
        defects: list[Exception] = []
        with closing(self._open()) as connection, connection:
            for each in kept.appliances:
                try:
                    _write(connection, each)
                except sqlite3.Error:
                    raise
                except Exception as defect:  # noqa: BLE001 - the border between appliances
                    defects.append(defect)
            connection.executemany("DELETE FROM appliances WHERE id = ?", [(i,) for i in forgotten])
            connection.execute("DELETE FROM listening")
            if kept.until is not None:
                connection.execute("INSERT INTO listening VALUES (?)", (kept.until,))
            connection.execute("DELETE FROM drains")
            connection.executemany("INSERT INTO drains VALUES (?, ?, ?)", kept.drains)
            connection.execute(
                "DELETE FROM tables WHERE digest NOT IN (SELECT digest FROM appliances)"
            )
        return defects

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=5)
        try:
            os.chmod(self._file, 0o600)
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _VERSION):
        raise sqlite3.DatabaseError(f"it is of version {version}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _read_all(connection: sqlite3.Connection, tables: Tables) -> Iterator[KeptAppliance]:
    by_digest = {
        digest: decode_table(routes, tables)
        for digest, routes in connection.execute("SELECT digest, routes FROM tables")
    }
    rows = connection.execute("SELECT id, heard_at, digest, known FROM appliances")
    for appliance, heard_at, digest, data in rows:
        if digest not in by_digest:
            continue
        try:
            copy = decode_copy(appliance, by_digest[digest], data)
        except (msgspec.MsgspecError, ValueError) as error:
            _log.error("fleet: begins without what was kept of %r: %s", appliance, error)
            continue
        yield KeptAppliance(copy, heard_at)


def decode_copy(appliance: str, table: Table, data: bytes) -> Copy:
    """From what `encode_copy` made. Raises msgspec.MsgspecError, and ValueError where its place is
    not one that a report may say.
    """
    known = msgspec.msgpack.decode(data, type=_Known)
    judge_place(known.place)
    values = {name: getattr(known, name) for name in known.__struct_fields__}
    return Copy(appliance=appliance, table=table, **values)


def encode_copy(copy: Copy) -> bytes:
    """All but its id and its table."""
    known = _Known(
        site=copy.site, session=copy.session, serial=copy.serial, place=copy.place,
        health=copy.health, capacity=copy.capacity, ended=copy.ended, objects=copy.objects,
        is_complete=copy.is_complete, turn_up=copy.turn_up,
    )  # fmt: skip
    return msgspec.msgpack.encode(known)


def _write(connection: sqlite3.Connection, kept: KeptAppliance) -> None:
    copy = kept.copy
    digest = f"{copy.table.digest:032x}"
    if not connection.execute("SELECT 1 FROM tables WHERE digest = ?", (digest,)).fetchone():
        connection.execute("INSERT INTO tables VALUES (?, ?)", (digest, encode_table(copy.table)))
    connection.execute(
        "INSERT OR REPLACE INTO appliances VALUES (?, ?, ?, ?)",
        (copy.appliance, kept.heard_at, digest, encode_copy(copy)),
    )
