"""What the machine says of itself: samples of its counters, and readings made of two of them.

`host_reading` has the records and the arithmetic, without I/O; `sampling` asks the system through
psutil; `clock`, `disks`, `memory` and `sysctl` are what psutil does not know. All of it works on
Linux and FreeBSD, as any user. What cannot be read is None: unknown, which is no error.
"""

from ocaserve.host.host_reading import (
    DiskReading,
    DiskSample,
    HostReading,
    InterfaceReading,
    InterfaceSample,
    ProcessSample,
    Sample,
    derive,
)
from ocaserve.host.sampling import Sampler

__all__ = [
    "DiskReading",
    "DiskSample",
    "HostReading",
    "InterfaceReading",
    "InterfaceSample",
    "ProcessSample",
    "Sample",
    "Sampler",
    "derive",
]
