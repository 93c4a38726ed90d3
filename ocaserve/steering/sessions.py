"""What the lines of ExaBGP mean for the sessions and their families; the table does the rest.

`families` has the states. Routes are all here when the peer says so: End-of-RIB, or the end of a
refresh. Not all do. So a family that has been loading for `load_s` and quiet for `quiet_s` counts
as loaded.

Lines can be lost (the feeder or this process was away), which a gap in a session's counter shows.
Then what is here is *in doubt*: the family is loading again, until a refresh that the feeder asks
for has ended. Another pid is another ExaBGP, whose sessions are new: all that were are lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from bgp.messages import (
    EndOfRib,
    Envelope,
    Event,
    FeederGap,
    FeederHello,
    FeederNeighbors,
    MalformedLineError,
    Neighbor,
    Notified,
    Opened,
    Refresh,
    Session,
    Shutdown,
    StateChange,
    Update,
    decode,
)
from bgp.notifications import describe_notification
from bgp.prefixes import NAMES
from ocaserve.lifecycle import advance
from ocaserve.steering.families import FAMILY_STATES, Family, FamilyEvent, FamilyState, Peer, Times
from ocaserve.steering.rib import RoutingTable, Source

ENHANCED_REFRESH = 70  # capability code, RFC 7313
CEASE = 6
ADMINISTRATIVE = (2, 3)  # shutdown and de-configured, RFC 4486: the peer will not be back soon
WARN_SHARE = 0.8  # of max_prefixes
MOST_PEERS = 1_000  # sessions that are remembered; a configuration has far fewer


class Step(NamedTuple):
    """What a line has brought: notes for the log, and whether a refresh is to be asked for."""

    notes: tuple[str, ...] = ()
    wants_refresh: bool = False


NOTHING = Step()


class Sessions:
    """All sessions over one table. Times are seconds of one clock, which the caller reads."""

    def __init__(self, table: RoutingTable, times: Times | None = None) -> None:
        self.table = table
        self.times = times or Times()
        self.peers: dict[Session, Peer] = {}
        self.counts: Counter[str] = Counter()  # lines, malformed_lines, ...
        self.pid: int | None = None
        self.version = 0  # grows with all that a section on peers would tell
        self._notes: list[str] = []
        self._wants_refresh = False

    # -- what comes in ---------------------------------------------------------------------------

    def apply(self, line: bytes, now: float) -> Step:
        """Take one line of ExaBGP, whatever it holds."""
        self.counts["lines"] += 1
        try:
            envelope, event = decode(line, _load_json)
        except MalformedLineError as error:
            self.counts["malformed_lines"] += 1
            self.version += 1
            return Step((f"ExaBGP line {self.counts['lines']}: {error}",))
        return self.apply_event(envelope, event, now)

    def apply_event(self, envelope: Envelope | None, event: Event, now: float) -> Step:
        """Take what happened."""
        self.version += 1
        if envelope is None:
            self._hear_feeder(event, now)
            return self._take_step()
        if envelope.pid != self.pid:
            self._meet(envelope.pid, now)
        if envelope.session is None:
            if isinstance(event, Shutdown):
                self._note("ExaBGP ends")
            return self._take_step()
        peer = self._peer(envelope, now)
        if peer is not None:
            self._watch_counter(peer, envelope.counter, now)
            self._happen(peer, event, now)
        return self._take_step()

    def doubt(self, now: float) -> Step:
        """Lines may have been lost: of every session, since nobody knows which."""
        self.version += 1
        self._doubt_all(now)
        return self._take_step()

    def lose(self, why: str, now: float) -> Step:
        """ExaBGP is gone."""
        self.version += 1
        for peer in self.peers.values():
            peer.counter = None
            self._end(peer, why, FamilyEvent.LOST, now)
        self.pid = None
        return self._take_step()

    def tick(self, now: float) -> Step:
        """What time alone brings. Call it every second or so."""
        for peer in self.peers.values():
            for family in peer.families.values():
                self._tick_family(peer, family, now)
        return self._take_step()

    # -- what the feeder says --------------------------------------------------------------------

    def _hear_feeder(self, event: Event, now: float) -> None:
        if isinstance(event, FeederHello):
            if event.exabgp_pid != self.pid:
                self._meet(event.exabgp_pid, now)
            self._doubt_all(now)
        elif isinstance(event, FeederGap):
            self._note(f"the feeder dropped {event.dropped} bytes of lines")
            self.counts["feeder_gaps"] += 1
            self._doubt_all(now)
        elif isinstance(event, FeederNeighbors):
            self._see_neighbors({each.session: each for each in event.neighbors}, now)
        else:
            self.counts["text_lines"] += 1

    def _see_neighbors(self, neighbors: Mapping[Session, Neighbor], now: float) -> None:
        """What is up by ExaBGP's own list, and who tells everything again."""
        for session, neighbor in neighbors.items():
            envelope = Envelope(
                self.pid or 0, now, None, session, neighbor.peer_as, neighbor.local_as
            )
            peer = self._peer(envelope, now)
            if peer is not None and neighbor.is_up:
                self._see_up(peer, neighbor, now)
        for session, peer in self.peers.items():
            seen = neighbors.get(session)
            if peer.state == "up" and (seen is None or not seen.is_up):
                self._end(peer, "ExaBGP has no such session any more", FamilyEvent.LOST, now)

    def _see_up(self, peer: Peer, neighbor: Neighbor, now: float) -> None:
        if peer.families_spoken is None:
            peer.families_spoken = neighbor.families
        if peer.state != "up":
            peer.state, peer.since = "up", now
        for number in neighbor.families:
            family = peer.families[number]
            if family.state in (FamilyState.DOWN, FamilyState.STALE):
                self._start(family, FamilyEvent.HEARD, now)
            elif not neighbor.is_asked:
                family.is_in_doubt = False  # it is in the middle of telling all, which was heard

    # -- whose line it is ------------------------------------------------------------------------

    def _meet(self, pid: int, now: float) -> None:
        """The first line of an ExaBGP."""
        if self.pid is not None:
            self._note(f"another ExaBGP (pid {pid}): its sessions are new")
            for peer in self.peers.values():
                peer.counter = None
                self._end(peer, "ExaBGP was replaced", FamilyEvent.LOST, now)
        self.pid = pid

    def _peer(self, envelope: Envelope, now: float) -> Peer | None:
        session = envelope.session
        assert session is not None
        peer = self.peers.get(session)
        if peer is None:
            if len(self.peers) >= MOST_PEERS:
                self.counts["lines_of_too_many_peers"] += 1
                return None
            try:
                peer = self._new_peer(session, envelope, now)
            except (OSError, ValueError):
                self.counts["malformed_lines"] += 1
                return None
            self.peers[session] = peer
        if envelope.peer_as:
            peer.peer_as = envelope.peer_as
        return peer

    def _new_peer(self, session: Session, envelope: Envelope, now: float) -> Peer:
        policy = self.table.policy
        number = len(self.peers) + 1
        families = {}
        for place, family in enumerate(NAMES):
            source = Source(2 * number + place, number, session.peer, envelope.local_as, family)
            source.is_off = family not in policy.families.get(session.peer, NAMES)
            source.limit = policy.max_prefixes.get(session.peer, policy.default_max_prefixes)
            families[family] = Family(source, since=now, heard=now)
        return Peer(number, session, envelope.peer_as, envelope.local_as, families, since=now)

    def _watch_counter(self, peer: Peer, counter: int | None, now: float) -> None:
        """A gap means that lines were lost. The first line heard of a session is none."""
        if counter is None:
            return
        if peer.counter is not None and counter != peer.counter + 1:
            peer.counts["gaps"] += 1
            self._note(f"{peer.session.peer}: line {counter} after {peer.counter}: lines were lost")
            self._doubt(peer, now)
            self._wants_refresh = True  # of other losses the feeder knows, and asks by itself
        peer.counter = counter

    # -- what happens ----------------------------------------------------------------------------

    def _happen(self, peer: Peer, event: Event, now: float) -> None:
        if isinstance(event, Update):
            self._update(peer, event, now)
        elif isinstance(event, EndOfRib):
            self._end_of_rib(peer, event, now)
        elif isinstance(event, Refresh):
            self._refresh(peer, event, now)
        elif isinstance(event, StateChange):
            self._change_state(peer, event, now)
        elif isinstance(event, Opened):
            peer.opened_as = event.asn
            peer.capabilities = event.capabilities
            peer.families_spoken = event.families
        elif isinstance(event, Notified):
            direction = "sent" if event.is_ours else "received"
            peer.notice = f"{direction} {event.code}/{event.subcode} {event.text}".rstrip()
            self._note(f"{peer.session.peer}: notification {peer.notice}")

    def _change_state(self, peer: Peer, event: StateChange, now: float) -> None:
        if event.state == "down":
            is_closed = (
                event.notice is not None
                and event.notice[0] == CEASE
                and event.notice[1] in ADMINISTRATIVE
                and not event.is_ours
            )
            reason = event.reason
            if event.notice is not None:
                reason = f"{reason}: {describe_notification(*event.notice)}".rstrip(": ")
            self._end(peer, reason, FamilyEvent.CLOSED if is_closed else FamilyEvent.LOST, now)
            return
        peer.state, peer.since = event.state, now
        if event.state == "up":
            peer.ups += 1
            self._note(f"{peer.session.peer}: session up")
            for number, family in peer.families.items():
                if self.is_wanted(peer, number):
                    self._start(family, FamilyEvent.UP, now)
                elif family.state is not FamilyState.DOWN:
                    self._move(family, FamilyEvent.CLOSED, now)
                    self._flush(family)

    def is_wanted(self, peer: Peer, number: int) -> bool:
        """Whether the session is to carry the family."""
        is_spoken = peer.families_spoken is None or number in peer.families_spoken
        return is_spoken and not peer.families[number].source.is_off

    def _update(self, peer: Peer, update: Update, now: float) -> None:
        counts = peer.counts
        counts["updates"] += 1
        for name, number in (
            ("noncanonical", update.noncanonical),
            ("malformed", update.malformed),
            ("foreign", update.foreign),
            ("treated_as_withdraw", update.is_treated_as_withdraw),
        ):
            if number:
                counts[name] += number
        for family_number, nlri in update.withdrawn:
            family = self._hear(peer, family_number, now)
            counts["withdrawn"] += len(nlri)
            self.table.withdraw(family.source, nlri)
        for announcement in update.announced:
            family = self._hear(peer, announcement.family, now)
            counts["announced"] += len(announcement.nlri)
            if family.state is not FamilyState.IGNORED:
                family.new_routes = True
                self.table.announce(family.source, announcement, update.attributes)
                self._watch_limit(peer, family, now)

    def _hear(self, peer: Peer, number: int, now: float) -> Family:
        """A family says something of its routes, so its session is up."""
        family = peer.families[number]
        family.heard = now
        if family.state in (FamilyState.DOWN, FamilyState.STALE):
            self._start(family, FamilyEvent.HEARD, now)
            if peer.state != "up":
                peer.state, peer.since = "up", now
        return family

    def _end_of_rib(self, peer: Peer, event: EndOfRib, now: float) -> None:
        family = self._hear(peer, event.family, now)
        peer.counts["ends"] += 1
        has_refresh = peer.capabilities is not None and ENHANCED_REFRESH in peer.capabilities
        if family.is_refreshing or (family.is_in_doubt and has_refresh):
            return  # the end of another telling; that of the refresh is to come
        self._load(family, now)

    def _refresh(self, peer: Peer, event: Refresh, now: float) -> None:
        family = self._hear(peer, event.family, now)
        if event.phase == "begin":
            family.source.begin_generation()
            family.is_refreshing = True
            family.new_routes = False
        elif event.phase == "end" and family.is_refreshing:
            self._load(family, now)

    # -- what becomes of a family ----------------------------------------------------------------

    def _move(self, family: Family, event: FamilyEvent, now: float) -> None:
        state = advance(FAMILY_STATES, family.state, event)
        if state is not family.state:
            family.state, family.since = state, now

    def _start(self, family: Family, event: FamilyEvent, now: float) -> None:
        """A session tells its routes from the first one on."""
        self._move(family, event, now)
        source = family.source
        source.begin_generation()
        source.is_over_limit = False
        family.since = family.heard = now
        family.is_in_doubt = event is FamilyEvent.HEARD  # what it said before was not heard
        family.is_refreshing = family.new_routes = family.is_warned = False
        if source.old and family.stale_until is None:
            family.stale_until = now + self.times.stale_s

    def _load(self, family: Family, now: float) -> None:
        """All its routes are here; those that were not told again are no more."""
        self._move(family, FamilyEvent.LOADED, now)
        family.is_in_doubt = family.is_refreshing = False
        family.stale_until = None
        self.table.sweep(family.source)

    def _doubt_all(self, now: float) -> None:
        for peer in self.peers.values():
            peer.counter = None
            self._doubt(peer, now)

    def _doubt(self, peer: Peer, now: float) -> None:
        for family in peer.families.values():
            if family.state in (FamilyState.LOADING, FamilyState.LIVE):
                family.source.begin_generation()
                family.is_in_doubt = True
                family.is_refreshing = family.new_routes = False
                family.heard = now
            self._move(family, FamilyEvent.DOUBT, now)

    def _end(self, peer: Peer, reason: str, event: FamilyEvent, now: float) -> None:
        is_known = self._was_turned_away(peer, reason) and bool(peer.reason)
        if peer.state != "down":
            peer.state, peer.since = "down", now
            if not is_known:
                self._note(f"{peer.session.peer}: session down: {reason or 'no reason given'}")
        if not is_known:
            peer.reason = reason
        for family in peer.families.values():
            before = family.state
            family.is_in_doubt = family.is_refreshing = False
            self._move(family, event, now)
            if family.state is FamilyState.STALE and before is not FamilyState.STALE:
                family.stale_until = now + self.times.stale_s
            elif family.state is FamilyState.DOWN and before is not FamilyState.DOWN:
                self._flush(family)

    def _was_turned_away(self, peer: Peer, reason: str) -> bool:
        """Whether an attempt found the router closing the connection without a word.

        Routers do so again and again once they have said why a session had to end.
        """
        return peer.state != "up" and reason in ("", "closing connection")

    def _flush(self, family: Family) -> None:
        family.stale_until = None
        family.source.begin_generation()
        self.table.sweep(family.source)

    def _ignore(self, peer: Peer, family: Family, now: float) -> None:
        peer.counts["over_limit"] += 1
        self._note(
            f"{peer.session.peer} {family.name}: more than {family.source.limit} prefixes: "
            "ignored until its next session"
        )
        self._move(family, FamilyEvent.OVER, now)
        self._flush(family)

    def _watch_limit(self, peer: Peer, family: Family, now: float) -> None:
        source = family.source
        if source.is_over_limit:
            self._ignore(peer, family, now)
        elif source.routes > WARN_SHARE * source.limit and not family.is_warned:
            family.is_warned = True
            self._note(
                f"{peer.session.peer} {family.name}: {source.routes} prefixes, "
                f"{source.limit} are allowed"
            )

    def _tick_family(self, peer: Peer, family: Family, now: float) -> None:
        if family.stale_until is not None and now >= family.stale_until:
            self.version += 1
            family.stale_until = None
            if family.state is FamilyState.STALE:
                self._note(f"{peer.session.peer} {family.name}: not back in time, routes withdrawn")
                self._move(family, FamilyEvent.EXPIRED, now)
                self._flush(family)
            else:
                self.table.sweep(family.source)
        is_quiet = now - family.heard >= self.times.quiet_s
        is_loading = family.state is FamilyState.LOADING or family.is_refreshing
        is_due = is_loading and is_quiet and now - family.since >= self.times.load_s
        if is_due and (family.new_routes or not family.is_in_doubt or not family.source.routes):
            self.version += 1
            self._load(family, now)

    # -- notes -----------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def _take_step(self) -> Step:
        if not self._notes and not self._wants_refresh:
            return NOTHING
        step = Step(tuple(self._notes), self._wants_refresh)
        self._notes, self._wants_refresh = [], False
        return step


def _load_json(line: bytes) -> Any:
    """Three times as fast as `json`, which has its word on all that is not strictly JSON."""
    try:
        return msgspec.json.decode(line)
    except ValueError:
        return json.loads(line)
