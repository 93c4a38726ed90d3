"""The lab of the README, as a new user starts it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

LAB = Path(__file__).parent.parent.parent / "deploy" / "lab" / "lab.py"


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_lab() -> None:
    """Routes appear, change and go; all that was started ends with it."""
    control = free_address()
    words = ["--pause", "0", "--steps", "5", "--listen", free_address(), "--control", control]
    done = subprocess.run(
        [sys.executable, LAB, *words], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(": reported after ") == 5
    assert "203.0.113.0/24" in done.stdout
    assert f"ocaserve routes --control {control}  " in done.stdout
