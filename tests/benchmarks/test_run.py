"""The real thing, for a moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.scenario

CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def free_ports() -> int:
    """The first of ten in a row, below those that the system gives to clients (ip(7))."""
    for first in random.sample(range(20_000, 32_000, 10), 100):
        try:
            for port in range(first, first + 10):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise RuntimeError("no ten free ports in a row between 20000 and 32000")


def command(output: Path, scratch: Path, *scenarios: str) -> list[str]:
    chosen = [word for name in scenarios for word in ("--only", name)]
    return [
        sys.executable, "-m", "benchmarks", "--quick", *chosen, "--rounds", "1",
        "--output", str(output), "--scratch", str(scratch), "--port", str(free_ports()),
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _two_cores() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a server and its clients need two cores")
    assert shutil.which("wrk"), "apt-get install wrk"


@pytest.mark.timeout(180)
def test_a_round_writes_the_page(tmp_path: Path) -> None:
    """Of 64 KiB, plain and over TLS, and of handshakes."""
    before = CONGESTION_CONTROL.read_text()
    output, scratch = tmp_path / "output", tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        command(output, scratch, "64k", "tls-64k", "tls-new"),
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (output / "RESULTS.md").read_text()
    assert "* No sample failed." in page
    for server in ("**ocaserve**", "nginx", "aiohttp"):
        assert f"| 64 KiB | {server} | " in page
    for server in ("**ocaserve**", "nginx"):
        assert f"| TLS, 64 KiB | {server} | " in page
        assert f"| TLS, new session | {server} | " in page
    assert "<polyline" in (output / "cost.svg").read_text()
    assert list(scratch.iterdir()) == []
    assert CONGESTION_CONTROL.read_text() == before


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "TERM"])
def test_an_interrupted_run_cleans_up_behind_itself(tmp_path: Path, ending: signal.Signals) -> None:
    before = CONGESTION_CONTROL.read_text()
    output, scratch = tmp_path / "output", tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        command(output, scratch, "64k"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as run:
        eventually(
            lambda: list(scratch.glob("*/ocaserve-*/access.log")),
            "a server that runs, behind a gigabyte of objects",
            timeout_s=60,
        )
        run.send_signal(ending)
        _, said = run.communicate(timeout=40)
    assert run.returncode == 130
    assert "interrupted; nothing was written" in said
    assert not output.exists()
    assert list(scratch.iterdir()) == []
    assert (
        str(scratch)
        not in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
    )
    assert CONGESTION_CONTROL.read_text() == before
