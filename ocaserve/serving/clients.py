"""Whom a worker serves: who is let in, by which limits, and who is there.

A client is, one after the other, one that a balancer forwards, a TLS handshake, a connection; it
has one place for all of them.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator

from ocaserve.protocol.planning import plan_refusal
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.connection import Connection
from ocaserve.serving.counters import CLOSE_PLACES, GAUGE_PLACES, Count, Gauge
from ocaserve.serving.engine import Client, Engine
from ocaserve.serving.forwarded import Forwarded
from ocaserve.serving.handshake import Handshakes
from ocaserve.settings import Serve


class Clients:
    """The clients of one worker. `engine` is set before the first is admitted.

    on_gone: called after each that has gone.
    """

    engine: Engine

    def __init__(self, serve: Serve, counts: memoryview, on_gone: Callable[[], None]) -> None:
        self._limits = serve.limits
        self._is_forwarded = serve.proxy_protocol
        self._counts = counts
        self._on_gone = on_gone
        self._clients: set[Client] = set()
        self._per_address: Counter[bytes] = Counter()
        self._handshakes: Handshakes | None = None
        self._tls_places: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(self._clients)

    def answered(self) -> Iterator[Connection]:
        """Those who may ask for something: all but the handshakes."""
        return (client for client in self._clients if isinstance(client, Connection))

    def offer_tls(self, handshakes: Handshakes, places: frozenset[int]) -> None:
        """Speak TLS with the clients of these listeners."""
        self._handshakes, self._tls_places = handshakes, places

    # -- coming ----------------------------------------------------------------------------------

    def admit(self, sock: socket.socket, address: bytes, place: int) -> None:
        """A client was accepted at the listener with this index."""
        self._counts[Count.ACCEPTED] += 1
        if len(self._clients) >= self._limits.connections:
            self._turn_away(sock, CloseReason.OVERLOAD, is_tls=place in self._tls_places)
        elif self._is_forwarded:
            self._begin(
                sock,
                lambda: Forwarded(
                    self.engine, sock, address, place, self._identified, self._unidentified
                ),
            )
        else:
            self._serve(sock, address, place)

    def _identified(self, forwarded: Forwarded, address: bytes) -> None:
        """The balancer has said whose connection it is."""
        self._clients.remove(forwarded)
        self._serve(forwarded.sock, address, forwarded.place)
        self._changed()

    def _unidentified(self, forwarded: Forwarded) -> None:
        self._clients.discard(forwarded)
        self._changed()

    def _serve(self, sock: socket.socket, address: bytes, place: int) -> None:
        """Serve the client at this address, unless it has too many connections."""
        is_tls = place in self._tls_places
        if 0 < self._limits.connections_per_address <= self._per_address[address]:
            self._turn_away(sock, CloseReason.ADDRESS_LIMIT, is_tls=is_tls)
        elif self._begin(sock, lambda: self._make(sock, address, is_tls=is_tls)):
            self._per_address[address] += 1

    def _make(self, sock: socket.socket, address: bytes, *, is_tls: bool) -> Client:
        if not is_tls:
            return Connection(self.engine, sock, address)
        assert self._handshakes is not None
        return self._handshakes.begin(sock, address)

    def _begin(self, sock: socket.socket, make: Callable[[], Client]) -> bool:
        """Give a client its place. Where that fails, it alone is refused; returns False."""
        try:
            client = make()
        except Exception as defect:  # noqa: BLE001 - the border between clients
            self._counts[CLOSE_PLACES[CloseReason.INTERNAL]] += 1
            self.engine.containment.note(defect)
            sock.close()
            return False
        self._clients.add(client)
        self._show_number()
        return True

    def succeed(self, handshake: Client, connection: Connection) -> None:
        """The handshake is over, and the connection has its place."""
        self._clients.remove(handshake)
        self._clients.add(connection)

    def _turn_away(self, sock: socket.socket, reason: CloseReason, *, is_tls: bool) -> None:
        """Say 503 and close; before a handshake there is nothing that a client would understand."""
        self._counts[CLOSE_PLACES[reason]] += 1
        engine = self.engine
        plan = plan_refusal(503, engine.policy, engine.clock.http_date, request=None, close=True)
        try:
            if not is_tls:
                sock.send(plan.head)
        except OSError:  # it has gone already; it would have been sent away in any case
            pass
        finally:
            sock.close()

    # -- going -----------------------------------------------------------------------------------

    def closed(self, client: Client) -> None:
        """It has gone, whatever the reason."""
        self._clients.discard(client)
        address = client.address
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
        self._changed()

    def _changed(self) -> None:
        self._show_number()
        self._on_gone()

    def _show_number(self) -> None:
        self._counts[GAUGE_PLACES[Gauge.CONNECTIONS]] = len(self._clients)
