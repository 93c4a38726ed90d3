"""Behind a balancer that tells the client's address: HAProxy, curl, and what is no header."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import Serve
from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = pytest.mark.scenario

MOVIE = blob(300_000)
CLIENT = "127.0.0.9"  # loopback as well, and not the balancer's address
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxied") / "store"
    write_object(folder, "movie.mp4", MOVIE)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), "a", "localhost")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "access.log"


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path, pair: Pair, log: Path) -> Iterator[Daemon]:
    toml = (
        '[serve]\nlisten = ["127.0.0.1:0"]\nproxy_protocol = true\n'
        f'access_log = "{log}"\naccess_log_format = "json"\n'
        "[serve.limits]\nhead_s = 1\nconnections_per_address = 2\n"
        f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n'
    )
    with serve(store, toml=toml, workers=1) as running:
        yield running


def tls_port(daemon: Daemon) -> int:
    return int(daemon.addresses[1].rpartition(":")[2])


def header(source: str) -> bytes:
    """Version 2, for a client of IPv4."""
    address = socket.inet_aton(source)
    return SIGNATURE + b"\x21\x11\x00\x0c" + address + address + struct.pack("!HH", 5, 80)


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def haproxy(folder: Path, daemon: Daemon, version: str) -> Iterator[int]:
    """A balancer that passes connections on; the port where it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "haproxy.cfg"
    config.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
        f"listen front\n bind 127.0.0.1:{port}\n server oca {daemon.addresses[0]} {version}\n"
    )
    process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(port), "HAProxy listens")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy(daemon: Daemon, log: Path, tmp_path: Path, version: str) -> None:
    """The log has the client's address, not the balancer's."""
    name = f"/movie.mp4?{version}"
    with haproxy(tmp_path, daemon, version) as port:
        command = [
            "curl",
            "-s",
            "--interface",
            CLIENT,
            "-r",
            "100-",
            f"http://127.0.0.1:{port}{name}",
        ]
        got = subprocess.run(command, check=True, capture_output=True).stdout
    assert got == MOVIE[100:]

    def addresses() -> list[str]:
        return [entry["address"] for entry in entries(log) if entry.get("target") == name]

    assert eventually(addresses, "it is logged") == [CLIENT]


def test_curl_over_tls(daemon: Daemon, pair: Pair) -> None:
    """The header stands in front of the handshake."""
    url = f"https://localhost:{tls_port(daemon)}/movie.mp4"
    command = ["curl", "-s", "-4", "--haproxy-protocol", "--cacert", str(pair.cert), url]
    assert subprocess.run(command, check=True, capture_output=True).stdout == MOVIE


def test_header_in_single_bytes(daemon: Daemon) -> None:
    """What follows is read when it is whole, also if it comes with its last byte."""
    said = header("192.0.2.7") + request("/movie.mp4", [("Range", "bytes=0-9")])
    with Wire(daemon.address) as wire:
        for place in range(28):
            wire.send(said[place : place + 1])
            time.sleep(0.005)
        wire.send(said[28:])
        assert wire.read_response().body == MOVIE[:10]
        assert wire.get("/movie.mp4").body == MOVIE  # and the connection stays
    for cut in (12, 27, 28, 40):
        with Wire(daemon.address) as wire:
            wire.send(said[:cut])
            time.sleep(0.05)
            wire.send(said[cut:])
            assert wire.read_response().body == MOVIE[:10]


def test_balancer_that_checks(daemon: Daemon) -> None:
    """It may name nobody, or go again without a word."""
    local = SIGNATURE + b"\x20\x00\x00\x00"
    assert fetch(daemon.address, local + request("/healthz")).status in (200, 503)
    eventually(lambda: not daemon.counters()["connections"], "the end of that is counted")
    before = daemon.counters()["close_client_closed"]
    Wire(daemon.address).close()
    eventually(lambda: daemon.counters()["close_client_closed"] == before + 1, "it is counted")


def test_limit_of_an_address(daemon: Daemon) -> None:
    """It is that of clients: the balancer's own address has as many as it likes."""
    busy = header("192.0.2.8") + request("/movie.mp4", [("Range", "bytes=0-0")])
    wires = [Wire(daemon.address) for _ in range(4)]
    try:
        for wire, status in zip(wires[:3], (206, 206, 503), strict=True):
            wire.send(busy)
            assert wire.read_response().status == status
        wires[3].send(header("192.0.2.9") + request("/movie.mp4", [("Range", "bytes=0-0")]))
        assert wires[3].read_response().status == 206
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(request("/movie.mp4"), id="http"),
        pytest.param(b"PROXY TCP4 192.0.2.7 x 1 2\r\n" + request("/movie.mp4"), id="malformed"),
        pytest.param(b"\x16\x03\x01\x00\x05", id="tls_hello"),
    ],
)
def test_without_a_header(daemon: Daemon, tls: bool, said: bytes) -> None:
    """Nobody who is not announced is served, or told anything."""
    before = daemon.counters()["close_proxy_header"]
    address = ("127.0.0.1", tls_port(daemon)) if tls else daemon.address
    with Wire(address) as wire:
        wire.send(said)
        assert wire.is_ended()
    assert daemon.counters()["close_proxy_header"] == before + 1


def test_header_that_does_not_come(daemon: Daemon) -> None:
    """It has the time of a head."""
    before = daemon.counters()["close_head_timeout"]
    with Wire(daemon.address) as wire:
        wire.send(header("192.0.2.7")[:20])
        assert wire.is_ended()
    assert daemon.counters()["close_head_timeout"] == before + 1


def test_stop_while_headers_are_read(serve: Serve, store: Path) -> None:
    """Who was accepted is heard out, and the worker ends."""
    toml = '[serve]\naccess_log = "off"\nproxy_protocol = true\n'
    with serve(store, toml=toml, workers=1) as daemon:
        said = header("192.0.2.7")
        with Wire(daemon.address) as wire:
            wire.send(said[:20])
            eventually(lambda: daemon.counters()["connections"] == 1, "it is accepted")
            daemon.process.terminate()
            eventually(lambda: "stopping" in daemon.log.read_text(), "it stops")
            wire.send(said[20:] + request("/movie.mp4"))
            assert wire.read_response().body == MOVIE
        assert daemon.process.wait(20) == 0
        assert not re.search("killed|Traceback", daemon.log.read_text())
