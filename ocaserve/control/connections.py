"""The connections of the control address, and when each is let go of.

aiohttp answers on a connection; around it stands a `TrackedConnection` that sees what goes in and
how far what goes out has got. One look each second goes over all of them: who sends nothing or half
a head, takes no byte of an answer, or takes too long for it, is let go of, each for a reason that
is counted. A new connection always finds room, since at the limit the one that has waited longest
without a request goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple, cast

from aiohttp import web

from ocaserve.lifecycle import advance
from ocaserve.settings import Control

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LOCAL = "local"  # callers on a unix socket


class EndingRow(NamedTuple):
    label: str
    meaning: str


class Ending(Enum):
    """Why the control process has ended a connection by itself."""

    HEAD_TIMEOUT = EndingRow("head_timeout", "no whole request head within head_s")
    IDLE_TIMEOUT = EndingRow("idle_timeout", "no request within idle_s")
    STALL_TIMEOUT = EndingRow("stall_timeout", "no byte of an answer or event taken for stall_s")
    ANSWER_TIMEOUT = EndingRow("answer_timeout", "an answer took longer than answer_s")
    MADE_ROOM = EndingRow("made_room", "it waited while a new one needed its place: connections")
    ADDRESS_LIMIT = EndingRow(
        "address_limit", "likewise, of the same address: connections_per_address"
    )
    NO_ROOM = EndingRow("no_room", "it was new, and none of all could make room")

    @property
    def label(self) -> str:
        return self.value.label


class CallerPhase(Enum):
    OPENED = "opened"  # nothing was said yet
    HEAD = "head"  # a request has begun
    ANSWERING = "answering"
    STREAMING = "streaming"  # answering for as long as the reader likes
    WAITING = "waiting"  # between two requests


class CallerEvent(Enum):
    DATA = "data"
    REQUEST = "request"
    STREAM = "stream"  # the answer is an event stream
    ANSWERED = "answered"


PHASES: Mapping[tuple[CallerPhase, CallerEvent], CallerPhase] = {
    (CallerPhase.OPENED, CallerEvent.DATA): CallerPhase.HEAD,
    (CallerPhase.HEAD, CallerEvent.DATA): CallerPhase.HEAD,
    (CallerPhase.HEAD, CallerEvent.REQUEST): CallerPhase.ANSWERING,
    (CallerPhase.ANSWERING, CallerEvent.DATA): CallerPhase.ANSWERING,  # its body, or another
    (CallerPhase.ANSWERING, CallerEvent.STREAM): CallerPhase.STREAMING,
    (CallerPhase.ANSWERING, CallerEvent.ANSWERED): CallerPhase.WAITING,
    (CallerPhase.STREAMING, CallerEvent.DATA): CallerPhase.STREAMING,
    (CallerPhase.STREAMING, CallerEvent.ANSWERED): CallerPhase.WAITING,
    (CallerPhase.WAITING, CallerEvent.DATA): CallerPhase.HEAD,
    (CallerPhase.WAITING, CallerEvent.REQUEST): CallerPhase.ANSWERING,  # came with the one before
}

_BUSY = (CallerPhase.ANSWERING, CallerPhase.STREAMING)


class Watch:
    """One connection's times. Decides, and does nothing. All times are of one clock, in seconds."""

    def __init__(self, control: Control, now: float) -> None:
        self._control = control
        self.phase = CallerPhase.OPENED
        self.since = now  # when the phase began
        self._progress_at = now
        self._backlog = 0

    def happen(self, event: CallerEvent, now: float) -> None:
        """Follow the table; a phase that goes on keeps its beginning."""
        phase = advance(PHASES, self.phase, event)
        if phase is not self.phase:
            self.phase, self.since = phase, now

    def progress(self, now: float) -> None:
        """The reader has taken so much that more can be written."""
        self._progress_at = now

    @property
    def can_make_room(self) -> bool:
        """Whether nobody is kept from anything by its end."""
        return self.phase not in _BUSY and not self._backlog

    def judge(self, backlog: int, now: float) -> Ending | None:
        """Why it is to end now, if it is. backlog: bytes that wait for the reader."""
        if backlog < self._backlog or not backlog:
            self._progress_at = now
        self._backlog = backlog
        control, lasting = self._control, now - self.since
        if backlog and now - self._progress_at >= control.stall_s:
            return Ending.STALL_TIMEOUT
        if self.phase is CallerPhase.ANSWERING or (self.phase is CallerPhase.WAITING and backlog):
            return Ending.ANSWER_TIMEOUT if lasting >= control.answer_s else None
        if self.phase in (CallerPhase.OPENED, CallerPhase.HEAD):
            return Ending.HEAD_TIMEOUT if lasting >= control.head_s else None
        if self.phase is CallerPhase.WAITING:
            return Ending.IDLE_TIMEOUT if lasting >= control.idle_s else None
        return None


class TrackedConnection(asyncio.Protocol):
    """Passes all on to aiohttp's handler, and sees it. A record of `ConnectionTable`."""

    def __init__(
        self, connections: ConnectionTable, handler: web.RequestHandler, watch: Watch
    ) -> None:
        self._connections = connections
        self.handler = handler
        self.watch = watch
        self.address = ""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else _LOCAL
        self._connections.admit(self)
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._connections.happen(self, CallerEvent.DATA)
        self.handler.data_received(data)

    def eof_received(self) -> None:
        self.handler.eof_received()

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.watch.progress(self._connections.now())
        self.handler.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.forget(self)
        self.handler.connection_lost(exc)

    @property
    def backlog(self) -> int:
        """Bytes of answers that the reader has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def end(self) -> None:
        """At once: what was not taken is given up."""
        if self._transport is not None:
            self._transport.abort()


class ConnectionTable:
    """All of them. `ended`: by us, by reason, since the start."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._all: dict[web.RequestHandler, TrackedConnection] = {}
        self._by_address: Counter[str] = Counter()
        self.ended: Counter[Ending] = Counter()

    def now(self) -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()

    def __len__(self) -> int:
        return len(self._all)

    # -- coming and going ------------------------------------------------------------------------

    def open(self, make_handler: Callable[[], web.RequestHandler]) -> TrackedConnection:
        """The protocol of a new connection."""
        return TrackedConnection(self, make_handler(), Watch(self._control, self.now()))

    def admit(self, new: TrackedConnection) -> None:
        """Count it, and make room for it where there is none."""
        if self._by_address[new.address] >= self._control.connections_per_address:
            self._make_room(new, Ending.ADDRESS_LIMIT, new.address)
        elif len(self._all) >= self._control.connections:
            self._make_room(new, Ending.MADE_ROOM, None)
        self._all[new.handler] = new
        self._by_address[new.address] += 1

    def _make_room(self, new: TrackedConnection, ending: Ending, address: str | None) -> None:
        waiting = [
            each
            for each in self._all.values()
            if each.watch.can_make_room and address in (None, each.address)
        ]
        if waiting:
            self._end(min(waiting, key=lambda each: each.watch.since), ending)
        else:
            self._end(new, Ending.NO_ROOM)

    def _end(self, connection: TrackedConnection, ending: Ending) -> None:
        self.ended[ending] += 1
        self.forget(connection)
        connection.end()

    def forget(self, connection: TrackedConnection) -> None:
        """It is no more, or will be in a moment."""
        if self._all.pop(connection.handler, None) is not None:
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    # -- what happens on them --------------------------------------------------------------------

    def tell(self, request: web.Request, event: CallerEvent) -> None:
        """What happens with a request; of a connection that is no more it does not matter."""
        connection = self._all.get(request.protocol)
        if connection is not None:
            self.happen(connection, event)

    def happen(self, connection: TrackedConnection, event: CallerEvent) -> None:
        """Take it over into the connection's times."""
        connection.watch.happen(event, self.now())

    async def keep_looking(self) -> None:
        """Let go of what is due, each second."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    def look(self) -> None:
        """One look over all of them."""
        now = self.now()
        for connection in list(self._all.values()):
            if ending := connection.watch.judge(connection.backlog, now):
                self._end(connection, ending)
