"""Processes that are killed, again and again: what they held is lost, and nothing beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Container
from functools import partial
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.load import Failure, steady_load
from tests.support.processes import children_named, client_ports
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

OBJECTS = {"segment.m4s": blob(70_000, seed=2), "list.m3u8": blob(900, seed=3)}
NO_LOG = '[serve]\naccess_log = "off"\n'
KILLS = 20
BACK_S = 3.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for key, data in OBJECTS.items():
        write_object(folder, key, data)
    return folder


def workers_that_serve(daemon: Daemon) -> list[int]:
    shown = call(daemon.control_addresses[0], "GET", "/v1/workers").json["workers"]
    return [worker["pid"] for worker in shown if worker["state"] == "serving"]


async def await_two(daemon: Daemon, killed: Container[int]) -> list[int]:
    """Until both places have a worker that serves, which is soon; what is shown may be older."""
    deadline = time.monotonic() + BACK_S
    while True:
        shown = await asyncio.to_thread(workers_that_serve, daemon)
        if len(found := [pid for pid in shown if pid not in killed]) == 2:
            return found
        assert time.monotonic() < deadline, "a place is empty for long"
        await asyncio.sleep(0.02)


async def test_workers_killed_again_and_again(serve: Serve, store: Path) -> None:
    """Each has served, so another takes its place at once; only its own connections are lost."""
    held: list[set[int]] = []
    killed: set[int] = set()
    with serve(store, toml=NO_LOG) as daemon:
        assert isinstance(daemon.address, tuple)
        async with steady_load(daemon.address, OBJECTS, connections=16) as load:
            for turn in range(KILLS):
                victim = (await await_two(daemon, killed))[turn % 2]
                killed.add(victim)
                os.kill(victim, signal.SIGSTOP)  # so that what it holds does not change
                held.append(client_ports(victim))
                seen = len(load.report.failures)
                os.kill(victim, signal.SIGKILL)
                await load.progress()
                assert_explained(load.report.failures[seen:], held[-1])
            await await_two(daemon, killed)
            await load.progress(5)
        assert len(load.report.failures) + load.report.retried <= sum(map(len, held))
        assert daemon.log.read_text().count("was ended by signal 9") == KILLS


def assert_explained(failures: list[Failure], held: set[int]) -> None:
    """Each was of a connection that the killed worker held."""
    assert [failure for failure in failures if failure.port not in held] == []


def test_control_killed_again_and_again(serve: Serve, store: Path) -> None:
    """Each has answered, so another takes its place at once."""
    with serve(store, toml=NO_LOG, workers=1) as daemon:
        (address,) = daemon.control_addresses
        for _ in range(8):
            victim = daemon.control()
            assert call(address, "GET", "/v1/status").status == 200  # it has come into service
            os.kill(victim, signal.SIGKILL)
            eventually(partial(has_another_control, daemon, victim), "it is back", timeout_s=5)
        assert call(address, "GET", "/v1/status").status == 200


def has_another_control(daemon: Daemon, before: int) -> bool:
    return children_named(daemon.pid, "oca-control") not in ([], [before])
