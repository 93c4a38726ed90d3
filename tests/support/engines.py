"""The engine of a worker in this process, with an answerer of the test's own, and clients of it."""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from ocaserve.ledger.networks import Networks
from ocaserve.ledger.tallies import Tallies
from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.access_log import AccessLog
from ocaserve.serving.accounts import Accounts
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.backlog import Backlogs
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.connection import Connection
from ocaserve.serving.containment import Containment
from ocaserve.serving.counters import CLOSE_PLACES, COUNTERS, GAUGES, Count
from ocaserve.serving.deadlines import DeadlineWheel
from ocaserve.serving.engine import Client, Engine
from ocaserve.serving.log_lines import format_combined
from ocaserve.serving.outlet import OutletParts
from ocaserve.serving.readiness import EpollReadiness, system_readiness
from ocaserve.serving.sending import system_sender
from ocaserve.serving.stance import Stance
from ocaserve.serving.transfer import TransferTerms
from ocaserve.serving.wall_clock import Clock
from ocaserve.settings import Limits
from tests.support.streams import close

STEP_BYTES = 1 << 20
MakeAnswerer = Callable[[Engine], Answerer]


class Host:
    """An engine on the running loop. lines: of the access log. make: of the answerer."""

    def __init__(self, make: MakeAnswerer, limits: Limits | None = None) -> None:
        loop = asyncio.get_running_loop()
        limits = limits or Limits()
        self.lines: list[bytes] = []
        self._guests: list[Guest] = []
        self.gone: list[Client] = []
        self.counts = memoryview(bytearray(8 * (len(COUNTERS) + len(GAUGES)))).cast("Q")
        containment = Containment(self.counts)
        clock = Clock("combined")
        log: Any = SimpleNamespace(write=self.lines.append)
        sender = system_sender()
        self.tallies = Tallies(Networks(24, 48), 10)
        accounts = Accounts(
            self.counts, self.tallies, clock, containment, cast(AccessLog, log), format_combined
        )
        self.engine = Engine(
            loop=loop,
            limits=limits,
            policy=ResponsePolicy(),
            parser=HeadParser(),
            clock=clock,
            counts=self.counts,
            containment=containment,
            stance=Stance(limits),
            readiness=system_readiness(loop),
            wheel=DeadlineWheel(),
            accounts=accounts,
            outlets=OutletParts(sender, Backlogs(1 << 20)),
            terms=TransferTerms(
                loop, limits, self.counts, accounts.demand, containment, STEP_BYTES, 0
            ),
            on_close=self.gone.append,
        )  # fmt: skip
        self.engine.ask(make(self.engine))

    def count(self, what: Count | CloseReason) -> int:
        """A counter's value."""
        return self.counts[CLOSE_PLACES[what] if isinstance(what, CloseReason) else int(what)]

    async def connect(self, address: bytes = b"192.0.2.1") -> Guest:
        """A client that was accepted."""
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        connection = Connection(self.engine, far, address)
        guest = Guest(connection, *await asyncio.open_connection(sock=near))
        self._guests.append(guest)
        return guest

    async def close(self) -> None:
        """End all that was begun."""
        for guest in self._guests:
            guest.connection.close(CloseReason.DRAINED)
            await guest.leave()
        readiness = self.engine.readiness
        if isinstance(readiness, EpollReadiness):
            asyncio.get_running_loop().remove_reader(readiness.fileno())
            readiness.close()


class Guest:
    """A client, and its connection at the other end."""

    def __init__(self, connection: Connection, reader: StreamReader, writer: StreamWriter) -> None:
        self.connection = connection
        self._reader = reader
        self._writer = writer

    def send(self, head: str, body: bytes = b"", host: str = "a.example") -> None:
        """A request: its line and fields, without Host and Content-Length of the body."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        line, _, fields = head.partition("\n")
        fields = "".join(f"{field}\r\n" for field in fields.split("\n") if field)
        text = f"{line} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n"
        self._writer.write(text.encode() + body)

    def send_raw(self, data: bytes) -> None:
        """These bytes as they are."""
        self._writer.write(data)

    async def receive(self, *, has_body: bool = True) -> tuple[int, dict[bytes, bytes], bytes]:
        """An answer: status, fields by their names in lower case, body."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        line, *rest = head[:-4].split(b"\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (each.partition(b":") for each in rest)
        }
        length = int(fields.get(b"content-length", 0)) if has_body else 0
        return int(line.split()[1]), fields, await self._reader.readexactly(length)

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[bytes, bytes], bytes]:
        """Send a request, and receive its answer."""
        self.send(head, body)
        return await self.receive(has_body=not head.startswith("HEAD"))

    async def end(self) -> bytes:
        """What comes until the connection ends."""
        return await asyncio.wait_for(self._reader.read(), 10)

    async def leave(self) -> None:
        """Close."""
        await close(self._writer)


HostFor = Callable[..., Host]
