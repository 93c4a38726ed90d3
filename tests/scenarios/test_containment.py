"""A defect in our own code, wherever it is met, ends the client that met it and nothing else.

`tests.support.defective` is the program with defects put into it.
"""

from __future__ import annotations

import os
import resource
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, write_object
from tests.support.daemon import STOP_S, Daemon
from tests.support.pages import make_cold
from tests.support.slow_store import Rule, slow_store
from tests.support.tls_wire import TlsWire
from tests.support.waiting import eventually
from tests.support.wire import Address, MalformedResponseError, Wire, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(60)]

HOT = blob(70_000, seed=91)
COLD = blob(3 << 20, seed=92)
HUGE = blob(24 << 20, seed=93)
SERVE = '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "{log}"\n'


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("certificates"), "a", "a.example")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name, data in (("hot", HOT), ("cold", COLD), ("stepping", HUGE), ("huge", HUGE)):
        write_object(tmp_path / "store", f"{name}.bin", data)
    return tmp_path / "store"


@contextmanager
def defective(store: Path, *defects: str, toml: str = "", **environment: str) -> Iterator[Daemon]:
    log = store.parent / "access.log"
    with Daemon.serving(
        store, toml=SERVE.format(log=log) + toml, workers=1, module="tests.support.defective",
        environment={"DEFECTS": ",".join(defects), **environment},
    ) as daemon:  # fmt: skip
        yield daemon


def is_cut(wire: Wire) -> bool:
    """Whether the connection ends without a whole answer."""
    try:
        wire.read_response()
    except (ConnectionResetError, MalformedResponseError):
        return True
    return False


def meet(address: Address, target: str) -> None:
    """Have a connection that was good for a request meet a defect."""
    with Wire(address) as wire:
        assert wire.get("/hot.bin").body == HOT
        wire.send(request(target))
        assert is_cut(wire)


def assert_contained(
    daemon: Daemon, bystander: Wire, met: int, *, closed: int | None = None
) -> None:
    """So many defects were met; who was there before is served, as is who comes now."""
    assert bystander.get("/hot.bin").body == HOT
    with Wire(daemon.address) as newcomer:
        assert newcomer.get("/hot.bin").body == HOT
    counters = daemon.counters()
    assert counters["defects"] == met
    assert counters["close_internal"] == (met if closed is None else closed)
    assert daemon.log.read_text().count("Traceback") == 1


@pytest.mark.parametrize("defect", ["received", "answer"])
def test_a_request_meets_it(store: Path, defect: str) -> None:
    with defective(store, defect) as daemon, Wire(daemon.address) as bystander:
        for _ in range(20):
            meet(daemon.address, f"/{defect}.bin")
        assert daemon.counters()["close_internal"] == 20
        assert bystander.get("/hot.bin").body == HOT
        eventually(lambda: daemon.counters()["connections"] == 1, "the others are gone")
        assert "Traceback" in daemon.log.read_text()
        assert len(daemon.log.read_bytes()) < 10_000


def test_a_pipelined_request_meets_it(store: Path) -> None:
    with defective(store, "pipelined") as daemon, Wire(daemon.address) as bystander:
        with Wire(daemon.address) as wire:
            wire.send(request("/hot.bin") + request("/pipelined"))
            assert wire.read_response().body == HOT
            assert is_cut(wire)
        assert_contained(daemon, bystander, 1)


def test_deadlines_of_the_same_moment(store: Path) -> None:
    """None that falls due with the one that fails is forgotten."""
    toml = "limits = { head_s = 1.0 }\n"
    with defective(store, "expire", toml=toml) as daemon, Wire(daemon.address) as bystander:
        assert bystander.get("/hot.bin").body == HOT
        wires = [Wire(daemon.address) for _ in range(40)]
        for number, wire in enumerate(wires):
            wire.send(b"GET /expire" if number % 2 else b"GET /other")
        for number, wire in enumerate(wires):
            with wire:
                assert (wire.read_to_end() == b"") == bool(number % 2)
        # A client sees the end before it is counted.
        eventually(lambda: daemon.counters()["close_head_timeout"] == 20, "all are counted")
        assert_contained(daemon, bystander, 20)


def test_who_waits_for_the_same_object(store: Path, tmp_path: Path) -> None:
    """The first of them fails; the look-up was one for all."""
    (tmp_path / "slow").mkdir()
    with (
        slow_store(store, tmp_path / "slow") as slow,
        defective(slow.path, "found") as daemon,
        Wire(daemon.address) as bystander,
    ):
        assert bystander.get("/hot.bin").body == HOT
        slow.set_rules(Rule("open", "huge*", is_held=True))
        with Wire(daemon.address) as first:
            first.send(request("/huge.bin?found"))
            slow.await_begun("open", "huge.bin")
            others = [Wire(daemon.address) for _ in range(20)]
            for other in others:
                other.send(request("/huge.bin", [("Range", "bytes=0-999")]))
            eventually(lambda: daemon.counters()["lookups"] == 22, "all wait")
            slow.set_rules()
            assert is_cut(first)
            for other in others:
                with other:
                    assert other.read_response().body == HUGE[:1000]
        assert_contained(daemon, bystander, 1)


def test_thread_comes_back_to_it(store: Path) -> None:
    with defective(store, "cold") as daemon, Wire(daemon.address) as bystander:
        for _ in range(3):
            make_cold(store / "cold.bin")
            meet(daemon.address, "/cold.bin")
        assert_contained(daemon, bystander, 3)


def test_long_response_meets_it(store: Path) -> None:
    with defective(store, "stepping") as daemon, Wire(daemon.address) as bystander:
        for _ in range(3):
            meet(daemon.address, "/stepping.bin")
        assert_contained(daemon, bystander, 3)


def test_line_of_the_log_that_cannot_be_made(store: Path) -> None:
    """The answer is whole, and those of the same batch have their lines."""
    write_object(store, "line.bin", HOT)
    with defective(store, "line") as daemon, Wire(daemon.address) as bystander:
        with Wire(daemon.address) as wire:
            for _ in range(3):
                assert wire.get("/line.bin").body == HOT
        assert_contained(daemon, bystander, 2, closed=0)
        assert daemon.counters()["responses_2xx"] == 5


def test_connection_that_cannot_be_made(store: Path, tmp_path: Path) -> None:
    mark = tmp_path / "no clients"
    with (
        defective(store, "made", NO_CLIENTS=str(mark)) as daemon,
        Wire(daemon.address) as bystander,
    ):
        assert bystander.get("/hot.bin").body == HOT
        mark.touch()
        for _ in range(3):
            with Wire(daemon.address) as wire:
                assert wire.is_ended()
        mark.unlink()
        assert_contained(daemon, bystander, 3)
        eventually(lambda: daemon.counters()["connections"] == 1, "no place is lost")


def test_duties_of_the_worker(store: Path) -> None:
    """What fails each time it is due keeps no other from being done."""
    with defective(store, "tick", "beat") as daemon, Wire(daemon.address) as bystander:
        eventually(lambda: daemon.counters()["defects"] > 8, "two seconds have passed")
        assert bystander.get("/hot.bin").body == HOT
        assert (store.parent / "access.log").exists()
        eventually(lambda: (store.parent / "access.log").read_bytes(), "lines are written")
        assert len(daemon.log.read_bytes()) < 10_000


def test_drain_goes_on(store: Path) -> None:
    """With the others, and to its end."""
    toml = "drain_s = 1.0\nlimits = { stall_s = 1000 }\n"
    with (
        defective(store, "drain", toml=toml) as daemon,
        Wire(daemon.address, receive_buffer=4096) as failing,
        Wire(daemon.address) as idle,
    ):
        assert idle.get("/hot.bin").body == HOT
        failing.send(request("/huge.bin?drain"))
        failing.read_head()
        daemon.signal(signal.SIGTERM)
        assert idle.is_ended()
        assert daemon.process.wait(STOP_S) == 0


def test_answer_that_cannot_be_accounted_for(store: Path) -> None:
    """It has gone out; the connection is of no more use."""
    with defective(store, "account") as daemon, Wire(daemon.address) as bystander:
        with Wire(daemon.address) as wire:
            assert wire.get("/account.bin").status == 404
            assert wire.is_ended()
        assert bystander.get("/hot.bin").body == HOT
        counters = daemon.counters()
        assert (counters["defects"], counters["close_internal"]) == (2, 1)


@pytest.mark.parametrize("defect", ["handshake", "choice"])
def test_handshake_meets_it(store: Path, pair: Pair, defect: str) -> None:
    toml = f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n'
    with defective(store, defect, toml=toml) as daemon, Wire(daemon.address) as bystander:
        host, _, port = daemon.addresses[-1].rpartition(":")
        for _ in range(3):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                TlsWire((host, int(port)), name=f"{defect}.example")
        with TlsWire((host, int(port))) as wire:
            assert wire.get("/hot.bin").body == HOT
        assert_contained(daemon, bystander, 3, closed=3 * (defect == "handshake"))
        eventually(lambda: daemon.counters()["tls_handshaking"] == 0, "no place is lost")


def test_socket_is_closed_by_whom_cannot_be_counted_out(store: Path) -> None:
    """Even where closing fails, the descriptor is given back; and no drain waits for it."""
    with (
        defective(store, "gone", toml="drain_s = 1.0\n") as daemon,
        Wire(daemon.address) as bystander,
    ):
        assert bystander.get("/hot.bin").body == HOT
        (worker,) = daemon.workers()
        before = len(os.listdir(f"/proc/{worker}/fd"))
        for _ in range(10):
            with Wire(daemon.address) as wire:
                wire.send(b"GET /gone")
        eventually(
            lambda: len(os.listdir(f"/proc/{worker}/fd")) == before, "descriptors are given back"
        )
        assert bystander.get("/hot.bin").body == HOT
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(STOP_S) == 0


def test_no_descriptor_is_left(serve: Serve, store: Path) -> None:
    """One line while it lasts, and one when it is over, however many want one."""
    with serve(store, toml="", workers=1) as daemon, Wire(daemon.address) as bystander:
        assert bystander.get("/hot.bin").body == HOT
        (worker,) = daemon.workers()
        _, most = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        held = len(os.listdir(f"/proc/{worker}/fd"))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (held + 5, most))
        with ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(Wire(daemon.address))
            eventually(lambda: daemon.counters()["accept_errors"] > 5, "there are none left")
            bystander.send(request("/huge.bin"))
            assert bystander.read_response().status in (200, 503)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (most, most))
        eventually(lambda: "accepting goes on" in daemon.log.read_text(), "it is over")
        with Wire(daemon.address) as newcomer:
            assert newcomer.get("/hot.bin").body == HOT
        lines = [line for line in daemon.log.read_text().splitlines() if "accepting" in line]
        assert len(lines) == 2
