"""The doctor on FreeBSD, by what its commands would print."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocaserve.doctor import CheckState, Needs, checks_for, judge_all
from ocaserve.doctor.host import FreeBsdHost
from ocaserve.doctor.stores import User
from tests.support.fake_host import FakeSystem

ANSWERS = {
    "/sbin/sysctl -n kern.ipc.soacceptqueue": "4096",
    "/sbin/sysctl -n kern.maxfiles": "2000000",
    "/sbin/sysctl -n kern.maxfilesperproc": "1000000",
    "/sbin/sysctl -n kern.ipc.tls.enable": "0",
    "/sbin/sysctl -n kern.ipc.nmbclusters": "4000000",
    "/sbin/sysctl -n net.inet.tcp.cc.algorithm": "cubic",
    "/sbin/sysctl -n net.inet.tcp.sendbuf_max": "8388608",
    "/sbin/sysctl -n net.inet.tcp.pmtud_blackhole_detection": "1",
    "/sbin/sysctl -n net.inet.tcp.rfc1323": "1",
    "/sbin/sysctl -n net.inet.tcp.sack.enable": "1",
    "/sbin/sysctl -n net.inet.tcp.syncookies": "1",
    "/sbin/ifconfig -a inet6": "em0: flags=8843\n\tinet6 2001:db8::10 prefixlen 64\n",
    "/bin/sh -c ulimit -H -n": "1000000",
}


def examine(tmp_path: Path, **changed: str) -> dict[str, CheckState]:
    """The state of each check; `changed` are answers by the last part of their key."""
    system = FakeSystem()
    system.release = "14.3-RELEASE"
    system.answers = {
        command: changed.get(command.rpartition(".")[2], answer)
        for command, answer in ANSWERS.items()
    }
    kind = changed.get("type", "ufs")
    system.answers[f"/bin/df -T {tmp_path}"] = f"Filesystem Type\n/dev/da0 {kind} 1 {tmp_path}"
    host = FreeBsdHost([str(tmp_path)], User.current(), system)
    checks = checks_for("freebsd14", Needs(workers=2, kernel_tls=True))
    return {f.check.name: f.state for f in judge_all(checks, host.read)}


def test_host_in_order(tmp_path: Path) -> None:
    """All is told, all is good."""
    assert set(examine(tmp_path).values()) == {CheckState.GOOD}


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("soacceptqueue", "128", "accept-queue"),
        ("maxfiles", "1000", "open-files"),
        ("maxfilesperproc", "1000", "open-files-of-a-process"),
        ("enable", "1", "kernel-tls"),
        ("nmbclusters", "25600", "network-buffers"),
        ("algorithm", "newreno", "congestion-control"),
        ("sendbuf_max", "262144", "send-buffer"),
        ("pmtud_blackhole_detection", "0", "path-mtu"),
        ("rfc1323", "0", "window-scaling"),
        ("syncookies", "0", "syn-cookies"),
        ("type", "zfs", "file-system"),
    ],
)
def test_fault(tmp_path: Path, key: str, value: str, name: str) -> None:
    """Found by its name; `sack.enable` shares a key's end with kernel TLS."""
    found = {
        n for n, state in examine(tmp_path, **{key: value}).items() if state is CheckState.WRONG
    }
    assert name in found
    assert found - {name} <= {"selective-acknowledgement"}


def test_commands_that_fail(tmp_path: Path) -> None:
    """What is not told is unknown, but for the address."""
    host = FreeBsdHost([str(tmp_path)], User.current(), FakeSystem())
    checks = checks_for("freebsd14", Needs())
    wrong = [f.check.name for f in judge_all(checks, host.read) if f.state is CheckState.WRONG]
    assert sorted(wrong) == ["ipv6", "kernel"]
