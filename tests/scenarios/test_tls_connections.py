"""Connections over TLS that last: keys that change, disks that wait, versions that take over.

Most of it twice: where the worker makes the records itself, and where OpenSSL has the socket
because the kernel might have taken the keys (and did not).
"""

from __future__ import annotations

import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, write_object
from tests.support.daemon import STOP_S, Daemon
from tests.support.s_client import SClient
from tests.support.slow_store import Rule, slow_store
from tests.support.system_calls import traced
from tests.support.tls_wire import TlsWire, client_context
from tests.support.upgrades import upgraded
from tests.support.waiting import eventually
from tests.support.wire import Address, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(90)]

SMALL = blob(1000, seed=71)
LARGE = blob(3 << 20, seed=72)
HUGE = blob(24 << 20, seed=73)  # more than the buffers of both sockets hold
RECORD_BYTES = 16 << 10


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("certificates"), "a", "a.example")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "store"
    for name, data in (("small", SMALL), ("large", LARGE), ("huge", HUGE)):
        write_object(folder, f"{name}.bin", data)
    return folder


def settings(pair: Pair) -> str:
    return (
        '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\nspeedtest = true\n'
        f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n'
    )


@pytest.fixture(scope="module", params=["ocaserve", "tests.support.ktls_without_kernel"],
                ids=["records", "socket"])  # fmt: skip
def daemon(request: pytest.FixtureRequest, store: Path, pair: Pair) -> Iterator[Daemon]:
    with Daemon.serving(store, toml=settings(pair), workers=1, module=request.param) as running:
        yield running


def tls_address(daemon: Daemon) -> Address:
    host, _, port = daemon.addresses[-1].rpartition(":")
    return host, int(port)


@pytest.fixture
def address(daemon: Daemon) -> Address:
    return tls_address(daemon)


# -- what a client may ask of the connection itself -----------------------------------------------


def test_keys_change_between_responses_and_in_one(address: Address, tmp_path: Path) -> None:
    """Whether the client asks for the server's as well, or changes its own alone."""
    log = tmp_path / "messages"
    with SClient(address, log, "-tls1_3") as client:

        def get(key: str, *fields: tuple[str, str]) -> bytes:
            client.send(request(f"/{key}.bin", fields))
            return client.read_exactly(client.read_head().length)

        assert get("small") == SMALL
        for command in "KkK":
            client.order(command)
            assert get("large") == LARGE
        client.send(request("/huge.bin"))
        head = client.read_head()
        client.order("K")
        assert client.read_exactly(head.length) == HUGE
        assert get("small", ("Connection", "close")) == SMALL
        assert client.wait() == 0
    said = re.findall(r"^(<<<|>>>) .* KeyUpdate$", log.read_text(), re.MULTILINE)
    assert (said.count(">>>"), said.count("<<<")) == (4, 3)


def test_renegotiation_is_refused(daemon: Daemon, address: Address, tmp_path: Path) -> None:
    """A client could have the server compute as often as it likes; one that is told no, goes."""
    before = daemon.counters()["tls_handshakes"]
    with SClient(address, tmp_path / "messages", "-tls1_2") as client:
        client.send(request("/small.bin"))
        assert client.read_exactly(client.read_head().length) == SMALL
        client.order("R")
        client.read_complaint(b"no renegotiation")
    with TlsWire(address) as wire:
        assert wire.get("/small.bin").body == SMALL
    assert daemon.counters()["tls_handshakes"] == before + 2


def test_client_that_speaks_h2_alone(daemon: Daemon, address: Address) -> None:
    """It is told so (RFC 7301 section 3.2)."""
    before = daemon.counters()["close_handshake_failed"]
    context = client_context()
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        TlsWire(address, context)
    assert daemon.counters()["close_handshake_failed"] == before + 1


def test_other_forms_of_a_url(address: Address) -> None:
    with TlsWire(address) as wire:
        part = wire.get("/range/5-2000000/large.bin")
        assert (part.status, part.body) == (200, LARGE[5:2_000_001])
        assert wire.get("/?o=small.bin").body == SMALL
        assert len(wire.get("/speedtest/range/0-299999").body) == 300_000


def test_upload(daemon: Daemon, address: Address) -> None:
    """Asked to go on, it sends a body of many records; the next request stands behind it."""
    count = 300_000
    before = daemon.counters()["bytes_uploaded"]
    fields = [("Content-Length", str(count)), ("Expect", "100-continue")]
    with TlsWire(address) as wire:
        wire.send(request(f"/speedtest/range/0-{count - 1}", fields, method="POST"))
        assert wire.read_response().status == 100
        wire.send(bytes(count) + request("/small.bin"))
        assert wire.read_response().status == 200
        assert wire.read_response().body == SMALL
    assert daemon.counters()["bytes_uploaded"] - before == count


def test_answers_that_a_full_socket_does_not_take(daemon: Daemon, address: Address) -> None:
    """Asked one after the other and not read: the last begins on the short way and has to wait."""
    before = daemon.counters()
    part = [("Range", "bytes=100-400099")]

    def grown(name: str) -> int:
        return daemon.counters()[name] - before[name]

    def await_begun(requests: int) -> None:
        eventually(lambda: grown("requests") == requests, "it is being answered")

    with TlsWire(address, receive_buffer=4096) as wire:
        assert wire.get("/small.bin").body == SMALL
        for count in range(1, 40):
            wire.send(request("/huge.bin", part))
            await_begun(count + 1)
            if grown("responses_2xx") < count + 1:
                break
        for _ in range(count):
            assert wire.read_response().body == HUGE[100:400_100]
        assert wire.get("/small.bin").body == SMALL
    assert 1 < count < 39
    eventually(lambda: grown("responses_2xx") == count + 2, "all are counted")
    assert grown("bytes_copied") == grown("store_bytes_0") == count * 400_000 + 2 * len(SMALL)


# -- what the worker does --------------------------------------------------------------------------


def test_records_are_sent_many_at_a_time(
    serve: Serve, store: Path, pair: Pair, tmp_path: Path
) -> None:
    """One call of the system for a batch of them, not one for each."""
    with serve(store, toml=settings(pair), workers=1) as running:
        with (
            traced(running.workers(), ["sendto"], tmp_path) as calls,
            TlsWire(tls_address(running)) as wire,
        ):
            assert wire.get("/huge.bin").body == HUGE
        assert running.counters()["bytes_ktls"] == 0
    taken = [call.result for call in calls if call.result > 0]
    assert sum(taken) > len(HUGE)
    assert sum(taken) / len(taken) > 4 * RECORD_BYTES


def test_disk_that_does_not_answer(serve: Serve, pair: Pair, tmp_path: Path) -> None:
    """While one client's read does not return, another of the same worker gets its answers."""
    write_object(tmp_path / "below", "cold.bin", LARGE)
    write_object(tmp_path / "below", "hot.bin", HUGE[:200_000])
    (tmp_path / "slow").mkdir()
    with (
        slow_store(tmp_path / "below", tmp_path / "slow") as slow,
        serve(slow.path, toml=settings(pair), workers=1) as running,
        TlsWire(tls_address(running)) as hot,
        TlsWire(tls_address(running)) as cold,
    ):
        assert hot.get("/hot.bin").body == HUGE[:200_000]
        slow.set_rules(Rule("read", "cold*", is_held=True))
        cold.send(request("/cold.bin"))
        slow.await_begun("read", "cold.bin")
        for _ in range(200):
            assert hot.get("/hot.bin").body == HUGE[:200_000]
        slow.set_rules()
        assert cold.read_response().body == LARGE
        sent = 201 * 200_000 + len(LARGE)
        eventually(lambda: running.counters()["bytes_copied"] == sent, "all is counted")


def test_ticket_keys_change_in_all_workers(store: Path, pair: Pair) -> None:
    """An old ticket means a full handshake and nothing worse; a new one is good again."""
    context = client_context()
    module = "tests.support.hasty_ticket_keys"
    with Daemon.serving(store, toml=settings(pair), module=module) as running:

        def begin(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
            with TlsWire(tls_address(running), context, session=session) as wire:
                assert wire.get("/small.bin").body == SMALL
                return bool(wire.tls.session_reused), wire.tls.session

        def refuses(session: ssl.SSLSession | None) -> bool:
            return not any(begin(session)[0] for _ in range(10))

        _, old = begin(None)
        eventually(lambda: refuses(old), "no worker knows the old ticket")
        eventually(lambda: begin(begin(None)[1])[0], "a new ticket is good")


def test_nobody_is_cut_by_a_reload_or_a_new_version(serve: Serve, store: Path, pair: Pair) -> None:
    """Each process ends its own responses; new clients get the next one, resumed or not."""
    context = client_context()
    with serve(store, toml=settings(pair)) as running:
        address = tls_address(running)

        def begin() -> tuple[TlsWire, int]:
            reader = TlsWire(address, context, receive_buffer=4096)
            reader.send(request("/huge.bin"))
            return reader, reader.read_head().length

        readers = [begin()]
        running.signal(signal.SIGHUP)
        eventually(lambda: "reloaded: " in running.log.read_text(), "it is reloaded")
        readers.append(begin())
        with TlsWire(address, context) as before:
            assert before.get("/small.bin").body == SMALL
            session = before.tls.session
        with upgraded(running):
            with TlsWire(address, context, session=session) as wire:
                assert wire.get("/small.bin").body == SMALL
            assert running.process.poll() is None
            for reader, length in readers:
                assert reader.read_exactly(length) == HUGE
                reader.close()
            assert running.process.wait(STOP_S) == 0
            with TlsWire(address, context) as wire:
                assert wire.get("/small.bin").body == SMALL


@pytest.mark.parametrize("sockets", ["", "1"], ids=["records", "socket"])
def test_client_that_is_asked_for_a_second_hello(store: Path, pair: Pair, sockets: str) -> None:
    with (
        Daemon.serving(
            store, toml=settings(pair), workers=1, module="tests.support.rare_curve",
            environment={"WITH_SOCKETS": sockets},
        ) as daemon,
        TlsWire(tls_address(daemon)) as wire,
    ):  # fmt: skip
        assert wire.get("/small.bin").body == SMALL
        assert wire.tls.version() == "TLSv1.3"
