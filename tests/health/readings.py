"""Readings of machines that do not exist."""

from __future__ import annotations

from typing import Any

from ocaserve.host.host_reading import DiskReading, HostReading, InterfaceReading, ProcessSample

GBIT = 1_000_000_000


def reading(**facts: Any) -> HostReading:
    """A machine at ease, but for `facts`."""
    calm: dict[str, Any] = {
        "seconds": 1.0,
        "cpu_busy": 0.2,
        "cpu_steal": 0.0,
        "memory_bytes": 16 << 30,
        "available_share": 0.6,
        "interfaces": {"eth0": interface()},
        "disks": {"sda": disk()},
        "system_files": ProcessSample(1_000, 1_000_000),
        "processes": {7: ProcessSample(10, 1_000)},
        "is_clock_synchronised": True,
        "clock_error_s": 0.01,
    }
    return HostReading(**{**calm, **facts})


def interface(
    sent: float = GBIT, drop_share: float = 0.0, speed: int | None = 10 * GBIT
) -> InterfaceReading:
    return InterfaceReading(sent=sent, received=0.0, drop_share=drop_share, speed=speed)


def disk(
    wait_s: float | None = 0.002, use: float | None = 0.3, new_errors: int | None = 0
) -> DiskReading:
    return DiskReading(requests_per_s=100.0, wait_s=wait_s, use=use, new_errors=new_errors)
