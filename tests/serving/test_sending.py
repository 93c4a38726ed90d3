"""Sending a head and bytes of a file, on Linux with real sockets, for FreeBSD with a faithful fake.

The fake's rules are those of sendfile(2) of FreeBSD and of CPython's `posix_sendfile`: the count
that comes back includes the headers; nothing sent raises BlockingIOError, or OSError EBUSY where
SF_NODISKIO was asked for and a page is not in memory; a part sent is returned, whatever stopped it;
a count of 0 means "to the end of the file".
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.serving.sending import FreeBsdSender, LinuxSender, NotResident, Sender, queued_bytes

CONTENT = bytes(range(256)) * 64
HEAD = b"HTTP/1.1 206 Partial Content\r\n\r\n"


class FakeFreeBsd:
    """`os` as FreeBSD's Python has it, as far as `sendfile` goes."""

    SF_NODISKIO = 1

    def __init__(self) -> None:
        self.resident = len(CONTENT)  # bytes from the start of the file that are in memory

    def sendfile(
        self,
        out: int,
        file: int,
        offset: int,
        count: int,
        headers: list[bytes] | None = None,
        flags: int = 0,
    ) -> int:
        assert count > 0, "0 would send to the end of the file"
        heads = b"".join(headers or ())
        sock = socket.socket(fileno=os.dup(out))
        with sock:
            sent = 0
            if heads:
                sent = sock.send(heads)
                if sent < len(heads):
                    return sent
            limit = count if not flags & self.SF_NODISKIO else min(count, self.resident - offset)
            if limit <= 0:
                if sent:
                    return sent
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            body = os.pread(file, limit, offset)
            try:
                return sent + (sock.send(body) if body else 0)
            except BlockingIOError:
                if sent:
                    return sent
                raise


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "object"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                server.setblocking(False)
                yield server, client


senders = pytest.mark.parametrize(
    "sender",
    [
        pytest.param(LinuxSender(), id="linux"),
        pytest.param(FreeBsdSender(FakeFreeBsd()), id="freebsd"),
    ],
)
Pair = tuple[socket.socket, socket.socket]


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += client.recv(count - len(data))
    return data


@senders
def test_head_and_body_arrive_in_order(sender: Sender, file: int, pair: Pair) -> None:
    server, client = pair
    assert sender.send(server, HEAD, file, 100, 1000) == len(HEAD) + 1000
    assert receive(client, len(HEAD) + 1000) == HEAD + CONTENT[100:1100]


@senders
def test_body_alone(sender: Sender, file: int, pair: Pair) -> None:
    server, client = pair
    assert sender.send(server, b"", file, 0, 10) == 10
    assert receive(client, 10) == CONTENT[:10]


@senders
def test_cold_send_ignores_residency(sender: Sender, file: int, pair: Pair) -> None:
    server, client = pair
    assert sender.send_cold(server, b"", file, 5, 10) == 10
    assert receive(client, 10) == CONTENT[5:15]


@senders
def test_cold_send_of_head_and_body(sender: Sender, file: int, pair: Pair) -> None:
    server, client = pair
    assert sender.send_cold(server, HEAD, file, 5, 10) == len(HEAD) + 10
    assert receive(client, len(HEAD) + 10) == HEAD + CONTENT[5:15]


@senders
def test_cold_send_that_cannot_read_sends_no_head(sender: Sender, pair: Pair) -> None:
    server, client = pair
    folder = os.open("/", os.O_RDONLY)
    with pytest.raises(OSError):  # noqa: PT011 - which error differs between the systems
        sender.send_cold(server, HEAD, folder, 0, 10)
    os.close(folder)
    server.close()
    assert client.recv(1) == b""


@senders
def test_file_that_ends_early_takes_nothing(sender: Sender, file: int, pair: Pair) -> None:
    server, _ = pair
    assert sender.send_cold(server, b"", file, len(CONTENT), 10) == 0


@senders
def test_full_socket_raises_when_nothing_was_taken(sender: Sender, file: int, pair: Pair) -> None:
    server, _ = pair

    def send_for_ever() -> None:
        while True:
            assert sender.send(server, b"", file, 0, len(CONTENT)) > 0

    with pytest.raises(BlockingIOError):
        send_for_ever()


@senders
def test_gone_client_raises(sender: Sender, file: int, pair: Pair) -> None:
    server, client = pair
    client.close()

    def send_often() -> None:
        for _ in range(1000):
            sender.send(server, HEAD, file, 0, 10)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_often()


def test_queued_bytes_are_what_the_client_has_not_acknowledged(file: int, pair: Pair) -> None:
    server, client = pair
    assert queued_bytes(server) == 0
    sender, taken = LinuxSender(), 0
    while True:
        try:
            taken += sender.send(server, b"", file, 0, len(CONTENT))
        except BlockingIOError:
            break
    before = queued_bytes(server)
    assert 0 < before <= taken
    receive(client, taken)
    assert queued_bytes(server) < before


def test_freebsd_says_when_pages_are_missing(file: int, pair: Pair) -> None:
    system = FakeFreeBsd()
    system.resident = 100
    sender = FreeBsdSender(system)
    server, client = pair
    assert sender.send(server, b"", file, 50, 100) == 50
    with pytest.raises(NotResident):
        sender.send(server, b"", file, 100, 100)
    assert sender.send(server, HEAD, file, 100, 100) == len(HEAD)
    assert receive(client, 50 + len(HEAD)) == CONTENT[50:100] + HEAD


def test_linux_head_shares_a_segment_with_the_body(file: int, pair: Pair) -> None:
    """A head of its own would be a packet of its own, on every response."""
    server, client = pair
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    LinuxSender().send(server, HEAD, file, 0, 1000)
    receive(client, len(HEAD) + 1000)
    info = server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    data_segments_out = int.from_bytes(info[156:160], "little")  # linux/tcp.h, struct tcp_info
    assert data_segments_out == 1
