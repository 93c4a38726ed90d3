"""Telling peers that what they wait for can be had here: their messages are due at once.

A peer that asks at this moment has its message, and may have missed us: it is told again and again
until it has given it back, or done with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ocaserve.queue import MessageStateError, QueueError, Queues

_AGAIN_S = 2.0  # an attempt of theirs may take as long as a source is waited for,
_TIMES = 60  # and not longer than this often


class Hastener:
    """peers: ids of the appliances that share the queue's engine with us."""

    def __init__(self, queues: Queues, peers: Sequence[str], again_s: float = _AGAIN_S) -> None:
        self._queues = queues
        self._peers = peers
        self._again_s = again_s
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}

    def tell_all(self, message_id: str) -> None:
        """Have them ask for it now."""
        for peer in self._peers:
            if (peer, message_id) not in self._under_way:
                task = asyncio.create_task(self._tell(peer, message_id))
                self._under_way[peer, message_id] = task

    async def _tell(self, peer: str, message_id: str) -> None:
        try:
            for _ in range(_TIMES):
                try:
                    await self._queues.retime(f"fill.{peer}", message_id, 0)
                except MessageStateError:
                    await asyncio.sleep(self._again_s)
                except QueueError:  # it has it, or has not been told of it
                    return
                else:
                    return
        finally:
            del self._under_way[peer, message_id]
