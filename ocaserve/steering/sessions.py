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

from bgp.events import (
    EndOfRib,
    Envelope,
    Event,
    FeederGap,
    FeederHello,
    FeederNeighbors,
    Neighbor,
    Notified,
    Refresh,
    Session,
    SessionOpened,
    Shutdown,
    StateChange,
    Update,
)
from bgp.messages import MalformedLineError, decode
from bgp.notifications import describe_notification
from ocaserve.steering.families import (
    Family,
    FamilyEvent,
    FamilyState,
    Peer,
    Times,
    make_families,
)
from ocaserve.steering.family_lives import FamilyLives
from ocaserve.steering.rib import RoutingTable

ENHANCED_REFRESH = 70  # capability code, RFC 7313
CEASE = 6
ADMINISTRATIVE = (2, 3)  # shutdown and de-configured, RFC 4486: the peer will not be back soon
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
        self.peers: dict[Session, Peer] = {}
        self.counts: Counter[str] = Counter()  # lines, malformed_lines, ...
        self.pid: int | None = None
        self.version = 0  # grows with all that a section on peers would tell
        self._notes: list[str] = []
        self._lives = FamilyLives(table, times or Times(), self._note)
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

    def distrust_silence(self) -> None:
        """From here on a family is whole only by its router's word, however long it is quiet."""
        self._lives.distrust_silence()

    def tick(self, now: float) -> Step:
        """What time alone brings. Call it every second or so."""
        for peer in self.peers.values():
            for family in peer.families.values():
                if self._lives.tick(peer, family, now):
                    self.version += 1
        return self._take_step()

    # -- what the feeder says --------------------------------------------------------------------

    def _hear_feeder(self, event: Event, now: float) -> None:
        if isinstance(event, FeederHello):
            if event.exabgp_pid != self.pid:
                self._meet(event.exabgp_pid, now)
            self._doubt_all(now)
        elif isinstance(event, FeederGap):
            if event.dropped:  # else it only begins, as with each control process
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
                self._lives.start(family, FamilyEvent.HEARD, now)
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
        known = (0, peer.peer_as), (0, peer.local_as)
        if envelope.peer_as not in known[0] or envelope.local_as not in known[1]:
            peer.learn(envelope.peer_as, envelope.local_as)
        return peer

    def _new_peer(self, session: Session, envelope: Envelope, now: float) -> Peer:
        number = len(self.peers) + 1
        policy = self.table.policy.of_peer(session.peer)
        families = make_families(number, session, envelope.peer_as, envelope.local_as, policy, now)
        return Peer(number, session, envelope.peer_as, envelope.local_as, families, since=now)

    def _watch_counter(self, peer: Peer, counter: int | None, now: float) -> None:
        """A gap means that lines were lost. The first line heard of a session is none."""
        if counter is None:
            return
        if peer.counter is not None and counter != peer.counter + 1:
            peer.counts["gaps"] += 1
            self._note(f"{peer.session.peer}: line {counter} after {peer.counter}: lines were lost")
            self._lives.doubt(peer, now)
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
        elif isinstance(event, SessionOpened):
            peer.open(event, self.table.policy.of_peer(peer.session.peer))
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
                if peer.is_carrying(number):
                    self._lives.start(family, FamilyEvent.UP, now)
                else:
                    self._lives.leave(family, now)

    def _update(self, peer: Peer, update: Update, now: float) -> None:
        counts = peer.counts
        counts["updates"] += 1
        peer.updated = now
        for name, number in (
            ("noncanonical", update.noncanonical),
            ("malformed", update.malformed),
            ("foreign", update.foreign),
            ("treated_as_withdraw", update.is_treated_as_withdraw),
            ("attributes_discarded", update.discarded),
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
                left_out = family.source.paths_left_out
                self.table.announce(family.source, announcement, update.attributes)
                if family.source.paths_left_out > left_out:
                    counts["paths_left_out"] += family.source.paths_left_out - left_out
                self._lives.watch_limit(peer, family, now)

    def _hear(self, peer: Peer, number: int, now: float) -> Family:
        """A family says something of its routes, so its session is up."""
        family = peer.families[number]
        family.heard = now
        if family.state in (FamilyState.DOWN, FamilyState.STALE):
            self._lives.start(family, FamilyEvent.HEARD, now)
            if peer.state != "up":
                peer.state, peer.since = "up", now
        return family

    def _end_of_rib(self, peer: Peer, event: EndOfRib, now: float) -> None:
        family = self._hear(peer, event.family, now)
        peer.counts["ends"] += 1
        has_refresh = peer.capabilities is not None and ENHANCED_REFRESH in peer.capabilities
        if family.is_refreshing or (family.is_in_doubt and has_refresh):
            return  # the end of another telling; that of the refresh is to come
        self._lives.load(family, now)

    def _refresh(self, peer: Peer, event: Refresh, now: float) -> None:
        family = self._hear(peer, event.family, now)
        if event.phase == "begin":
            family.source.begin_generation()
            family.is_refreshing = True
            family.new_routes = False
        elif event.phase == "end" and family.is_refreshing:
            self._lives.load(family, now)

    # -- all at once ------------------------------------------------------------------------------

    def _doubt_all(self, now: float) -> None:
        for peer in self.peers.values():
            peer.counter = None
            self._lives.doubt(peer, now)

    def _end(self, peer: Peer, reason: str, event: FamilyEvent, now: float) -> None:
        is_known = self._was_turned_away(peer, reason) and bool(peer.reason)
        if peer.state != "down":
            peer.state, peer.since = "down", now
            if not is_known:
                self._note(f"{peer.session.peer}: session down: {reason or 'no reason given'}")
        if not is_known:
            peer.reason = reason
        for family in peer.families.values():
            self._lives.end(family, event, now)

    def _was_turned_away(self, peer: Peer, reason: str) -> bool:
        """Whether an attempt found the router closing the connection without a word.

        Routers do so again and again once they have said why a session had to end.
        """
        return peer.state != "up" and reason in ("", "closing connection")

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
