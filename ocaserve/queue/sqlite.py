"""The engine in a file: SQLite with a write-ahead log, for one machine.

Several processes may use the file. What was taken outlives any of them; whether it outlives the
power is `?synchronous=full` in the URL, which waits for the disk at each commit. Due is what the
machine's clock says.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TypeVar

from ocaserve.queue import statements
from ocaserve.queue.bells import Bells
from ocaserve.queue.committing import Committer
from ocaserve.queue.model import (
    FIRST_HOLD_S,
    Acked,
    Bounds,
    Delivery,
    Kept,
    Message,
    QueueUnavailableError,
    Refused,
    Sizes,
    check_bodies,
)
from ocaserve.queue.states import MessageState

_log = logging.getLogger(__name__)

_SCHEMA = (resources.files("ocaserve.queue") / "schema.sql").read_text()
_VERSION = 2
_AGAIN_S = 0.01
_BUSY_S = 10.0  # another process has the file for as long as its transaction takes
_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 8_000  # 32 MB of log: a page that is written again meanwhile is copied once
_LOOK_AGAIN_S = 5.0  # a bell that was lost costs so long at the most

Result = TypeVar("Result")


class SqliteQueues:
    """All queues of one file. Implements `contract.Queues`.

    file: made if its folder is there. synchronous: "normal" or "full".
    """

    def __init__(
        self,
        file: Path,
        bounds: Bounds,
        *,
        synchronous: str = "normal",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._committer = Committer("queue", partial(_open, file, synchronous))
        self._folder = file.with_name(f"{file.name}-bells")
        self._bells: Bells | None = None

    async def _do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            return await self._committer.do(work)
        except (sqlite3.Error, OSError) as error:
            raise QueueUnavailableError(f"the queue's database: {error}") from error

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _find_bells(self) -> Bells:
        if self._bells is None:
            try:
                self._bells = Bells(self._folder)
            except OSError as error:
                raise QueueUnavailableError(f"{self._folder}: {error.strerror}") from error
        return self._bells

    def _ring(self, queue: str) -> None:
        self._find_bells().ring(queue)

    async def names(self) -> list[str]:
        return await self._do(statements.list_names)

    async def push(self, queue: str, messages: Sequence[Message]) -> list[str]:
        return await self._push(queue, messages, must_be_new=True)

    async def ensure(self, queue: str, messages: Sequence[Message]) -> list[str]:
        return await self._push(queue, messages, must_be_new=False)

    async def _push(
        self, queue: str, messages: Sequence[Message], *, must_be_new: bool
    ) -> list[str]:
        check_bodies(messages, self._bounds)
        ids = await self._do(
            lambda db: statements.push(
                db, queue, messages, self._bounds, self._now(), must_be_new=must_be_new
            )
        )
        self._ring(queue)
        return ids

    async def pop(
        self, queue: str, n: int = 1, *, wait_s: float = 0.0, hold_s: float = FIRST_HOLD_S
    ) -> list[Delivery]:
        take = partial(self._take, queue, n, round(hold_s * 1000))
        found = await self._do(take)
        if found or wait_s <= 0:
            return found
        return await self._wait_and_pop(queue, take, wait_s)

    def _take(self, queue: str, n: int, hold_ms: int, db: sqlite3.Connection) -> list[Delivery]:
        return statements.pop(db, queue, n, hold_ms, self._now())

    async def _wait_and_pop(
        self, queue: str, take: Callable[[sqlite3.Connection], list[Delivery]], wait_s: float
    ) -> list[Delivery]:
        bells = self._find_bells()
        bell = bells.listen(queue)
        give_up = asyncio.get_running_loop().time() + wait_s
        try:
            while True:
                found, next_at = await self._do(
                    lambda db: (take(db), statements.next_change(db, queue))
                )
                left = give_up - asyncio.get_running_loop().time()
                if found or left <= 0:
                    return found
                due = _LOOK_AGAIN_S if next_at is None else max(0.0, next_at / 1000 - self._clock())
                # A millisecond is the engine's grain: never look just before something is due.
                await bells.wait(queue, bell, min(left, due + 0.001, _LOOK_AGAIN_S))
        finally:
            bells.leave(queue, bell)

    async def ack(self, queue: str, receipts: Sequence[str]) -> Acked:
        return await self._do(lambda db: statements.ack(db, queue, receipts))

    async def extend(self, queue: str, receipt: str, hold_s: float) -> Refused | None:
        hold_ms = round(hold_s * 1000)
        return await self._do(
            lambda db: statements.extend(db, queue, receipt, self._now() + hold_ms)
        )

    async def release(
        self, queue: str, receipt: str, *, delay_s: float = 0.0, reason: str = ""
    ) -> Refused | None:
        delay_ms = round(delay_s * 1000)
        refused = await self._do(
            lambda db: statements.release(db, queue, receipt, delay_ms, reason, self._now())
        )
        self._ring(queue)
        return refused

    async def bury(self, queue: str, receipt: str, reason: str) -> Refused | None:
        return await self._do(lambda db: statements.bury(db, queue, receipt, reason, self._now()))

    async def kick(self, queue: str, n: int) -> int:
        kicked = await self._do(lambda db: statements.kick(db, queue, n, self._now()))
        self._ring(queue)
        return kicked

    async def kick_one(self, queue: str, message_id: str) -> None:
        await self._do(lambda db: statements.kick_one(db, queue, message_id, self._now()))
        self._ring(queue)

    async def retime(self, queue: str, message_id: str, delay_s: float) -> None:
        delay_ms = round(delay_s * 1000)
        await self._do(lambda db: statements.retime(db, queue, message_id, delay_ms, self._now()))
        self._ring(queue)

    async def remove(self, queue: str, message_id: str) -> None:
        await self._do(lambda db: statements.remove(db, queue, message_id))

    async def peek(self, queue: str, state: MessageState, n: int = 1) -> list[Kept]:
        return await self._do(lambda db: statements.peek(db, queue, state, n, self._now()))

    async def sizes(self, queue: str) -> Sizes:
        shard = await self._do(lambda db: statements.sizes(db, queue, self._now()))
        return Sizes.of([] if shard is None else [shard])

    async def close(self) -> None:
        if self._bells is not None:
            self._bells.close()
            self._bells = None
        await self._committer.close()


def _open(file: Path, synchronous: str) -> sqlite3.Connection:
    """Raises sqlite3.Error, OSError. What is no database any more is put aside.

    The queue holds intentions, which those who have them can push again: better an empty one than
    none.
    """
    try:
        return _connect(file, synchronous)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # busy, full, not to be opened: no damage
            raise
        aside = file.with_name(f"{file.name}.damaged-{time.time_ns():x}")
        _log.error("queue: %s is damaged (%s); it is put aside as %s", file, error, aside.name)
        file.rename(aside)
        for ending in ("-wal", "-shm"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
        return _connect(file, synchronous)


def _connect(file: Path, synchronous: str) -> sqlite3.Connection:
    # Transactions are begun by hand: the library's own would begin them at a write, too late.
    db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(db)
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        _make_tables(db, file)
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection) -> None:
    """Of several that change the mode of a new file, SQLite refuses all but one, without waiting:
    each has it open for reading, and none would let go.
    """
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _make_tables(db: sqlite3.Connection, file: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < _VERSION:  # 1 had an index more
        db.executescript(_SCHEMA)
    elif version != _VERSION:
        raise OSError(0, f"{file} is a queue of version {version}; this program reads {_VERSION}")
