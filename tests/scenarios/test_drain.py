"""Taking the appliance out of service and back: no client is cut, whoever asks for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import Serve
from tests.support.browser import Browser, browser
from tests.support.content import blob, write_object
from tests.support.control_client import Answer
from tests.support.control_client import call as call_control
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

SMALL = blob(1000)
BIG = blob(12 << 20, seed=5)  # more than the buffers of both sockets hold
CLIENTS = 64
TOKEN = "operate-token-0123456789"
# The machine of the tests may be as busy or as full as it likes: that is not what is tested here.
TOML = f"""
[serve]
access_log = "off"
[drain]
quiet_s = 0.5
[health]
rise_s = 3600
fall_s = 0
[control]
listen = ["127.0.0.1:0"]
[control.tokens]
operate = ["{TOKEN}"]
"""
PRESS = """
const [reason, token, done] = arguments;
document.getElementById('duty').click();
document.getElementById('reason').value = reason;
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""
TEXT = "const [id, done] = arguments; done(document.getElementById(id).textContent);"

Operate = Callable[[str, str], None]
"""Ask for "drain" or "enable", with a reason."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drain") / "store"
    write_object(folder, "small.mp4", SMALL)
    write_object(folder, "big.mp4", BIG)
    return folder


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    """One for the tests that leave it as they found it."""
    with serve(store, toml=TOML) as running:
        yield running


def call(daemon: Daemon, method: str, path: str, body: object = None) -> Answer:
    return call_control(daemon.control_addresses[0], method, path, body, token=TOKEN)


def status(daemon: Daemon) -> dict[str, Any]:
    return dict(call(daemon, "GET", "/v1/status").json)


def healthz(daemon: Daemon) -> tuple[int, bytes]:
    """What the data plane says."""
    answer = fetch(daemon.address, request("/healthz"))
    return answer.status, answer.body


# -- whoever asks for it -------------------------------------------------------------------------


def by_api(daemon: Daemon, what: str, reason: str) -> None:
    body = {"reason": reason} if what == "drain" else None
    assert call(daemon, "POST", f"/v1/{what}", body).status == 200


def by_command(token_file: Path, daemon: Daemon, what: str, reason: str) -> None:
    words = ["--reason", reason] if what == "drain" else []
    done = command(token_file, daemon, what, *words)
    assert (done.returncode, done.stderr) == (0, "")


def command(token_file: Path, daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    words = (*words, "--control", daemon.control_addresses[0], "--token-file", str(token_file))
    return subprocess.run(
        [sys.executable, "-m", "ocaserve", *words], capture_output=True, text=True, check=False
    )


def by_dashboard(page: Browser, what: str, reason: str) -> None:
    wanted = "Drain …" if what == "drain" else "Enable …"
    eventually(lambda: page.run(TEXT, "duty") == wanted, f"the button says {wanted}")
    page.run(PRESS, reason, TOKEN)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


@pytest.fixture(params=["api", "command", "dashboard"])
def operate(
    request: pytest.FixtureRequest, daemon: Daemon, token_file: Path, tmp_path: Path
) -> Iterator[Operate]:
    if request.param == "api":
        yield partial(by_api, daemon)
    elif request.param == "command":
        yield partial(by_command, token_file, daemon)
    else:
        with browser(tmp_path / "profile") as page:
            page.open(f"http://{daemon.control_addresses[0]}/")
            yield partial(by_dashboard, page)


@contextmanager
def streaming(daemon: Daemon) -> Iterator[list[Wire]]:
    """So many clients, each in the middle of a response."""
    with ExitStack() as stack:
        wires = [
            stack.enter_context(Wire(daemon.address, receive_buffer=4096)) for _ in range(CLIENTS)
        ]
        for wire in wires:
            wire.send(request("/big.mp4"))
        for wire in wires:
            assert wire.read_head().length == len(BIG)
        eventually(lambda: daemon.counters()["responding"] == CLIENTS, "all are being answered")
        yield wires


def test_drain_cuts_nobody(daemon: Daemon, operate: Operate) -> None:
    """All get every byte, it is said at once that it drains, and it comes back."""
    with streaming(daemon) as wires:
        operate("drain", "new disk")
        asked = time.monotonic()
        eventually(lambda: healthz(daemon) == (503, b"draining\n"), "/healthz says so")
        print(f"/healthz says so {time.monotonic() - asked:.3f} s after it was asked for")
        assert call(daemon, "GET", "/healthz").status == 503
        told = call(daemon, "GET", "/v1/report").json["health"]
        assert (told["state"], told["takes_traffic"]) == ("draining", False)
        shown = status(daemon)
        assert (shown["state"], shown["reason"]) == ("draining", "new disk")
        assert fetch(daemon.address, request("/small.mp4")).body == SMALL  # new ones are served
        assert daemon.counters()["responding"] == CLIENTS
        for wire in wires:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            assert wire.read_exactly(len(BIG)) == BIG
    eventually(lambda: status(daemon)["state"] == "drained", "it is drained")
    eventually(lambda: healthz(daemon) == (503, b"drained\n"), "/healthz says so")
    operate("enable", "")
    eventually(lambda: healthz(daemon) == (200, b"serving\n"), "it serves again")
    assert not daemon.counters()["close_drain_deadline"]


def test_waiting_for_a_drain(daemon: Daemon, token_file: Path) -> None:
    """The command returns when it is drained; and what has an end ends by itself."""
    done = command(token_file, daemon, "drain", "--wait", "--reason", "fan", "--json")
    assert done.returncode == 0, done.stderr
    assert '"state": "drained"' in done.stdout
    done = command(token_file, daemon, "drain", "--until", "4s")
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: healthz(daemon) == (200, b"serving\n"), "it serves again by itself")


def test_deadline_of_a_drain(daemon: Daemon) -> None:
    """Past it new requests are turned away; /healthz is still answered."""
    past = {"reason": "", "deadline": "2020-01-01T00:00:00Z"}
    assert call(daemon, "POST", "/v1/drain", past).status == 200
    try:
        eventually(
            lambda: fetch(daemon.address, request("/small.mp4")).status == 503, "turned away"
        )
        assert healthz(daemon)[0] == 503
    finally:
        call(daemon, "POST", "/v1/enable")
    eventually(lambda: fetch(daemon.address, request("/small.mp4")).status == 200, "served again")


def test_drain_outlives_control(daemon: Daemon) -> None:
    """And a worker that is replaced meanwhile is told of it too."""
    call(daemon, "POST", "/v1/drain", {"reason": "kept"})
    try:
        before = daemon.control()
        os.kill(before, signal.SIGKILL)
        assert status(daemon)["reason"] == "kept"
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: status(daemon)["workers"]["serving"] == 2, "workers are back")
        assert healthz(daemon)[0] == 503
    finally:
        call(daemon, "POST", "/v1/enable")


def test_window_that_ends_by_itself(daemon: Daemon) -> None:
    """It has begun, so it drains at once; at its end the appliance serves, and it is forgotten."""
    end = datetime.now(UTC) + timedelta(seconds=4)
    start = end - timedelta(days=1)
    window = {"start": start.isoformat(), "end": end.isoformat(), "reason": "rack 4"}
    planned = call(daemon, "POST", "/v1/maintenance", window)
    assert (planned.status, planned.json["has_begun"]) == (201, True)

    def said_since() -> str:
        return daemon.log.read_text().partition("draining: rack 4\n")[2]

    def serves() -> bool:
        print(call(daemon, "GET", "/v1/health").json["reasons"])  # if it does not, this may be why
        return healthz(daemon) == (200, b"serving\n")

    eventually(lambda: "enabled, as planned" in said_since(), "it is over")
    eventually(serves, "it serves again")
    assert call(daemon, "GET", "/v1/maintenance").json["windows"] == []


def test_maintenance_window(serve: Serve, store: Path, tmp_path: Path) -> None:
    """It drains when it begins, and is remembered where there is a state directory."""
    state = tmp_path / "state"
    state.mkdir()
    toml = TOML + f'[appliance]\nstate_directory = "{state}"\n'
    wanted = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z", "reason": "fan"}
    with serve(store, toml=toml) as daemon:
        assert call(daemon, "POST", "/v1/maintenance", wanted).status == 422
        later = {"start": "2099-01-01T00:00:00Z", "end": "2099-01-02T00:00:00Z", "reason": "fan"}
        window = call(daemon, "POST", "/v1/maintenance", later)
        assert window.status == 201
        assert call(daemon, "POST", "/v1/drain", {"reason": "fan"}).status == 200
    with serve(store, toml=toml) as daemon:
        (kept,) = call(daemon, "GET", "/v1/maintenance").json["windows"]
        assert kept == window.json
        eventually(lambda: healthz(daemon)[0] == 503, "it is still out of service")
        assert call(daemon, "DELETE", f"/v1/maintenance/{kept['id']}").status == 204
        assert call(daemon, "GET", "/v1/maintenance").json == {"windows": []}
        assert call(daemon, "DELETE", "/v1/maintenance/none").status == 404
