"""Many viewers, each of whom takes a stream at its own rate and no faster.

The clients are dealt into slots. Each slot has its turn once in `_TURN_S`; a client then reads what
its rate allows since its last turn. Bytes not yet read stay in the socket, so the server sees a
window that closes: a line of that rate. MSG_TRUNC lets the kernel drop the bytes uncopied.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path

from benchmarks.clients.wire import BadAnswer, ask, body_bytes, tell

_TURN_S = 0.05
_SLOTS = 10
_MOST_CREDIT_S = 1.0  # a client that starves longer than a player's patience falls below its rate
_HEAD_BYTES = 2048

_unseen = bytearray(1024 * 1024)


class Viewer:
    """One connection, which asks for one range after the other."""

    def __init__(self, port: int, bytes_per_s: float, asks: Iterator[bytes]) -> None:
        self.taken = 0
        self._asks = asks
        self._rate = bytes_per_s
        self._head = b""
        self._left = 0
        self._credit = 0.0
        self._sock = socket.create_connection(("127.0.0.1", port), 10.0)
        self._sock.setblocking(False)
        self._since = self._last = time.monotonic()
        self._sock.send(next(asks))

    def start_counting(self) -> None:
        """Measured time begins, with this client's last turn."""
        self.taken = 0
        self._since = self._last

    @property
    def share(self) -> float:
        """Of the bytes this client's rate allowed, the part that was there to be read."""
        allowed = self._rate * (self._last - self._since)
        return self.taken / allowed if allowed else 1.0

    def take(self, now: float) -> None:
        """Read what the rate allows. Raises BadAnswer, OSError."""
        earned = self._credit + self._rate * (now - self._last)
        self._credit = min(earned, self._rate * _MOST_CREDIT_S)
        self._last = now
        while self._credit >= 1 and (count := self._read()):
            self._credit -= count
            self.taken += count

    def _read(self) -> int:
        try:
            if not self._left:
                return self._read_head()
            wanted = min(self._left, int(self._credit), len(_unseen))
            count = self._sock.recv_into(_unseen, wanted, socket.MSG_TRUNC)
        except BlockingIOError:
            return 0
        if not count:
            raise BadAnswer("the connection ended inside a body")
        self._body_came(count)
        return count

    def _read_head(self) -> int:
        piece = self._sock.recv(_HEAD_BYTES)
        if not piece:
            raise BadAnswer("the connection ended before a head")
        self._head += piece
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            self._head = b""
            self._left = body_bytes(head)
            self._body_came(len(body))
        return len(piece)

    def _body_came(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._sock.send(next(self._asks))


class Audience:
    """All viewers, and the turns they take."""

    def __init__(self, port: int, clients: int, bits_per_s: float, trace: str) -> None:
        lines = [line.split() for line in Path(trace).read_text().splitlines()]
        asks = [(key, int(first), int(last)) for key, first, last in lines]
        requests = [ask(port, *asked) for asked in asks]
        chance = random.Random(clients)  # noqa: S311 - repeatable is what is wanted
        self.failures = 0
        self.viewers = []
        for _ in range(clients):
            place = chance.randrange(len(asks))
            key, first, last = asks[place]
            # The first range is cut anywhere: all asking for whole ones in step would be a burst
            # every few seconds, and nothing to be measured in between.
            begun = ask(port, key, chance.randint(first, last - _HEAD_BYTES), last)
            rest = islice(cycle(requests), place + 1, None)
            self.viewers.append(Viewer(port, bits_per_s / 8, chain((begun,), rest)))

    def watch(self, seconds: float) -> None:
        """Give each slot its turns for so long."""
        slots = [self.viewers[place::_SLOTS] for place in range(_SLOTS)]
        start = time.monotonic()
        for turn in range(int(seconds / _TURN_S * _SLOTS)):
            due = start + turn * _TURN_S / _SLOTS
            time.sleep(max(0.0, due - time.monotonic()))
            slot = slots[turn % _SLOTS]
            slot[:] = [viewer for viewer in slot if self._give_turn(viewer)]

    def _give_turn(self, viewer: Viewer) -> bool:
        """Whether this client is still there for another."""
        try:
            viewer.take(time.monotonic())
        except (BadAnswer, OSError):
            self.failures += 1
            return False
        return True


def main(
    port: int, clients: int, bits_per_s: float, trace: str, settle_s: float, seconds: float
) -> None:
    """Watch; tell the bytes taken, and of the slowest client the share of its rate."""
    audience = Audience(port, clients, bits_per_s, trace)
    audience.watch(settle_s)
    for viewer in audience.viewers:
        viewer.start_counting()
    tell("begin")
    start, cpu = time.monotonic(), time.process_time()
    audience.watch(seconds)
    elapsed = time.monotonic() - start
    shares = sorted(viewer.share for viewer in audience.viewers)
    tell(
        {
            "bytes": sum(viewer.taken for viewer in audience.viewers),
            "seconds": elapsed,
            "slowest_share": shares[0],
            "client_load": (time.process_time() - cpu) / elapsed,
            "failures": audience.failures,
        }
    )


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
