"""A thread that owns a database: what is asked of it at one time is committed together.

A commit costs more than what it commits. So jobs that wait while one runs share the next
transaction; whoever asks alone gets a transaction of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

_MOST_TOGETHER = 64  # jobs of one transaction: others of the machine wait for its end


class _Job(NamedTuple):
    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Committer:
    """The thread starts with the first job.

    connect: opens the database, in the thread; what it raises is raised to who asks then.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_started = False

    async def do(self, work: Work[Result]) -> Result:
        """Run `work` in a transaction that is committed when this returns. Raises what it raises.

        Who is cancelled while it waits does not know whether it was done.
        """
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._jobs.put(_Job(work, loop, future))
        return await future

    async def close(self) -> None:
        """Do what was asked before, then end the thread."""
        if self._is_started:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        database: sqlite3.Connection | None = None
        while (job := self._jobs.get()) is not None:
            jobs, is_last = self._gather(job)
            try:
                if database is None:
                    database = self._connect()
                outcomes = _commit(database, [each.work for each in jobs])
            except Exception as error:  # noqa: BLE001 - each who waits is to be told
                outcomes = [error] * len(jobs)
            if database is not None and any(map(_is_damage, outcomes)):
                database.close()
                database = None  # opening it again decides what to do about it
            for each, outcome in zip(jobs, outcomes, strict=True):
                _answer(each, outcome)
            if is_last:
                break
        if database is not None:
            database.close()

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """What waits behind `first`, and whether the end was among it."""
        jobs = [first]
        while len(jobs) < _MOST_TOGETHER:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False


def _commit(database: sqlite3.Connection, works: list[Work[Any]]) -> list[Any]:
    """All in one transaction; where one fails, each in one of its own, so that it fails alone."""
    try:
        return _transact(database, works)
    except Exception as error:  # noqa: BLE001 - each who waits is told its own
        if len(works) == 1:
            return [error]
    return [outcome for work in works for outcome in _commit(database, [work])]


def _transact(database: sqlite3.Connection, works: list[Work[Any]]) -> list[Any]:
    database.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [work(database) for work in works]
    except BaseException:
        if database.in_transaction:  # a full disk has ended it already
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
    return outcomes


def _is_damage(outcome: Any) -> bool:
    return isinstance(outcome, sqlite3.DatabaseError) and not isinstance(
        outcome, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError
    )


def _answer(job: _Job, outcome: Any) -> None:
    def settle() -> None:
        if job.future.done():  # who waited was cancelled
            return
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    try:
        job.loop.call_soon_threadsafe(settle)
    except RuntimeError:  # its loop has ended, and with it who waited
        return
