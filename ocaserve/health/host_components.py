"""Processors, memory, network, disks, descriptors and clock: problems in a reading of the machine.

Each function takes a reading and the settings and gives an observation. None of them acts; what a
machine does not tell is "unknown" and no problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ocaserve.health.judging import Thresholds, problems_of
from ocaserve.health.model import Level, Observation, Timing, Trouble
from ocaserve.health.words import amount, duration, percent
from ocaserve.host.host_reading import HostReading, InterfaceReading, ProcessSample
from ocaserve.settings.health import HealthSettings

Observe = Callable[[HostReading, HealthSettings], Observation]


def observe_cpu(reading: HostReading, settings: HealthSettings) -> Observation:
    """All cores together, and what a hypervisor takes of them."""
    busy, steal = reading.cpu_busy, reading.cpu_steal
    if busy is None:
        return Observation("unknown: the system does not tell how busy it is")
    busy_level = Thresholds(settings.cpu_warning, settings.cpu_error).of_high(busy)
    steal_level = Thresholds(settings.steal_warning, settings.steal_error).of_high(steal or 0.0)
    return Observation(
        f"{percent(busy)} busy",
        tuple(
            problems_of(
                (busy_level, "busy", f"{percent(busy)} busy"),
                (steal_level, "steal", f"{percent(steal or 0.0)} taken by the hypervisor"),
            )
        ),
    )


def observe_memory(reading: HostReading, settings: HealthSettings) -> Observation:
    """What processes could still get: the page cache counts as available."""
    available = reading.available_share
    if available is None:
        return Observation("unknown: the system does not tell its memory")
    said = f"{percent(available)} available"
    level = Thresholds(settings.memory_warning, settings.memory_error).of_low(available)
    return Observation(said, tuple(problems_of((level, "available", said))))


def observe_network(reading: HostReading, settings: HealthSettings) -> Observation:
    """Each interface: how full it is, and what it loses."""
    if not reading.interfaces:
        return Observation("unknown: no interface is up beside loopback")
    problems: list[Trouble] = []
    for name, interface in sorted(reading.interfaces.items()):
        problems += _interface_problems(name, interface, settings)
    sent = sum(interface.sent for interface in reading.interfaces.values())
    return Observation(f"{amount(sent, 'bit/s')} sent", tuple(problems))


def _interface_problems(
    name: str, interface: InterfaceReading, settings: HealthSettings
) -> list[Trouble]:
    use, lost = interface.use, interface.drop_share
    use_level = Thresholds(settings.network_warning, settings.network_error).of_high(use or 0.0)
    lost_level = Thresholds(settings.drops_warning, settings.drops_error).of_high(lost)
    if not lost:  # with a threshold of 0 any loss counts, but none does not
        lost_level = Level.OK
    return list(
        problems_of(
            (use_level, f"{name} use", f"{name} sends at {percent(use or 0.0)} of its speed"),
            (lost_level, f"{name} drops", f"{name} drops {percent(lost)} of its packets"),
        )
    )


def observe_disks(reading: HostReading, settings: HealthSettings) -> Observation:
    """Each disk under a store: how long requests take, and new errors.

    How busy a disk is says little: one that serves requests at once can be busy all the time and
    still take more. An error is a warning here; a store that cannot be read is an error of its own.
    """
    if not reading.disks:
        return Observation("unknown: the disks of the stores are not told apart here")
    thresholds = Thresholds(settings.disk_wait_warning_s, settings.disk_wait_error_s)
    problems: list[Trouble] = []
    for name, disk in sorted(reading.disks.items()):
        wait = disk.wait_s or 0.0
        errors = disk.new_errors or 0
        problems += problems_of(
            (thresholds.of_high(wait), f"{name} wait", f"{name} takes {duration(wait)} a request"),
            (Level(bool(errors)), f"{name} errors", f"{name} has {errors} new errors"),
        )
    waits = [disk.wait_s for disk in reading.disks.values() if disk.wait_s is not None]
    summary = f"{duration(max(waits))} a request" if waits else "idle"
    return Observation(summary, tuple(problems))


def observe_descriptors(reading: HostReading, settings: HealthSettings) -> Observation:
    """Each process of the appliance, and the system as a whole."""
    counted = {f"process {pid}": sample for pid, sample in reading.processes.items()}
    if reading.system_files is not None:
        counted["the system"] = reading.system_files
    if not counted:
        return Observation("unknown: open descriptors are not counted here")
    thresholds = Thresholds(settings.descriptors_warning, settings.descriptors_error)
    problems = problems_of(
        *(
            (thresholds.of_high(sample.share), name, _say_descriptors(name, sample))
            for name, sample in sorted(counted.items())
        )
    )
    fullest = max(counted.values(), key=lambda sample: sample.share)
    return Observation(f"{percent(fullest.share)} of the limit", tuple(problems))


def _say_descriptors(name: str, sample: ProcessSample) -> str:
    return f"{name} has {sample.open_files} of {sample.limit} descriptors open"


HOST_COMPONENTS: Mapping[str, Observe] = {
    "cpu": observe_cpu,
    "memory": observe_memory,
    "network": observe_network,
    "disk": observe_disks,
    "descriptors": observe_descriptors,
}


@dataclass(slots=True)
class HostComponent:
    """One of `HOST_COMPONENTS` over the latest reading."""

    name: str
    timing: Timing
    settings: HealthSettings
    reading: Callable[[], HostReading | None]

    def observe(self, now: float) -> Observation:
        reading = self.reading()
        if reading is None:
            return Observation("unknown yet: the first reading takes two samples")
        return HOST_COMPONENTS[self.name](reading, self.settings)


class ClockComponent:
    """Whether the machine's clock can be believed: expiry of URLs and certificates depends on it.

    Unsynchronised is a warning, and an error when it has been so for `clock_error_after_s`, by
    which time an undisciplined clock has drifted.
    """

    name = "clock"

    def __init__(
        self, timing: Timing, settings: HealthSettings, reading: Callable[[], HostReading | None]
    ) -> None:
        self.timing = timing
        self._error_after_s = settings.clock_error_after_s
        self._reading = reading
        self._lost_at: float | None = None

    def observe(self, now: float) -> Observation:
        reading = self._reading()
        if reading is None or reading.is_clock_synchronised is None:
            return Observation("unknown: the kernel does not tell whether it is synchronised")
        if reading.is_clock_synchronised:
            self._lost_at = None
            return Observation(f"synchronised within {duration(reading.clock_error_s or 0.0)}")
        self._lost_at = now if self._lost_at is None else self._lost_at
        since = now - self._lost_at
        is_error = 0 < self._error_after_s <= since
        reason = "the clock is not synchronised"
        return Observation(
            reason, (Trouble(Level.ERROR if is_error else Level.WARNING, "clock", reason),)
        )
