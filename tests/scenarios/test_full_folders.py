"""The folders that the appliance writes in, full or read-only while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.content import write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.processes import children_named
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, with a folder for the run and one for the state."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "oca", place], check=True)
    for name in ("run", "state"):
        (place / name).mkdir()
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    write_object(folder, "list.m3u8", b"#EXTM3U")
    return folder


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return


def forbid(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def lift(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    (disk / "filling").unlink(missing_ok=True)


def on_disk(disk: Path) -> dict[str, str]:
    return {"RUNTIME_DIRECTORY": str(disk / "run"), "STATE_DIRECTORY": str(disk / "state")}


def test_full(store: Path, disk: Path) -> None:
    """It serves, and every process that dies is replaced; operators can act meanwhile."""
    toml = '[serve]\naccess_log = "off"\n'
    with Daemon.serving(store, toml=toml, environment=on_disk(disk)) as daemon:
        (address,) = daemon.control_addresses
        await_serving(daemon)
        token = eventually(lambda: find_token(disk), "commands find the token")
        fill(disk)
        for name in ("oca-control", "oca-worker"):
            replace_process(daemon, name)
        await_serving(daemon)
        for what in ("drain", "enable"):
            assert call(address, "POST", f"/v1/{what}", {}, token=token).status == 200
        lift(disk)
        replace_process(daemon, "oca-control")
        await_serving(daemon)
        assert find_token(disk) == token
        assert "Traceback" not in daemon.log.read_text()


def test_read_only(store: Path, disk: Path) -> None:
    """From the start: what it keeps is forgotten at its end, and no more than that."""
    forbid(disk)
    toml = '[serve]\naccess_log = "off"\n'
    with Daemon.serving(store, toml=toml, environment=on_disk(disk)) as daemon:
        await_serving(daemon)
        assert f"no folder for this run in RUNTIME_DIRECTORY = {disk}/run" in daemon.log.read_text()
        replace_process(daemon, "oca-control")
        await_serving(daemon)
        lift(disk)
        eventually(lambda: find_token(disk), "commands find the token")
        assert "Traceback" not in daemon.log.read_text()


def await_serving(daemon: Daemon) -> None:
    (address,) = daemon.control_addresses
    eventually(lambda: call(address, "GET", "/healthz").status == 200, "it takes traffic")
    assert fetch(daemon.address, request("/list.m3u8")).body == b"#EXTM3U"


def replace_process(daemon: Daemon, name: str) -> None:
    before = children_named(daemon.pid, name)
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = children_named(daemon.pid, name)
        return len(now) == len(before) and before[0] not in now

    eventually(is_replaced, "it is replaced")


def find_token(disk: Path) -> str:
    return next((file.read_text() for file in (disk / "run").glob("token-*")), "")
