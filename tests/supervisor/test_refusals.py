"""What the system refuses the supervisor for a while: it waits, says so once, and tries again."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from tests.support.supervised import Supervised, TcpAddress, ask, supervised
from tests.support.waiting import eventually


def kill_a_worker(address: TcpAddress) -> tuple[int, int]:
    """Returns its place and its sibling's."""
    place, pid, _ = ask(address)
    os.kill(pid, signal.SIGKILL)
    return place, 1 - place


def both_answer(address: TcpAddress) -> bool:
    return {ask(address)[0] for _ in range(20)} == {0, 1}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("EAGAIN", "Resource temporarily unavailable", id="processes"),
        pytest.param("ENOMEM", "Cannot allocate memory", id="memory"),
    ],
)
def test_no_process(tmp_path: Path, name: str, reason: str) -> None:
    """Others serve meanwhile; the place is filled when the system has room again."""
    with supervised(tmp_path, timing={"retry_s": 0.05}) as running:
        address = running.await_ready()
        (tmp_path / "refuse").write_text(name)
        place, sibling = kill_a_worker(address)
        running.await_logged(f"worker {place} cannot be started, is tried again: {reason}")
        assert {ask(address)[0] for _ in range(20)} == {sibling}
        (tmp_path / "refuse").unlink()
        running.await_logged("processes can be started again")
        eventually(lambda: both_answer(address), "both answer")
        assert running.log().count("cannot be started") == 1


def test_no_process_at_the_start(tmp_path: Path) -> None:
    """It comes into service when there is one."""
    (tmp_path / "refuse").write_text("EAGAIN")
    with supervised(tmp_path, clerks={"clerk": "serve"}, timing={"retry_s": 0.05}) as running:
        running.await_logged("cannot be started, is tried again")
        (tmp_path / "refuse").unlink()
        assert both_answer(running.await_ready())
        assert "Traceback" not in running.log()


def limit_descriptors(running: Supervised, count: int) -> None:
    hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (count, hard))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit(2)")
@pytest.mark.parametrize("limit", [3, 2], ids=["no_other", "fewer_than_it_watches"])
def test_no_descriptor(tmp_path: Path, limit: int) -> None:
    """Also where poll(2) itself fails, as it does with a limit below what it is to watch."""
    with supervised(tmp_path, timing={"retry_s": 0.05}) as running:
        address = running.await_ready()
        limit_descriptors(running, limit)
        place, sibling = kill_a_worker(address)
        running.await_logged(f"worker {place} cannot be started, is tried again: Too many open")
        assert {ask(address)[0] for _ in range(20)} == {sibling}
        limit_descriptors(running, 1000)
        eventually(lambda: both_answer(address), "both answer")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
