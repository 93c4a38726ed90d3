"""Clients that are slow and steady keep their connections; those that hold a place do not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Address, Wire, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(60)]

HUGE = blob(24 << 20, seed=111)
TOML = "[serve]\nspeedtest = true\nlimits = { stall_s = 1.5 }\n"
MSS = 1460
WATCHED_S = 7.0  # more than twice what the kernel would be told to wait


@pytest.fixture(scope="module")
def daemon(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("slow") / "store"
    write_object(folder, "huge.bin", HUGE)
    with serve(folder, toml=TOML, workers=1) as running:
        yield running


class SteadyReader(threading.Thread):
    """Reads so many bytes a second in pieces, over a connection like one of Ethernet."""

    def __init__(self, address: Address, buffer: int, rate: int, piece: int) -> None:
        super().__init__(name=f"{buffer} bytes, {rate} a second, {piece} at once")
        self.received = b""
        self.failure: OSError | None = None
        self._rate, self._piece = rate, piece
        self._socket = socket.socket()
        self._socket.settimeout(10)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MSS)
        self._socket.connect(address)

    def run(self) -> None:
        end = time.monotonic() + WATCHED_S
        with self._socket as sock:
            sock.sendall(request("/huge.bin"))
            try:
                while time.monotonic() < end:
                    data = sock.recv(self._piece)
                    if not data:
                        raise ConnectionResetError("closed")
                    self.received += data
                    time.sleep(len(data) / self._rate)
            except OSError as error:
                self.failure = error


def test_steady_readers_with_small_windows(daemon: Daemon) -> None:
    """Set-top boxes are like this: they acknowledge all the time, a segment or two at once."""
    before = daemon.counters()
    readers = [
        SteadyReader(daemon.address, buffer, rate, piece)
        for buffer in (4096, 8192, 16384)
        for rate in (50_000, 200_000)
        for piece in (1000, 4000, 16384)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not [reader.name for reader in readers if reader.failure]
    assert all(HUGE[:1000] in reader.received for reader in readers)
    after = daemon.counters()
    for reason in ("stall_timeout", "slow_read", "client_lost"):
        assert after[f"close_{reason}"] == before[f"close_{reason}"]


def test_next_response_does_not_stall_behind_the_last(daemon: Daemon) -> None:
    """What the client still takes of the one before is no stall of the next."""
    with Wire(daemon.address, receive_buffer=16384) as wire:
        wire.send(request("/huge.bin", [("Range", "bytes=0-1499999")]) * 2)
        wire.read_head()
        end = time.monotonic() + 3.0
        taken = b""
        while time.monotonic() < end:
            taken += wire.read_exactly(20_000)
            time.sleep(0.1)
        taken += wire.read_exactly(1_500_000 - len(taken))
        assert taken == HUGE[:1_500_000]
        wire.read_head()
        assert wire.read_exactly(1_500_000) == HUGE[:1_500_000]


def test_who_takes_nothing_is_reset(daemon: Daemon) -> None:
    """What the kernel held for it is given back at once."""
    before = daemon.counters()["close_stall_timeout"]
    with Wire(daemon.address, receive_buffer=4096) as wire:
        wire.send(request("/huge.bin"))
        eventually(lambda: daemon.counters()["close_stall_timeout"] > before, "it is ended")
        with pytest.raises(ConnectionResetError):
            wire.read_to_end()


def test_upload_in_drips(daemon: Daemon) -> None:
    """Each byte comes in time, and all of them too slowly."""
    before = daemon.counters()["close_body_timeout"]
    with Wire(daemon.address) as wire:
        fields = [("Content-Length", "1000000")]
        wire.send(request("/speedtest/range/0-999999", fields, method="POST"))
        for _ in range(60):
            if daemon.counters()["close_body_timeout"] > before:
                break
            wire.send(b"x")
            time.sleep(0.1)
        assert wire.read_response().status == 408
    assert daemon.counters()["close_body_timeout"] == before + 1


def test_upload_whose_client_goes_when_it_is_told_to_go_on(daemon: Daemon) -> None:
    fields = [("Content-Length", "10"), ("Expect", "100-continue")]
    head = request("/speedtest/range/0-9", fields, method="POST")
    for _ in range(200):
        wire = Wire(daemon.address)
        wire.send(head)
        wire.reset()
    eventually(lambda: daemon.counters()["connections"] == 0, "all have gone")
    assert daemon.counters()["defects"] == 0
    assert "Traceback" not in daemon.log.read_text()
