"""What the appliance can still take, from the resource that would run out first. Pure.

Each resource that is used to a share `use` while `sent` bits go out each second could carry
`sent / use` in all. The interface's speed is known; for processors and disks this is an estimate,
which is worth something only under load, so a resource that is nearly idle bounds nothing. A disk
counts by its time in use, which for disks that serve requests at once is a careful bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ocaserve.host.host_reading import HostReading
from ocaserve.settings.health import HealthSettings

_LEAST_USE = 0.05  # below it an estimate from a share is noise
_LEAST_SENT = 1e6  # bit/s; below it what is in use is not in use for sending


class CapacityBound(NamedTuple):
    """How much one resource allows in all and still, in bits per second."""

    resource: str
    total: float
    free: float


class Load(NamedTuple):
    """What the data plane does: bits of body sent per second, and connections of all workers."""

    sent: float
    connections: int
    most_connections: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What can still be taken. None: nothing is known that bounds it.

    total, free: bits per second. limited_by: the resource that bounds the bits, or what else is
    used up: "connections", a component of health that is an error, or "health" where that turns
    clients away.
    """

    total: int | None
    free: int | None
    free_connections: int
    limited_by: str

    def __post_init__(self) -> None:
        assert self.free is None or self.total is None or 0 <= self.free <= self.total
        assert self.free_connections >= 0, "clients are sent by it"


def estimate_capacity(
    reading: HostReading | None, load: Load, settings: HealthSettings, *, held_by: str = ""
) -> Capacity:
    """The tightest bound. `held_by`: what in health says that nothing more fits, if anything."""
    bounds = [] if reading is None else list(find_bounds(reading, load, settings))
    tightest = min(bounds, key=lambda bound: bound.free, default=None)
    free_connections = max(0, load.most_connections - load.connections)
    total = None if tightest is None else int(tightest.total)
    if held_by:
        return Capacity(total, 0, 0, held_by)
    if not free_connections:
        return Capacity(total, 0, 0, "connections")
    if tightest is None:
        return Capacity(None, None, free_connections, "unknown")
    return Capacity(total, int(tightest.free), free_connections, tightest.resource)


def find_bounds(
    reading: HostReading, load: Load, settings: HealthSettings
) -> Iterator[CapacityBound]:
    """What each resource allows, up to where it would be a warning."""
    yield from _network_bound(reading, settings.network_warning)
    if reading.cpu_busy is not None:
        yield from _estimate("cpu", reading.cpu_busy, load.sent, settings.cpu_warning)
    for name, disk in sorted(reading.disks.items()):
        if disk.use is not None:
            yield from _estimate(name, disk.use, load.sent, 1.0)


def _network_bound(reading: HostReading, most_use: float) -> Iterator[CapacityBound]:
    """All interfaces together, if every one of them tells its speed."""
    speeds = [interface.speed for interface in reading.interfaces.values()]
    if speeds and all(speeds):
        total = min(1.0, most_use) * _sum(speeds)
        sent = sum(interface.sent for interface in reading.interfaces.values())
        yield CapacityBound("network", total, max(0.0, total - sent))


def _sum(speeds: Iterable[int | None]) -> int:
    return sum(speed or 0 for speed in speeds)


def _estimate(resource: str, use: float, sent: float, most_use: float) -> Iterator[CapacityBound]:
    if use >= _LEAST_USE and sent >= _LEAST_SENT:
        total = sent / use * min(1.0, most_use)
        yield CapacityBound(resource, total, max(0.0, total - sent))
