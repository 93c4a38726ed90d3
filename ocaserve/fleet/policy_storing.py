"""Where the book of releases is kept, with the text of each version: a file, or a shared server.

A change is a function of the book: where another instance has changed it meanwhile, it is called
again with what is there now. A version's text is written with the release that brings it.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import redis.asyncio as redis
from redis.exceptions import RedisError

from ocaserve.fleet.shared_copies import SHARED_PREFIX
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.in_force import PolicyText
from ocaserve.policies.releases import EMPTY_BOOK, PolicyBook

T = TypeVar("T")

POLICIES_KEY = f"{SHARED_PREFIX}policies"
_BOOK, _SECRET, _SERIAL = "book", "secret", "serial"
_ANSWER_S = 3.0
_TRIES = 20
_COUNTS_S = 86_400
_SCHEMA = "CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, data BLOB NOT NULL)"

Change = Callable[[PolicyBook], PolicyBook]
"""Raises ReleaseError where it may not be; then nothing is changed."""


class PolicyStoreError(Exception):
    """It cannot be read or written now; the text says why."""


class KeptPolicies(NamedTuple):
    """secret: by which sessions are signed, the same at all instances."""

    book: PolicyBook
    texts: Mapping[str, Bundle]
    secret: bytes


class PolicyStore(Protocol):
    """Each call raises PolicyStoreError."""

    async def load(self) -> KeptPolicies: ...

    async def is_newer(self, serial: int) -> bool:
        """Whether another instance has changed the book."""
        ...

    async def change(self, change: Change, texts: Iterable[Bundle] = ()) -> PolicyBook: ...

    async def add_up(self, release: int, counts: Sequence[int]) -> list[int]:
        """The sums of all instances, of counts since the release began."""
        ...

    async def close(self) -> None: ...


def encode_text(bundle: Bundle) -> bytes:
    return msgspec.msgpack.encode(PolicyText(bundle.name, dict(bundle.files)))


def decode_text(data: bytes) -> Bundle:
    """Raises msgspec.MsgspecError."""
    text = msgspec.msgpack.decode(data, type=PolicyText)
    return Bundle(text.name, text.files)


def decode_book(data: bytes | None) -> PolicyBook:
    """Raises msgspec.MsgspecError."""
    return EMPTY_BOOK if data is None else msgspec.msgpack.decode(data, type=PolicyBook)


class MemoryPolicies:
    """In memory alone."""

    def __init__(self) -> None:
        self._kept = KeptPolicies(EMPTY_BOOK, {}, secrets.token_bytes(32))

    async def load(self) -> KeptPolicies:
        return self._kept

    async def is_newer(self, serial: int) -> bool:
        return serial != self._kept.book.serial

    async def change(self, change: Change, texts: Iterable[Bundle] = ()) -> PolicyBook:
        book = change(self._kept.book)
        known = {**self._kept.texts, **{each.version: each for each in texts}}
        kept = {version: text for version, text in known.items() if version in book.versions}
        self._kept = self._kept._replace(book=book, texts=kept)
        return book

    async def add_up(self, release: int, counts: Sequence[int]) -> list[int]:
        return list(counts)

    async def close(self) -> None:
        pass


class FilePolicies:
    """In a table of a SQLite file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def load(self) -> KeptPolicies:
        rows = await self._do(self._read_all)
        texts = {name: decode_text(data) for name, data in rows.items() if len(name) == 32}
        return KeptPolicies(decode_book(rows.get(_BOOK)), texts, rows[_SECRET])

    async def is_newer(self, serial: int) -> bool:
        return False  # nobody else writes it

    async def change(self, change: Change, texts: Iterable[Bundle] = ()) -> PolicyBook:
        fresh = {each.version: encode_text(each) for each in texts}

        def write(connection: sqlite3.Connection) -> PolicyBook:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("SELECT data FROM policies WHERE name = ?", (_BOOK,))
            row = found.fetchone()
            book = change(decode_book(row[0] if row else None))
            put = "INSERT OR REPLACE INTO policies VALUES (?, ?)"
            connection.execute(put, (_BOOK, msgspec.msgpack.encode(book)))
            connection.executemany(put, fresh.items())
            names = connection.execute("SELECT name FROM policies WHERE length(name) = 32")
            gone = [each for each in names.fetchall() if each[0] not in book.versions]
            connection.executemany("DELETE FROM policies WHERE name = ?", gone)
            return book

        return await self._do(write)

    async def add_up(self, release: int, counts: Sequence[int]) -> list[int]:
        return list(counts)

    async def close(self) -> None:
        pass

    @staticmethod
    def _read_all(connection: sqlite3.Connection) -> dict[str, bytes]:
        put = "INSERT OR IGNORE INTO policies VALUES (?, ?)"
        connection.execute(put, (_SECRET, secrets.token_bytes(32)))
        return dict(connection.execute("SELECT name, data FROM policies"))

    async def _do(self, act: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=5)) as connection, connection:
                connection.execute(_SCHEMA)
                return act(connection)

        try:
            return await asyncio.to_thread(run)
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            raise PolicyStoreError(f"{self._file}: {error}") from error


class SharedPolicies:
    """In a hash of a Valkey or Redis server, for all instances that share it.

    A server that has lost what it knew, or is back as it was before, is told the newest book that
    is known here: nobody has undone it.
    """

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S
        )
        self._instance = secrets.token_hex(6)
        self._known: KeptPolicies | None = None

    async def load(self) -> KeptPolicies:
        return await self._try(self._load)

    async def is_newer(self, serial: int) -> bool:
        async def look() -> bool:
            found = int(await self._client.hget(POLICIES_KEY, _SERIAL) or 0)
            return found != serial

        return await self._try(look)

    async def change(self, change: Change, texts: Iterable[Bundle] = ()) -> PolicyBook:
        fresh = {each.version: encode_text(each) for each in texts}

        async def write() -> PolicyBook:
            await self._load()  # or what it has lost would be lost for good
            for _ in range(_TRIES):
                async with self._client.pipeline(transaction=True) as pipeline:
                    await pipeline.watch(POLICIES_KEY)
                    book = change(decode_book(await pipeline.hget(POLICIES_KEY, _BOOK)))
                    names = await pipeline.hkeys(POLICIES_KEY)
                    pipeline.multi()
                    self._put(pipeline, book, fresh)
                    gone = [n for n in names if len(n) == 32 and n.decode() not in book.versions]
                    if gone:
                        pipeline.hdel(POLICIES_KEY, *gone)
                    try:
                        await pipeline.execute()
                    except redis.WatchError:
                        continue
                    return book
            raise PolicyStoreError("others change the releases all the time: try again")

        return await self._try(write)

    async def add_up(self, release: int, counts: Sequence[int]) -> list[int]:
        async def add() -> list[int]:
            key = f"{POLICIES_KEY}:counts:{release}"
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(key, self._instance, msgspec.msgpack.encode(list(counts)))
            pipeline.expire(key, _COUNTS_S)
            pipeline.hvals(key)
            rows = (await pipeline.execute())[-1]
            told = [msgspec.msgpack.decode(each, type=list[int]) for each in rows]
            return [sum(column) for column in zip(*told, strict=True)]

        return await self._try(add)

    async def close(self) -> None:
        await self._client.aclose()

    async def _load(self) -> KeptPolicies:
        await self._client.hsetnx(POLICIES_KEY, _SECRET, secrets.token_bytes(32))
        rows = await self._client.hgetall(POLICIES_KEY)
        book, known = decode_book(rows.get(_BOOK.encode())), self._known
        if known is not None and known.book.serial > book.serial:
            pipeline = self._client.pipeline(transaction=True)
            lost = {version: encode_text(each) for version, each in known.texts.items()}
            self._put(pipeline, known.book, lost)
            pipeline.hset(POLICIES_KEY, _SECRET, known.secret)
            await pipeline.execute()
            return known
        texts = {name.decode(): decode_text(data) for name, data in rows.items() if len(name) == 32}
        self._known = KeptPolicies(book, texts, rows[_SECRET.encode()])
        return self._known

    @staticmethod
    def _put(pipeline: Any, book: PolicyBook, texts: Mapping[str, bytes]) -> None:
        fields = {_BOOK: msgspec.msgpack.encode(book), _SERIAL: book.serial, **texts}
        pipeline.hset(POLICIES_KEY, mapping=fields)

    async def _try(self, act: Callable[[], Awaitable[T]]) -> T:
        try:
            return await act()
        except (RedisError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            raise PolicyStoreError(f"the server that instances share: {error}") from error


def choose_policy_store(url: str, file: Path | None) -> PolicyStore:
    """url: of a server that instances share; file: of this instance; without both, in memory."""
    if url:
        return SharedPolicies(url)
    return FilePolicies(file) if file else MemoryPolicies()
