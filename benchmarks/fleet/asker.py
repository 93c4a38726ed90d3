"""Asks over HTTP in a process of its own: what answers take is measured where nothing else is done.

The process that plays thousands of appliances holds up whatever else it does by milliseconds.
Questions and answers go through its standard input and output, each a frame of MessagePack behind
its length.

A machine that others use has everybody wait for a core, and the longer the more they need. So it is
told how long, by the scheduler's own count (`/proc/PID/schedstat`, its second number).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.fleet.wire import Caller
from benchmarks.processes import ROOT

_CONNECTIONS = 64  # to each address
_LENGTH_BYTES = 4
_LOOK_S = 1.0  # between two looks at who the threads are


class ToAsk(Struct, array_like=True):
    """by: processes of which one answers. in_s: when, from now on, so that those of one moment do
    not wait for each other.
    """

    number: int
    to: str
    path: str
    body: bytes
    by: Sequence[int]
    in_s: float


class Asked(Struct, array_like=True):
    """at: when it was asked, monotonic. took_s: until the answer. waited_s: of that, at the most,
    who asked and who answered were ready and had no core. status: 0 where no answer came.
    """

    number: int
    at: float
    took_s: float
    waited_s: float
    status: int
    body: bytes


class Asker:
    """The process, as seen from the one that has questions."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._waiting: dict[int, asyncio.Future[Asked]] = {}
        self._numbers = count()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.fleet.asker", cwd=ROOT, stdin=PIPE, stdout=PIPE,
            start_new_session=True,
        )  # fmt: skip

    async def post(
        self, to: str, path: str, body: bytes, by: Sequence[int] = (), in_s: float = 0.0
    ) -> Asked:
        """to: host:port. by, in_s: see `ToAsk`."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._process.stdin.write(_frame(ToAsk(number, to, path, body, by, in_s)))
        try:
            return await answer
        finally:
            del self._waiting[number]

    async def keep_hearing(self) -> None:
        """Until the process ends, which is before its time."""
        assert self._process is not None
        assert self._process.stdout is not None
        async for data in _frames(self._process.stdout):
            asked = msgspec.msgpack.decode(data, type=Asked)
            answer = self._waiting.get(asked.number)
            if answer is not None and not answer.done():
                answer.set_result(asked)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def _frame(what: Struct) -> bytes:
    data = msgspec.msgpack.encode(what)
    return len(data).to_bytes(_LENGTH_BYTES) + data


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(asyncio.IncompleteReadError):
        while True:
            length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
            yield await reader.readexactly(length)


# -- the process ---------------------------------------------------------------------------------


class _Waits:
    """How long processes have waited for a core until now, in seconds: all threads of each, since
    one may wait for what another holds, and those of its children, which it asks about policies.
    """

    def __init__(self) -> None:
        self._files: dict[int, list[int]] = {}
        self._looked_at = 0.0

    def of(self, pid: int) -> float:
        """0 of one that is gone."""
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._close()
        try:
            files = self._files.get(pid)
            if files is None:
                files = [os.open(each / "schedstat", os.O_RDONLY) for each in _threads_of(pid)]
                self._files[pid] = files
            return sum(int(os.pread(file, 100, 0).split()[1]) for file in files) / 1e9
        except OSError:
            return 0.0

    def _close(self) -> None:
        """Threads come and go."""
        for file in chain.from_iterable(self._files.values()):
            os.close(file)
        self._files.clear()
        self._looked_at = time.monotonic()


def _threads_of(pid: int) -> Iterator[Path]:
    """And of its children. Raises OSError."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        yield thread
        for child in (thread / "children").read_text().split():
            yield from _threads_of(int(child))


async def _ask(
    wanted: ToAsk, caller: Caller, waits: _Waits, answers: asyncio.WriteTransport
) -> None:
    await asyncio.sleep(wanted.in_s)
    own = os.getpid()
    before = [waits.of(pid) for pid in (own, *wanted.by)]
    at = time.monotonic()
    try:
        reply = await caller.post(wanted.path, wanted.body)
        status, body = reply.status, reply.body
    except (OSError, TimeoutError):
        status, body = 0, b""
    took_s = time.monotonic() - at
    here, *there = (waits.of(pid) - was for pid, was in zip((own, *wanted.by), before, strict=True))
    waited_s = min(max(here, 0.0) + max(there, default=0.0), took_s)
    asked = Asked(wanted.number, at, took_s, waited_s, status, body)
    answers.write(_frame(asked))  # never waits for who reads


async def _serve() -> None:
    reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    answers, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    callers: dict[str, Caller] = {}
    waits = _Waits()
    async with asyncio.TaskGroup() as group:
        async for data in _frames(reader):
            wanted = msgspec.msgpack.decode(data, type=ToAsk)
            caller = callers.get(wanted.to)
            if caller is None:
                caller = callers[wanted.to] = Caller(wanted.to, _CONNECTIONS)
            group.create_task(_ask(wanted, caller, waits, answers))


if __name__ == "__main__":
    uvloop.run(_serve())
