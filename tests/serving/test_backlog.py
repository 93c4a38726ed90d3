"""What sockets did not take: sent in order, never joined, and bounded over all of a worker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import cast

import pytest

from ocaserve.serving.backlog import Backlog, Backlogs
from ocaserve.serving.closing import CloseReason


class Taking:
    """A socket that takes so much in each call, and then nothing more."""

    def __init__(self) -> None:
        self.takes: list[int] = []
        self.taken = b""
        self.calls: list[int] = []
        self.is_broken = False

    def send(self, data: bytes | memoryview) -> int:
        if self.is_broken:
            raise ConnectionResetError
        self.calls.append(len(data))
        count = min(self.takes.pop(0) if self.takes else 0, len(data))
        if not count:
            raise BlockingIOError
        self.taken += data[:count]
        return count


class Client:
    def __init__(self, backlogs: Backlogs) -> None:
        self.sock = Taking()
        self.backlog = Backlog(backlogs, self)
        self.closed: list[CloseReason] = []

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)
        self.backlog.forget()

    def send(self, piece: bytes = b"", *takes: int) -> int:
        self.sock.takes = list(takes)
        return self.backlog.send(cast(socket.socket, self.sock), piece)


@pytest.fixture
def backlogs() -> Backlogs:
    return Backlogs(1000)


@pytest.fixture
def client(backlogs: Backlogs) -> Iterator[Client]:
    client = Client(backlogs)
    yield client
    assert backlogs.bytes == client.backlog.bytes


def test_what_is_taken_leaves_nothing(client: Client) -> None:
    assert client.send(b"abc", 10) == 3
    assert client.backlog.bytes == 0


def test_rest_goes_before_what_comes_later(client: Client) -> None:
    assert client.send(b"abcdef", 2) == 2
    client.backlog.add(b"gh")
    assert client.send(b"ij") == 0
    assert client.backlog.bytes == 8
    assert client.send(b"", 4, 1) == 5
    assert client.send(b"", 9, 9) == 3
    assert client.sock.taken == b"abcdefghij"
    assert client.backlog.bytes == 0


def test_pieces_are_not_joined(client: Client) -> None:
    """However much waits, what is added costs no copy of it."""
    client.send(b"x" * 500)
    for _ in range(10):
        client.backlog.add(b"y")
    client.send(b"", 500, 1)
    assert client.sock.calls[-3:] == [500, 1, 1]


def test_socket_that_is_broken_is_told_of(client: Client) -> None:
    client.send(b"abc")
    client.sock.is_broken = True
    with pytest.raises(ConnectionResetError):
        client.send(b"d")
    client.backlog.forget()


def test_who_has_waited_longest_goes(backlogs: Backlogs) -> None:
    clients = [Client(backlogs) for _ in range(5)]
    for client in clients:
        client.send(b"x" * 300)
        backlogs.shed()
    assert [len(client.closed) for client in clients] == [1, 1, 0, 0, 0]
    assert clients[0].closed == [CloseReason.BACKLOG_LIMIT]
    clients[2].send(b"", 300)  # it has taken what it was sent, and waits anew
    clients[2].send(b"x" * 300)
    clients[0].backlog.add(b"x" * 300)
    assert backlogs.bytes == 1200, "nobody goes before it is asked for"
    backlogs.shed()
    assert [len(client.closed) for client in clients] == [1, 1, 0, 1, 0]
    assert backlogs.bytes == 900


def test_a_single_one_may_be_too_large(backlogs: Backlogs, client: Client) -> None:
    client.send(b"x" * 1001)
    backlogs.shed()
    assert client.closed == [CloseReason.BACKLOG_LIMIT]
    assert backlogs.bytes == 0
