"""Where the feeder's lines come in: a local socket of the control process.

What the lines are is said in `bgp.feeder`. A sink gets them one by one, in time slices, so that a
million routes do not keep others of this event loop waiting; the socket is read no faster than the
sink takes the lines, and the feeder keeps what is not read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol, cast

from bgp.backlog import LineSplitter
from ocaserve.routing.exabgp import feed_socket, make_feed_folder, owner_of
from ocaserve.settings.bgp import Bgp

_log = logging.getLogger(__name__)

GONE_S = 3.0  # without a connection: a feeder that was killed is replaced within half a second
_LISTEN_AGAIN_S = 5.0
SLICE_S = 0.002  # of lines at a time; a request is answered in a few turns of the loop
_PAUSE_BYTES = 4 << 20  # not yet given to the sink, with which reading stops: a second of ExaBGP's
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # sys/un.h, FreeBSD
_XUCRED = "=2I"  # cr_version and cr_uid of sys/ucred.h, FreeBSD


class Sink(Protocol):
    """What the lines are for."""

    def apply(self, line: bytes) -> None:
        """A line without its newline: one of ExaBGP's, or of the feeder's (key "feeder").

        It must not raise for anything that stands in the line: that is a router's to say.
        """


class Feed:
    """Listens for the feeder; the newest connection counts, as there is one feeder.

    users: who may connect. on_gone: called when nobody has connected for `GONE_S` after a
    connection ended: then ExaBGP is gone too. The counters only grow.
    """

    def __init__(
        self,
        sink: Sink,
        users: Collection[int],
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_gone = on_gone
        self._going: asyncio.TimerHandle | None = None
        self._sink = sink
        self._users = frozenset(users)
        self._server: asyncio.Server | None = None
        self._link: _Link | None = None
        self.lines = 0
        self.too_long = 0
        self.refused = 0  # connections of other users
        self.connections = 0

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    @property
    def waiting_bytes(self) -> int:
        """What the sink has not taken yet."""
        return self._link.waiting_bytes if self._link is not None else 0

    async def start(self, path: Path) -> None:
        """Listen; a socket that a predecessor left there is replaced. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Link(self), path)

    async def stop(self) -> None:
        """Listen no more, and close the connection."""
        if self._server is not None:
            self._server.close()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._stop_waiting()

    def refresh(self, peer: str | None = None) -> None:
        """Have the router at this address, or all of them, send its routes again.

        Without a feeder there is nothing to do: the next one sends everything anyway.
        """
        if self._link is not None:
            order = {"order": "refresh"} | ({"peer": peer} if peer is not None else {})
            self._link.write(json.dumps(order).encode() + b"\n")

    # -- for the connection ----------------------------------------------------------------------

    def take(self, link: _Link, user: int | None) -> bool:
        """A connection has come; False if it is not the feeder's."""
        if user not in self._users:
            self.refused += 1
            _log.warning("feed: refused a connection of user %s", user)
            return False
        self.connections += 1
        self._stop_waiting()
        if self._link is not None:
            self._link.close()
        self._link = link
        return True

    def apply(self, line: bytes) -> None:
        self.lines += 1
        self._sink.apply(line)

    def lose(self, link: _Link, too_long: int) -> None:
        """A connection is at its end."""
        self.too_long += too_long
        if self._link is link:
            self._link = None
            self._stop_waiting()
            self._going = asyncio.get_running_loop().call_later(GONE_S, self._on_gone)

    def _stop_waiting(self) -> None:
        if self._going is not None:
            self._going.cancel()
            self._going = None


class _Link(asyncio.Protocol):
    """One connection: bytes in, lines to the sink, a slice of time each."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()
        self._transport: asyncio.Transport | None = None
        self._is_due = False  # a slice is scheduled
        self.waiting_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's is one, and no subclass
        if self._feed.take(self, _peer_user(stream.get_extra_info("socket"))):
            self._transport = stream
        else:
            stream.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        block = self._splitter.split(data)
        self._lines.extend(block.split(b"\n")[:-1])
        self.waiting_bytes += len(block)
        if self.waiting_bytes > _PAUSE_BYTES:
            self._transport.pause_reading()
        self._schedule()

    def _schedule(self) -> None:
        if self._lines and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._take_slice)

    def _take_slice(self) -> None:
        self._is_due = False
        end = time.monotonic() + SLICE_S
        try:
            while self._lines and time.monotonic() < end:
                line = self._lines.popleft()
                self.waiting_bytes -= len(line) + 1
                self._feed.apply(line)
        finally:  # a defect of the sink costs one line
            if self._transport is not None and self.waiting_bytes < _PAUSE_BYTES // 2:
                self._transport.resume_reading()
            self._schedule()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Drop what the sink has not taken: a newer connection tells it better."""
        self._lines.clear()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._feed.lose(self, self._splitter.too_long)


def _peer_user(sock: socket.socket) -> int | None:
    """The user at the other end, which the kernel knows; None where it does not say."""
    with socket.socket(fileno=os.dup(sock.fileno())) as real:  # uvloop's own is not a whole socket
        if sys.platform.startswith("linux"):
            data = real.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", data)[1])
        if sys.platform.startswith("freebsd"):
            data = real.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 256)
            return int(struct.unpack_from(_XUCRED, data)[1])
    return None


async def open_feed(sink: Sink, folder: Path, bgp: Bgp, on_gone: Callable[[], None]) -> Feed:
    """Listen where the feeder looks: in the folder of the running appliance. Raises OSError."""
    make_feed_folder(folder, bgp)
    owner = owner_of(bgp.user) if not os.geteuid() else None
    users = {os.geteuid()} if owner is None else {os.geteuid(), owner[0]}
    feed = Feed(sink, users, on_gone)
    path = feed_socket(folder)
    await feed.start(path)
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)  # in a folder that is ours alone
    return feed


async def open_feed_at_last(
    sink: Sink, folder: Path, bgp: Bgp, on_gone: Callable[[], None]
) -> Feed:
    """The same, tried again and again: without routes there is still an appliance to look after."""
    told = ""
    while True:
        try:
            feed = await open_feed(sink, folder, bgp, on_gone)
        except OSError as error:
            if str(error) != told:
                _log.error("routes: cannot be heard, is tried again: %s", error)
            told = str(error)
            await asyncio.sleep(_LISTEN_AGAIN_S)
        else:
            return feed
