"""Each outlet, over a real socket: what it takes arrives, and encrypted where it must be."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ocaserve.serving.backlog import Backlogs
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.ktls import KtlsSocket, open_on_socket
from ocaserve.serving.outlet import KERNEL, PLAIN, FileOutlet, Outlet, OutletParts
from ocaserve.serving.records_outlet import RecordsOutlet, open_records
from ocaserve.serving.sending import FileError, system_sender
from ocaserve.serving.tls_memory import Records
from tests.support.certificates import make_pair
from tests.support.tls_wire import client_context

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
CONTENT = bytes(range(256)) * 256
MIB = 1 << 20


class Peer:
    """The client's end; with `context`, of TLS. It is the owner of the outlet at the other end."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.wire, self.far = socket.socketpair()
        self.wire.settimeout(5)
        self.far.setblocking(False)
        self.seen = b""  # as it was on the wire
        self.closed: list[CloseReason] = []
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = None
        if context is not None:
            self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="a.example")

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)

    def shake_hands(self, serve: Callable[[bytes], object]) -> None:
        assert self.tls is not None
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                serve(self.outgoing.read())
                self.incoming.write(self.wire.recv(1 << 16))
            else:
                serve(self.outgoing.read())
                return

    def send(self, data: bytes) -> None:
        if self.tls is not None:
            self.tls.write(data)
            data = self.outgoing.read()
        self.wire.sendall(data)

    def receive(self, count: int) -> bytes:
        """So many bytes of HTTP, whole."""
        received = b""
        while len(received) < count:
            if self.tls is None:
                received += self.wire.recv(count)
                continue
            try:
                received += self.tls.read(count)
            except ssl.SSLWantReadError:
                data = self.wire.recv(1 << 16)
                self.seen += data
                self.incoming.write(data)
        return received


class Stage:
    """An outlet of one kind, and its client."""

    def __init__(self, outlet: Outlet, peer: Peer) -> None:
        self.outlet = outlet
        self.peer = peer


def parts_for(most_waiting: int) -> OutletParts:
    return OutletParts(system_sender(), Backlogs(most_waiting))


def open_with_records(front: ssl.SSLContext, peer: Peer, parts: OutletParts) -> Outlet:
    records = Records(front)
    early: list[bytes | None] = []

    def serve(data: bytes) -> None:
        early.append(records.handshake(data))
        if early[-1] is None:
            peer.far.send(records.output)
            records.output = b""

    peer.shake_hands(serve)
    outlet = open_records(records, early[-1] or b"", parts, peer.far, peer)
    assert not outlet.begin()
    return outlet


def open_with_openssl(front: ssl.SSLContext, peer: Peer, parts: OutletParts) -> Outlet:
    """OpenSSL has the socket, and the kernel has no keys: a socketpair gets none."""
    front.sslsocket_class = KtlsSocket
    sock = peer.far = front.wrap_socket(peer.far, server_side=True, do_handshake_on_connect=False)

    def serve(data: bytes) -> None:
        peer.wire.sendall(data)
        with suppress(ssl.SSLWantReadError):
            sock.do_handshake()

    peer.shake_hands(serve)
    return open_on_socket(parts, sock, peer)


TLS = {"records": open_with_records, "openssl": open_with_openssl}


@pytest.fixture
def front(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = make_pair(tmp_path, "a", "a.example")
    context.load_cert_chain(pair.cert, pair.key)
    return context


@pytest.fixture(params=["plain", *TLS])
def stage(request: pytest.FixtureRequest, front: ssl.SSLContext) -> Iterator[Stage]:
    peer = Peer(None if request.param == "plain" else client_context())
    parts = parts_for(MIB)
    with peer.wire:
        if request.param == "plain":
            outlet: Outlet = FileOutlet(parts.sender, peer.far)
        else:
            outlet = TLS[request.param](front, peer, parts)
        yield Stage(outlet, peer)
        outlet.forget()
        outlet.end.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_head_and_range_arrive(stage: Stage, file: int) -> None:
    assert stage.outlet.send(HEAD, file, 1000, 20_000) == len(HEAD) + 20_000
    assert stage.peer.receive(len(HEAD) + 20_000) == HEAD + CONTENT[1000:21_000]
    assert stage.outlet.waiting == 0


def test_small_response_goes_whole(stage: Stage, file: int) -> None:
    assert stage.outlet.send_whole(HEAD, file, 0, 1000) == len(HEAD) + 1000
    assert stage.peer.receive(len(HEAD) + 1000) == HEAD + CONTENT[:1000]


def test_bytes_of_no_file_arrive(stage: Stage) -> None:
    assert stage.outlet.write(HEAD) == len(HEAD)
    assert stage.outlet.interim(b"again") == 5
    assert stage.outlet.write_whole(b"whole") == 5
    assert stage.peer.receive(len(HEAD) + 10) == HEAD + b"againwhole"


def test_thread_does_what_is_to_be_waited_for(stage: Stage, file: int) -> None:
    outcome = stage.outlet.cold_work(HEAD, file, 0, 5000, 0)()
    assert stage.outlet.take_cold(HEAD, outcome) == len(HEAD) + 5000
    assert stage.peer.receive(len(HEAD) + 5000) == HEAD + CONTENT[:5000]


def test_end_of_the_file_is_nothing_taken(stage: Stage, file: int) -> None:
    assert stage.outlet.send(b"", file, len(CONTENT), 10) == 0


def test_what_the_client_sends_is_received(stage: Stage) -> None:
    with pytest.raises(BlockingIOError):
        stage.outlet.receive(1000)
    stage.peer.send(b"GET / HTTP/1.1")
    assert stage.outlet.receive(1000) == b"GET / HTTP/1.1"
    stage.peer.wire.shutdown(socket.SHUT_WR)
    assert stage.outlet.receive(1000) == b""


def fill(outlet: Outlet, file: int) -> int:
    """Send until the socket is full; how much was taken."""
    sent = 0
    while not outlet.waiting:
        try:
            sent += outlet.send(b"", file, 0, len(CONTENT))
        except BlockingIOError:
            break
    return sent


def test_full_socket_takes_no_more(stage: Stage, file: int) -> None:
    """What was taken beyond the socket's room waits, and goes when there is room again."""
    sent = fill(stage.outlet, file)
    with pytest.raises(BlockingIOError):
        stage.outlet.send_whole(HEAD, file, 0, 10)
    with pytest.raises(BlockingIOError):
        stage.outlet.write_whole(HEAD)
    received = 0
    while received < sent:
        received += len(stage.peer.receive(1))
        stage.outlet.flush()
    assert received == sent
    assert stage.outlet.waiting == 0


def test_what_waits_is_bounded_when_it_is_asked_for(stage: Stage, file: int) -> None:
    while stage.outlet.waiting <= MIB:
        try:
            stage.outlet.write(CONTENT)
        except BlockingIOError:  # nothing waits in it
            break
    assert not stage.peer.closed
    waits = stage.outlet.waiting
    stage.outlet.shed()
    assert stage.peer.closed == ([CloseReason.BACKLOG_LIMIT] if waits else [])
    assert stage.outlet.forget() == waits
    assert stage.outlet.waiting == 0


def test_end_is_said(stage: Stage) -> None:
    stage.outlet.say_goodbye()
    stage.outlet.end.shut_write()
    if stage.peer.tls is not None:
        stage.peer.incoming.write(stage.peer.wire.recv(1 << 16))
        assert stage.peer.tls.read(1) == b""  # otherwise it would want more
    assert stage.peer.wire.recv(10) == b""


def test_file_that_cannot_be_read_is_not_the_clients_fault(stage: Stage) -> None:
    """TLS in user space, which reads, says so itself."""
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        stage.outlet.send(b"", 10_000, 0, 10)
    is_told = isinstance(caught.value, FileError)
    assert is_told or caught.value.errno not in stage.outlet.kind.errors


# -- nothing goes past the encryption ------------------------------------------------------------


@pytest.mark.parametrize("kind", TLS)
def test_no_byte_is_on_the_wire_as_it_was_given(
    kind: str, front: ssl.SSLContext, file: int
) -> None:
    peer = Peer(client_context())
    secret = HEAD * 100
    with peer.wire:
        outlet = TLS[kind](front, peer, parts_for(MIB))
        assert outlet.send(secret, file, 0, 4096) == len(secret) + 4096
        outlet.write(secret)
        outlet.interim(secret)
        outcome = outlet.cold_work(secret, file, 0, 10, 0)()
        outlet.take_cold(secret, outcome)
        outlet.say_goodbye()
        peer.receive(4 * len(secret) + 4096 + 10)
        outlet.end.close()
    assert HEAD not in peer.seen
    assert CONTENT[:64] not in peer.seen


@pytest.mark.parametrize("kind", TLS)
def test_socket_without_the_kernels_keys_is_given_no_file(kind: str, front: ssl.SSLContext) -> None:
    peer = Peer(client_context())
    with peer.wire:
        outlet = TLS[kind](front, peer, parts_for(MIB))
        assert isinstance(outlet, RecordsOutlet)
        assert outlet.pour is None
        outlet.end.close()


def test_socket_whose_kernel_has_the_keys_is_given_the_file(
    front: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Peer(client_context())
    monkeypatch.setattr("ocaserve.serving.ktls.has_keys", lambda _: True)
    with peer.wire:
        outlet = open_with_openssl(front, peer, parts_for(MIB))
        assert isinstance(outlet, FileOutlet)
        assert outlet.kind is KERNEL is not PLAIN
        peer.send(b"GET")
        assert outlet.receive(10) == b"GET"
        outlet.end.close()


def test_openssl_in_the_middle_of_a_record_is_not_read_from(
    front: ssl.SSLContext, file: int
) -> None:
    """It could not answer the client; whoever holds the connection waits for the socket."""
    peer = Peer(client_context())
    with peer.wire:
        outlet = open_with_openssl(front, peer, parts_for(MIB))
        while not outlet.waiting:
            outlet.write(CONTENT)
        peer.send(b"GET")
        with pytest.raises(ssl.SSLWantWriteError):
            outlet.receive(10)
        outlet.forget()
        outlet.end.close()
