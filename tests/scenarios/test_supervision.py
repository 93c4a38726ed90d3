"""The real program under steady load: workers die, settings and versions change, logs rotate."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.load import Load, steady_load
from tests.support.processes import client_ports
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

OBJECTS = {
    "movie.mp4": blob(3_000_001),
    "segment.m4s": blob(70_000, seed=2),
    "list.m3u8": blob(900, seed=3),
}
BIG = blob(32 << 20, seed=4)
NO_LOG = '[serve]\naccess_log = "off"\n'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for key, data in {**OBJECTS, "big.mp4": BIG}.items():
        write_object(folder, key, data)
    return folder


def tcp(daemon: Daemon) -> tuple[str, int]:
    assert isinstance(daemon.address, tuple)
    return daemon.address


def assert_unharmed(load: Load) -> None:
    """No request failed."""
    print(f"{load.report.answered} answered, {load.report.retried} of them after a retry")
    assert load.report.failures == []


# -- death ---------------------------------------------------------------------------------------


async def test_killed_worker_costs_its_own_connections(serve: Serve, store: Path) -> None:
    """Whoever has another worker notices nothing; whoever comes later is served."""
    with serve(store, toml=NO_LOG) as daemon:
        async with steady_load(tcp(daemon), OBJECTS) as load:
            victim = daemon.workers()[0]
            os.kill(victim, signal.SIGSTOP)  # so that what it holds does not change
            held = client_ports(victim)
            os.kill(victim, signal.SIGKILL)
            await load.progress(10)
            eventually(lambda: len(daemon.workers()) == 2, "the worker is replaced")
            await load.progress(10)
        failed = [failure for failure in load.report.failures if failure.port not in held]
        assert failed == []
        assert 0 < len(held) < 64
        assert len(load.report.failures) + load.report.retried <= len(held)
        assert daemon.counters()["requests"] >= load.report.answered


def test_killed_supervisor_ends_all(serve: Serve, store: Path) -> None:
    """Its workers end after the responses that run, since nobody would stop them later."""
    with serve(store, toml=NO_LOG) as daemon:
        workers = daemon.workers()
        with Wire(daemon.address, receive_buffer=4096) as wire:
            wire.send(request("/big.mp4"))
            head = wire.read_head()
            daemon.signal(signal.SIGKILL)
            daemon.process.wait()
            assert wire.read_exactly(head.length) == BIG
        eventually(lambda: not any(map(is_alive, workers)), "they are gone")


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended may wait for an init that does not ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- reload --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loop", "reloads"), [("uvloop", 10), pytest.param("asyncio", 10, marks=pytest.mark.exhaustive)]
)
async def test_reloads(serve: Serve, store: Path, loop: str, reloads: int) -> None:
    """No request fails, no response is cut, no connection is refused."""
    with serve(store, toml=f'{NO_LOG}loop = "{loop}"\n') as daemon:
        first = set(daemon.workers())
        async with steady_load(tcp(daemon), OBJECTS) as load:
            for times in range(1, reloads + 1):
                daemon.signal(signal.SIGHUP)
                while daemon.log.read_text().count("reloaded: ") < times:
                    await load.progress()
                await load.progress()
        assert_unharmed(load)
        eventually(lambda: len(daemon.workers()) == 2, "those that were replaced are gone")
        assert not first & set(daemon.workers())
        assert daemon.counters()["requests"] >= load.report.answered


def test_response_that_runs_while_its_worker_is_replaced(serve: Serve, store: Path) -> None:
    """It ends in its own time, with the bytes that it began with; so does its worker."""
    with serve(store, toml=NO_LOG) as daemon:
        first = set(daemon.workers())
        with Wire(daemon.address, receive_buffer=4096) as wire:
            wire.send(request("/big.mp4"))
            head = wire.read_head()
            daemon.signal(signal.SIGHUP)
            eventually(lambda: "reloaded: " in daemon.log.read_text(), "the reload is over")
            eventually(lambda: len(first & set(daemon.workers())) == 1, "the idle one is gone")
            assert fetch(daemon.address, request("/list.m3u8")).body == OBJECTS["list.m3u8"]
            assert wire.read_exactly(head.length) == BIG
        eventually(lambda: not first & set(daemon.workers()), "the old worker is gone")


def test_reload_with_other_settings(store: Path, tmp_path: Path) -> None:
    """New values count from then on; with a fault in the file, the old ones stay."""
    other = tmp_path / "other"
    write_object(other, "list.m3u8", b"#EXTM3U")
    config = tmp_path / "ocaserve.toml"

    def configure(path: Path, more: str = "") -> None:
        config.write_text(
            f'[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\n{more}'
            f'[[store]]\npath = "{path}"\n'
        )

    configure(store)
    with running(Daemon.start(["serve", "-c", str(config)], tmp_path / "log")) as daemon:
        assert fetch(daemon.address, request("/list.m3u8")).body == OBJECTS["list.m3u8"]
        configure(other, "worker = 3\n")
        daemon.signal(signal.SIGHUP)
        eventually(lambda: "did you mean 'workers'?" in daemon.log.read_text(), "it is refused")
        assert fetch(daemon.address, request("/list.m3u8")).body == OBJECTS["list.m3u8"]
        configure(other, "workers = 3\n")
        daemon.signal(signal.SIGHUP)
        eventually(lambda: "(3 workers)" in daemon.log.read_text(), "it is reloaded")
        assert fetch(daemon.address, request("/list.m3u8")).body == b"#EXTM3U"


def test_reload_to_another_address_of_the_port(store: Path, tmp_path: Path) -> None:
    """From loopback to every host and back, and no client is refused."""
    config = tmp_path / "ocaserve.toml"

    def configure(host: str, port: int) -> None:
        config.write_text(
            f'[serve]\nlisten = ["{host}:{port}"]\naccess_log = "off"\n[control]\nlisten = []\n'
            f'[[store]]\npath = "{store}"\n'
        )

    configure("127.0.0.1", 0)
    with running(Daemon.start(["serve", "-c", str(config)], tmp_path / "log")) as daemon:
        port = int(daemon.address[1])
        for turn, host in enumerate(("0.0.0.0", "127.0.0.1"), 1):
            configure(host, port)
            daemon.signal(signal.SIGHUP)
            while daemon.log.read_text().count("reloaded: ") < turn:
                assert fetch(daemon.address, request("/list.m3u8")).status == 200
            assert fetch(daemon.address, request("/list.m3u8")).status == 200
        assert "refused" not in daemon.log.read_text()


def test_reload_with_an_address_that_another_program_has(store: Path, tmp_path: Path) -> None:
    """The rest of the settings counts; who has asked is told, and health shows it until it ends."""
    config = tmp_path / "ocaserve.toml"
    control = f"unix:{tmp_path}/control"

    def configure(site: str, *listen: str) -> None:
        config.write_text(
            f'[appliance]\nsite = "{site}"\n[serve]\nlisten = {json.dumps(listen)}\n'
            f'access_log = "off"\nworkers = 1\n[control]\nlisten = ["{control}"]\n'
            f'[[store]]\npath = "{store}"\n'
        )

    def warned() -> bool:
        rows = call(control, "GET", "/v1/health").json["components"]
        return any(row["name"] == "listeners" and row["level"] == "warning" for row in rows)

    configure("old", "127.0.0.1:0")
    with (
        running(Daemon.start(["serve", "-c", str(config)], tmp_path / "log")) as daemon,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        own, taken = ("{}:{}".format(*address) for address in (daemon.address, other.getsockname()))
        configure("new", own, taken)
        command = [sys.executable, "-m", "ocaserve", "reload", "-c", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "reloaded\n")
        why = f"cannot listen on {taken}: Address already in use"
        assert f"goes on in spite of: {why}" in done.stderr
        assert fetch(daemon.address, request("/list.m3u8")).status == 200
        assert call(control, "GET", "/v1/status").json["site"] == "new"
        eventually(warned, "health shows it")
        other.close()
        eventually(lambda: not is_refused(taken), "it serves there too")
        host, _, port = taken.rpartition(":")
        assert fetch((host, int(port)), request("/list.m3u8")).status == 200


def is_refused(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) != 0


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    try:
        yield daemon
    finally:
        daemon.stop()


# -- stop ----------------------------------------------------------------------------------------


def test_response_that_runs_when_told_to_stop(serve: Serve, store: Path) -> None:
    """It ends whole, inside the deadline; then the program does, with status 0."""
    with serve(store, toml=NO_LOG, workers=1) as daemon:
        with Wire(daemon.address, receive_buffer=4096) as wire:
            wire.send(request("/big.mp4"))
            head = wire.read_head()
            daemon.signal(signal.SIGTERM)
            eventually(lambda: "stopping: " in daemon.log.read_text(), "it stops")
            assert wire.read_exactly(head.length) == BIG
        assert daemon.process.wait(20) == 0


def test_response_that_is_longer_than_the_deadline(serve: Serve, store: Path) -> None:
    """It is cut: a client sees that bytes are missing."""
    with (
        serve(store, toml=NO_LOG + "drain_s = 0.2\n", workers=1) as daemon,
        Wire(daemon.address, receive_buffer=4096) as wire,
    ):
        wire.send(request("/big.mp4"))
        wire.read_head()
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0
        assert daemon.counters()["close_drain_deadline"] == 1


# -- a new version -------------------------------------------------------------------------------


async def test_new_version(serve: Serve, store: Path) -> None:
    """It takes over the same sockets; no request fails; the old one ends with status 0."""
    with serve(store, toml=NO_LOG) as daemon, ended_at_last(daemon):
        async with steady_load(tcp(daemon), OBJECTS) as load:
            daemon.signal(signal.SIGUSR2)
            while daemon.process.poll() is None:
                await load.progress()
            await load.progress(10)
            assert daemon.process.returncode == 0
            (new,) = versions_of(daemon)
            os.kill(new, signal.SIGUSR2)  # a version that took over can be replaced as well
            while is_alive(new):
                await load.progress()
            await load.progress(10)
        assert_unharmed(load)
        assert len(versions_of(daemon)) == 2


def test_new_version_that_is_stopped_before_the_old_one_has_ended(
    serve: Serve, store: Path
) -> None:
    """Nobody listens any more; what runs in the old one ends all the same."""
    with serve(store, toml=NO_LOG) as daemon, ended_at_last(daemon):
        with Wire(daemon.address, receive_buffer=4096) as wire:
            wire.send(request("/big.mp4"))
            head = wire.read_head()
            daemon.signal(signal.SIGUSR2)
            eventually(lambda: "this one ends" in daemon.log.read_text(), "it is handed over")
            (new,) = versions_of(daemon)
            os.kill(new, signal.SIGTERM)
            eventually(lambda: not is_alive(new), "the new version is gone")
            with socket.socket() as client:
                eventually(lambda: client.connect_ex(tcp(daemon)) != 0, "nobody listens")
            assert daemon.process.poll() is None
            assert wire.read_exactly(head.length) == BIG
        assert daemon.process.wait(20) == 0


def test_version_that_drains_when_the_next_but_one_comes(serve: Serve, store: Path) -> None:
    """What it still sends has drain_s to end: versions do not pile up behind slow clients."""
    with (
        serve(store, toml=NO_LOG + "drain_s = 0.5\n") as daemon,
        ended_at_last(daemon),
        Wire(daemon.address, receive_buffer=4096) as wire,
    ):
        wire.send(request("/big.mp4"))
        wire.read_head()
        daemon.signal(signal.SIGUSR2)
        eventually(lambda: "this one ends" in daemon.log.read_text(), "it is handed over")
        assert daemon.process.poll() is None
        os.kill(versions_of(daemon)[0], signal.SIGUSR2)
        assert daemon.process.wait(20) == 0


def versions_of(daemon: Daemon) -> list[int]:
    """The pids of the versions that were started, as the log tells them."""
    said = daemon.log.read_text().split("starting a new version (pid ")[1:]
    return [int(text.split(")")[0]) for text in said]


@contextmanager
def ended_at_last(daemon: Daemon) -> Iterator[None]:
    """Stop the versions that have taken over: they are not the fixture's to stop."""
    try:
        yield
    finally:
        for pid in filter(is_alive, versions_of(daemon)):
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: not any(map(is_alive, versions_of(daemon))), "all versions are gone")


# -- logs, paths ---------------------------------------------------------------------------------


def test_log_is_reopened(serve: Serve, store: Path, tmp_path: Path) -> None:
    """After a rotation, lines go to the new file; none is lost."""
    log = tmp_path / "access.log"
    with serve(store, toml=f'[serve]\naccess_log = "{log}"\n') as daemon:
        ask_often(daemon, "/list.m3u8?before")
        log.rename(tmp_path / "access.log.1")
        daemon.signal(signal.SIGUSR1)
        eventually(log.exists, "the new file is there")
        ask_often(daemon, "/list.m3u8?after")
    assert log.read_text().count("?after") == 50
    both = log.read_text() + (tmp_path / "access.log.1").read_text()
    assert both.count("?before") == 50


def ask_often(daemon: Daemon, target: str) -> None:
    for _ in range(50):
        assert fetch(daemon.address, request(target)).status == 200


def test_unix_socket(serve: Serve, store: Path, tmp_path: Path) -> None:
    """A path is served like an address, beside one; it is gone at the end."""
    path = tmp_path / "s"
    toml = f'[serve]\naccess_log = "off"\nlisten = ["unix:{path}", "127.0.0.1:0"]\n'
    with serve(store, toml=toml) as daemon:
        assert daemon.address == str(path)
        assert fetch(str(path), request("/list.m3u8")).body == OBJECTS["list.m3u8"]
        host, port = daemon.addresses[1].split(":")
        assert fetch((host, int(port)), request("/list.m3u8")).body == OBJECTS["list.m3u8"]
    assert not path.exists()


def test_port_in_use(store: Path, tmp_path: Path) -> None:
    """One line names the address; the status is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        log = tmp_path / "log"
        with pytest.raises(AssertionError, match="did not start"):
            Daemon.start(["serve", str(store), "--listen", listen], log)
    assert log.read_text() == f"ocaserve: cannot listen on {listen}: Address already in use\n"
