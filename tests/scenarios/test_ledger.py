"""The ledger of a real appliance: what it says is what was sent, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ocaserve.addresses import parse_address
from ocaserve.cli.client import CallError, ControlClient
from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.load import steady_load
from tests.support.routers import PORT, GoBgp, loopback
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

OBJECTS = {"movie.mp4": blob(3_000_001), "list.m3u8": blob(900, seed=3)}
BIG = 64 << 20
SENT = ("bytes_sendfile_hot", "bytes_sendfile_cold", "bytes_ktls", "bytes_copied")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for key, data in OBJECTS.items():
        write_object(folder, key, data)
    write_object(folder, "big.mp4", bytes(BIG))
    return folder


@contextmanager
def appliance(
    serve: Serve, store: Path, folder: Path, more: str = ""
) -> Iterator[tuple[Daemon, str]]:
    """One with a ledger in `folder`; the address of its control socket stands beside it."""
    control = f"unix:{folder}/control.sock"
    toml = (
        '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\n'
        f'[control]\nlisten = ["{control}"]\n'
        f'[ledger]\ndirectory = "{folder}/ledger"\n{more}'
    )
    with serve(store, toml=toml) as daemon:
        yield daemon, control


def ask(control: str) -> Any:
    """The ledger; None while control is not there."""
    try:
        return ControlClient(parse_address(control), "").get("/v1/ledger")
    except CallError:
        return None


def run_command(control: str, *options: str, of: str = "ledger") -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "ocaserve", of, "--control", control, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def total(control: str) -> int:
    found = ask(control)
    return int(found["total"]["bytes"]) if found else -1


def sent(daemon: Daemon) -> int:
    """What sockets have taken, as the workers' own counters have it: no kill loses these."""
    counters = daemon.counters()
    return sum(counters[name] for name in SENT)


def test_counts_what_was_sent(serve: Serve, store: Path, tmp_path: Path) -> None:
    """To the byte: whole answers, cut ones, errors; and again after a restart."""
    with appliance(serve, store, tmp_path) as (daemon, control):
        for key, data in OBJECTS.items():
            assert fetch(daemon.address, request(f"/{key}")).body == data
        missing = fetch(daemon.address, request("/no"))
        head = fetch(daemon.address, request("/movie.mp4", method="HEAD"), method="HEAD")
        assert (missing.status, head.status) == (404, 200)
        with Wire(daemon.address, receive_buffer=4096) as wire:
            wire.send(request("/big.mp4"))
            wire.read_exactly(100)
        expected = sum(map(len, OBJECTS.values())) + len(missing.body)
        eventually(lambda: total(control) == sent(daemon) > expected, "the ledger is right")
        before = sent(daemon)
        found = json.loads(
            run_command(control, "--json", "--since", "1h", "--network", "127.0.0.1")
        )
        rows = [(row["network"], row["bytes"]) for row in found["networks"]]
        assert rows == [("127.0.0.0/24", before)]
        assert f"127.0.0.0/24,{before},1.000000," in run_command(control, "--csv", "--top", "5")
    with appliance(serve, store, tmp_path) as (daemon, control):
        eventually(lambda: total(control) == before, "the next start goes on from there")


def test_long_response_is_counted_on_its_way(serve: Serve, store: Path, tmp_path: Path) -> None:
    """A film of hours must not appear in its last second."""
    with (
        appliance(serve, store, tmp_path) as (daemon, control),
        Wire(daemon.address, receive_buffer=4096) as wire,
    ):
        wire.send(request("/big.mp4"))
        wire.read_head()
        wire.read_exactly(1 << 20)
        eventually(lambda: total(control) == sent(daemon) > 1 << 20, "its beginning is counted")
        wire.read_exactly(BIG - (1 << 20))
        eventually(lambda: total(control) == sent(daemon) == BIG, "and its end, once")


async def test_killed_control_loses_nothing(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Killed three times under load; its successor goes on from the last commit."""
    with appliance(serve, store, tmp_path) as (daemon, control):
        assert isinstance(daemon.address, tuple)
        async with steady_load(daemon.address, OBJECTS, connections=8) as load:
            for _ in range(3):
                eventually(lambda: total(control) > 0, "control answers")
                await load.progress(5)
                os.kill(daemon.control(), signal.SIGKILL)
                await load.progress(5)
        assert load.report.failures == []
        eventually(lambda: total(control) == sent(daemon), "nothing is lost, nothing twice")


async def test_killed_workers_lose_a_second(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Only what a killed worker had not told yet, which it does each second; nothing twice.

    What control knew before a kill, and what other workers sent after it, is all there.
    """
    may_be_lost = told = 0
    with appliance(serve, store, tmp_path) as (daemon, control):
        assert isinstance(daemon.address, tuple)
        async with steady_load(daemon.address, OBJECTS, connections=8) as load:
            for _ in range(3):
                while (now_told := total(control)) <= told:
                    await load.progress()
                told = now_told
                os.kill(daemon.workers()[0], signal.SIGKILL)
                eventually(lambda: len(daemon.workers()) == 2, "the worker is replaced")
                may_be_lost += sent(daemon) - told
                await load.progress(5)
        was_sent = sent(daemon)
    with appliance(serve, store, tmp_path) as (daemon, control):  # the first has told all it had
        lost = was_sent - eventually(lambda: max(0, total(control)), "control answers")
    print(f"{lost:,} of {was_sent:,} bytes lost in three kills; {may_be_lost:,} were in doubt")
    assert 0 <= lost <= may_be_lost


def test_killed_idle_workers_lose_nothing(serve: Serve, store: Path, tmp_path: Path) -> None:
    """What was told before the kill is counted, though control may not have read it yet."""
    with appliance(serve, store, tmp_path) as (daemon, control):
        fetch(daemon.address, request("/movie.mp4"))
        eventually(lambda: any((tmp_path / "ledger").rglob("worker*")), "it was told")
        for pid in (daemon.control(), *daemon.workers()):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: total(control) == sent(daemon) == len(OBJECTS["movie.mp4"]), "all there")


def test_by_routed_prefix(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Once a router has announced the client's network, what was sent to it counts there."""
    router = GoBgp(tmp_path, loopback())
    settings = (
        '[bgp]\nrouter_id = "192.0.2.10"\nlocal_as = 65000\nallow_bogons = ["127.0.0.0/8"]\n'
        f'[[bgp.neighbor]]\naddress = "{router.address}"\npeer_as = {router.peer_as}\n'
        f'local_address = "{router.peer}"\nport = {PORT}\n'
    )
    with router.running(), appliance(serve, store, tmp_path, settings) as (daemon, control):
        fetch(daemon.address, request("/movie.mp4"))
        length = len(OBJECTS["movie.mp4"])
        eventually(lambda: total(control) == length, "it is counted")
        assert rows_by_prefix(control) == [("unrouted", length)]
        router.announce("127.0.0.0/12")
        router.announce("127.0.0.0/20")
        wanted = [("127.0.0.0/20", length)]
        eventually(lambda: rows_by_prefix(control) == wanted, "the routes are known", timeout_s=60)
        assert ask(control)["networks"][0]["network"] == "127.0.0.0/24"
        assert f"127.0.0.0/20,{length},1.000000," in run_command(control, "--csv", "--by", "prefix")
        idle = ControlClient(parse_address(control), "").get("/v1/routes/idle?days=7")
        assert (idle["prefixes"], idle["count"], idle["accepted"]) == (["127.0.0.0/12"], 1, 2)
        assert "1 of 2 prefixes had no client since" in run_command(
            control, "--idle", "7", of="routes"
        )
        router.withdraw("127.0.0.0/20")
        wanted = [("127.0.0.0/12", length)]
        eventually(lambda: rows_by_prefix(control) == wanted, "the longest one is gone")


def rows_by_prefix(control: str) -> list[tuple[str, int]]:
    found = ControlClient(parse_address(control), "").get("/v1/ledger?by=prefix")
    return [(row["network"], row["bytes"]) for row in found["networks"]]
