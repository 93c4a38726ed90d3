"""The feeder as a process, between an ExaBGP and a control that the test plays."""

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
from typing import Any

import pytest

from tests.support.processes import children
from tests.support.waiting import eventually

LIMIT = 1 << 20
PROGRAM = f"from bgp.feeder import main; main({LIMIT})"
UPDATE = b'{ "exabgp": "5.0.0", "counter": %d, "type": "update", "x": "' + b"y" * 900 + b'" }\n'
NEIGHBOR = {
    "fsm": "ESTABLISHED",
    "families": ["ipv4 unicast", "ipv6 unicast"],
    "local": {"address": "192.0.2.9", "as": 65000},
    "peer": {"address": "192.0.2.1", "as": 65001},
}
REFRESHES = [
    b"neighbor 192.0.2.1 announce route-refresh ipv4 unicast\n",
    b"neighbor 192.0.2.1 announce route-refresh ipv6 unicast\n",
]
LIST = b"show neighbor json\n"
WAIT_S = 15.0


class Exabgp:
    """The process, and ExaBGP's ends of its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def say(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write(line)
        self.process.stdin.flush()

    def say_state(self, state: str) -> bytes:
        neighbor = {"address": {"local": "192.0.2.9", "peer": "192.0.2.1"}, "state": state}
        line = json.dumps({"exabgp": "5.0.0", "type": "state", "neighbor": neighbor}).encode()
        self.say(line + b"\n")
        return line

    def answer(self, *neighbors: dict[str, Any]) -> None:
        """Wait for the question who is there, and answer it."""
        assert self.hear() == LIST
        self.say(json.dumps(neighbors).encode() + b"\n")

    def hear(self) -> bytes:
        """The next command."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(WAIT_S)


class Control:
    """A connection, as control has it."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._lines = link.makefile("rb")

    def read(self) -> bytes:
        return self._lines.readline().rstrip(b"\n")

    def read_own(self, kind: str) -> dict[str, Any]:
        """The next line, which is the feeder's own."""
        line: dict[str, Any] = json.loads(self.read())
        assert line["feeder"] == kind
        return line

    def close(self) -> None:
        self._lines.close()
        self.link.close()


class Listener:
    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(WAIT_S)
        self._socket.bind(str(path))
        self._socket.listen()

    def accept(self) -> Control:
        """The next connection, behind its first line."""
        link, _ = self._socket.accept()
        link.settimeout(WAIT_S)
        control = Control(link)
        assert control.read_own("hello")["version"] == 1
        return control

    def close(self) -> None:
        self._socket.close()


@contextmanager
def feeder(path: Path) -> Iterator[Exabgp]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "BGP_FEED_SOCKET": str(path)},
    )
    with process:
        try:
            yield Exabgp(process)
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feed.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    listening = Listener(path)
    yield listening
    listening.close()


@pytest.fixture
def exabgp(path: Path) -> Iterator[Exabgp]:
    """A feeder that has just started, before control or after it."""
    with feeder(path) as playing:
        yield playing


# -- what is passed on ---------------------------------------------------------------------------


def test_lines_are_passed_on_as_they_are(listener: Listener, exabgp: Exabgp) -> None:
    """Byte for byte, whatever they hold, however they are cut."""
    control = listener.accept()
    long = b'{ "type": "update", "x": "' + b"z" * 400_000 + b'" }'
    odd = b"\xff\x00 [ not JSON at all \r"
    exabgp.say(long[:100_000])
    exabgp.say(long[100_000:] + b"\n", odd + b"\n")
    assert [control.read(), control.read()] == [long, odd]
    control.close()


def test_lines_wait_for_control(path: Path, exabgp: Exabgp) -> None:
    """What came before control is not lost, and no router is asked for it again."""
    exabgp.answer()
    lines = [UPDATE % count for count in range(100)]
    exabgp.say(*lines)
    listening = Listener(path)
    control = listening.accept()
    assert control.read_own("neighbors")["neighbors"] == []
    assert [control.read() + b"\n" for _ in lines] == lines
    control.close()
    listening.close()


def test_end(listener: Listener, exabgp: Exabgp) -> None:
    """It ends with ExaBGP, after the last lines."""
    control = listener.accept()
    exabgp.say(UPDATE % 1)
    assert exabgp.end() == 0
    assert control.read() + b"\n" == UPDATE % 1
    assert control.read() == b""
    control.close()


def test_terminated(listener: Listener, exabgp: Exabgp) -> None:
    """ExaBGP says that sessions are down, and then tells its child to end: both are heard."""
    control = listener.accept()
    line = exabgp.say_state("down")
    exabgp.process.send_signal(signal.SIGTERM)
    assert exabgp.process.wait(WAIT_S) == 0
    assert control.read() == line
    control.close()


# -- asking routers again ------------------------------------------------------------------------


def test_first_feeder_asks_for_nothing(listener: Listener, exabgp: Exabgp) -> None:
    """It saw the sessions begin: the routers tell everything anyway."""
    control = listener.accept()
    line = exabgp.say_state("up")
    exabgp.answer(NEIGHBOR)
    assert control.read() == line
    (told,) = control.read_own("neighbors")["neighbors"]
    assert (told["up"], told["asked"]) == (True, False)
    control.link.sendall(b'{"order": "refresh"}\n')
    assert exabgp.hear() == LIST  # so nothing was asked before
    control.close()


def test_respawned_feeder_asks_for_everything(listener: Listener, exabgp: Exabgp) -> None:
    """Sessions are up that it has not seen begin."""
    control = listener.accept()
    down = {**NEIGHBOR, "fsm": "ACTIVE", "peer": {"address": "192.0.2.2", "as": 65002}}
    exabgp.answer(NEIGHBOR, down)
    first, second = control.read_own("neighbors")["neighbors"]
    assert first == {
        "peer": "192.0.2.1",
        "local": "192.0.2.9",
        "peer_as": 65001,
        "local_as": 65000,
        "up": True,
        "families": ["ipv4 unicast", "ipv6 unicast"],
        "asked": True,
    }
    assert (second["up"], second["asked"]) == (False, False)
    assert [exabgp.hear(), exabgp.hear()] == REFRESHES
    control.close()


def test_order(listener: Listener, exabgp: Exabgp) -> None:
    """Control may have one router asked; nonsense from it changes nothing."""
    control = listener.accept()
    exabgp.answer()
    control.read_own("neighbors")
    control.link.sendall(
        b'nonsense\n{"order": "dance"}\n{"order": "refresh", "peer": "192.0.2.1"}\n'
    )
    other = {**NEIGHBOR, "peer": {"address": "192.0.2.2", "as": 65002}}
    exabgp.answer(NEIGHBOR, other)
    first, second = control.read_own("neighbors")["neighbors"]
    assert (first["asked"], second["asked"]) == (True, False)
    assert [exabgp.hear(), exabgp.hear()] == REFRESHES
    control.close()


def test_control_comes_back(listener: Listener, exabgp: Exabgp) -> None:
    """It has lost everything, so everything is asked for; what came meanwhile is dropped."""
    control = listener.accept()
    exabgp.answer()
    control.read_own("neighbors")
    control.close()
    exabgp.say(UPDATE % 1)
    control = listener.accept()
    exabgp.answer(NEIGHBOR)
    control.read_own("gap")
    line = json.loads(control.read())
    while "feeder" not in line:  # the update, if it came after the connection
        line = json.loads(control.read())
    assert line["neighbors"][0]["asked"]
    assert [exabgp.hear(), exabgp.hear()] == REFRESHES
    control.close()


# -- a control that does not read ----------------------------------------------------------------


def test_silent_control(listener: Listener, exabgp: Exabgp) -> None:
    """ExaBGP never waits; memory is bounded; what was dropped is said, and asked for again."""
    control = listener.accept()
    exabgp.answer()
    lines = 8 * LIMIT // len(UPDATE)
    for count in range(lines):
        exabgp.say(UPDATE % count)
    heard = [control.read() for _ in range(10)]
    assert json.loads(heard[0])["feeder"] == "neighbors"
    while b'"gap"' not in (line := control.read()):
        assert line.endswith(b'" }'), "every line is whole"
        heard.append(line)
    assert json.loads(line)["dropped"] > LIMIT
    assert len(heard) < lines
    exabgp.answer(NEIGHBOR)
    assert control.read_own("neighbors")["neighbors"][0]["asked"]
    assert [exabgp.hear(), exabgp.hear()] == REFRESHES
    control.close()


# -- killed --------------------------------------------------------------------------------------


def test_killed(listener: Listener, exabgp: Exabgp) -> None:
    """The guard holds the pipes: ExaBGP may write, and hears that its child is gone."""
    control = listener.accept()
    assert exabgp.hear() == LIST
    (guard,) = children(exabgp.process.pid)
    exabgp.process.kill()
    exabgp.process.wait(WAIT_S)
    for _ in range(3):  # ExaBGP may read it before it can see that its child has ended
        assert exabgp.hear() == b"debug the feeder has ended\n"
    for count in range(2_000):
        exabgp.say(UPDATE % count)
    assert exabgp.process.stdin is not None
    exabgp.process.stdin.close()
    eventually(lambda: not Path(f"/proc/{guard}").exists(), "the guard ends with ExaBGP")
    control.close()
