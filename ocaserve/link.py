"""A service's end of its channel to the supervisor, in an event loop of asyncio."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Literal

import msgspec

from ocaserve.channel import (
    AskSupervisor,
    Beat,
    Fact,
    Noting,
    Order,
    Ordering,
    Ready,
    Stop,
    encode_message,
    read_order,
)

_log = logging.getLogger(__name__)

_MESSAGE_BYTES = 256 * 1024  # what is shown of a thousand workers
_MOST_SAID_BYTES = 64 * 1024  # what the supervisor takes at once
_BEAT_S = 1.0


class Link:
    """What is heard goes to `on_order`, and to `on_end` when the supervisor is gone.

    What the supervisor does not take at once waits; of one kind and name the last one counts.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[tuple[str, str], bytes] = {}
        self._taken = asyncio.Event()
        self._taken.set()
        channel.setblocking(False)

    def open(
        self,
        loop: asyncio.AbstractEventLoop,
        on_order: Callable[[Order], None],
        on_end: Callable[[], None],
    ) -> None:
        """Take orders from now on, and send what waits when the supervisor takes it."""
        self._loop = loop

        def hear() -> None:
            try:
                message = self._channel.recv(_MESSAGE_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                message = b""
            if message:
                self._pass_on(message, on_order)
            else:
                loop.remove_reader(self._channel)
                on_end()

        loop.add_reader(self._channel, hear)
        if self._waiting:
            loop.add_writer(self._channel, self._send_waiting)

    def open_until_stopped(self, loop: asyncio.AbstractEventLoop) -> asyncio.Event:
        """For who obeys one order alone: the event is set by it, and by the supervisor's end."""
        is_over = asyncio.Event()

        def obey(order: Order) -> None:
            if isinstance(order, Stop):
                is_over.set()

        self.open(loop, obey, is_over.set)
        return is_over

    def _pass_on(self, message: bytes, on_order: Callable[[Order], None]) -> None:
        try:
            order = read_order(message)
        except msgspec.DecodeError as error:
            _log.error("an order makes no sense (%s): %r", error, message[:200])
        else:
            on_order(order)

    def tell_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say that we are, and give signs of life from now on."""

        def beat() -> None:
            self._say(Beat())
            loop.call_later(_BEAT_S, beat)

        self._say(Ready())
        beat()

    def note(self, name: str, value: object) -> None:
        """What our successor shall find in its notes, also one of a new version.

        64 KiB at most, and all notes together 128 KiB: they become a variable of the environment.
        """
        self._say(Noting(name, value))

    def order_workers(self, name: str, order: Order) -> None:
        """An order for every worker, also those to come; the last one of a name counts."""
        self._say(Ordering(name, order))

    def ask(self, what: Literal["reload", "reopen_logs"]) -> None:
        """`reload` or `reopen_logs`: what the signal of that name does."""
        self._say(AskSupervisor(what))

    def _say(self, fact: Fact) -> None:
        said = encode_message(fact)
        name = getattr(fact, "name", "") or getattr(fact, "what", "")
        if len(said) > _MOST_SAID_BYTES:
            raise ValueError(f"{type(fact).__name__} {name}: {len(said)} bytes")
        if self._waiting or not self._send(said):
            self._wait((type(fact).__name__, name), said)

    def _send(self, said: bytes) -> bool:
        """False if it must wait."""
        try:
            self._channel.send(said)
        except BlockingIOError:
            return False
        except OSError:  # it is gone, which the next read tells
            return True
        return True

    def _wait(self, key: tuple[str, str], said: bytes) -> None:
        self._waiting[key] = said
        self._taken.clear()
        if self._loop is not None:
            self._loop.add_writer(self._channel, self._send_waiting)

    def _send_waiting(self) -> None:
        assert self._loop is not None
        while self._waiting:
            key, said = next(iter(self._waiting.items()))
            if not self._send(said):
                return
            del self._waiting[key]
        self._loop.remove_writer(self._channel)
        self._taken.set()

    async def flush(self) -> None:
        """Until the supervisor has taken all that was said: it outlives us then."""
        await self._taken.wait()
