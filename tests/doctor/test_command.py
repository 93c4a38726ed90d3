"""`ocaserve doctor`, on a host made of files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ocaserve.doctor.system import System
from tests.support.fake_host import FakeRoot

linux = pytest.mark.skipif(sys.platform != "linux", reason="the host is made of Linux's files")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The program, as a shell starts it."""
    return subprocess.run(
        [sys.executable, "-m", "ocaserve", "doctor", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@linux
def test_mistuned_host(tmp_path: Path) -> None:
    """Each planted fault is named, with its command; the status is 1; nothing is changed."""
    root = FakeRoot(tmp_path)
    root.set("net.core.somaxconn", "128")
    root.set("net.ipv4.tcp_notsent_lowat", "16384")
    root.write("sys/block/nvme0n1/queue/scheduler", "none [bfq]\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = run("--root", str(tmp_path), "--json", str(root.flash), str(root.array))
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)
    assert told["good"] is False
    changes = {c["name"]: c["change"] for c in told["checks"] if c["state"] == "wrong"}
    assert changes["accept-queue"] == "sysctl -w net.core.somaxconn=4096"
    assert changes["not-sent-low-water"] == "sysctl -w net.ipv4.tcp_notsent_lowat=4294967295"
    assert changes["flash-scheduler"] == "echo none > /sys/block/nvme0n1/queue/scheduler"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@linux
def test_in_words(tmp_path: Path) -> None:
    """What is wrong, what is good, what it costs, what to do; and a total."""
    root = FakeRoot(tmp_path)
    root.set("net.core.somaxconn", "128")
    words = run("--root", str(tmp_path)).stdout
    assert "wrong   accept-queue: sysctl net.core.somaxconn is 128\n" in words
    assert "    good is    at least 4096\n" in words
    assert "    change it  sysctl -w net.core.somaxconn=4096\n" in words
    assert "window-scaling" not in words
    assert "good    window-scaling" in run("--root", str(tmp_path), "-v").stdout


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        pytest.param(["--user", "no-such-user"], 2, "must be a user of this system", id="user"),
        pytest.param(["-c", "/no/such.toml"], 1, "/no/such.toml: No such file", id="file"),
        pytest.param(["/no/such/store"], 1, "store[0].path = '/no/such/store'", id="store"),
    ],
)
def test_wrong_usage(words: list[str], status: int, complaint: str) -> None:
    """Said in a line, before anything is read."""
    done = run(*words)
    assert done.returncode == status
    assert complaint in done.stderr


def test_this_host() -> None:
    """Calls work on the machine that the tests run on, whatever they find."""
    system = System()
    assert system.clock() in ("synchronised", "not synchronised", None)
    assert system.zone_count() >= 0
    assert system.distribution("no-such-package") == "not installed"
    assert system.distribution("exabgp")[0].isdigit()
    assert system.offload("no-such-card", "tso") is None
    assert system.run(["/no/such/command"]) is None
    assert system.run(["/bin/sh", "-c", "echo out; exit 3"]) is None
    assert system.run(["/bin/sh", "-c", "echo out"]) == "out"


@linux
def test_limit_of_the_unit(tmp_path: Path) -> None:
    """Before the appliance runs its unit says what it will have, not the operator's shell."""
    root = FakeRoot(tmp_path)
    root.write("usr/lib/systemd/system/ocaserve.service", "[Service]\nLimitNOFILE=1048576\n")
    told = json.loads(run("--root", str(tmp_path), "--json").stdout)
    (check,) = [check for check in told["checks"] if check["name"] == "descriptors"]
    assert (check["state"], check["value"]) == ("good", "1048576")
    root.write("etc/systemd/system/ocaserve.service.d/a.conf", "[Service]\nLimitNOFILE=1:64\n")
    told = json.loads(run("--root", str(tmp_path), "--json").stdout)
    (check,) = [check for check in told["checks"] if check["name"] == "descriptors"]
    assert (check["state"], check["value"]) == ("wrong", "64")
