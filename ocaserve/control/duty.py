"""What the operator wants: to serve, or to drain, why and until when. Decides, and does nothing.

Draining: clients are to be sent elsewhere, which `/healthz` and the report say at once. Those that
are here finish, and new ones are still served, until the deadline; then new requests are turned
away, and running responses still end. `until` ends it by itself. All times are seconds since the
epoch, because they must mean the same after a restart.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ocaserve.lifecycle import DUTIES, DutyEvent, DutyState, advance


class DutyRecord(Struct, frozen=True, kw_only=True):
    """`since`: when the state began. `deadline` and `until` belong to a drain."""

    state: DutyState = DutyState.ENABLED
    reason: str = ""
    since: float = 0.0
    deadline: float | None = None
    until: float | None = None

    @property
    def is_draining(self) -> bool:
        """Whether clients are to go elsewhere."""
        return self.state is not DutyState.ENABLED

    def drain(
        self, reason: str, now: float, *, deadline: float | None, until: float | None
    ) -> DutyRecord:
        """Begin, or go on for another reason or with other times."""
        state = advance(DUTIES, self.state, DutyEvent.DRAIN)
        since = self.since if self.is_draining else now
        return DutyRecord(state=state, reason=reason, since=since, deadline=deadline, until=until)

    def enable(self, now: float) -> DutyRecord:
        """Serve again."""
        state = advance(DUTIES, self.state, DutyEvent.ENABLE)
        return self if state is self.state else DutyRecord(state=state, since=now)

    def look(self, now: float, *, is_quiet: bool) -> DutyRecord:
        """What has come of it by now, with traffic above or below the threshold."""
        if not self.is_draining:
            return self
        if self.until is not None and now >= self.until:
            return self.enable(now)
        if is_quiet == (self.state is DutyState.DRAINED):
            return self
        event = DutyEvent.QUIET if is_quiet else DutyEvent.BUSY
        return replace(self, state=advance(DUTIES, self.state, event))

    def turns_away(self, now: float) -> bool:
        """Whether new requests are refused."""
        return self.is_draining and self.deadline is not None and now >= self.deadline
