"""Many clients that keep their connections and compare every byte; half of them speak TLS."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from tests.support.load import Ask, make_asks
from tests.support.tls_wire import client_context

TcpAddress = tuple[str, int]
# How a request can fail. `404` stands for itself, because what is there is never "not there".
Kind = Literal["refused", "cut", "late", "503", "404", "other status", "other bytes"]

PATIENCE_S = 8.0  # without a byte
_MOST_PAUSE_S = 0.1
_LEAVES = 0.1  # how often a client comes back on a new connection
_LIMIT_BYTES = 1 << 20
_OF_STATUS: Mapping[bytes, Kind] = {b"503": "503", b"404": "404"}


class Failure(NamedTuple):
    """A request that failed: when it was begun and given up (monotonic seconds), and how."""

    key: str
    begun: float
    ended: float
    kind: Kind
    detail: str


class RefusalError(Exception):
    """An answer, but not the one that was asked for."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind: Kind = kind


class _ClosedIdleError(Exception):
    """A kept connection ended before a byte of the answer: it is asked again (RFC 9112 9.3.1)."""


class Client:
    """One connection at a time, kept as long as the server keeps it."""

    def __init__(self, address: TcpAddress, tls: ssl.SSLContext | None = None) -> None:
        self._address, self._tls = address, tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, wanted: Ask) -> Failure | None:
        """Ask once, and once more where a kept connection had ended; returns how it failed."""
        begun = time.monotonic()
        try:
            try:
                await self._attempt(wanted)
            except _ClosedIdleError:
                await self._attempt(wanted)
        except RefusalError as refusal:
            return self._fail(wanted, begun, refusal.kind, str(refusal))
        except TimeoutError:
            return self._fail(wanted, begun, "late", f"no byte in {PATIENCE_S:g} s")
        except ConnectionRefusedError as error:
            return self._fail(wanted, begun, "refused", repr(error))
        except (OSError, EOFError, ValueError, _ClosedIdleError) as error:
            return self._fail(wanted, begun, "cut", repr(error))
        return None

    def _fail(self, wanted: Ask, begun: float, kind: Kind, detail: str) -> Failure:
        self.close()
        return Failure(wanted.key, begun, time.monotonic(), kind, detail)

    async def _attempt(self, wanted: Ask) -> None:
        is_kept = self._streams is not None
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await self._connect()
        writer.write(wanted.head)
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError) as error:
            self.close()
            if is_kept and not getattr(error, "partial", b""):
                raise _ClosedIdleError from error
            raise
        await self._read(wanted, reader, head)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            name = "a.example" if self._tls is not None else None
            self._streams = await asyncio.open_connection(
                *self._address, limit=_LIMIT_BYTES, ssl=self._tls, server_hostname=name
            )
        return self._streams

    async def _read(self, wanted: Ask, reader: asyncio.StreamReader, head: bytes) -> None:
        status, *lines = head[:-4].split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        left = int(fields[b"content-length"])
        pieces = []
        while left:
            async with asyncio.timeout(PATIENCE_S):
                piece = await reader.read(left)
            if not piece:
                raise EOFError(f"{left} bytes are missing")
            pieces.append(piece)
            left -= len(piece)
        if fields.get(b"connection") == b"close":
            self.close()
        code = status.split(b" ")[1]
        if code != b"206":
            raise RefusalError(_OF_STATUS.get(code, "other status"), status.decode("latin-1"))
        if b"".join(pieces) != wanted.content:
            raise RefusalError("other bytes", f"{sum(map(len, pieces))} bytes from {wanted.start}")

    def close(self) -> None:
        """Go, with what is unread."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


class Crowd:
    """The clients, in a thread of their own; what they saw is read while they go on."""

    def __init__(
        self,
        plain: TcpAddress,
        tls: TcpAddress,
        objects: Mapping[str, bytes],
        count: int,
        seed: int,
    ) -> None:
        self.answered = 0
        self.failures: list[Failure] = []
        context = client_context()
        context.set_alpn_protocols(["http/1.1"])
        self._clients = [
            Client(tls, context) if number % 2 else Client(plain) for number in range(count)
        ]
        self._asks = make_asks(objects)
        self._seed = seed
        self._is_over = threading.Event()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(self._clients):
                chance = random.Random(f"{self._seed} client {number}")
                group.create_task(self._keep_asking(client, chance, self._asks))

    async def _keep_asking(
        self, client: Client, chance: random.Random, asks: Sequence[Ask]
    ) -> None:
        while not self._is_over.is_set():
            failure = await client.ask(chance.choice(asks))
            if failure is None:
                self.answered += 1
            else:
                self.failures.append(failure)
            if chance.random() < _LEAVES:
                client.close()
            await asyncio.sleep(chance.uniform(0, _MOST_PAUSE_S))
        client.close()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While the block runs."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()


def probe(address: TcpAddress, tls: bool, asks: Sequence[Ask]) -> list[Failure]:
    """Ask for each once, on connections of their own, all at once: is all well?"""

    async def ask_all() -> list[Failure]:
        context = client_context() if tls else None
        if context is not None:
            context.set_alpn_protocols(["http/1.1"])
        clients = [Client(address, context) for _ in asks]
        found = await asyncio.gather(*map(Client.ask, clients, asks))
        for client in clients:
            client.close()
        return [failure for failure in found if failure is not None]

    return asyncio.run(ask_all())
