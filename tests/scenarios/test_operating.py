"""The commands of a person at a terminal, and of a script, at a running appliance."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.content import make_store
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(90)]

OCASERVE = (sys.executable, "-m", "ocaserve")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    store = make_store(tmp_path_factory.mktemp("operating") / "store")
    with Daemon.serving(store, toml="[drain]\nquiet_s = 0\n", workers=1) as running:
        yield running


def environment(daemon: Daemon) -> dict[str, str]:
    """The appliance is named by it alone."""
    return {**os.environ, "OCASERVE_CONTROL": daemon.control_addresses[0], "COLUMNS": "200"}


def run(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OCASERVE, *words], env=environment(daemon), capture_output=True, text=True, check=False
    )


def test_status_on_one_screen(daemon: Daemon) -> None:
    """What an operator looks for first; status 0 as long as clients are wanted."""
    assert fetch(daemon.address, request("/none")).status == 404

    def counted() -> int:
        found = json.loads(run(daemon, "status", "--json").stdout)
        return int(found["errors"]["responses_4xx"])

    eventually(lambda: counted() == 1, "the answer is counted")
    done = run(daemon, "status")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    titles = [line.split("  ")[0] for line in lines]
    assert {"appliance", "state", "health", "listens on", "capacity", "sends"} <= set(titles)
    assert {"connections", "disks", "errors", "routes"} <= set(titles)
    assert any(line.startswith("errors") and " 1 4xx, 0 5xx" in line for line in lines)
    assert len(lines) <= 24


def test_maintenance(daemon: Daemon) -> None:
    """A window is planned, shown, cancelled."""
    assert run(daemon, "maintenance", "list").stdout == "no maintenance window is planned\n"
    done = run(daemon, "maintenance", "add", "2h", "30m", "--reason", "new disk")
    assert (done.returncode, done.stderr) == (0, "")
    name = done.stdout.split()[0]
    assert done.stdout.endswith(": new disk\n")
    assert run(daemon, "maintenance", "list").stdout == done.stdout
    assert name in run(daemon, "status").stdout
    (window,) = json.loads(run(daemon, "maintenance", "list", "--json").stdout)["windows"]
    assert (window["id"], window["reason"]) == (name, "new disk")
    assert run(daemon, "maintenance", "cancel", name).stdout == f"{name}: cancelled\n"
    again = run(daemon, "maintenance", "cancel", name)
    assert again.returncode == 1
    assert f"there is no maintenance window '{name}'" in again.stderr
    assert run(daemon, "maintenance", "add", "2h", "2020-01-01T00:00").returncode == 1


def test_drain_shows_how_it_goes_on(daemon: Daemon) -> None:
    """On standard error; on standard output the outcome alone."""
    done = run(daemon, "drain", "--wait", "--reason", "test")
    try:
        assert done.returncode == 0
        assert "drained: test" in done.stdout
        assert len(done.stdout.splitlines()) == 1
        assert all(line.startswith("draining: ") for line in done.stderr.splitlines())
        assert run(daemon, "status").returncode == 1
    finally:
        assert run(daemon, "enable").returncode == 0


def test_watching_ends_without_a_word(daemon: Daemon) -> None:
    """Ctrl-C of a terminal, in the middle of it."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*OCASERVE, "status", "--watch"],
        env={**environment(daemon), "TERM": "xterm"}, stdin=slave, stdout=slave,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        while shown.count(b"responses/s") < 2:  # it is shown anew
            shown += os.read(master, 65_536)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    os.close(master)
    assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("--help",)])
def test_a_pipe_that_is_closed(daemon: Daemon, words: tuple[str, ...]) -> None:
    """Who closes it knows why."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*OCASERVE, *words],
        env=environment(daemon), stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 1


def test_interrupted_while_it_waits(daemon: Daemon) -> None:
    """The drain goes on; the command ends as shells expect it."""
    with subprocess.Popen(
        [*OCASERVE, "drain", "--wait", "--deadline", "1h"],
        env={**environment(daemon), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            eventually(
                lambda: json.loads(run(daemon, "status", "--json").stdout)["state"] != "serving",
                "the drain has begun",
            )
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
            assert "Traceback" not in said
            assert process.returncode in (0, 130)  # it may be drained by then
        finally:
            run(daemon, "enable")
