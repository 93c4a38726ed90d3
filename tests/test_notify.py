"""What the service manager hears."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ocaserve.notify import Notifier


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_facts_arrive(tmp_path: Path, is_abstract: bool) -> None:
    """In one datagram, a line each."""
    name = f"@ocaserve-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if is_abstract else name)
        Notifier({"NOTIFY_SOCKET": name}).tell("READY=1", "STATUS=good")
        assert manager.recv(4096) == b"READY=1\nSTATUS=good"


@pytest.mark.parametrize(
    "environment",
    [pytest.param({}, id="no_manager"), pytest.param({"NOTIFY_SOCKET": "/none"}, id="it_is_gone")],
)
def test_nobody_listens(environment: dict[str, str]) -> None:
    """That does not stop the service."""
    Notifier(environment).tell("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"WATCHDOG_USEC": "30000000"}, 30.0, id="for_whoever_reads_it"),
        pytest.param({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5, id="ours"),
        pytest.param({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None, id="another_process"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="not_a_number"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="off"),
    ],
)
def test_watchdog(environment: dict[str, str], seconds: float | None) -> None:
    """Within how many seconds the manager wants a sign of life."""
    assert Notifier(environment).watchdog_s == seconds
