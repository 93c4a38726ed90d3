"""`[health]`: when a reading is a warning, when an error, and how long it must be so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Struct

from ocaserve.findings import Finding
from ocaserve.schema import number

_DAY_S = 86_400
_MONTH_S = 31 * _DAY_S


class HealthSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a reading is a warning, when an error. Shares are from 0 to 1; 1 and more is never."""

    interval_s: Annotated[
        float, number("seconds", 0.1, 60, "between two readings; a reading costs about 1 ms of CPU")
    ] = 1.0
    rise_s: Annotated[
        float,
        number(
            "seconds", 0, 3_600,
            "that a problem must last to count: a burst of requests is none",
        ),
    ] = 5.0  # fmt: skip
    fall_s: Annotated[
        float,
        number(
            "seconds", 0, 3_600,
            "that a problem must be gone to be forgotten: longer than it takes clients to come "
            "back, so that load does not swing",
        ),
    ] = 20.0  # fmt: skip
    cpu_warning: Annotated[
        float, number("of all cores", 0, 2, "busy; beyond it queues grow quickly", is_above=True)
    ] = 0.85
    cpu_error: Annotated[
        float, number("of all cores", 0, 2, "busy; nothing is left for more", is_above=True)
    ] = 0.97
    steal_warning: Annotated[
        float,
        number(
            "of all cores", 0, 2, "taken by the hypervisor for other machines", is_above=True
        ),
    ] = 0.1  # fmt: skip
    steal_error: Annotated[
        float,
        number("of all cores", 0, 2, "taken by the hypervisor for other machines", is_above=True),
    ] = 0.3
    memory_warning: Annotated[
        float,
        number("of all memory", 0, 1, "available, below which pages of content are pushed out"),
    ] = 0.08
    memory_error: Annotated[
        float, number("of all memory", 0, 1, "available, below which processes are soon killed")
    ] = 0.03
    network_warning: Annotated[
        float, number("of its speed", 0, 2, "sent by an interface", is_above=True)
    ] = 0.9
    network_error: Annotated[
        float,
        number("of its speed", 0, 2, "sent by an interface: it is full", is_above=True),
    ] = 0.98
    drops_warning: Annotated[
        float,
        number(
            "of its packets", 0, 1,
            "dropped or broken in an interface: clients see it as stalls",
        ),
    ] = 0.001  # fmt: skip
    drops_error: Annotated[
        float, number("of its packets", 0, 1, "dropped or broken: clients leave at this")
    ] = 0.02
    disk_wait_warning_s: Annotated[
        float,
        number("seconds", 0, 600, "that a disk takes for a request, on average", is_above=True),
    ] = 0.1
    disk_wait_error_s: Annotated[
        float,
        number(
            "seconds", 0, 600, "that a disk takes for a request: players run empty", is_above=True
        ),
    ] = 1.0  # fmt: skip
    store_stall_warning_s: Annotated[
        float,
        number("seconds", 0, 600, "without an answer from a store to a read", is_above=True),
    ] = 2.0
    store_stall_error_s: Annotated[
        float,
        number(
            "seconds", 0, 600,
            "without an answer from a store to a read: at serve.limits.stall_s responses are cut",
            is_above=True,
        ),
    ] = 10.0  # fmt: skip
    store_free_warning: Annotated[
        float, number("of a store", 0, 1, "free, below which it is full soon")
    ] = 0.02
    store_free_error: Annotated[
        float, number(
            "of a store", 0, 1,
            "free, below which it is an error, 0 for never: what it holds is served all the same",
        ),
    ] = 0.0  # fmt: skip
    descriptors_warning: Annotated[
        float, number("of their limit", 0, 2, "in use, in one process or the system", is_above=True)
    ] = 0.85
    descriptors_error: Annotated[
        float,
        number("of their limit", 0, 2, "in use: soon no connection is accepted", is_above=True),
    ] = 0.95
    loop_lag_warning_s: Annotated[
        float,
        number("seconds", 0, 600, "that a worker's event loop is late", is_above=True),
    ] = 0.25
    loop_lag_error_s: Annotated[
        float,
        number("seconds", 0, 600, "that a worker's event loop is late", is_above=True),
    ] = 2.0
    worker_deaths_warning: Annotated[
        int, number("deaths", 1, 1_000, "of workers within worker_deaths_s")
    ] = 1
    worker_deaths_error: Annotated[
        int,
        number(
            "deaths", 1, 1_000,
            "of workers within worker_deaths_s: each has cut the responses that it sent",
        ),
    ] = 5  # fmt: skip
    worker_deaths_s: Annotated[
        float, number("seconds", 1, _DAY_S, "over which deaths of workers are counted")
    ] = 120.0
    certificate_warning_days: Annotated[
        float, number("days", 0, 3_660, "before a certificate expires; they are renewed at 30")
    ] = 21.0
    certificate_error_days: Annotated[
        float, number("days", 0, 3_660, "before a certificate expires")
    ] = 3.0
    clock_error_after_s: Annotated[
        float,
        number(
            "seconds", 0, _MONTH_S,
            "that the clock may be unsynchronised before the warning becomes an error, 0 for "
            "never; at 100 ppm a day without costs 9 s, and signed URLs allow 30",
        ),
    ] = 0.0  # fmt: skip
    contact_warning_s: Annotated[
        float,
        number(
            "seconds", 0, _MONTH_S,
            "without a report that was taken; at `report.lost_after_s` it is an error",
        ),
    ] = 90.0  # fmt: skip


_WORSE_BELOW = ("memory", "store_free", "certificate")
_WORSE_ABOVE = (
    "cpu", "steal", "network", "drops", "disk_wait", "store_stall", "descriptors", "loop_lag",
    "worker_deaths",
)  # fmt: skip
_UNITS = ("", "_s", "_days")


def find_health_faults(health: HealthSettings) -> Iterator[Finding]:
    """Each pair of thresholds of which the error comes before the warning."""
    for name in (*_WORSE_ABOVE, *_WORSE_BELOW):
        unit = next(unit for unit in _UNITS if hasattr(health, f"{name}_error{unit}"))
        warning = getattr(health, f"{name}_warning{unit}")
        error = getattr(health, f"{name}_error{unit}")
        bound = ""
        if name in _WORSE_BELOW and error > warning:
            bound = "at most"
        elif name in _WORSE_ABOVE and error < warning:
            bound = "at least"
        if bound:
            yield Finding(
                f"health.{name}_error{unit}", "", str(error),
                f"{bound} {name}_warning{unit} = {warning}",
                also=(f"health.{name}_warning{unit}",),
            )  # fmt: skip
