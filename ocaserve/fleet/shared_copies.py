"""Copies of what appliances report, as they lie in the server that instances share.

A table is there once, by its digest. What of a copy is large and seldom changes (its bulk) lies by
the appliance's name. The rest is the record, which is written each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from ocaserve.fleet.kept_tables import decode_table, encode_table
from ocaserve.fleet.pushed_documents import Copy, HeldObjects
from ocaserve.fleet.tables import Table, Tables

_log = logging.getLogger(__name__)

SHARED_PREFIX = "ocaserve:fleet:"


class SharedRecord(Struct, frozen=True):
    """An appliance as it lies in the server. table, bulk: digests. heard_ms: when it was heard of,
    by the server's clock.
    """

    appliance: str
    table: str
    bulk: str
    heard_ms: int
    known: bytes


class _Bulk(Struct, frozen=True):
    """What of a copy is large, and the same in most of an appliance's reports."""

    objects: HeldObjects | None


class _KnownBulk(NamedTuple):
    digest: str
    bulk: _Bulk


class SharedCopies:
    """Writes and reads tables and bulks. tables: all that are known, by their digests.

    keep_s: for which what nobody names any more stays in the server.
    """

    def __init__(self, client: Any, tables: Tables, keep_s: int) -> None:
        self._client = client
        self._tables = tables
        self._keep_s = keep_s
        self._told_tables: set[str] = set()
        self._told_bulks: dict[str, _KnownBulk] = {}  # by appliance; as this instance wrote them
        self._bulks: dict[str, _KnownBulk] = {}  # as they were read

    def begin_anew(self, members: Collection[str]) -> None:
        """The server may have lost what it was told. members: those that are known still."""
        self._told_tables.clear()
        self._told_bulks.clear()
        self._bulks = {name: each for name, each in self._bulks.items() if name in members}

    async def find_bulk(self, record: SharedRecord) -> _Bulk:
        """Raises ValueError where the server has another one by now: that one's record follows."""
        self._told_bulks.pop(record.appliance, None)  # another instance has written its own
        known = self._bulks.get(record.appliance)
        if known is None or known.digest != record.bulk:
            data = await self._client.get(_bulk_key(record.appliance)) or b""
            digest, _, encoded = data.partition(b" ")
            if digest.decode("ascii", "replace") != record.bulk:
                raise ValueError("what belongs to it is not there")
            bulk = await asyncio.to_thread(msgspec.msgpack.decode, encoded, type=_Bulk)
            known = self._bulks[record.appliance] = _KnownBulk(record.bulk, bulk)
        return known.bulk

    async def find_table(self, record: SharedRecord) -> Table:
        """Raises ValueError where the server does not have it."""
        if (known := self._tables.get(int(record.table, 16))) is not None:
            return known
        data = await self._client.get(_table_key(record.table))
        if data is None:
            raise ValueError("its table is not there")
        return await asyncio.to_thread(decode_table, data, self._tables)

    async def keep_told(self, copies: Collection[Copy]) -> None:
        """Have what these name, and was told, kept for longer: one question for all. What the
        server has lost counts as not told.
        """
        tables = {f"{copy.table.digest:032x}" for copy in copies} & self._told_tables
        bulks = {copy.appliance for copy in copies} & self._told_bulks.keys()
        pipeline = self._client.pipeline(transaction=False)
        for digest in tables:
            pipeline.expire(_table_key(digest), self._keep_s)
        for appliance in bulks:
            pipeline.expire(_bulk_key(appliance), self._keep_s)
        found = await pipeline.execute()
        self._told_tables -= {
            digest for digest, there in zip(tables, found, strict=False) if not there
        }
        for appliance, there in zip(bulks, found[len(tables) :], strict=True):
            if not there:
                del self._told_bulks[appliance]

    async def put_table(self, pipeline: Any, table: Table) -> str:
        """Its digest. One that is told already is not told again."""
        digest = f"{table.digest:032x}"
        if digest not in self._told_tables:
            data = await asyncio.to_thread(encode_table, table)
            pipeline.set(_table_key(digest), data, ex=self._keep_s)
            self._told_tables.add(digest)
        return digest

    async def put_bulk(self, pipeline: Any, copy: Copy) -> str:
        """Likewise. Objects are replaced where they change: the same ones are equal."""
        told = self._told_bulks.get(copy.appliance)
        if told is not None and told.bulk.objects is copy.objects:
            return told.digest
        bulk = _Bulk(copy.objects)
        encode = msgspec.msgpack.encode
        data = await asyncio.to_thread(encode, bulk) if bulk.objects else encode(bulk)
        digest = blake2b(data, digest_size=16).hexdigest()
        pipeline.set(_bulk_key(copy.appliance), digest.encode() + b" " + data, ex=self._keep_s)
        self._told_bulks[copy.appliance] = _KnownBulk(digest, bulk)
        return digest


def _table_key(digest: str) -> str:
    return f"{SHARED_PREFIX}table:{digest}"


def _bulk_key(appliance: str) -> str:
    return f"{SHARED_PREFIX}bulk:{appliance}"


def read_record(data: bytes) -> SharedRecord | None:
    try:
        return msgspec.msgpack.decode(data, type=SharedRecord)
    except msgspec.MsgspecError as error:
        _log.warning("fleet: an appliance that is shared cannot be read: %s", error)
        return None
