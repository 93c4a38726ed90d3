"""A host made of files: /proc and /sys as the doctor reads them, good until a test breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocaserve.doctor.everywhere import pinned
from ocaserve.doctor.system import System

_SYSCTLS = {
    "fs.file-max": "9223372036854775807",
    "vm.max_map_count": "65530",
    "vm.swappiness": "60",
    "vm.dirty_bytes": "0",
    "vm.dirty_ratio": "20",
    "net.core.somaxconn": "4096",
    "net.core.default_qdisc": "fq",
    "net.ipv4.tcp_available_ulp": "espintcp mptcp tls",
    "net.ipv4.tcp_congestion_control": "bbr",
    "net.ipv4.tcp_slow_start_after_idle": "0",
    "net.ipv4.tcp_wmem": "4096\t16384\t4194304",
    "net.core.wmem_max": "4194304",
    "net.ipv4.tcp_notsent_lowat": "4294967295",
    "net.ipv4.tcp_mem": "1000\t2000\t3000",
    "net.ipv4.tcp_mtu_probing": "1",
    "net.ipv4.tcp_window_scaling": "1",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.netfilter.nf_conntrack_max": "1000000",
}
_FILES = {
    "proc/net/sockstat": "sockets: used 9\nTCP: inuse 3 orphan 0 tw 0 alloc 4 mem 1000\n",
    "proc/net/if_inet6": "20010db8000000000000000000000010 02 40 00 80 eth0\n",
    "proc/swaps": "Filename Type Size Used Priority\n",
    "proc/meminfo": "MemTotal: 16000000 kB\nMemFree: 1 kB\n",
    "proc/cpuinfo": "processor : 0\n\nprocessor : 1\n",
    "proc/self/limits": (
        "Limit  Soft Hard Units\nMax open files  1024  1048576  files\n"
        "Max locked memory  8388608  unlimited  bytes\n"
    ),
    "sys/devices/system/cpu/cpufreq/policy0/scaling_driver": "acpi-cpufreq\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance\n",
    "sys/class/net/lo/operstate": "unknown\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/duplex": "full\n",
    "sys/class/net/eth0/device/vendor": "0x15b3\n",
    "sys/class/net/eth0/queues/rx-0/rps_cpus": "00000000,00000000\n",
    "sys/class/net/eth0/queues/tx-0/xps_cpus": "0\n",
    "sys/class/net/eth1/operstate": "down\n",
    "sys/class/net/eth1/device/vendor": "0x15b3\n",
}
_FLASH = {"rotational": "0\n", "scheduler": "[none] mq-deadline\n", "read_ahead_kb": "3072\n"}
_SPINNING = {
    "rotational": "1\n", "scheduler": "none [mq-deadline] bfq\n", "read_ahead_kb": "3072\n",
}  # fmt: skip


class FakeSystem(System):
    """What calls tell: a host in order, but for what a test sets."""

    def __init__(self) -> None:
        self.is_synchronised = True
        self.zones = 600
        self.release = "6.1.0-37-amd64"
        self.exabgp = pinned("exabgp")
        self.openssl_version = "3.0.17"
        self.offloads = {"sg": "on", "tso": "on", "gso": "on", "gro": "on"}
        self.answers: dict[str, str] = {}

    def kernel(self) -> str:
        return self.release

    def openssl(self) -> str:
        return self.openssl_version

    def distribution(self, name: str) -> str:
        return self.exabgp

    def zone_count(self) -> int:
        return self.zones

    def clock(self) -> str:
        return "synchronised" if self.is_synchronised else "not synchronised"

    def offload(self, card: str, name: str) -> str | None:
        return self.offloads.get(name)

    def run(self, command: Sequence[str]) -> str | None:
        return self.answers.get(" ".join(command))


class FakeRoot:
    """A tree of files at `path`. `flash` holds one store, `array` the other: RAID of two disks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.flash = path / "srv/flash"
        self.array = path / "srv/array"
        for key, value in _SYSCTLS.items():
            self.set(key, value)
        for name, text in _FILES.items():
            self.write(name, text)
        self._add_disk("nvme0n1", _FLASH, "259:0")
        self.write("sys/block/nvme0n1/nvme0n1p1/partition", "1\n")
        self._link("sys/dev/block/259:1", "../../block/nvme0n1/nvme0n1p1")
        self._add_disk("md0", {"read_ahead_kb": "3072\n", "rotational": "1\n"}, "9:0")
        for name, device in (("sda", "8:0"), ("sdb", "8:16")):
            self._add_disk(name, _SPINNING, device)
            self._link(f"sys/block/md0/slaves/{name}", f"../../{name}")
        self.mount("rw,noatime", "rw,relatime")
        for store in (self.flash, self.array):
            store.mkdir(parents=True)
            (store / "film.mp4").write_bytes(b"film")

    def set(self, key: str, value: str) -> None:
        """Set a kernel variable."""
        self.write("proc/sys/" + key.replace(".", "/"), value + "\n")

    def write(self, name: str, text: str) -> None:
        """Make a file, and the folders above it."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def mount(self, flash: str, array: str) -> None:
        """Mount the two stores with these options."""
        lines = [
            "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            f"23 22 259:1 / {self.flash} {flash} shared:1 - xfs /dev/nvme0n1p1 rw",
            f"24 22 9:0 / {self.array} {array} - ext4 /dev/md0 rw",
        ]
        self.write("proc/self/mountinfo", "\n".join(lines) + "\n")

    def _add_disk(self, name: str, queue: dict[str, str], device: str) -> None:
        for key, value in queue.items():
            self.write(f"sys/block/{name}/queue/{key}", value)
        self._link(f"sys/dev/block/{device}", f"../../block/{name}")

    def _link(self, name: str, target: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).symlink_to(target)
