"""Asking the system for one `Sample`. Cheap enough for every second: about 0.3 ms of CPU."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from ocaserve.host.clock import ask_clock
from ocaserve.host.disks import count_errors, disk_of
from ocaserve.host.host_reading import DiskSample, InterfaceSample, ProcessSample, Sample
from ocaserve.host.sysctl import sysctl_number

_MEGABIT = 1_000_000
_MILLISECOND = 1e-3
_COUNTING_SHARE = 500  # counting descriptors by listing them takes at most a 500th of the time
_FILE_NR = Path("/proc/sys/fs/file-nr")
_CLASS_NET = Path("/sys/class/net")


class Sampler:
    """Takes samples. `stores`: directories whose disks count; `processes`: pids to look at now."""

    def __init__(self, stores: Sequence[str], processes: Callable[[], Iterable[int]]) -> None:
        self._disks = {disk for path in stores if (disk := disk_of(path)) is not None}
        self._processes = processes
        self._counted: dict[
            int, tuple[float, int]
        ] = {}  # by pid: when to count again, and how many

    def sample(self) -> Sample:
        """Ask for everything. Waits for no disk."""
        cpu = psutil.cpu_times()._asdict()
        memory = psutil.virtual_memory()
        is_synchronised, clock_error_s = ask_clock()
        guest = cpu.get("guest", 0.0) + cpu.get("guest_nice", 0.0)  # in user and nice already
        return Sample(
            at=monotonic(),
            cpu_s=sum(cpu.values()) - guest,
            idle_s=cpu["idle"] + cpu.get("iowait", 0.0),
            steal_s=cpu.get("steal"),
            memory_bytes=memory.total,
            available_bytes=memory.available,
            page_cache_bytes=getattr(memory, "cached", None),
            interfaces=_sample_interfaces(),
            disks=self._sample_disks(),
            system_files=_sample_system_files(),
            processes=self._sample_processes(),
            is_clock_synchronised=is_synchronised,
            clock_error_s=clock_error_s,
        )

    def _sample_disks(self) -> Mapping[str, DiskSample]:
        if not self._disks:
            return {}
        counters = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        return {
            name: _as_disk(counters[name], count_errors(name))
            for name in sorted(self._disks & counters.keys())
        }

    def _sample_processes(self) -> Mapping[int, ProcessSample]:
        """The limit is ours: all processes of the appliance have the supervisor's."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        now = monotonic()
        samples = {}
        for pid in self._processes():
            with suppress(OSError, psutil.Error):  # it has ended meanwhile
                samples[pid] = ProcessSample(self._count_descriptors(pid, now), limit)
        self._counted = {pid: known for pid, known in self._counted.items() if pid in samples}
        return samples

    def _count_descriptors(self, pid: int, now: float) -> int:
        """Linux tells the number since 6.2; before, and elsewhere, they have to be listed."""
        folder = f"/proc/{pid}/fd"
        if os.path.isdir(folder) and (told := os.stat(folder).st_size):
            return told
        again, count = self._counted.get(pid, (0.0, 0))
        if now >= again:
            began = monotonic()
            count = psutil.Process(pid).num_fds()
            took = monotonic() - began
            self._counted[pid] = now + took * _COUNTING_SHARE, count
        return count


def _as_disk(counters: Any, errors: int | None) -> DiskSample:
    """`counters`: what psutil has of one disk; its fields differ between systems."""
    busy_ms = getattr(counters, "busy_time", None)
    return DiskSample(
        requests=counters.read_count + counters.write_count,
        wait_s=(counters.read_time + counters.write_time) * _MILLISECOND,
        busy_s=None if busy_ms is None else busy_ms * _MILLISECOND,
        errors=errors,
    )


def _sample_interfaces() -> Mapping[str, InterfaceSample]:
    """Interfaces that are up, without loopback, and of these the real ones if there are any.

    A bond and its members, or a bridge and its port, would otherwise count the same bytes twice.
    """
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    found = psutil.net_if_stats()
    up = [
        name
        for name, about in found.items()
        if about.isup and name in counters and not _is_loopback(name, about.flags)
    ]
    real = [name for name in up if (_CLASS_NET / name / "device").exists()]
    return {name: _as_interface(counters[name], found[name].speed) for name in real or up}


def _is_loopback(name: str, flags: str) -> bool:
    return "loopback" in flags.split(",") or name.startswith("lo")


def _as_interface(counters: Any, megabits: int) -> InterfaceSample:
    return InterfaceSample(
        sent_bytes=counters.bytes_sent,
        received_bytes=counters.bytes_recv,
        packets=counters.packets_sent + counters.packets_recv,
        dropped=counters.dropin + counters.dropout + counters.errin + counters.errout,
        speed=megabits * _MEGABIT or None,
    )


def _sample_system_files() -> ProcessSample | None:
    try:
        used, _, most = map(int, _FILE_NR.read_text().split())
    except (OSError, ValueError):
        open_files, limit = sysctl_number("kern.openfiles"), sysctl_number("kern.maxfiles")
        if open_files is None or limit is None:
            return None
        return ProcessSample(open_files, limit)
    return ProcessSample(used, most)
