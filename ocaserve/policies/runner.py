"""Who starts the process that runs policies, asks it, and replaces it when it dies or says nothing.

What it is asked waits in its socket, and is answered in order. So where there is no answer for
`silence_s`, it is the first question that is to blame; the process is killed, and that question
failed. The others were not asked, and nobody is blamed for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import cast

from ocaserve.policies.bundles import Bundle
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.program_messages import (
    LENGTH,
    Answer,
    Ask,
    DropProgram,
    LoadProgram,
    ProgramDone,
    ProgramFailed,
    frame,
    read_answer,
)

_log = logging.getLogger(__name__)

MISSING = "policies need a library that is not here: pip install 'ocaserve[policies]'"
_MOST_WAITING = 64  # questions: who comes after so many would be late anyway
_AGAIN_S = (0.0, 0.05, 0.2, 1.0)  # before another process, where the ones before could not be asked


def can_run_policies() -> bool:
    """Whether the language is installed."""
    return importlib.util.find_spec("starlark") is not None


class _Line(asyncio.Protocol):
    """The socket to one process. waiting: answers that are to come, in their order."""

    def __init__(self, silence_s: float) -> None:
        self.waiting: deque[asyncio.Future[Answer | None]] = deque()
        self.silence_s = silence_s
        self.is_silent = False
        self.closed = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, ask: Ask) -> asyncio.Future[Answer | None]:
        """Of a DropProgram no answer comes. Raises ValueError where it is too long."""
        assert self._transport is not None
        data = frame(ask)
        if self._transport.is_closing():
            return not_asked()
        self._transport.write(data)
        return not_asked() if isinstance(ask, DropProgram) else self.expect()

    def expect(self) -> asyncio.Future[Answer | None]:
        """One more answer."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        if self._timer is None:
            self._watch()
        return future

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._received)
            if len(self._received) < LENGTH.size + length:
                return
            record = bytes(self._received[LENGTH.size : LENGTH.size + length])
            del self._received[: LENGTH.size + length]
            self._take(read_answer(record))

    def _take(self, answer: Answer) -> None:
        future = self.waiting.popleft()
        if not future.done():
            future.set_result(answer)
        self._watch()

    def _watch(self) -> None:
        """Anew, from each answer on."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self.waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.silence_s, self._give_up)

    def _give_up(self) -> None:
        self.is_silent = True
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        why = "it takes too long, and its process was killed" if self.is_silent else (
            "its process has died: too much memory, or values nested too deeply"
        )  # fmt: skip
        first: Answer | None = ProgramFailed(why, is_overrun=True, is_lost=True)
        for future in self.waiting:
            if not future.done():
                future.set_result(first)
            first = None
        self.waiting.clear()
        if not self.closed.done():
            self.closed.set_result(None)


def not_asked() -> asyncio.Future[Answer | None]:
    """The answer to what nobody was asked."""
    future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


class PolicyRunner:
    """One process at a time. restarts: how often it was replaced. silence_s: see above."""

    def __init__(self, silence_s: float = LIMITS.silence_s) -> None:
        self.restarts = 0
        self._silence_s = silence_s
        self._bundles: dict[str, Bundle] = {}
        self._line: _Line | None = None
        self._is_wanted = asyncio.Event()
        self._is_ready = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether it can be asked now."""
        return self._line is not None and not self._line.closed.done()

    def ask(self, ask: Ask) -> asyncio.Future[Answer | None]:
        """None where it was not asked: no process is there now, or too much waits for it."""
        line = self._line
        if line is None or line.closed.done() or len(line.waiting) >= _MOST_WAITING:
            return not_asked()
        return line.send(ask)

    async def hold(self, bundles: Iterable[Bundle]) -> dict[str, str]:
        """Have these loaded, and no others. Returns what hinders it, by version; those are left."""
        wanted = {each.version: each for each in bundles}
        for version in self._bundles.keys() - wanted.keys():
            self.ask(DropProgram(version))
        fresh = [each for version, each in wanted.items() if version not in self._bundles]
        self._bundles = wanted
        if wanted:
            self.want()
        line = self._line
        return {} if line is None or line.closed.done() else await self._load(line, fresh)

    async def be_up(self, wait_s: float) -> None:
        """Until it can be asked, or this time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_ready.wait(), wait_s)

    def want(self) -> None:
        """Have a process from now on; until then there is none, which costs nothing."""
        self._is_wanted.set()

    async def _load(self, line: _Line, bundles: Iterable[Bundle]) -> dict[str, str]:
        """What cannot be loaded is not tried again."""
        loads = {
            each.version: line.send(LoadProgram(each.name, dict(each.files))) for each in bundles
        }
        faults = {}
        for version, load in loads.items():
            if isinstance(answer := await load, ProgramFailed):
                faults[version] = answer.why
                self._bundles.pop(version, None)
                _log.error(
                    "fleet: version %s of a policy cannot be loaded: %s", version, answer.why
                )
        return faults

    async def keep_running(self) -> None:
        """Start one, and another whenever it has ended, until cancelled."""
        failures = 0
        await self._is_wanted.wait()
        while True:
            was_up = await self._run_once()
            failures = 0 if was_up else failures + 1
            self.restarts += 1
            await asyncio.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])

    async def _run_once(self) -> bool:
        """Returns whether it could be asked."""
        line = _Line(LIMITS.start_s)
        ours, theirs = socket.socketpair()
        await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=ours)
        ready = line.expect()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "ocaserve.policies.process", str(theirs.fileno()),
                pass_fds=[theirs.fileno()], env={}, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        try:
            if not isinstance(await ready, ProgramDone):
                return False
            await self._load(line, list(self._bundles.values()))
            line.silence_s = self._silence_s
            self._line = line
            self._is_ready.set()
            await line.closed
        finally:
            self._line = None
            self._is_ready.clear()
            line.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return True


@contextlib.asynccontextmanager
async def running(silence_s: float = LIMITS.silence_s) -> AsyncIterator[PolicyRunner]:
    """One that is there until the block ends."""
    runner = PolicyRunner(silence_s)
    runner.want()
    task = asyncio.create_task(runner.keep_running())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.wait([task])
