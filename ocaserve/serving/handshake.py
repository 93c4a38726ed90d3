"""TLS handshakes: from accept to a connection, or to a counted end.

A handshake takes 0.1 (ECDSA P-256) to 0.3 ms (RSA-2048) of the processor, most of it in the step
that signs, which is as long as a batch of a stream takes; a session that is resumed takes 0.02 (TLS
1.2) to 0.1 ms. A thread for it costs a tenth to a third of that again (0.03 ms a hop) and wins
nothing on the core that a worker has for itself. So steps are done on the event loop, but one a
turn: a thousand clients that come at once keep the streams waiting for one step, not a thousand.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import TypeVar

from ocaserve.kernel_tls import why_not
from ocaserve.protocol.messages import RequestRefused
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.connection import Connection
from ocaserve.serving.counters import CLOSE_PLACES, GAUGE_PLACES, Count, Gauge
from ocaserve.serving.ktls import OP_ENABLE_KTLS, KtlsConnection, KtlsSocket, works
from ocaserve.serving.pool import IoPool
from ocaserve.serving.readiness import READ, WRITE
from ocaserve.serving.records import Records
from ocaserve.serving.services import Client, Services
from ocaserve.serving.tls_connection import TlsConnection
from ocaserve.serving.tls_contexts import Refreshed, TlsHeritage, set_up
from ocaserve.serving.turns import Turns
from ocaserve.settings import Tls

_log = logging.getLogger(__name__)

_RECEIVE_BYTES = 16 * 1024  # of a first flight; one with post-quantum keys has 2 KiB
_LOOK_TICKS = 8  # certificate files are looked at every two seconds

_C = TypeVar("_C", bound=Connection)
_Maker = Callable[[Services, socket.socket, bytes], _C]

_PLAIN_HTTP = RequestRefused(400, "plain_http")


class Handshakes:
    """All handshakes of a worker, and the certificates they are made with.

    succeed: told the handshake that is over and the connection that goes on in its place.
    Raises OSError when a certificate is not good, or kTLS is required and does not work.
    """

    def __init__(
        self,
        services: Services,
        tls: Tls,
        heritage: TlsHeritage,
        succeed: Callable[[Client, Connection], None],
    ) -> None:
        self.services = services
        self.succeed = succeed
        self.limit_s = tls.handshake_s
        self._tls = tls
        self._heritage = heritage
        self._certificates = heritage.certificates(tls)
        self._under_way = 0
        self.turns = Turns(services.loop)
        self._pool = IoPool(services.loop, "certificates", 1)
        self._is_looking = False
        self._ticks = 0
        self._uses_ktls = tls.ktls != "off" and why_not() is None
        self.front = self._equip(heritage.front(monotonic()))
        if self._uses_ktls and not works(self.front):
            self._uses_ktls = False
            self.front = self._equip(self.front)
        if tls.ktls == "require" and not self._uses_ktls:
            raise OSError("tls.ktls = 'require': OpenSSL does not give its keys to the kernel")

    def _equip(self, front: ssl.SSLContext) -> ssl.SSLContext:
        set_up(front, self._tls)
        front.options &= ~OP_ENABLE_KTLS
        if self._uses_ktls:
            front.options |= OP_ENABLE_KTLS
        front.sslsocket_class = KtlsSocket
        front.sni_callback = self._choose_certificate
        return front

    def _choose_certificate(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        connection.context = self._certificates.choose(name)

    # -- one after the other ---------------------------------------------------------------------

    def begin(self, sock: socket.socket, address: bytes) -> Handshake | None:
        """A handshake with a client that was accepted; None if there are too many already."""
        counts = self.services.counts
        if self._under_way >= self._tls.handshakes:
            counts[CLOSE_PLACES[CloseReason.HANDSHAKE_LIMIT]] += 1
            sock.close()
            return None
        self._count(1)
        kind = SocketHandshake if self._uses_ktls else Handshake
        return kind(self, sock, address)

    def end(self) -> None:
        """One is over, however it went."""
        self._count(-1)

    def _count(self, change: int) -> None:
        self._under_way += change
        self.services.counts[GAUGE_PLACES[Gauge.TLS_HANDSHAKING]] = self._under_way

    # -- keeping up with the files ---------------------------------------------------------------

    def tick_once(self) -> None:
        """A quarter of a second has passed."""
        self._ticks += 1
        if self._ticks % _LOOK_TICKS or self._is_looking:
            return
        self._is_looking = True
        self._pool.submit(self._certificates.refresh, self._refreshed)
        front = self._heritage.front(monotonic())
        if front is not self.front:
            self.front = self._equip(front)

    def _refreshed(self, outcome: object) -> None:
        self._is_looking = False
        if not isinstance(outcome, Refreshed):  # a defect, which the event loop has logged
            return
        counts = self.services.counts
        counts[Count.TLS_CERTIFICATES_READ] += len(outcome.certificates)
        counts[Count.TLS_CERTIFICATE_FAULTS] += len(outcome.faults)
        for file in outcome.certificates:
            _log.info("%s: read again, it has changed", file)
        for fault in outcome.faults:
            _log.error("%s; the certificate of before stays in use", fault)


class Handshake:
    """One client, from accept until its handshake is done, in memory (see `records`)."""

    __slots__ = (
        "_fileno", "_has_heard", "_interest", "_is_over", "_unsent", "address", "all", "deadline",
        "records", "sock", "watched",
    )  # fmt: skip

    def __init__(self, handshakes: Handshakes, sock: socket.socket, address: bytes) -> None:
        self.all = handshakes
        self.sock = sock
        self.address = address
        self.deadline = monotonic() + handshakes.limit_s
        self.watched = inf
        self.records: Records | None = None  # from the first byte on: a silent client costs little
        self._fileno = sock.fileno()
        self._interest = 0
        self._has_heard = False  # the client has sent something
        self._is_over = False
        self._unsent = b""
        self._set_interest(READ)
        handshakes.services.wheel.watch(self)

    def _set_interest(self, interest: int) -> None:
        before, self._interest = self._interest, interest
        if before != interest:
            readiness = self.all.services.readiness
            readiness.change(self._fileno, self, before, interest)

    def on_ready(self, _: int) -> None:
        """The client has sent something, or takes something."""
        self.all.turns.take(self)

    def pause(self) -> None:
        """Be told of nothing until the next step."""
        self._set_interest(0)

    def step(self) -> None:
        """What the client has sent may be enough to go on with."""
        if self._is_over:
            return
        if self._unsent:
            self._send(b"")
            return
        try:
            data = self.sock.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            self._set_interest(READ)
        except OSError:
            self.close(CloseReason.CLIENT_GONE)
        else:
            self._on_received(data)

    def _on_received(self, data: bytes) -> None:
        if not data:
            self.close(self._end_reason())
        elif not self._has_heard and looks_like_http(data):
            self._refuse_plain(data)
        else:
            self._has_heard = True
            self._advance(data)

    def _end_reason(self) -> CloseReason:
        """Why the client has gone: one that never spoke only tried whether the port is open."""
        return CloseReason.CLIENT_GONE if self._has_heard else CloseReason.CLIENT_CLOSED

    def _advance(self, data: bytes) -> None:
        records = self.records = self.records or Records(self.all.front)
        try:
            early = records.handshake(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        if early is None:
            output, records.output = records.output, b""
            self._send(output)
            return
        connection = self._succeed(
            partial(TlsConnection, records=records), resumed=records.is_resumed
        )
        connection.begin(early)

    def _send(self, data: bytes) -> None:
        self._unsent += data
        if self._unsent:
            try:
                taken = self.sock.send(self._unsent)
            except BlockingIOError:
                taken = 0
            except OSError:
                self.close(CloseReason.CLIENT_GONE)
                return
            self._unsent = self._unsent[taken:]
        self._set_interest(WRITE if self._unsent else READ)

    # -- how it ends -----------------------------------------------------------------------------

    def _refuse_plain(self, data: bytes) -> None:
        """The client speaks HTTP without TLS, and can be told so."""
        plain = self._hand_over(Connection)
        plain.refuse_unread(data, _PLAIN_HTTP, CloseReason.PLAIN_HTTP)

    def _succeed(self, make: _Maker[_C], *, resumed: bool) -> _C:
        counts = self.all.services.counts
        counts[Count.TLS_HANDSHAKES] += 1
        counts[Count.TLS_RESUMED] += resumed
        return self._hand_over(make)

    def _hand_over(self, make: _Maker[_C]) -> _C:
        """A connection goes on with the socket."""
        self._let_go()
        connection = make(self.all.services, self.sock, self.address)
        self.all.succeed(self, connection)
        return connection

    def _let_go(self) -> None:
        self._is_over = True
        self._set_interest(0)
        self.all.services.wheel.forget(self)
        self.all.end()

    def _fail(self, error: OSError) -> None:
        """Tell the client why (the alert is made already), if it still listens."""
        _log.debug("handshake with %s: %s", self.address.decode(), error)
        if self.records is not None and self.records.output:
            with suppress(OSError):
                self.sock.send(self.records.output)
        self.close(CloseReason.HANDSHAKE_FAILED)

    def close(self, reason: CloseReason) -> None:
        """End it now, for this reason."""
        if self._is_over:
            return
        services = self.all.services
        services.counts[CLOSE_PLACES[reason]] += 1
        self._let_go()
        self.sock.close()
        services.on_close(self)

    def expire(self, now: float) -> None:
        """The deadline has passed; called by the wheel."""
        self.close(CloseReason.HANDSHAKE_TIMEOUT)

    def drain(self, now: float) -> None:
        """The worker stops: a client that was accepted gets its answer, the deadline is near."""


class SocketHandshake(Handshake):
    """The same where OpenSSL has the socket itself, so that the kernel may get its keys."""

    __slots__ = ()

    def step(self) -> None:
        if self._is_over:
            return
        try:
            if not self._has_heard:
                first = self.sock.recv(_RECEIVE_BYTES, socket.MSG_PEEK)
                if not first or looks_like_http(first):
                    self._on_received(first)
                    return
                self._has_heard = True
                self.sock = self.all.front.wrap_socket(
                    self.sock, server_side=True, do_handshake_on_connect=False
                )
            assert isinstance(self.sock, KtlsSocket)
            self.sock.do_handshake()
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            self._set_interest(READ)
        except ssl.SSLWantWriteError:
            self._set_interest(WRITE)
        except ssl.SSLEOFError:
            self.close(CloseReason.CLIENT_GONE)
        except ssl.SSLError as error:
            self._fail(error)
        except OSError:
            self.close(CloseReason.CLIENT_GONE)
        else:
            resumed = bool(self.sock.session_reused)
            self._succeed(KtlsConnection, resumed=resumed).begin()


def looks_like_http(data: bytes) -> bool:
    """Whether it begins as a request does; a ClientHello begins with the byte 22."""
    return data[:1].isalpha()
