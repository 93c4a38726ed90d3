"""Health of a real appliance: each cause is real, seen as it is, and forgotten when it is over."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ocaserve.addresses import parse_address
from ocaserve.cli.client import ControlClient
from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.routers import PORT, GoBgp, loopback
from tests.support.slow_store import Rule, slow_store
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

LIMIT = 200  # descriptors
AUTHORITY = """
[ca]
default_ca = this
[this]
new_certs_dir = {folder}
database = {folder}/index
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""
QUICK = "rise_s = 0\nfall_s = 0.1\n"
# The machine of the tests may be as busy or as full as it likes, where that is not what is tested.
PATIENT = "rise_s = 3600\nfall_s = 3600\n"


class Watched:
    """A running appliance and what it says of its health."""

    def __init__(self, daemon: Daemon, control: str) -> None:
        self.daemon = daemon
        self._control = control
        self._client = ControlClient(parse_address(control), "")

    def row(self, component: str) -> dict[str, str]:
        """What is said of a component."""
        rows = self._client.get("/v1/health")["components"]
        unknown = {"level": "", "reason": ""}
        return next((row for row in rows if row["name"] == component), unknown)

    def finding(self, component: str) -> tuple[str, str]:
        """(level, reason) of a component."""
        row = self.row(component)
        return row["level"], row["reason"]

    def reason(self, component: str) -> str:
        return self.finding(component)[1]

    def ask(self, path: str) -> dict[str, Any]:
        return self._client.get(path)

    def healthz(self) -> int:
        """What the data plane says."""
        return fetch(self.daemon.address, request("/healthz")).status

    def said(self) -> tuple[int, str]:
        """What control's own /healthz says."""
        answer = call(self._control, "GET", "/healthz")
        return answer.status, answer.text

    def levels(self, component: str) -> dict[str, float]:
        """Of a component, by what Prometheus gets."""
        metrics = call(self._control, "GET", "/metrics").text
        wanted = re.findall(
            rf'^ocaserve_health{{component="{component}",level="(.*)"}} (.*)$',
            metrics,
            re.MULTILINE,
        )
        return {level: float(value) for level, value in wanted}

    def await_level(self, component: str, level: str) -> str:
        """Wait for it; returns the reason."""

        def reason() -> str | None:
            found, why = self.finding(component)
            return f"{why} " if found == level else None

        return eventually(reason, f"{component} is {level}", timeout_s=30).strip()


@contextmanager
def watched(
    serve: Serve,
    folder: Path,
    *stores: Path,
    health: str = "",
    control: str = "",
    workers: int = 1,
    timing: str = QUICK,
) -> Iterator[Watched]:
    socket = f"unix:{folder}/control.sock"
    toml = (
        '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\n'
        f'[control]\nlisten = ["{socket}"]\n{control}[health]\ninterval_s = 0.1\n{timing}{health}'
    )
    with serve(*stores, toml=toml, workers=workers) as daemon:
        yield Watched(daemon, socket)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_object(tmp_path, "disk/movie.mp4", blob(1 << 20))
    return tmp_path / "disk"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, in memory. Needs root, as the suite has."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "oca", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk(serve: Serve, tmp_path: Path) -> None:
    """Nearly full is a warning, full an error; content is served all the same."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", "8m"))
        write_object(disk, "movie.mp4", b"x" * 1000)
        health = "store_free_warning = 0.3\nstore_free_error = 0.1\n"
        seen = stack.enter_context(watched(serve, tmp_path, disk, health=health))
        seen.await_level("stores", "ok")
        (disk / "fill").write_bytes(bytes(6 << 20))
        assert "has 2" in seen.await_level("stores", "warning")
        with pytest.raises(OSError, match="No space left"):
            (disk / "more").write_bytes(bytes(4 << 20))
        assert f"{disk} has 0 % free" in seen.await_level("stores", "error")
        (disk / "fill").unlink()
        (disk / "more").unlink()
        seen.await_level("stores", "ok")


def test_stalled_disk(serve: Serve, store: Path, tmp_path: Path) -> None:
    """A read that is held: a warning, then an error, and ok when the disk answers."""
    (tmp_path / "slow").mkdir()
    health = "store_stall_warning_s = 0.5\nstore_stall_error_s = 2\n"
    with (
        slow_store(store, tmp_path / "slow") as slow,
        watched(serve, tmp_path, slow.path, health=health) as seen,
    ):
        seen.await_level("stores", "ok")
        slow.set_rules(Rule("read", "*", is_held=True))
        assert "has not answered for" in seen.await_level("stores", "warning")
        seen.await_level("stores", "error")
        slow.set_rules()
        seen.await_level("stores", "ok")


def test_failing_disk(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Reads that give errors are an error at once, and the control plane is told."""
    (tmp_path / "slow").mkdir()
    with (
        slow_store(store, tmp_path / "slow") as slow,
        watched(serve, tmp_path, slow.path) as seen,
    ):
        seen.await_level("stores", "ok")
        slow.set_rules(Rule("read", "*", error=5))
        assert "cannot be read: Input/output error" in seen.await_level("stores", "error")
        told = seen.ask("/v1/report")
        assert told["health"]["components"]["stores"] == told["health"]["level"] == "error"
        assert any("Input/output error" in reason for reason in told["health"]["reasons"])
        assert told["capacity"]["free_bits_per_s"] == 0
        # What else runs here may keep the processors so busy that they are named first.
        assert told["capacity"]["limited_by"] in ("health", "cpu")
        assert told["content"]["stores_in_error"] == 1
        slow.set_rules()
        seen.await_level("stores", "ok")
        assert seen.ask("/v1/report")["content"]["stores_in_error"] == 0


def test_crash_looping_worker(serve: Serve, store: Path, tmp_path: Path) -> None:
    """One death is a warning, the third in a row an error; in time they are forgotten."""
    health = "worker_deaths_error = 3\nworker_deaths_s = 8\n"
    with watched(serve, tmp_path, store, health=health, workers=2) as seen:
        seen.await_level("workers", "ok")
        kill_a_worker(seen.daemon)
        assert "died in the last 8 s" in seen.await_level("workers", "warning")
        for _ in range(2):
            kill_a_worker(seen.daemon)
        seen.await_level("workers", "error")
        seen.await_level("workers", "ok")


def kill_a_worker(daemon: Daemon) -> None:
    """Once there are two."""
    eventually(lambda: len(daemon.workers()) == 2, "the workers are there")
    victim = daemon.workers()[-1]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in daemon.workers(), "it is gone", timeout_s=5)


def test_worker_that_is_held_up(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Stopped for a while, its event loop is late: a warning; for longer, an error; then ok."""
    health = "loop_lag_warning_s = 0.3\nloop_lag_error_s = 1.5\nfall_s = 1\n"
    with watched(serve, tmp_path, store, health=health, timing="rise_s = 0\n") as seen:
        seen.await_level("workers", "ok")
        for level, held_s in (("warning", 0.8), ("error", 2.5)):
            # Its loop is due four times a second: it is late by a quarter less, or more.
            hold_up(seen.daemon, held_s)
            assert "worker 0 is" in seen.await_level("workers", level)
        seen.await_level("workers", "ok")


def hold_up(daemon: Daemon, held_s: float) -> None:
    """Stop the worker for so long."""
    (worker,) = daemon.workers()
    os.kill(worker, signal.SIGSTOP)
    time.sleep(held_s)
    os.kill(worker, signal.SIGCONT)


def test_router_that_goes(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Without a session nobody can be steered here: an error, before it is up and after its end."""
    router = GoBgp(tmp_path, loopback())
    bgp = (
        '[bgp]\nrouter_id = "192.0.2.10"\nlocal_as = 65000\n'
        f'[[bgp.neighbor]]\naddress = "{router.address}"\npeer_as = {router.peer_as}\n'
        f'local_address = "{router.peer}"\nport = {PORT}\n'
    )
    with watched(serve, tmp_path, store, health=bgp) as seen:
        down = f"{router.address} is down"
        eventually(lambda: down in seen.await_level("routes", "error"), "it is not up")
        status = eventually(
            lambda: (
                (found := seen.ask("/v1/status"))["why"] != "the appliance is starting" and found
            ),
            "the workers serve",
        )
        assert (status["takes_traffic"], status["why"]) == (
            False, "no router has told its routes yet",
        )  # fmt: skip
        assert seen.said() == (503, "starting\n")
        with router.running():
            eventually(lambda: seen.finding("routes")[0] == "ok", "it is up", timeout_s=60)
            eventually(lambda: seen.said() == (200, "serving\n"), "it has heard its routes")
        seen.await_level("routes", "error")
        assert seen.said() == (200, "serving\n")  # who was sent here is served


def test_overload(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Nothing more fits, and says so; clients that a balancer sends are served all the same."""
    never = "cpu_warning = 2\ncpu_error = 2\n"  # the machine of the tests may be busy
    health = f"memory_warning = 1\nmemory_error = 1\n{never}"  # whatever is in use is too much
    with watched(serve, tmp_path, store, health=health) as seen:
        seen.await_level("memory", "error")
        capacity = seen.ask("/v1/capacity")
        assert (capacity["free_bits_per_s"], capacity["limited_by"]) == (0, "memory")
        assert seen.said() == (200, "serving\n")
        eventually(lambda: seen.healthz() == 200, "the workers are told")
        status = seen.ask("/v1/status")
        assert status["takes_traffic"]
        assert status["health"]["level"] == "error"
        assert any("memory" in reason for reason in status["health"]["reasons"])


def test_descriptors_at_the_limit(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Connections take them up, to near the limit and over it; and back when they close."""
    with watched(serve, tmp_path, store) as seen, ExitStack() as clients:
        seen.await_level("descriptors", "ok")
        daemon = seen.daemon
        (worker,) = daemon.workers()
        for pid in (worker, daemon.control()):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        held = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        for _ in range(int(LIMIT * 0.9) - held):
            clients.enter_context(Wire(daemon.address))
        assert f"of {LIMIT} descriptors open" in seen.await_level("descriptors", "warning")
        for _ in range(LIMIT // 5):  # the last ones wait in the kernel
            clients.enter_context(Wire(daemon.address))
        seen.await_level("descriptors", "error")
        clients.close()
        seen.await_level("descriptors", "ok")


def test_expired_certificate(
    serve: Serve, store: Path, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """That of the control interface: near its end a warning, expired an error, renewed ok."""
    pem, key = certificate
    control = f'certificate = "{pem}"\nkey = "{key}"\n'
    make_certificate(pem, key, 30)
    with watched(serve, tmp_path, store, control=control) as seen:
        for days, level in ((30, "ok"), (10, "warning"), (1, "error"), (-1, "error"), (60, "ok")):
            make_certificate(pem, key, days)
            if days < 0:
                eventually(lambda: "has expired" in seen.reason("certificates"), "it has expired")
            seen.await_level("certificates", level)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def make_certificate(pem: Path, key: Path, days: int) -> None:
    """One that expires in so many days from now, which may be over."""
    start, end = (
        time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86_400 + offset))
        for offset in (-40 * 86_400, 60)
    )
    folder = pem.parent / "authority"
    folder.mkdir(exist_ok=True)
    (folder / "index").write_text("")
    (folder / "config").write_text(AUTHORITY.format(folder=folder))
    request = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(*request, "-keyout", str(key), "-out", f"{folder}/csr", "-subj", "/CN=oca.example")
    openssl(
        "ca", "-batch", "-notext", "-selfsign", "-config", f"{folder}/config",
        "-keyfile", str(key), "-in", f"{folder}/csr", "-out", str(pem),
        "-startdate", start, "-enddate", end,
    )  # fmt: skip


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def test_killed_control_process(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Its successor says what was said before, at once, though a problem must last an hour."""
    (tmp_path / "slow").mkdir()
    with (
        slow_store(store, tmp_path / "slow") as slow,
        watched(serve, tmp_path, slow.path, timing=PATIENT) as seen,
    ):
        slow.set_rules(Rule("read", "*", error=5))
        seen.await_level("stores", "error")
        eventually(lambda: seen.healthz() == 503, "nobody is to be sent here")
        slow.set_rules()
        before = seen.row("stores")
        os.kill(seen.daemon.control(), signal.SIGKILL)
        after = seen.row("stores")
        assert (after["level"], causes(after)) == (before["level"], causes(before))
        assert abs(at(after["since"]) - at(before["since"])) < 1
        assert (seen.healthz(), seen.ask("/v1/status")["takes_traffic"]) == (503, False)


def causes(row: dict[str, str]) -> str:
    """The reason, whether or not a look has found since that it is over."""
    return row["reason"].replace(" (not seen now)", "")


def at(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def test_levels_as_metrics(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Each component is at one level, the one that is shown."""
    (tmp_path / "slow").mkdir()
    with (
        slow_store(store, tmp_path / "slow") as slow,
        watched(serve, tmp_path, slow.path) as seen,
    ):
        seen.await_level("stores", "ok")
        assert seen.levels("stores") == {"ok": 1, "warning": 0, "error": 0}
        slow.set_rules(Rule("read", "*", error=5))
        seen.await_level("stores", "error")
        assert seen.levels("stores") == {"ok": 0, "warning": 0, "error": 1}


def test_a_reason_for_everything(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Every component says something, and capacity has a bound or says that it knows none."""
    with watched(serve, tmp_path, store, timing=PATIENT) as seen:
        for component in ("cpu", "memory", "network", "disk", "clock", "workers", "control_plane"):
            eventually(partial(seen.reason, component), f"{component} is told")
        capacity = seen.ask("/v1/capacity")
        assert capacity["free_connections"] == 20_000
        assert (capacity["free_bits_per_s"] is None) == (capacity["limited_by"] == "unknown")
