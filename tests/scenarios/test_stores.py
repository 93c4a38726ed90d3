"""Stores that are missing, replaced, mounted and unmounted under a running appliance."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import Answer, call
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Response, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

ONE, TWO = blob(50_000, seed=1), blob(60_000, seed=2)
WITHIN_S = 5.0  # what the product does within a second, on a machine that may be busy
# The machine of the tests may be as full as it likes, where that is not what is tested.
TOML = """
[serve]
listen = ["127.0.0.1:0"]
access_log = "off"
[control]
listen = ["unix:{socket}"]
[health]
interval_s = 0.1
rise_s = 0
fall_s = 0.1
store_free_warning = 0
"""


class Appliance:
    """A running appliance, its clients and its operator."""

    def __init__(self, daemon: Daemon, socket: Path) -> None:
        self.daemon = daemon
        self._control = f"unix:{socket}"

    def get(self, key: str) -> Response:
        return fetch(self.daemon.address, request(f"/{key}"))

    def awaits(self, key: str, status: int, body: bytes | None = None) -> None:
        """Soon the answer is this."""
        eventually(
            lambda: (answer := self.get(key)).status == status and body in (None, answer.body),
            f"{key} is {status}", timeout_s=WITHIN_S,
        )  # fmt: skip

    def call(self, path: str) -> Answer:
        return call(self._control, "GET", path)

    def store(self, path: Path) -> dict[str, Any]:
        stores = self.call("/v1/stores").json["stores"]
        return next(each for each in stores if each["path"] == str(path))

    def awaits_health(self, level: str, *words: str) -> None:
        """Soon the component `stores` is so, for a reason with these words."""

        def is_so() -> bool:
            components = self.call("/v1/health").json["components"]
            found = next((each for each in components if each["name"] == "stores"), None)
            return (
                found is not None
                and found["level"] == level
                and all(word in found["reason"] for word in words)
            )

        eventually(is_so, f"stores are {level}, {words}", timeout_s=15)


Start = Callable[..., Any]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    write_object(tmp_path / "one", "one.mp4", ONE)
    write_object(tmp_path / "two", "two.mp4", TWO)
    return tmp_path / "one", tmp_path / "two"


@pytest.fixture
def start(serve: Serve, tmp_path: Path) -> Start:
    @contextmanager
    def factory(*folders: Path, workers: int = 1) -> Iterator[Appliance]:
        socket = tmp_path / "control.sock"
        with serve(*folders, toml=TOML.format(socket=socket), workers=workers) as daemon:
            eventually(lambda: call(f"unix:{socket}", "GET", "/v1/health").status == 200, "control")
            yield Appliance(daemon, socket)

    return factory


def test_stores_that_cannot_be_read_at_the_start(start: Start, stores: tuple[Path, Path]) -> None:
    """The others are served, health names them, and they come back by themselves."""
    one, two = stores
    kept = two.rename(two.with_name("kept"))
    file, link = one.with_name("file"), one.with_name("link")
    file.write_bytes(b"")
    link.symlink_to("nowhere")
    with start(one, two, file, link) as appliance:
        assert appliance.get("one.mp4").body == ONE
        answer = appliance.get("two.mp4")
        assert (answer.status, answer.field(b"cache-control")) == (503, b"no-store")
        assert answer.field(b"retry-after")
        for path in (two, file, link):
            appliance.awaits_health("error", f"{path} cannot be read")
            path.unlink(missing_ok=True)
            write_object(path, f"{path.name}.mp4", TWO)
            appliance.awaits(f"{path.name}.mp4", 200, TWO)
        assert kept.is_dir()
        appliance.awaits("three.mp4", 404)
        appliance.awaits_health("ok")


def test_no_store_that_can_be_read(tmp_path: Path) -> None:
    """Then there is nothing to serve, and that is said."""
    command = [sys.executable, "-m", "ocaserve", "serve", str(tmp_path / "a"), str(tmp_path / "b")]
    ended = subprocess.run(
        [*command, "--listen", "127.0.0.1:0", "--control", f"unix:{tmp_path}/control"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert str(tmp_path / "a") in ended.stderr
    assert str(tmp_path / "b") in ended.stderr


def test_worker_that_is_killed_while_a_store_is_gone(
    start: Start, stores: tuple[Path, Path]
) -> None:
    one, two = stores
    with start(one, two) as appliance:
        assert appliance.get("two.mp4").body == TWO
        shutil.rmtree(two)
        (before,) = appliance.daemon.workers()
        os.kill(before, signal.SIGKILL)
        eventually(lambda: before not in appliance.daemon.workers(), "it is gone")
        appliance.awaits("one.mp4", 200, ONE)
        appliance.awaits("two.mp4", 503)
        appliance.awaits_health("error", str(two), "No such file or directory")
        write_object(two, "two.mp4", TWO)
        appliance.awaits("two.mp4", 200, TWO)


def test_reload_with_a_store_that_is_missing(
    start: Start, stores: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = stores
    kept = two.rename(tmp_path / "kept")
    with start(one) as appliance:
        config = next(
            Path(word) for word in appliance.daemon.process.args if str(word).endswith(".toml")
        )
        with config.open("a") as file:
            file.write(f"\n[[store]]\npath = {json.dumps(str(two))}\n")
        control = appliance.daemon.control_addresses[0]
        command = [sys.executable, "-m", "ocaserve", "reload", "--control", control]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "reloaded\n")
        (fault,) = done.stderr.splitlines()
        assert fault.startswith("goes on in spite of: ")
        assert f"store[1].path = {str(two)!r}: No such file or directory" in fault
        appliance.awaits("two.mp4", 503)
        assert appliance.get("one.mp4").body == ONE
        kept.rename(two)
        appliance.awaits("two.mp4", 200, TWO)


def test_replaced_folder(start: Start, stores: tuple[Path, Path], tmp_path: Path) -> None:
    """Taken within a second, by all workers; gone, it is failed; health is of what is held."""
    one, _ = stores
    with start(one, workers=2) as appliance:
        assert appliance.get("one.mp4").body == ONE
        one.rename(tmp_path / "before")
        appliance.awaits("one.mp4", 503)
        appliance.awaits_health("error", str(one))
        write_object(tmp_path / "new", "one.mp4", TWO)
        (tmp_path / "new").rename(one)
        appliance.awaits("one.mp4", 200, TWO)
        appliance.awaits_health("ok")  # so both workers have taken it
        assert appliance.get("missing.mp4").status == 404
        assert appliance.store(one)["reason"] == ""


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "oca", folder], check=True)
    try:
        yield
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Lazily, as a worker may hold a file of it open still."""
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)


def test_disk_that_is_mounted_over_and_unmounted(start: Start, stores: tuple[Path, Path]) -> None:
    """It is taken; when it is unmounted its objects can't be had, and the mount point is no
    store.
    """
    one, two = stores
    with start(one, two) as appliance:
        assert appliance.get("one.mp4").body == ONE
        with mounted(one):
            write_object(one, "disk.mp4", TWO)
            appliance.awaits("disk.mp4", 200, TWO)
            appliance.awaits("one.mp4", 404)
            unmount(one)
            appliance.awaits("disk.mp4", 503)
            appliance.awaits("one.mp4", 503)
            appliance.awaits_health("error", str(one), "hold", "for failed")
            assert appliance.get("two.mp4").body == TWO
            with mounted(one):
                write_object(one, "other.mp4", ONE)
                appliance.awaits("other.mp4", 200, ONE)
                appliance.awaits("disk.mp4", 404)
                appliance.awaits_health("ok")


def test_path_that_is_not_utf8(start: Start, stores: tuple[Path, Path], tmp_path: Path) -> None:
    """It is shown with what is no UTF-8 replaced."""
    socket, odd = tmp_path / "odd.sock", tmp_path / os.fsdecode(b"caf\xe9")
    stores[0].rename(odd)
    command = ["serve", str(odd), "--listen", "127.0.0.1:0", "--control", f"unix:{socket}"]
    daemon = Daemon.start([*command, "--workers", "1"], tmp_path / "log")
    try:
        assert fetch(daemon.address, request("/one.mp4")).body == ONE
        shown = str(tmp_path / "caf\ufffd")
        address = f"unix:{socket}"
        eventually(lambda: call(address, "GET", "/v1/stores").status == 200, "control")
        (store,) = call(address, "GET", "/v1/stores").json["stores"]
        assert (store["path"], store["bytes"]) == (shown, len(ONE))
        assert call(address, "GET", "/v1/settings").json["store"] == [{"path": shown}]
        assert f'store="{shown}"' in call(address, "GET", "/metrics").text
        assert call(address, "GET", "/v1/health").status == 200
        assert call(address, "GET", "/v1/report").status == 200
    finally:
        daemon.stop()


def test_room_of_two_stores_on_one_disk(start: Start, stores: tuple[Path, Path]) -> None:
    with start(*stores) as appliance:
        appliance.awaits_health("ok")
        said = appliance.call("/v1/stores").json
        sizes = {store["size_bytes"] for store in said["stores"]}
        assert sizes == {said["size_bytes"]}

        def reported() -> bool:
            content = appliance.call("/v1/report").json["content"]
            return bool(content["total_bytes"] == said["size_bytes"])

        eventually(reported, "the report has what the looks have found")
        assert appliance.call("/v1/status").json["stores"]["size_bytes"] == said["size_bytes"]
        metrics = appliance.call("/metrics").text
        (shown,) = (
            line for line in metrics.splitlines() if line.startswith("ocaserve_stores_size_bytes ")
        )
        assert float(shown.partition(" ")[2]) == said["size_bytes"]
