"""The doctor in the machine: faults are planted in its kernel, found, and mended by the package."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.systemd.means import attempt, run, show

_DISK = Path("/sys/block/nvme0n1/queue")
_CARD = "eth0"

# Each fault: the check that must find it, and the command that plants it.
_SYSCTLS = {
    "congestion-control": "net.ipv4.tcp_congestion_control=reno",
    "slow-start-after-idle": "net.ipv4.tcp_slow_start_after_idle=1",
    "send-buffer-limit": "net.core.wmem_max=212992",
    "path-mtu": "net.ipv4.tcp_mtu_probing=0",
    "accept-queue": "net.core.somaxconn=128",
    "swap": "vm.swappiness=60",
    "dirty-pages": "vm.dirty_bytes=9000000000",
}
"""Those that the package's file for sysctl mends."""
_OTHERS = {
    "send-buffer": "sysctl -w net.ipv4.tcp_wmem='4096 16384 262144'",
    "not-sent-low-water": "sysctl -w net.ipv4.tcp_notsent_lowat=16384",
    "window-scaling": "sysctl -w net.ipv4.tcp_window_scaling=0",
    "selective-acknowledgement": "sysctl -w net.ipv4.tcp_sack=0",
    "syn-cookies": "sysctl -w net.ipv4.tcp_syncookies=0",
    "mappings": "sysctl -w vm.max_map_count=10000",
    "connection-tracking": "modprobe nf_conntrack && sysctl -w net.netfilter.nf_conntrack_max=1000",
    "store-owner": "chown root: /srv/oca/planted",
    "store-readable": "chmod 0600 /srv/oca/planted",
    "late-segmentation": f"ethtool -K {_CARD} gso off",
    "receive-offload": f"ethtool -K {_CARD} gro off",
}
_DISKS = {
    "read-ahead": f"echo 128 >{_DISK}/read_ahead_kb",
    "flash-scheduler": f"echo kyber >{_DISK}/scheduler",
}
"""Those that the package's rules for udev mend."""


def ask(config: str) -> dict[str, str]:
    """What is wrong, by the doctor: its check, and the command that it says mends it."""
    status, text = attempt("ocaserve", "doctor", "--json", "-c", config)
    checks = json.loads(text)["checks"]
    found = {check["name"]: check["change"] for check in checks if check["state"] == "wrong"}
    show(f"doctor: status {status}, wrong {sorted(found)}", status == bool(found))
    return found


def apply_package() -> None:
    run("sysctl", "--system")
    run("udevadm", "trigger", "--subsystem-match=block", "--action=change", "--settle")


def try_doctor(config: str, film: Path) -> None:
    """On the machine as the package tunes it, with every fault at once, and mended again."""
    run("ip", "link", "set", _CARD, "up")
    run("ip", "address", "add", "2001:db8::10/64", "dev", _CARD, "nodad")
    run("sh", "-c", "fallocate -l 64M /swap && chmod 600 /swap && mkswap /swap && swapon /swap")
    apply_package()
    before = ask(config)
    plant(film.with_name("planted"))
    planted = {*_SYSCTLS, *_OTHERS, *_DISKS}
    found = ask(config)
    show(f"doctor finds each of {len(planted)} planted faults, and no other: "
         f"{sorted(set(found) ^ planted ^ set(before))}",
         set(found) == planted | set(before) and not planted & set(before))  # fmt: skip
    apply_package()
    left = set(ask(config))
    show("the package's files mend theirs", not left & ({*_SYSCTLS, *_DISKS}))
    for name in sorted(left & planted):
        run("sh", "-c", found[name])
    show("and the commands that the doctor names the rest", set(ask(config)) == set(before))
    run("swapoff", "/swap")
    film.with_name("planted").unlink()


def plant(file: Path) -> None:
    file.write_bytes(os.urandom(1000))
    for setting in _SYSCTLS.values():
        run("sysctl", "-w", setting)
    for command in (*_OTHERS.values(), *_DISKS.values()):
        run("sh", "-c", command)
