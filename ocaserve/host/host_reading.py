"""Samples of the machine's counters, and what two of them say of the time between.

Pure: no clock, no system. None is what the machine does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class InterfaceSample:
    """Counters of one network interface that is up. `speed`: bits per second."""

    sent_bytes: int
    received_bytes: int
    packets: int
    dropped: int  # and broken, both ways
    speed: int | None = None


@dataclass(frozen=True, slots=True)
class DiskSample:
    """Counters of one disk. Times are seconds, added up over all requests."""

    requests: int
    wait_s: float
    busy_s: float | None = None
    errors: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """Descriptors of one process, or of the system."""

    open_files: int
    limit: int

    @property
    def share(self) -> float:
        return self.open_files / self.limit if self.limit else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment. `at`: seconds of the monotonic clock."""

    at: float
    cpu_s: float | None = None  # of all cores together, since the start
    idle_s: float = 0.0
    steal_s: float | None = None
    memory_bytes: int | None = None
    available_bytes: int = 0
    page_cache_bytes: int | None = None
    interfaces: Mapping[str, InterfaceSample] = field(default_factory=dict)
    disks: Mapping[str, DiskSample] = field(default_factory=dict)
    system_files: ProcessSample | None = None
    processes: Mapping[int, ProcessSample] = field(default_factory=dict)
    is_clock_synchronised: bool | None = None
    clock_error_s: float | None = None


@dataclass(frozen=True, slots=True)
class InterfaceReading:
    """One interface. Rates are bits per second."""

    sent: float
    received: float
    drop_share: float  # of all packets between the samples
    speed: int | None = None

    @property
    def use(self) -> float | None:
        """How much of its speed is sent; None where the speed is unknown."""
        return self.sent / self.speed if self.speed else None


@dataclass(frozen=True, slots=True)
class DiskReading:
    """One disk. `wait_s`: of a request, on average; None when there was none."""

    requests_per_s: float
    wait_s: float | None
    use: float | None  # share of the time in which it had something to do
    new_errors: int | None


@dataclass(frozen=True, slots=True)
class HostReading:
    """The machine over the time between two samples. Shares are from 0 to 1."""

    seconds: float
    cpu_busy: float | None = None
    cpu_steal: float | None = None
    memory_bytes: int | None = None
    available_share: float | None = None
    page_cache_bytes: int | None = None
    interfaces: Mapping[str, InterfaceReading] = field(default_factory=dict)
    disks: Mapping[str, DiskReading] = field(default_factory=dict)
    system_files: ProcessSample | None = None
    processes: Mapping[int, ProcessSample] = field(default_factory=dict)
    is_clock_synchronised: bool | None = None
    clock_error_s: float | None = None


def derive(before: Sample, after: Sample) -> HostReading:
    """What happened between two samples; counters that went backwards began anew at 0."""
    seconds = max(after.at - before.at, 1e-6)
    busy, steal = _cpu(before, after)
    return HostReading(
        seconds=seconds,
        cpu_busy=busy,
        cpu_steal=steal,
        memory_bytes=after.memory_bytes,
        available_share=after.available_bytes / after.memory_bytes if after.memory_bytes else None,
        page_cache_bytes=after.page_cache_bytes,
        interfaces={
            name: _interface(before.interfaces[name], now, seconds)
            for name, now in after.interfaces.items()
            if name in before.interfaces
        },
        disks={
            name: _disk(before.disks[name], now, seconds)
            for name, now in after.disks.items()
            if name in before.disks
        },
        system_files=after.system_files,
        processes=after.processes,
        is_clock_synchronised=after.is_clock_synchronised,
        clock_error_s=after.clock_error_s,
    )


def _cpu(before: Sample, after: Sample) -> tuple[float | None, float | None]:
    if before.cpu_s is None or after.cpu_s is None or after.cpu_s <= before.cpu_s:
        return None, None
    passed = after.cpu_s - before.cpu_s
    idle = after.idle_s - before.idle_s
    steal = None
    if before.steal_s is not None and after.steal_s is not None:
        steal = _share(after.steal_s - before.steal_s, passed)
    return _share(passed - idle, passed) - (steal or 0.0), steal


def _interface(before: InterfaceSample, after: InterfaceSample, seconds: float) -> InterfaceReading:
    packets = _grown(before.packets, after.packets)
    dropped = _grown(before.dropped, after.dropped)
    return InterfaceReading(
        sent=_grown(before.sent_bytes, after.sent_bytes) * 8 / seconds,
        received=_grown(before.received_bytes, after.received_bytes) * 8 / seconds,
        drop_share=_share(dropped, packets + dropped),
        speed=after.speed,
    )


def _disk(before: DiskSample, after: DiskSample, seconds: float) -> DiskReading:
    requests = _grown(before.requests, after.requests)
    use = errors = None
    if before.busy_s is not None and after.busy_s is not None:
        use = _share(after.busy_s - before.busy_s, seconds)
    if before.errors is not None and after.errors is not None:
        errors = _grown(before.errors, after.errors)
    return DiskReading(
        requests_per_s=requests / seconds,
        wait_s=max(0.0, after.wait_s - before.wait_s) / requests if requests else None,
        use=use,
        new_errors=errors,
    )


def _grown(before: int, after: int) -> int:
    return after - before if after >= before else after


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole else 0.0
