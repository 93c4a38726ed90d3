"""Whether the kernel has the keys is asked, and nothing is sent past OpenSSL until it says yes.

The fake's rules are those of getsockopt(SOL_TLS, TLS_TX) of Linux 6.1 (measured in a virtual
machine, see docs/ktls.md): version and cipher where the kernel has keys, EBUSY where the socket is
prepared and has none, ENOPROTOOPT where it is not.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ocaserve.kernel_tls import has_keys, why_not
from ocaserve.serving.ktls import KtlsSocket, works
from ocaserve.serving.socket_end import SocketEnd
from tests.support.certificates import make_pair
from tests.support.tls_wire import client_context

_TLS13_AES256 = b"\x04\x03\x34\x00"


class FakeKernel:
    """A socket of a kernel that answers as told."""

    def __init__(self, answer: bytes | int) -> None:
        self.answer = answer

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        assert (level, option, length) == (282, 1, 4)
        if isinstance(self.answer, int):
            raise OSError(self.answer, os.strerror(self.answer))
        return self.answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(_TLS13_AES256, True, id="keys"),
        pytest.param(errno.EBUSY, False, id="prepared_without_keys"),
        pytest.param(errno.ENOPROTOOPT, False, id="not_prepared"),
        pytest.param(errno.EINVAL, False, id="another_kernel"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(bytes(4), False, id="zeros"),
    ],
)
def test_gate(answer: bytes | int, expected: bool) -> None:
    assert has_keys(FakeKernel(answer)) is expected  # type: ignore[arg-type]  # all it is asked


def test_a_plain_socket_has_no_keys() -> None:
    with socket.socket() as sock:
        assert not has_keys(sock)


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = make_pair(tmp_path, "a", "a.example")
    server.load_cert_chain(pair.cert, pair.key)
    server.sslsocket_class = KtlsSocket
    return server, client_context()


@pytest.fixture
def sides(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> Iterator[tuple[KtlsSocket, socket.socket, ssl.SSLObject, ssl.MemoryBIO]]:
    """A server's socket after its handshake, and what the client's end of the wire is made of."""
    near, far = socket.socketpair()
    near.settimeout(5)
    far.setblocking(False)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[1].wrap_bio(incoming, outgoing, server_hostname="a.example")
    with near, contexts[0].wrap_socket(far, server_side=True, do_handshake_on_connect=False) as s:
        assert isinstance(s, KtlsSocket)
        is_done = False
        while not is_done:
            try:
                client.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                pass
            near.sendall(outgoing.read())
            with suppress(ssl.SSLWantReadError):
                s.do_handshake()
            if not is_done:
                incoming.write(near.recv(1 << 16))
        yield s, near, client, incoming


def test_without_keys_openssl_encrypts(
    sides: tuple[KtlsSocket, socket.socket, ssl.SSLObject, ssl.MemoryBIO],
) -> None:
    """Whatever the flags say: no byte of it is on the wire as it was given."""
    server, wire, client, incoming = sides
    assert not server.offload()
    assert server.send(b"secret words", 0x8000) == 12
    seen = wire.recv(1 << 16)
    assert b"secret" not in seen
    incoming.write(seen)
    assert client.read(100) == b"secret words"


def test_a_full_socket_is_said_as_by_a_plain_one(
    sides: tuple[KtlsSocket, socket.socket, ssl.SSLObject, ssl.MemoryBIO],
) -> None:
    server = sides[0]
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        send_without_end(server)


def send_without_end(sock: socket.socket) -> None:
    while True:
        sock.send(bytes(1 << 16))


def test_nothing_to_read_is_said_as_by_a_plain_one(
    sides: tuple[KtlsSocket, socket.socket, ssl.SSLObject, ssl.MemoryBIO],
) -> None:
    with pytest.raises(BlockingIOError):
        sides[0].recv(100)


@pytest.mark.parametrize(
    ("said", "heard"), [(errno.EIO, b""), (errno.ECONNRESET, None)], ids=["end", "reset"]
)
def test_an_end_without_goodbye(
    sides: tuple[KtlsSocket, socket.socket, ssl.SSLObject, ssl.MemoryBIO],
    monkeypatch: pytest.MonkeyPatch,
    said: int,
    heard: bytes | None,
) -> None:
    """The kernel's EIO for it is taken for the end; other errors are errors."""

    def fail(*_: object) -> bytes:
        raise OSError(said, os.strerror(said))

    monkeypatch.setattr(ssl.SSLSocket, "recv", fail)
    if heard is None:
        with pytest.raises(ConnectionResetError):
            sides[0].recv(100)
    else:
        assert sides[0].recv(100) == heard


def test_after_the_goodbye_nothing_is_sent_as_plaintext(
    sides: tuple[KtlsSocket, socket.socket, ssl.SSLObject, ssl.MemoryBIO],
) -> None:
    server, wire, _, _ = sides
    server.say_goodbye()
    SocketEnd(server).shut_write()
    with pytest.raises((OSError, ValueError)):
        server.send(b"secret words")
    assert b"secret" not in wire.recv(1 << 16)


def test_trial(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole handshake with ourselves; its answer is the kernel's, and nothing is waited for."""
    contexts[0].options |= 8
    monkeypatch.setattr("ocaserve.serving.ktls._TRIAL_S", 3_600.0)
    assert works(contexts[0]) == (why_not() is None)
