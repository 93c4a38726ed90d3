"""Accepting: what is admitted, from where, and what happens without descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from ocaserve.serving.listener import Acceptor, address_text


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    sockets = []
    for _ in range(2):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        sockets.append(sock)
    yield sockets
    for sock in sockets:
        sock.close()


class Admitted:
    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.errors = 0
        self.changed = asyncio.Event()

    def admit(self, sock: socket.socket, address: bytes, _place: int) -> None:
        assert address == b"127.0.0.1"
        assert sock.getblocking() is False
        self.sockets.append(sock)
        self.changed.set()

    def count_error(self) -> None:
        self.errors += 1
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.sockets) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 5)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        pytest.param(("192.0.2.1", 5), b"192.0.2.1", id="ipv4"),
        pytest.param(("2001:db8::1", 5, 0, 0), b"2001:db8::1", id="ipv6"),
        pytest.param(("::ffff:192.0.2.1", 5, 0, 0), b"192.0.2.1", id="mapped"),
        pytest.param("", b"unix", id="local"),
    ],
)
def test_address_text(peer: object, text: bytes) -> None:
    assert address_text(peer) == text


async def test_all_of_a_burst_are_accepted(listeners: list[socket.socket]) -> None:
    admitted = Admitted()
    acceptor = Acceptor(asyncio.get_running_loop(), listeners, admitted.admit, admitted.count_error)
    acceptor.accept_from([0])
    clients = [socket.create_connection(listeners[0].getsockname()) for _ in range(30)]
    await admitted.until(30)
    acceptor.accept_from([])
    for client in clients:
        client.close()
    admitted.close()


async def test_only_the_named_listeners_are_accepted_from(listeners: list[socket.socket]) -> None:
    admitted = Admitted()
    acceptor = Acceptor(asyncio.get_running_loop(), listeners, admitted.admit, admitted.count_error)
    acceptor.accept_from([0])
    with (
        socket.create_connection(listeners[1].getsockname()),
        socket.create_connection(listeners[0].getsockname()) as first,
    ):
        await admitted.until(1)
        assert admitted.sockets[0].getpeername() == first.getsockname()
        acceptor.accept_from([1])
        await admitted.until(2)
    acceptor.accept_from([])
    admitted.close()


async def test_accepting_pauses_without_descriptors_and_goes_on(
    listeners: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """With the next tick; what is short is said once, and that it is over."""
    caplog.set_level("INFO")
    admitted = Admitted()
    acceptor = Acceptor(asyncio.get_running_loop(), listeners, admitted.admit, admitted.count_error)
    with socket.create_connection(listeners[0].getsockname()):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            acceptor.accept_from([0])
            while not admitted.errors:
                await asyncio.wait_for(admitted.changed.wait(), 5)
            acceptor.tick_once()
            await asyncio.sleep(0)
            assert admitted.sockets == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        acceptor.tick_once()
        await admitted.until(1)
    assert admitted.errors >= 1
    acceptor.tick_once()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for _ in range(10):  # it is over when it has not come back for a while
        acceptor.tick_once()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    acceptor.accept_from([])
    admitted.close()


async def test_what_memory_was_short_for_is_done_later(
    listeners: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was short: no listener is forgotten."""
    loop, admitted = asyncio.get_running_loop(), Admitted()
    acceptor = Acceptor(loop, listeners, admitted.admit, admitted.count_error)
    acceptor.accept_from([0, 1])
    with monkeypatch.context() as short:
        for name in ("add_reader", "remove_reader", "call_later", "call_at"):
            short.setattr(loop, name, Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            acceptor._pause(OSError(errno.ENOMEM, "Cannot allocate memory"))
    acceptor.tick_once()
    acceptor._pause(OSError(errno.ENOMEM, "Cannot allocate memory"))
    with monkeypatch.context() as short:
        short.setattr(loop, "add_reader", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            acceptor.tick_once()
    acceptor.tick_once()
    clients = [socket.create_connection(sock.getsockname()) for sock in listeners]
    await admitted.until(2)
    acceptor.accept_from([])
    for client in clients:
        client.close()
    admitted.close()


async def test_closed_listener_refuses(listeners: list[socket.socket]) -> None:
    address = listeners[0].getsockname()
    admitted = Admitted()
    acceptor = Acceptor(asyncio.get_running_loop(), listeners, admitted.admit, admitted.count_error)
    acceptor.accept_from([0])
    acceptor.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


async def test_clients_in_the_queue_are_accepted_before_closing(
    listeners: list[socket.socket],
) -> None:
    """Also in that of a listener that another worker looked at."""
    admitted = Admitted()
    acceptor = Acceptor(asyncio.get_running_loop(), listeners, admitted.admit, admitted.count_error)
    acceptor.accept_from([0])
    clients = [
        socket.create_connection(sock.getsockname()) for sock in listeners for _ in range(20)
    ]
    acceptor.close()
    assert len(admitted.sockets) == 40
    for client in clients:
        client.close()
    admitted.close()


async def test_error_that_nobody_expected_is_not_met_without_end() -> None:
    """As with all that would come back at once, accepting pauses."""

    class Broken:
        def accept(self) -> None:
            raise OSError(errno.EBADF, "Bad file descriptor")

    admitted = Admitted()
    acceptor = Acceptor(asyncio.get_running_loop(), [], admitted.admit, admitted.count_error)
    acceptor._on_readable(Broken(), 0)  # type: ignore[arg-type]
    assert admitted.errors == 1
    assert acceptor._paused
