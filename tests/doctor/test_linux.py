"""The doctor on hosts made of files: one in order, and one for each fault that can be planted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocaserve.doctor import CheckResult, CheckState, Needs, checks_for, judge_all
from ocaserve.doctor.linux_host import LinuxHost
from ocaserve.doctor.report import as_json, describe
from ocaserve.doctor.stores import User
from ocaserve.settings import load_settings
from tests.support.certificates import make_pair
from tests.support.fake_host import FakeRoot, FakeSystem

ME = User.current()
STRANGER = User("stranger", os.geteuid() + 1, frozenset({os.getegid() + 1}))
NEEDS = Needs(
    user="ocaserve", workers=2, kernel_tls=True, fills=True, pinned_bytes=1 << 30
)  # fmt: skip


def examine(root: FakeRoot, system: FakeSystem, user: User = ME) -> list[CheckResult]:
    """All findings about a host."""
    host = LinuxHost([str(root.flash), str(root.array)], user, system, root.path)
    return list(judge_all(checks_for("linux", NEEDS), host.read))


def wrong(findings: list[CheckResult]) -> list[tuple[str, str]]:
    """Names and subjects of what is wrong."""
    return [(f.check.name, f.reading.subject) for f in findings if f.state is CheckState.WRONG]


@pytest.fixture
def root(tmp_path: Path) -> FakeRoot:
    return FakeRoot(tmp_path)


def test_host_in_order(root: FakeRoot) -> None:
    """Nothing is wrong, and everything is told: each check has found what it reads."""
    findings = examine(root, FakeSystem())
    assert wrong(findings) == []
    assert [f.check.name for f in findings if f.state is CheckState.UNKNOWN] == []
    assert as_json(findings)["good"] is True


def sysctl(key: str, value: str) -> Callable[[FakeRoot, FakeSystem], None]:
    return lambda root, system: root.set(key, value)


def file(name: str, text: str) -> Callable[[FakeRoot, FakeSystem], None]:
    return lambda root, system: root.write(name, text)


def call(name: str, value: object) -> Callable[[FakeRoot, FakeSystem], None]:
    return lambda root, system: setattr(system, name, value)


def offload(name: str) -> Callable[[FakeRoot, FakeSystem], None]:
    return lambda root, system: system.offloads.update({name: "off"})


def queue(disk: str, name: str, text: str) -> Callable[[FakeRoot, FakeSystem], None]:
    return file(f"sys/block/{disk}/queue/{name}", text)


_LIMITS = "Max open files  1024  4096  files\n"
_LOCKED = "Max locked memory  8388608  unlimited  bytes\n"
_FEW_LOCKED = "Max locked memory  8388608  8388608  bytes\n"
FAULTS = [
    ("kernel", "", call("release", "5.4.0-generic")),
    ("exabgp", "", call("exabgp", "5.0.12")),
    ("exabgp-pinned", "", call("exabgp", "5.1.0")),
    ("exabgp", "", call("exabgp", "not installed")),
    ("clock", "", call("is_synchronised", False)),
    ("time-zones", "", call("zones", 0)),
    ("tls-library", "", call("openssl_version", "1.1.1")),
    ("ipv6", "", file("proc/net/if_inet6", "fe800000000000000000000000000001 02 40 20 80 eth0\n")),
    ("ipv6", "", file("proc/net/if_inet6", "")),
    ("descriptors", "", file("proc/self/limits", _LIMITS + _LOCKED)),
    (
        "locked-memory", "",
        file("proc/self/limits", "Max open files 9999999 9999999 files\n" + _FEW_LOCKED),
    ),
    ("lockable-memory", "", file("proc/meminfo", "MemTotal: 2000000 kB\n")),
    ("open-files", "", sysctl("fs.file-max", "65536")),
    ("mappings", "", sysctl("vm.max_map_count", "16384")),
    ("ktls", "", sysctl("net.ipv4.tcp_available_ulp", "mptcp")),
    ("congestion-control", "", sysctl("net.ipv4.tcp_congestion_control", "reno")),
    ("pacing", "", sysctl("net.core.default_qdisc", "pfifo_fast")),
    ("slow-start-after-idle", "", sysctl("net.ipv4.tcp_slow_start_after_idle", "1")),
    ("send-buffer", "", sysctl("net.ipv4.tcp_wmem", "4096\t16384\t262144")),
    ("send-buffer-limit", "", sysctl("net.core.wmem_max", "212992")),
    ("not-sent-low-water", "", sysctl("net.ipv4.tcp_notsent_lowat", "16384")),
    ("tcp-memory", "", file("proc/net/sockstat", "TCP: inuse 3 orphan 0 tw 0 alloc 4 mem 1900\n")),
    ("path-mtu", "", sysctl("net.ipv4.tcp_mtu_probing", "0")),
    ("window-scaling", "", sysctl("net.ipv4.tcp_window_scaling", "0")),
    ("selective-acknowledgement", "", sysctl("net.ipv4.tcp_sack", "0")),
    ("syn-cookies", "", sysctl("net.ipv4.tcp_syncookies", "0")),
    ("accept-queue", "", sysctl("net.core.somaxconn", "128")),
    ("connection-tracking", "", sysctl("net.netfilter.nf_conntrack_max", "65536")),
    ("swap", "", file("proc/swaps", "Filename Type\n/dev/sdc1 partition\n")),
    ("dirty-pages", "", sysctl("vm.dirty_ratio", "60")),
    ("dirty-pages", "", sysctl("vm.dirty_bytes", "9000000000")),
    (
        "processor-clock", "",
        file("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n"),
    ),
    ("read-ahead", "nvme0n1", queue("nvme0n1", "read_ahead_kb", "128\n")),
    ("read-ahead", "md0", queue("md0", "read_ahead_kb", "8192\n")),
    ("flash-scheduler", "nvme0n1", queue("nvme0n1", "scheduler", "none mq-deadline [bfq]\n")),
    ("spinning-scheduler", "sdb", queue("sdb", "scheduler", "[none] mq-deadline\n")),
    ("access-times", "STORE", lambda root, system: root.mount("rw,strictatime", "rw")),
    ("segmentation-offload", "eth0", offload("tso")),
    ("late-segmentation", "eth0", offload("gso")),
    ("scatter-gather", "eth0", offload("sg")),
    ("receive-offload", "eth0", offload("gro")),
    ("receive-queues", "eth0", file("proc/cpuinfo", "processor : 0\n" * 8)),
    ("duplex", "eth0", file("sys/class/net/eth0/duplex", "half\n")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "subject", "plant"),
    [pytest.param(*row, id=f"{place}-{row[0]}") for place, row in enumerate(FAULTS)],
)
def test_fault(
    root: FakeRoot, name: str, subject: str, plant: Callable[[FakeRoot, FakeSystem], None]
) -> None:
    """The one that was planted is found, with its cost and the command for just this subject."""
    system = FakeSystem()
    plant(root, system)
    findings = examine(root, system)
    subject = str(root.flash) if subject == "STORE" else subject
    assert (name, subject) in wrong(findings)
    assert {found for found, _ in wrong(findings)} <= {name, "exabgp-pinned"}
    text = describe(findings, verbose=False)
    assert f"wrong   {name}" in text
    assert "{" not in text.replace("{print", "")
    assert ": 1 wrong," in text or name.startswith("exabgp")


def test_every_check_has_a_fault_that_shows_it() -> None:
    """A check that nothing trips would say that every host is in order."""
    names = {check.name for check in checks_for("linux", NEEDS)}
    assert names == {name for name, _, _ in FAULTS} | {
        "store-owner", "store-readable", "fill-store", "fill-unit",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tls", "is_checked"),
    [
        pytest.param("", False, id="no_tls"),
        pytest.param('ktls = "off"', False, id="in_the_workers"),
        pytest.param('ktls = "auto"', True, id="in_the_kernel"),
    ],
)
def test_kernel_tls_is_of_those_who_serve_tls(tmp_path: Path, tls: str, is_checked: bool) -> None:
    """A host that serves none lacks nothing without the module."""
    pair = make_pair(tmp_path, "a", "origin.example")
    if tls:
        tls = f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n{tls}\n'
    config = tmp_path / "ocaserve.toml"
    config.write_text(f'{tls}[[store]]\npath = "{tmp_path}"\n')
    needs = Needs.of(load_settings(str(config)), "ocaserve")
    names = {check.name for check in checks_for("linux", needs)}
    assert ({"ktls", "tls-library"} <= names) is is_checked
    assert ({"ktls", "tls-library"} & names != set()) is is_checked


def test_files_of_others(root: FakeRoot) -> None:
    """A stranger owns nothing, and cannot read what is ours alone."""
    (root.flash / "film.mp4").chmod(0o600)
    for folder in (root.path, *root.flash.parents):
        if folder.is_relative_to(root.path):
            folder.chmod(0o755)
    findings = [f for f in examine(root, FakeSystem(), STRANGER) if f.state is CheckState.WRONG]
    told = {(f.check.name, f.reading.subject): f.reading.value for f in findings}
    assert told == {
        ("store-owner", str(root.flash)): f"2 of 2 files and folders, one is {root.flash}",
        ("store-owner", str(root.array)): f"2 of 2 files and folders, one is {root.array}",
        ("fill-store", str(root.flash)): "no",
        ("fill-store", str(root.array)): "no",
        (
            "store-readable",
            str(root.flash),
        ): f"1 of 2 files and folders, one is {root.flash}/film.mp4",
    }
    owner = next(f for f in findings if f.check.name == "store-owner")
    assert owner.change == f"chown -R ocaserve: {root.flash}"


def test_links_are_not_followed(root: FakeRoot, tmp_path: Path) -> None:
    """What a link leads to is not of the store."""
    (root.flash / "link").symlink_to("/")
    owner = next(f for f in examine(root, FakeSystem()) if f.check.name == "store-owner")
    assert owner.reading.value == "0 of 2 files and folders"


def test_limit_of_the_running_appliance(root: FakeRoot) -> None:
    """It counts, not that of the shell that asks."""
    root.write("proc/4711/cmdline", "/opt/bin/python\0/opt/bin/ocaserve\0serve\0-c\0x\0")
    root.write("proc/4711/limits", _LIMITS)
    root.write("proc/99/cmdline", "vi\0ocaserve\0")
    assert wrong(examine(root, FakeSystem())) == [("descriptors", "")]


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(
            file("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,000000ff\n"), id="steering"
        ),
        pytest.param(file("sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n"), id="more_queues"),
    ],
)
def test_spread_interrupts(root: FakeRoot, plant: Callable[[FakeRoot, FakeSystem], None]) -> None:
    """Queues or steering: either spreads the work."""
    root.write("proc/cpuinfo", "processor : 0\n" * 4)
    system = FakeSystem()
    plant(root, system)
    assert wrong(examine(root, system)) == []


def test_host_that_tells_nothing(tmp_path: Path) -> None:
    """An empty tree: nothing raises, and only what was found by calls is judged."""
    host = LinuxHost(["/no/such/store"], ME, FakeSystem(), tmp_path)
    findings = list(judge_all(checks_for("linux", NEEDS), host.read))
    assert wrong(findings) == [("ipv6", "")]
    assert "ipv6: ipv6 is no address" in describe(findings, verbose=False)
    assert "unknown accept-queue: sysctl net.core.somaxconn is not told" in describe(
        findings, verbose=True
    )


@pytest.mark.parametrize(
    ("said", "may"),
    [
        ("", "yes"),
        ("[Service]\nProtectSystem=full\n", "yes"),
        ("[Service]\nProtectSystem=strict\n", "no"),
        ("[Service]\nProtectSystem=strict\nReadWritePaths=/srv/oca\n", "yes"),
        ("[Service]\nProtectSystem=strict\nReadWritePaths=/srv/oca/disk2\n", "no"),
        ("[Service]\nReadOnlyPaths=-/srv/oca/\nReadWritePaths=/srv/oca\n", "no"),
        ("[Service]\nReadOnlyPaths=/srv/oca\nReadWritePaths=/srv/oca/disk1\n", "yes"),
        ("[Service]\nReadOnlyPaths=/srv/oca/disk1\nReadWritePaths=/srv/oca\n", "no"),
        ("[Service]\nReadOnlyPaths=/srv/oca\nReadOnlyPaths=\n", "yes"),
    ],
)
def test_whether_the_unit_lets_fill_write(root: FakeRoot, said: str, may: str) -> None:
    """As its files say."""
    if said:
        root.write("etc/systemd/system/ocaserve.service", said)
    host = LinuxHost([], User.current(), FakeSystem(), root.path)
    assert host.unit_may_write("/srv/oca/disk1") == may


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("infinity", "unlimited"),
        ("64M", str(64 << 20)),
        ("1.5G", str(3 << 29)),
        ("1P", str(1 << 50)),
        ("512B", "512"),
        ("1024:4096", "4096"),
        ("much", "much"),
    ],
)
def test_limits_of_a_unit(root: FakeRoot, said: str, limit: str) -> None:
    """With the units of systemd.exec(5); of two the hard one counts."""
    root.write("etc/systemd/system/ocaserve.service", f"[Service]\nLimitMEMLOCK={said}\n")
    host = LinuxHost([], User.current(), FakeSystem(), root.path)
    assert host.limit("locked-memory") == limit


def test_unit_without_limits(root: FakeRoot) -> None:
    """What has no end is enough."""
    unit = "[Service]\nLimitNOFILE=infinity\nLimitMEMLOCK=infinity\n"
    root.write("etc/systemd/system/ocaserve.service", unit)
    limits = [f for f in examine(root, FakeSystem()) if f.check.source.kind == "limit"]
    assert [(f.reading.value, f.state) for f in limits] == [("unlimited", CheckState.GOOD)] * 2


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("", 16_384_000_000),
        ("MemoryMax=infinity", 16_384_000_000),
        ("MemoryMax=4G", 4 << 30),
        ("MemoryMax=4G\nMemoryHigh=50%", 4 << 30),
        ("MemoryHigh=25%", 4_096_000_000),
        ("MemoryHigh=most%", 16_384_000_000),
    ],
)
def test_memory_of_a_unit(root: FakeRoot, said: str, memory: int) -> None:
    """The least of what it says and the machine has."""
    root.write("etc/systemd/system/ocaserve.service", f"[Service]\n{said}\n")
    assert LinuxHost([], User.current(), FakeSystem(), root.path).memory() == memory


def test_memory_of_the_running_appliance(root: FakeRoot) -> None:
    """Its control group counts, and not what the unit says by now."""
    root.write("etc/systemd/system/ocaserve.service", "[Service]\nMemoryMax=1G\n")
    root.write("proc/42/cmdline", "python3\0/usr/bin/ocaserve\0serve\0")
    root.write("proc/42/cgroup", "0::/system.slice/ocaserve.service\n")
    root.write("sys/fs/cgroup/system.slice/memory.max", "max\n")
    root.write("sys/fs/cgroup/system.slice/ocaserve.service/memory.max", f"{4 << 30}\n")
    assert LinuxHost([], User.current(), FakeSystem(), root.path).memory() == 4 << 30
