"""Who has the listening sockets: the service manager before us, another appliance, the next one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import START_S, STOP_S, Daemon
from tests.support.processes import workers_of
from tests.support.upgrades import upgraded
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

QUIET = '[serve]\naccess_log = "off"\n'
SMALL = blob(1000)
BIG = blob(24 << 20, seed=2)  # more than the buffers of both sockets hold
AS_SERVICE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "ocaserve", "serve", *sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("handover") / "store"
    write_object(folder, "small.mp4", SMALL)
    write_object(folder, "big.mp4", BIG)
    return folder


# -- the service manager -------------------------------------------------------------------------


@contextmanager
def activated(listener: socket.socket, store: Path, log: Path) -> Iterator[None]:
    """Start the program as a service manager does that holds its socket (sd_listen_fds(3))."""
    host, port = listener.getsockname()
    words = [str(listener.fileno()), str(store), "--listen", f"{host}:{port}", "--workers", "2"]
    words += ["--control", f"unix:{log}.control"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SERVICE, *words],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(STOP_S) == 0, log.read_text()


def test_socket_activation(store: Path, tmp_path: Path) -> None:
    """A client that came before the program is served; one that comes between two runs too."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        for run in range(2):
            with Wire(listener.getsockname(), timeout_s=START_S) as early:
                early.send(request("/small.mp4"))
                with activated(listener, store, tmp_path / f"log{run}"):
                    assert early.read_response().body == SMALL
                    assert fetch(listener.getsockname(), request("/small.mp4")).body == SMALL


def hear(manager: socket.socket) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_service_manager_is_told(store: Path, tmp_path: Path) -> None:
    """READY when all serve, RELOADING and READY around a reload, STOPPING at the end."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(START_S)
        with Daemon.serving(store, toml=QUIET, environment={"NOTIFY_SOCKET": path}) as daemon:
            ready = hear(manager)
            assert (ready["READY"], ready["MAINPID"]) == ("1", str(daemon.pid))
            assert daemon.addresses[0] in ready["STATUS"]
            daemon.process.send_signal(signal.SIGHUP)
            reloading = hear(manager)
            assert reloading["RELOADING"] == "1"
            assert reloading["MONOTONIC_USEC"].isdigit()
            assert hear(manager)["READY"] == "1"
            daemon.process.send_signal(signal.SIGTERM)
            assert hear(manager) == {"STOPPING": "1"}


# -- another appliance ---------------------------------------------------------------------------


def test_port_of_another_appliance(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Two must not share a port by accident: each would get half of the clients."""
    log = tmp_path / "log"
    with serve(store, toml=QUIET) as daemon:
        listen = daemon.addresses[0]
        with pytest.raises(AssertionError, match="did not start"):
            Daemon.start(["serve", str(store), "--listen", listen], log)
        assert log.read_text() == f"ocaserve: cannot listen on {listen}: Address already in use\n"
        assert fetch(daemon.address, request("/small.mp4")).body == SMALL


# -- the next one --------------------------------------------------------------------------------


def test_new_version_does_not_cut_a_response(serve: Serve, store: Path) -> None:
    """The old version stays as long as somebody reads from it, and serves nobody else."""
    with (
        serve(store, toml=QUIET) as daemon,
        Wire(daemon.address, receive_buffer=4096) as reader,
    ):
        reader.send(request("/big.mp4"))
        head = reader.read_head()
        with upgraded(daemon) as new:
            assert new != daemon.pid
            assert len(workers_of(new)) == 2
            assert fetch(daemon.address, request("/small.mp4")).body == SMALL
            assert daemon.process.poll() is None
            assert reader.read_exactly(head.length) == BIG
            assert daemon.process.wait(STOP_S) == 0
            assert fetch(daemon.address, request("/small.mp4")).body == SMALL
