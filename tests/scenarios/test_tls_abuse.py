"""What a client can do with TLS itself: it costs the client's own connection, and no other.

Twice where it matters: where the worker makes the records, and where OpenSSL has the socket.
"""

from __future__ import annotations

import re
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, write_object
from tests.support.daemon import STOP_S, Daemon
from tests.support.pages import make_cold
from tests.support.slow_store import Rule, slow_store
from tests.support.tls_records import CLIENT_HELLO, HANDSHAKE, KEY_UPDATE, RecordWire
from tests.support.tls_wire import TlsWire, client_context
from tests.support.waiting import eventually
from tests.support.wire import Address, MalformedResponseError, Wire, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(60)]

SMALL = blob(1000, seed=101)
COLD = blob(1 << 20, seed=102)
HUGE = blob(24 << 20, seed=103)
HALF = {2: CLIENT_HELLO, 3: KEY_UPDATE[:4]}  # less than four bytes are no message to OpenSSL

both_versions = pytest.mark.parametrize("minor", [2, 3])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("certificates"), "a", "a.example")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("abuse") / "store"
    for name, data in (("small", SMALL), ("cold", COLD), ("huge", HUGE)):
        write_object(folder, f"{name}.bin", data)
    return folder


def settings(pair: Pair, more: str = "", limits: str = "") -> str:
    return (
        '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\nspeedtest = true\n'
        f"limits = {{ {limits} }}\n"
        f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n{more}'
    )


@pytest.fixture(scope="module", params=["ocaserve", "tests.support.ktls_without_kernel"],
                ids=["records", "socket"])  # fmt: skip
def daemon(request: pytest.FixtureRequest, store: Path, pair: Pair) -> Iterator[Daemon]:
    with Daemon.serving(store, toml=settings(pair), workers=1, module=request.param) as running:
        yield running


def tls_address(daemon: Daemon) -> Address:
    host, _, port = daemon.addresses[-1].rpartition(":")
    return host, int(port)


class Bystander:
    """A client of the same worker, that asks again and again."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._wire = TlsWire(tls_address(daemon))
        self.check()
        self._before = daemon.counters()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def check(self) -> None:
        assert self._wire.get("/small.bin").body == SMALL

    def grown(self, name: str) -> int:
        """How much a counter has grown since the beginning."""
        return self._daemon.counters()[name] - self._before[name]

    def await_error(self) -> None:
        """The other's connection has ended as a TLS error, and nothing else has happened."""
        eventually(lambda: self.grown("close_tls_error") == 1, "the error is counted")
        self.check()
        assert self.grown("close_internal") == self.grown("defects") == 0


@both_versions
def test_half_a_message_while_a_response_waits(daemon: Daemon, minor: int) -> None:
    with (
        Bystander(daemon) as bystander,
        RecordWire(tls_address(daemon), minor, receive_buffer=4096) as wire,
    ):
        wire.send(request("/huge.bin"))
        wire.read_head()
        wire.send_record(HANDSHAKE, HALF[minor])
        with pytest.raises((MalformedResponseError, ConnectionResetError)):
            wire.read_exactly(len(HUGE))
        bystander.await_error()
        assert bystander.grown("bytes_copied") < len(HUGE)


@both_versions
def test_half_a_message_before_a_request(daemon: Daemon, minor: int) -> None:
    """In one segment, so that the server meets both at once."""
    with Bystander(daemon) as bystander, RecordWire(tls_address(daemon), minor) as wire:
        wire.send(request("/small.bin"))
        assert wire.read_response().body == SMALL
        half = wire.record(HANDSHAKE, HALF[minor])
        wire.socket.sendall(half + wire.record(23, request("/small.bin")))
        assert wire.is_ended()
        bystander.await_error()


@both_versions
def test_half_a_message_behind_a_request(daemon: Daemon, minor: int) -> None:
    """Both in the hands of OpenSSL when the answer is to be sent, or the half when it was."""
    with Bystander(daemon) as bystander, RecordWire(tls_address(daemon), minor) as wire:
        data = wire.record(23, request("/small.bin")) + wire.record(HANDSHAKE, HALF[minor])
        wire.socket.sendall(data)
        with suppress(ConnectionResetError, MalformedResponseError):
            assert wire.read_response().body == SMALL
        bystander.check()
        wire.close()
        eventually(lambda: bystander.grown("connections") == 0, "it has gone")
        assert bystander.grown("defects") == 0


@both_versions
def test_half_a_message_on_an_idle_connection(daemon: Daemon, minor: int) -> None:
    """It ends as idle ones do: there is nothing to say."""
    with Bystander(daemon) as bystander, RecordWire(tls_address(daemon), minor) as wire:
        wire.send(request("/small.bin"))
        assert wire.read_response().body == SMALL
        wire.send_record(HANDSHAKE, HALF[minor])
        bystander.check()
        wire.close()
        eventually(lambda: bystander.grown("connections") == 0, "it has gone")
        bystander.check()
        assert bystander.grown("defects") == 0


@pytest.mark.parametrize("module", ["ocaserve", "tests.support.ktls_without_kernel"])
@both_versions
def test_half_a_message_while_the_disk_is_waited_for(
    store: Path, pair: Pair, tmp_path: Path, minor: int, module: str
) -> None:
    """In a look-up that others wait for as well, and in a read."""
    (tmp_path / "slow").mkdir()
    with (
        slow_store(store, tmp_path / "slow") as slow,
        Daemon.serving(slow.path, toml=settings(pair), workers=1, module=module) as daemon,
        Bystander(daemon) as bystander,
    ):
        address = tls_address(daemon)
        make_cold(store / "cold.bin")
        slow.set_rules(Rule("open", "cold*", is_held=True), Rule("read", "cold*", is_held=True))
        with RecordWire(address, minor) as first, RecordWire(address, minor) as reader:
            for wire in (first, reader):
                wire.send(request("/cold.bin"))
            slow.await_begun("open", "cold.bin")
            others = [TlsWire(address) for _ in range(5)]
            for other in others:
                other.send(request("/cold.bin"))
            eventually(lambda: bystander.grown("lookups") == 7, "all wait for the look-up")
            first.send_record(HANDSHAKE, HALF[minor])
            bystander.check()
            slow.set_rules(Rule("read", "cold*", is_held=True))
            slow.await_begun("read", "cold.bin")
            reader.send_record(HANDSHAKE, HALF[minor])
            bystander.check()
            slow.set_rules()
            assert first.is_ended()
            assert reader.is_ended()
            for other in others:
                with other:
                    assert other.read_response().body == COLD
        bystander.check()
        assert bystander.grown("close_tls_error") == 2
        assert bystander.grown("defects") == 0


@both_versions
def test_half_a_message_when_time_is_up(store: Path, pair: Pair, minor: int) -> None:
    """Deadlines that end it have something to say; others of the same moment are not forgotten."""
    limits = "stall_s = 1.0, idle_s = 1.0, head_s = 1.0"
    with Daemon.serving(store, toml=settings(pair, limits=limits), workers=1) as daemon:
        before = daemon.counters()
        wires = [RecordWire(tls_address(daemon), minor, receive_buffer=4096) for _ in range(9)]
        for wire in wires[:3]:  # a response that stalls
            wire.send(request("/huge.bin"))
        for wire in wires[3:6]:  # idle
            wire.send(request("/small.bin"))
            wire.read_response()
        for wire in wires[6:]:  # half a head, which is answered with 408
            wire.send(b"GET /small")
        for wire in wires:
            wire.send_record(HANDSHAKE, HALF[minor])
        eventually(lambda: daemon.counters()["connections"] == 0, "all have been ended")
        for wire in wires:
            wire.close()
        with Bystander(daemon) as bystander:
            bystander.check()
        assert daemon.counters()["defects"] == before["defects"]


@both_versions
def test_half_a_message_in_a_drain(store: Path, pair: Pair, minor: int) -> None:
    """The worker ends as if it had not been sent."""
    toml = settings(pair).replace("limits =", "drain_s = 2.0\nlimits =")
    with Daemon.serving(store, toml=toml, workers=1) as daemon:
        address = tls_address(daemon)
        idle, reader = RecordWire(address, minor), RecordWire(address, minor, receive_buffer=4096)
        with idle, reader, RecordWire(address, minor) as late:
            for wire in (idle, late):
                wire.send(request("/small.bin"))
                assert wire.read_response().body == SMALL
            reader.send(request("/huge.bin"))
            reader.read_head()
            for wire in (idle, reader):
                wire.send_record(HANDSHAKE, HALF[minor])
            daemon.signal(signal.SIGTERM)
            late.send_record(HANDSHAKE, HALF[minor])
            assert daemon.process.wait(STOP_S) == 0
        assert "Traceback" not in daemon.log.read_text()
        assert daemon.counters()["defects"] == 0


@both_versions
def test_half_a_message_in_an_upload(daemon: Daemon, minor: int) -> None:
    """It waits to be told to go on, which can't be said."""
    fields = [("Content-Length", "100"), ("Expect", "100-continue")]
    with Bystander(daemon) as bystander, RecordWire(tls_address(daemon), minor) as wire:
        head = request("/speedtest/range/0-99", fields, method="POST")
        wire.socket.sendall(wire.record(HANDSHAKE, HALF[minor]) + wire.record(23, head))
        assert wire.is_ended()
        bystander.await_error()


def test_key_updates_while_a_response_waits(daemon: Daemon) -> None:
    """More than a client needs; none of them is lost, and nothing of the response."""
    with (
        Bystander(daemon) as bystander,
        RecordWire(tls_address(daemon), 3, receive_buffer=4096) as wire,
    ):
        wire.send(request("/huge.bin"))
        length = wire.read_head().length
        for _ in range(20):
            wire.socket.sendall(wire.change_keys())
        bystander.check()
        assert wire.read_exactly(length) == HUGE
        wire.send(request("/small.bin"))
        assert wire.read_response().body == SMALL
        assert bystander.grown("close_tls_error") == 0


records_alone = pytest.mark.parametrize("daemon", ["ocaserve"], indirect=True)


@records_alone
def test_flood_of_key_updates_while_a_response_waits(daemon: Daemon) -> None:
    with (
        Bystander(daemon) as bystander,
        RecordWire(tls_address(daemon), 3, receive_buffer=4096) as wire,
    ):
        wire.send(request("/huge.bin"))
        wire.read_head()
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(100_000):
                wire.socket.sendall(wire.change_keys())
        bystander.await_error()


def test_flood_of_key_updates_instead_of_requests(daemon: Daemon) -> None:
    with Bystander(daemon) as bystander, RecordWire(tls_address(daemon), 3) as wire:
        wire.send(request("/small.bin"))
        assert wire.read_response().body == SMALL
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(100_000):
                wire.socket.sendall(wire.change_keys())
        bystander.await_error()


def test_flood_of_hellos_instead_of_requests(daemon: Daemon) -> None:
    """Each asks to begin anew, and is refused."""
    with Bystander(daemon) as bystander, RecordWire(tls_address(daemon), 2) as wire:
        wire.send(request("/small.bin"))
        assert wire.read_response().body == SMALL
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(100_000):
                wire.send_record(HANDSHAKE, CLIENT_HELLO)
        bystander.await_error()


READERS = 60


@records_alone
def test_clients_that_do_not_read_hold_a_record(daemon: Daemon) -> None:
    """And not a batch of half a MiB each."""
    (worker,) = daemon.workers()
    with Bystander(daemon) as bystander:
        resident = psutil.Process(worker).memory_info().rss
        readers = [TlsWire(tls_address(daemon), receive_buffer=4096) for _ in range(READERS)]
        for reader in readers:
            reader.send(request("/huge.bin"))
            reader.read_head()
        eventually(lambda: daemon.counters()["responding"] == READERS, "all wait")
        bystander.check()
        assert psutil.Process(worker).memory_info().rss - resident < READERS * (150 << 10)
        for reader in readers:
            reader.close()


def test_backlogs_have_a_bound(store: Path, pair: Pair) -> None:
    """Who has waited longest goes; who reads is served."""
    # Of other sizes, so that what the kernel leaves of the last one is not as little for all.
    sizes = [32_000 - 1_111 * number for number in range(16)]
    for size in sizes:
        write_object(store, f"{size}.bin", HUGE[:size])
    toml = settings(pair, "backlog_bytes = 65536\n")
    with (
        Daemon.serving(store, toml=toml, workers=1) as daemon,
        Bystander(daemon) as bystander,
        ExitStack() as stack,
    ):
        readers = [
            stack.enter_context(TlsWire(tls_address(daemon), receive_buffer=4096)) for _ in sizes
        ]
        for reader, size in zip(readers, sizes, strict=True):
            reader.send(
                request(f"/{size}.bin") * 300
            )  # one after the other, as far as they are read
        eventually(lambda: bystander.grown("close_backlog_limit") > 0, "one has to go")
        bystander.check()
        assert bystander.grown("close_backlog_limit") < len(readers)


# -- hellos --------------------------------------------------------------------------------------


def alert_for(address: Address, *flights: bytes) -> bytes:
    """What the server says last to a client that sends these, one after each of its answers."""
    with Wire(address) as wire:
        said = b""
        for flight in flights:
            wire.send(flight)
            said = wire.socket.recv(1 << 16)
        return said


def first_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HUGE_HELLO = b"\x16\x03\x01\x00\x2b\x01\x01\xff\xb8" + bytes(39)
ILLEGAL_PARAMETER = b"\x15\x03\x03\x00\x02\x02\x2f"


def test_hellos_that_claim_more_than_they_send(daemon: Daemon) -> None:
    """Nothing is set aside for what does not come."""
    address = tls_address(daemon)
    (worker,) = daemon.workers()
    with Bystander(daemon) as bystander:
        assert alert_for(address, HUGE_HELLO) == ILLEGAL_PARAMETER
        resident = psutil.Process(worker).memory_info().rss
        half = first_hello()[:43]
        wires = [Wire(address) for _ in range(300)]
        for wire in wires:
            wire.send(half)
        eventually(lambda: daemon.counters()["tls_handshaking"] == 300, "all have begun")
        bystander.check()
        assert psutil.Process(worker).memory_info().rss - resident < 300 * (16 << 10)
        for wire in wires:
            wire.close()
        eventually(lambda: daemon.counters()["tls_handshaking"] == 0, "all have ended")
        assert bystander.grown("defects") == 0


@records_alone
def test_second_hello_that_claims_too_much(daemon: Daemon) -> None:
    """The first has no share for any group, so another is asked for."""
    answer = alert_for(tls_address(daemon), without_shares(first_hello()), HUGE_HELLO)
    assert answer == ILLEGAL_PARAMETER


def without_shares(hello: bytes) -> bytes:
    """The same, as long as it was: its extension key_share (RFC 8446 section 4.2.8), whatever
    groups OpenSSL puts there, is an empty one, and another that nobody knows for the bytes of it.
    """
    (place,) = [
        each.start()
        for each in re.finditer(rb"\x00\x33(?=(..)(..))", hello, re.DOTALL)
        if 0 < int.from_bytes(each[1], "big") - 2 == int.from_bytes(each[2], "big") < len(hello)
    ]
    length = int.from_bytes(hello[place + 2 : place + 4], "big")
    none = b"\x00\x33\x00\x02\x00\x00" + b"\x7a\x7a" + (length - 6).to_bytes(2, "big")
    return hello[:place] + none + hello[place + len(none) :]


@pytest.mark.parametrize("piece", [1, 50])
def test_hello_in_pieces(daemon: Daemon, piece: int) -> None:
    """It is waited for, without a turn of the processor for what has come already."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with Wire(tls_address(daemon)) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_done = False
        while not is_done:
            try:
                client.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                pass
            data = outgoing.read()
            for at in range(0, len(data), piece):
                wire.send(data[at : at + piece])
            if not is_done:
                incoming.write(wire.socket.recv(1 << 16))
        client.write(request("/small.bin"))
        wire.send(outgoing.read())
        assert wire.socket.recv(1 << 16)


def test_names_that_are_not_ascii(daemon: Daemon) -> None:
    """A client of its own making: counted, and nothing in the log."""
    hello = first_hello().replace(b"a.example", b"\xfc.example")
    before = len(daemon.log.read_bytes())
    with Bystander(daemon) as bystander:
        for _ in range(20):
            assert alert_for(tls_address(daemon), hello) == ILLEGAL_PARAMETER
        bystander.check()
        assert bystander.grown("close_handshake_failed") == 20
        assert bystander.grown("defects") == 0
    assert len(daemon.log.read_bytes()) - before < 1000
