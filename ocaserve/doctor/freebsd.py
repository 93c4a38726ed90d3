"""What to look at on FreeBSD (13 or later), where sendfile itself does not wait for the disk."""

from __future__ import annotations

from collections.abc import Sequence

from ocaserve.doctor.checks import Check, HostSource, Rule
from ocaserve.doctor.needs import Needs
from ocaserve.doctor.rules import at_least, one_of, version_at_least


def freebsd_checks(needs: Needs) -> Sequence[Check]:
    """Each change lasts until the next start; /etc/sysctl.conf makes it last."""
    files = needs.workers * needs.descriptors
    return (
        *_FIXED,
        _sysctl(
            "accept-queue",
            "kern.ipc.soacceptqueue",
            at_least(needs.backlog),
            needs.backlog,
            "the default of 128 drops connections whenever a worker is late by a moment",
        ),
        _sysctl(
            "open-files",
            "kern.maxfiles",
            at_least(files),
            files,
            "the whole machine runs out of open files while each process is within its own limit",
        ),
        _sysctl(
            "open-files-of-a-process",
            "kern.maxfilesperproc",
            at_least(needs.descriptors),
            needs.descriptors,
            "connections are refused and files not opened",
        ),
    )


def _sysctl(name: str, key: str, rule: Rule, value: str | int, cost: str) -> Check:
    return Check(name, HostSource("sysctl", key), rule, cost, f"sysctl {key}={value}")


_FIXED = (
    Check(
        "kernel",
        HostSource("kernel"),
        version_at_least(13),
        "O_RESOLVE_BENEATH is missing, so no symbolic link in a store is followed",
        "freebsd-update upgrade -r 14.3-RELEASE",
    ),
    Check(
        "file-system",
        HostSource("store", "file system"),
        one_of("ufs"),
        "sendfile returns at once only on UFS; on ZFS it waits for the disk and copies out of the "
        "ARC, and every other connection of the worker waits with it",
        "newfs -U /dev/DISK && mount /dev/DISK {subject}",
    ),
    _sysctl(
        "kernel-tls",
        "kern.ipc.tls.enable",
        one_of("0"),
        0,
        "software kernel TLS repeats bytes after a partial write (openssl issue 23824): clients "
        "get damaged objects; leave it off until a release that cures it",
    ),
    _sysctl(
        "congestion-control",
        "net.inet.tcp.cc.algorithm",
        one_of("cubic", "cdg", "htcp"),
        "cubic",
        "newreno takes minutes to fill a fast, long path after one loss",
    ),
    _sysctl(
        "send-buffer",
        "net.inet.tcp.sendbuf_max",
        at_least(4 << 20, "bytes"),
        4 << 20,
        "one connection sends at most this much for each round trip: 1 MiB at 40 ms is 200 Mb/s",
    ),
    _sysctl(
        "path-mtu",
        "net.inet.tcp.pmtud_blackhole_detection",
        one_of("1", "2", "3"),
        1,
        "clients behind a tunnel whose router sends no ICMP get the head of a response and then "
        "nothing",
    ),
    _sysctl(
        "window-scaling",
        "net.inet.tcp.rfc1323",
        one_of("1", "2", "3"),
        1,
        "no connection gets more than 64 KiB for each round trip: 13 Mb/s at 40 ms",
    ),
    _sysctl(
        "selective-acknowledgement",
        "net.inet.tcp.sack.enable",
        one_of("1"),
        1,
        "after losses, what has arrived is sent again",
    ),
    _sysctl(
        "syn-cookies",
        "net.inet.tcp.syncookies",
        one_of("1"),
        1,
        "a flood of half-open connections shuts all clients out",
    ),
    _sysctl(
        "network-buffers",
        "kern.ipc.nmbclusters",
        at_least(1_000_000),
        1_000_000,
        "sends wait for network buffers while memory is free; the default follows the size of "
        "memory and is low on small machines",
    ),
)
