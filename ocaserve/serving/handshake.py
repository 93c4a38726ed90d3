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

from ocaserve.kernel_tls import why_not
from ocaserve.protocol.messages import RequestRefused
from ocaserve.serving.client_hello import HelloReader, HelloRefusedError, asks_again
from ocaserve.serving.closing import CloseReason, reason_of
from ocaserve.serving.connection import Connection, OpenOutlet, open_plain
from ocaserve.serving.counters import CLOSE_PLACES, GAUGE_PLACES, Count, Gauge
from ocaserve.serving.endless_reading import bound_records
from ocaserve.serving.engine import Client, Engine
from ocaserve.serving.ktls import OP_ENABLE_KTLS, KtlsSocket, open_on_socket, works
from ocaserve.serving.pool import IoPool
from ocaserve.serving.readiness import READ, WRITE
from ocaserve.serving.records_outlet import open_records
from ocaserve.serving.tls_contexts import Refreshed, TlsHeritage, set_up
from ocaserve.serving.tls_memory import Records
from ocaserve.serving.turns import Turns
from ocaserve.settings import Tls

_log = logging.getLogger(__name__)

_RECEIVE_BYTES = 16 * 1024  # of a first flight; one with post-quantum keys has 2 KiB
_PEEKED_BYTES = 32 * 1024  # more than a hello that is taken
_LOOK_TICKS = 8  # certificate files are looked at every two seconds

_PLAIN_HTTP = RequestRefused(400, "plain_http")


class Handshakes:
    """All handshakes of a worker, and the certificates they are made with.

    succeed: told the handshake that is over and the connection that goes on in its place.
    Raises OSError when a certificate is not good, or kTLS is required and does not work.
    """

    def __init__(
        self,
        engine: Engine,
        tls: Tls,
        heritage: TlsHeritage,
        succeed: Callable[[Client, Connection], None],
    ) -> None:
        self.engine = engine
        self.succeed = succeed
        self.limit_s = tls.handshake_s
        self._tls = tls
        self._heritage = heritage
        self._certificates = heritage.certificates(tls)
        self._under_way: dict[Handshake, None] = {}  # in the order in which they came
        self.turns = Turns(engine.loop)
        self._pool = IoPool(engine.loop, "certificates", 1)
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
            bound_records(front)
        front.sslsocket_class = KtlsSocket
        front.sni_callback = self._choose_certificate
        return front

    def _choose_certificate(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        context = self._certificates.choose(name)
        if context is not None:  # otherwise OpenSSL refuses, as the front has no certificate
            connection.context = context
            if self._uses_ktls:
                bound_records(context)

    # -- one after the other ---------------------------------------------------------------------

    def begin(self, sock: socket.socket, address: bytes) -> Handshake:
        """A handshake with a client that was accepted.

        If there are too many, the one goes that has waited longest: those of viewers are over
        before it is their turn, those of a flood are not.
        """
        uses_socket = self._uses_ktls and sock.family != socket.AF_UNIX
        kind = SocketHandshake if uses_socket else Handshake
        handshake = kind(self, sock, address)
        if len(self._under_way) >= self._tls.handshakes:
            next(iter(self._under_way)).close(CloseReason.HANDSHAKE_LIMIT)
        self._under_way[handshake] = None
        self._show_number()
        return handshake

    def end(self, handshake: Handshake) -> None:
        """It is over, however it went; it may have been before."""
        self._under_way.pop(handshake, None)
        self._show_number()

    def _show_number(self) -> None:
        self.engine.counts[GAUGE_PLACES[Gauge.TLS_HANDSHAKING]] = len(self._under_way)

    # -- keeping up with the files ---------------------------------------------------------------

    def start(self, ready: Callable[[], None]) -> None:
        """Look at the files; `ready` is called when that is over.

        What was inherited is as old as the last reload, and may have expired since.
        """
        self._look(ready)

    def tick_once(self) -> None:
        """A quarter of a second has passed."""
        self._ticks += 1
        if self._ticks % _LOOK_TICKS or self._is_looking:
            return
        self._look(lambda: None)
        front = self._heritage.front(monotonic())
        if front is not self.front:
            self.front = self._equip(front)

    def _look(self, then: Callable[[], None]) -> None:
        self._is_looking = True
        self._pool.submit(self._certificates.refresh, partial(self._refreshed, then))

    def _refreshed(self, then: Callable[[], None], outcome: object) -> None:
        self._is_looking = False
        then()
        if not isinstance(outcome, Refreshed):  # a defect, which the event loop has logged
            return
        counts = self.engine.counts
        counts[Count.TLS_CERTIFICATES_READ] += len(outcome.certificates)
        counts[Count.TLS_CERTIFICATE_FAULTS] += len(outcome.faults)
        for file in outcome.certificates:
            _log.info("%s: read again, it has changed", file)
        for fault in outcome.faults:
            _log.error("%s; the certificate of before stays in use", fault)


class Handshake:
    """One client, from accept until its handshake is done, in memory (see `records`)."""

    __slots__ = (
        "_fileno", "_has_heard", "_hello", "_interest", "_is_over", "_unsent",
        "address", "all", "deadline", "records", "sock", "watched",
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
        self._hello: HelloReader | None = HelloReader()  # while one is read
        self._has_heard = False  # the client has sent something
        self._is_over = False  # closed, or a connection has taken its place
        self._unsent = b""
        self._set_interest(READ)
        handshakes.engine.wheel.watch(self)

    def _set_interest(self, interest: int) -> None:
        before, self._interest = self._interest, interest
        if before != interest:
            readiness = self.all.engine.readiness
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
        except OSError as error:
            self.close(reason_of(error))
        else:
            self._on_received(data)

    def _on_received(self, data: bytes) -> None:
        if not data:
            self.close(self._end_reason())
        elif not self._has_heard and looks_like_http(data):
            self._refuse_plain(data)
        else:
            self._has_heard = True
            if self._hello is None:
                self._advance(data)
            else:
                self._read_hello(self._hello, data)

    def _read_hello(self, hello: HelloReader, data: bytes) -> None:
        """Collect it: OpenSSL is given all of it at once."""
        try:
            is_whole = hello.feed(data)
        except HelloRefusedError as error:
            self._refuse_hello(error)
            return
        if is_whole:
            self._hello = None
            self._advance(bytes(hello.received))
        else:
            self._set_interest(READ)

    def _refuse_hello(self, error: HelloRefusedError) -> None:
        _log.debug("handshake with %s: %s", self.address.decode(), error)
        with suppress(OSError):
            self.sock.send(error.alert)
        self.close(CloseReason.HANDSHAKE_FAILED)

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
            if asks_again(output):
                self._hello = HelloReader()
            self._send(output)
            return
        self._succeed(partial(open_records, records, early), resumed=records.is_resumed)

    def _send(self, data: bytes) -> None:
        self._unsent += data
        if self._unsent:
            try:
                taken = self.sock.send(self._unsent)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                self.close(reason_of(error))
                return
            self._unsent = self._unsent[taken:]
        self._set_interest(WRITE if self._unsent else READ)

    # -- how it ends -----------------------------------------------------------------------------

    def _refuse_plain(self, data: bytes) -> None:
        """The client speaks HTTP without TLS, and can be told so."""
        plain = self._hand_over(open_plain)
        plain.refuse_unread(data, _PLAIN_HTTP, CloseReason.PLAIN_HTTP)

    def _succeed(self, open_outlet: OpenOutlet, *, resumed: bool) -> None:
        counts = self.all.engine.counts
        counts[Count.TLS_HANDSHAKES] += 1
        counts[Count.TLS_RESUMED] += resumed
        self._hand_over(open_outlet).begin()

    def _hand_over(self, open_outlet: OpenOutlet) -> Connection:
        """A connection goes on with the socket."""
        self._let_go()
        connection = Connection(self.all.engine, self.sock, self.address, open_outlet)
        self._is_over = True
        self.all.succeed(self, connection)
        return connection

    def _let_go(self) -> None:
        """Ask for nothing more, and leave the place to another handshake; it may be too late."""
        self._set_interest(0)
        self.all.engine.wheel.forget(self)
        self.all.end(self)

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
        self._is_over = True
        engine = self.all.engine
        engine.counts[CLOSE_PLACES[reason]] += 1
        try:
            self._let_go()
        finally:
            self.sock.close()
            engine.on_close(self)

    def contain(self, defect: Exception, /) -> None:
        """End with a defect."""
        self.all.engine.containment.end(self, defect)

    def expire(self, now: float) -> None:
        """The deadline has passed; called by the wheel."""
        self.close(CloseReason.HANDSHAKE_TIMEOUT)

    def drain(self, now: float) -> None:
        """The worker stops: a client that was accepted gets its answer, the deadline is near."""


class SocketHandshake(Handshake):
    """The same where OpenSSL has the socket itself, so that the kernel may get its keys."""

    __slots__ = ("_peeked",)

    def __init__(self, handshakes: Handshakes, sock: socket.socket, address: bytes) -> None:
        super().__init__(handshakes, sock, address)
        self._peeked = 0  # bytes that were seen of the hello

    def step(self) -> None:
        if self._is_over:
            return
        try:
            if self._hello is not None and not self._is_hello_there():
                return
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
        except OSError as error:
            self.close(reason_of(error))
        else:
            self._succeed(open_on_socket, resumed=bool(self.sock.session_reused))

    def _is_hello_there(self) -> bool:
        """Whether OpenSSL may read the hello; it lies in the kernel until then. Raises OSError."""
        first = self.sock.recv(_PEEKED_BYTES, socket.MSG_PEEK)
        if len(first) <= self._peeked or (not self._has_heard and looks_like_http(first)):
            self._on_received(b"" if self._has_heard else first)
            return False
        self._has_heard = True
        self._peeked = len(first)
        hello = HelloReader()
        try:
            is_whole = hello.feed(first)
        except HelloRefusedError as error:
            self._refuse_hello(error)
            return False
        wanted = 1 if is_whole else len(first) + hello.missing
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        if not is_whole:
            self._set_interest(READ)
            return False
        self._hello = None
        self.sock = self.all.front.wrap_socket(
            self.sock, server_side=True, do_handshake_on_connect=False
        )
        return True


def looks_like_http(data: bytes) -> bool:
    """Whether it begins as a request does; a ClientHello begins with the byte 22."""
    return data[:1].isalpha()
