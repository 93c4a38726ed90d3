"""How a worker stands: what it was told of its duty, and how long an idle client may stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocaserve.settings import Limits

TICK_S = 0.25
"""Between two ticks of a worker, the time of its clock, its deadlines and its answerer."""


@dataclass(slots=True)
class Duty:
    """What the control process says of the whole appliance; until it does, that it serves.

    turns_away: a drain is past its deadline, and new requests are refused.
    """

    word: bytes = b"serving"
    is_fit: bool = True
    turns_away: bool = False


@dataclass(slots=True)
class Stance:
    """Times are seconds of the monotonic clock.

    draining: the worker stops, and each response is its connection's last. idle_deadline: of
    connections that become idle in this tick.
    """

    limits: Limits
    draining: bool = False
    duty: Duty = field(default_factory=Duty)
    drain_idle_s: float = 1.0
    idle_deadline: float = 0.0

    def update_deadline(self, now: float) -> None:
        """Called with each tick of the worker."""
        self.idle_deadline = now + TICK_S + self.limits.idle_s

    @property
    def idle_s(self) -> float:
        """How long a connection may be idle that becomes so now."""
        return self.drain_idle_s if self.draining else self.limits.idle_s
