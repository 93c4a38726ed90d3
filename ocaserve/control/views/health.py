"""Health with its reasons, and what can still be taken."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ocaserve.control.schemas import as_time
from ocaserve.control.wellness import Wellness


class ComponentShown(Struct, frozen=True, kw_only=True):
    """One component. `level`: ok, warning or error. `since`: when it became that."""

    name: str
    level: str
    reason: str
    since: datetime


class HealthShown(Struct, frozen=True, kw_only=True):
    """`level` is the worst of all components; `reasons` are of those that are not ok."""

    level: str
    reasons: list[str]
    components: list[ComponentShown]


class CapacityShown(Struct, frozen=True, kw_only=True):
    """What can be taken in all and still; null where nothing is known that bounds it.

    `limited_by`: the resource that bounds it, or `connections`, `unknown`, a component of health
    that is an error, or `health` where that turns clients away.
    """

    total_bits_per_s: int | None
    free_bits_per_s: int | None
    free_connections: int
    limited_by: str


def describe_health(wellness: Wellness) -> HealthShown:
    """As of the last look, a second ago at most."""
    health = wellness.health
    return HealthShown(
        level=health.level.label,
        reasons=list(health.reasons),
        components=[
            ComponentShown(
                name=finding.component,
                level=finding.level.label,
                reason=finding.reason,
                since=as_time(finding.since),
            )
            for finding in health.findings
        ],
    )


def describe_capacity(wellness: Wellness) -> CapacityShown:
    """As of now."""
    capacity = wellness.capacity()
    return CapacityShown(
        total_bits_per_s=capacity.total,
        free_bits_per_s=capacity.free,
        free_connections=capacity.free_connections,
        limited_by=capacity.limited_by,
    )
