"""What happens to one family of a session: its routes come, are all here, are in doubt, go. Pure.

The states and their table are in `families`; here is what each step does to the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from ocaserve.lifecycle import advance
from ocaserve.steering.families import (
    FAMILY_STATES,
    Family,
    FamilyEvent,
    FamilyState,
    Peer,
    Times,
)
from ocaserve.steering.rib import RoutingTable


class FamilyLives:
    """Moves families over one table. `note` takes a line for the log.

    Times are seconds of one clock, which the caller reads.
    """

    def __init__(self, table: RoutingTable, times: Times, note: Callable[[str], None]) -> None:
        self._table = table
        self._times = times
        self._note = note

    def distrust_silence(self) -> None:
        """From here on a family is whole only by its router's word, however long it is quiet."""
        self._times = replace(self._times, load_s=inf)

    def _move(self, family: Family, event: FamilyEvent, now: float) -> None:
        state = advance(FAMILY_STATES, family.state, event)
        if state is not family.state:
            family.state, family.since = state, now

    def start(self, family: Family, event: FamilyEvent, now: float) -> None:
        """A session tells its routes from the first one on."""
        self._move(family, event, now)
        source = family.source
        source.begin_generation()
        source.excess, source.paths_left_out = "", 0
        family.since = family.heard = now
        family.is_in_doubt = event is FamilyEvent.HEARD  # what it said before was not heard
        family.is_refreshing = family.new_routes = family.is_warned = False
        if source.old and family.stale_until is None:
            family.stale_until = now + self._times.stale_s

    def load(self, family: Family, now: float) -> None:
        """All its routes are here; those that were not told again are no more."""
        self._move(family, FamilyEvent.LOADED, now)
        family.is_in_doubt = family.is_refreshing = False
        family.stale_until = None
        self._table.sweep(family.source)

    def doubt(self, peer: Peer, now: float) -> None:
        """Lines of its session may have been lost."""
        for family in peer.families.values():
            if family.state in (FamilyState.LOADING, FamilyState.LIVE):
                family.source.begin_generation()
                family.is_in_doubt = True
                family.is_refreshing = family.new_routes = False
                family.heard = now
            self._move(family, FamilyEvent.DOUBT, now)

    def end(self, family: Family, event: FamilyEvent, now: float) -> None:
        """Its session ended: lost or closed."""
        before = family.state
        family.is_in_doubt = family.is_refreshing = False
        self._move(family, event, now)
        if family.state is FamilyState.STALE and before is not FamilyState.STALE:
            family.stale_until = now + self._times.stale_s
        elif family.state is FamilyState.DOWN and before is not FamilyState.DOWN:
            self._flush(family)

    def leave(self, family: Family, now: float) -> None:
        """Its session is up, and does not carry it any more."""
        if family.state is not FamilyState.DOWN:
            self._move(family, FamilyEvent.CLOSED, now)
            self._flush(family)

    def _flush(self, family: Family) -> None:
        family.stale_until = None
        family.source.begin_generation()
        self._table.sweep(family.source)

    def _ignore(self, peer: Peer, family: Family, now: float) -> None:
        peer.counts["over_limit"] += 1
        self._note(
            f"{peer.session.peer} {family.name}: {family.source.excess}: "
            "ignored until its next session"
        )
        self._move(family, FamilyEvent.OVER, now)
        self._flush(family)

    def watch_limit(self, peer: Peer, family: Family, now: float) -> None:
        """It has announced more: warn where that is nearly too much, ignore it where it is."""
        if family.source.excess:
            self._ignore(peer, family, now)
        elif not family.is_warned and (nearly := family.nearly):
            family.is_warned = True
            self._note(f"{peer.session.peer} {family.name}: {nearly} are reached")

    def tick(self, peer: Peer, family: Family, now: float) -> bool:
        """What time alone brings; returns whether anything changed."""
        has_changed = False
        if family.stale_until is not None and now >= family.stale_until:
            has_changed = True
            family.stale_until = None
            if family.state is FamilyState.STALE:
                self._note(f"{peer.session.peer} {family.name}: not back in time, routes withdrawn")
                self._move(family, FamilyEvent.EXPIRED, now)
                self._flush(family)
            else:
                self._table.sweep(family.source)
        is_quiet = now - family.heard >= self._times.quiet_s
        is_loading = family.state is FamilyState.LOADING or family.is_refreshing
        is_due = is_loading and is_quiet and now - family.since >= self._times.load_s
        if is_due and (family.new_routes or not family.is_in_doubt or not family.source.routes):
            has_changed = True
            self.load(family, now)
        return has_changed
