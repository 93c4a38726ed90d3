"""The control process's end of its channel to the supervisor."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

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
        on_order: Callable[[dict[str, Any]], None],
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
                on_order(json.loads(message))
            else:
                loop.remove_reader(self._channel)
                on_end()

        loop.add_reader(self._channel, hear)
        if self._waiting:
            loop.add_writer(self._channel, self._send_waiting)

    def tell_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say that we are, and give signs of life from now on."""

        def beat() -> None:
            self._say({"is": "beat"})
            loop.call_later(_BEAT_S, beat)

        self._say({"is": "ready"})
        beat()

    def note(self, name: str, value: object) -> None:
        """What our successor shall find in its notes, also one of a new version.

        64 KiB at most, and all notes together 128 KiB: they become a variable of the environment.
        """
        self._say({"is": "noting", "name": name, "value": value})

    def order_workers(self, name: str, order: dict[str, Any]) -> None:
        """An order for every worker, also those to come; the last one of a name counts."""
        self._say({"is": "ordering", "name": name, "order": order})

    def ask(self, what: str) -> None:
        """`reload` or `reopen_logs`: what the signal of that name does."""
        self._say({"is": "asking", "what": what})

    def _say(self, message: dict[str, Any]) -> None:
        said = json.dumps(message, ensure_ascii=False).encode()
        if len(said) > _MOST_SAID_BYTES:
            raise ValueError(f"{message['is']} {message.get('name', '')}: {len(said)} bytes")
        if self._waiting or not self._send(said):
            self._wait((message["is"], message.get("name") or message.get("what", "")), said)

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
