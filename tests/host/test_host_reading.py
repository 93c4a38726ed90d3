"""What two samples say of the time between, and what a machine can be asked."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ocaserve.host import DiskSample, InterfaceSample, ProcessSample, Sample, Sampler, derive
from ocaserve.host.clock import ask_clock
from ocaserve.host.disks import count_errors, disk_of
from ocaserve.host.ethtool import ask_driver, ask_offloads
from ocaserve.host.sysctl import sysctl_number, sysctl_text

# -- arithmetic ----------------------------------------------------------------------------------


def test_processors() -> None:
    """Steal is not busy, and neither is idle."""
    seen = derive(Sample(0, 100.0, 50.0, 1.0), Sample(1, 104.0, 52.0, 1.4))
    assert seen.cpu_busy == pytest.approx(0.4)
    assert seen.cpu_steal == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("before", "after"),
    [(Sample(0), Sample(1)), (Sample(0, 5.0), Sample(1, 5.0))],
    ids=["not-told", "no-time-passed"],
)
def test_unknown_processors(before: Sample, after: Sample) -> None:
    seen = derive(before, after)
    assert (seen.cpu_busy, seen.cpu_steal, seen.available_share) == (None, None, None)


def test_interfaces() -> None:
    """Rates in bits per second; one that has just come is left for the next time."""
    before = Sample(0, interfaces={"eth0": InterfaceSample(1000, 0, 100, 0, 10**9)})
    eth0 = InterfaceSample(251_000, 125, 198, 2, 10**9)
    after = Sample(2, interfaces={"eth0": eth0, "eth1": eth0})
    seen = derive(before, after).interfaces
    assert list(seen) == ["eth0"]
    assert (seen["eth0"].sent, seen["eth0"].received) == (1_000_000, 500)
    assert seen["eth0"].drop_share == 0.02
    assert seen["eth0"].use == 0.001


def test_counters_that_begin_anew() -> None:
    """A driver was loaded again: no negative rate."""
    before = Sample(0, interfaces={"eth0": InterfaceSample(1000, 1000, 100, 50)})
    after = Sample(1, interfaces={"eth0": InterfaceSample(100, 0, 10, 0)})
    seen = derive(before, after).interfaces["eth0"]
    assert (seen.sent, seen.drop_share, seen.use) == (800, 0, None)


def test_disks() -> None:
    before = Sample(0, disks={"a": DiskSample(10, 1.0, 5.0, 1), "b": DiskSample(10, 1.0)})
    after = Sample(2, disks={"a": DiskSample(20, 1.5, 6.0, 3), "b": DiskSample(10, 1.0)})
    seen = derive(before, after).disks
    assert (seen["a"].requests_per_s, seen["a"].wait_s) == (5, 0.05)
    assert (seen["a"].use, seen["a"].new_errors) == (0.5, 2)
    assert (seen["b"].wait_s, seen["b"].use, seen["b"].new_errors) == (None, None, None)


# -- this machine --------------------------------------------------------------------------------


def test_sample_of_this_machine(tmp_path: Path) -> None:
    """Everything that any system tells; the descriptors of a process that has gone are left out."""
    sample = Sampler([str(tmp_path)], lambda: [os.getpid(), 2**22 + 1]).sample()
    assert sample.cpu_s is not None
    assert sample.cpu_s > sample.idle_s > 0
    assert sample.memory_bytes is not None
    assert 0 < sample.available_bytes < sample.memory_bytes
    assert list(sample.processes) == [os.getpid()]
    assert sample.processes[os.getpid()].open_files > 0
    assert "lo" not in sample.interfaces


def test_descriptors_are_counted() -> None:
    """One more socket is one more."""
    sampler = Sampler([], lambda: [os.getpid()])
    before = sampler.sample().processes[os.getpid()]
    assert 0 < before.share < 1
    assert ProcessSample(1, 0).share == 0
    with socket.socket():
        counted = Sampler([], lambda: [os.getpid()]).sample().processes[os.getpid()]
    assert counted.open_files > before.open_files


def test_clock_of_this_machine() -> None:
    is_synchronised, error_s = ask_clock()
    assert (is_synchronised is None) == (error_s is None)


# -- disks ---------------------------------------------------------------------------------------


@pytest.fixture
def sys_folder(tmp_path: Path) -> Path:
    """A sysfs with the disk sda, on whose partition sda1 the tests' folder lies."""
    device = os.stat(tmp_path).st_dev
    partition = tmp_path / "sys" / "block" / "sda" / "sda1"
    (partition / "partition").mkdir(parents=True)
    links = tmp_path / "sys" / "dev" / "block"
    links.mkdir(parents=True)
    (links / f"{os.major(device)}:{os.minor(device)}").symlink_to(partition)
    return tmp_path / "sys"


def test_disk_of_a_folder(tmp_path: Path, sys_folder: Path) -> None:
    assert disk_of(str(tmp_path), sys_folder) == "sda"
    assert disk_of(str(tmp_path / "gone"), sys_folder) is None


def test_errors_of_a_disk(sys_folder: Path) -> None:
    """Those of the device, in hexadecimal, and of the file systems on its partitions."""
    assert count_errors("sda", sys_folder) is None
    device = sys_folder / "block" / "sda" / "device"
    device.mkdir()
    (device / "ioerr_cnt").write_text("0x1f\n")
    file_system = sys_folder / "fs" / "ext4" / "sda1"
    file_system.mkdir(parents=True)
    (file_system / "errors_count").write_text("2\n")
    assert count_errors("sda", sys_folder) == 33


# -- drivers and sysctl --------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an ioctl of Linux")
def test_driver() -> None:
    """Loopback has offloads and no driver; what is not there has neither."""
    assert ask_offloads("lo")["tso"] in (True, False)
    assert ask_driver("no-such-nic") is None
    assert ask_offloads("no-such-nic") == {}


class FakeLibrary:
    """sysctlbyname(3) of a FreeBSD."""

    VALUES: ClassVar = {
        b"hw.model": b"AMD EPYC 7502P\0",
        b"kern.openfiles": (1234).to_bytes(4, sys.byteorder),
    }

    def sysctlbyname(self, name: bytes, old: Any, size: Any, _new: None, _length: int) -> int:
        value = self.VALUES.get(name)
        if value is None:
            return -1
        size._obj.value = len(value)
        if old is not None:
            ctypes.memmove(old, value, len(value))
        return 0


def test_sysctl() -> None:
    library = FakeLibrary()
    assert sysctl_text("hw.model", library) == "AMD EPYC 7502P"
    assert sysctl_number("kern.openfiles", library) == 1234
    assert sysctl_text("no.such", library) is None
    assert sysctl_number("no.such", library) is None
