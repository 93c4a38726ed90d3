"""The part that routes have in health: which neighbors are missing, and what is odd about the rest.

One neighbor without a session is a warning, for others may tell the same routes; none with one is
an error, for nobody can be steered here. A wrong address, port or MD5 key leaves no trace at all
(the packets are not answered), so a session that never came up is told with these as its reasons.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ocaserve.health.model import Level, Observation, Problem, Timing
from ocaserve.settings.bgp import Bgp
from ocaserve.steering.sessions import Family, FamilyState, Peer, Sessions

_LOADING_S = 300.0  # two full tables take 90 s
_TIMING = Timing(rise_s=5.0, fall_s=5.0)  # a session that is reset is back within a few seconds


class RoutesHealth:
    """A component of health.

    is_fed: whether ExaBGP's feeder is connected. find_faults: what else is wrong, such as a file of
    RPKI data. clock: that of the sessions, in seconds.
    """

    name = "routes"
    timing = _TIMING

    def __init__(
        self,
        sessions: Sessions,
        bgp: Bgp,
        is_fed: Callable[[], bool],
        find_faults: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._expected = {each.address: each.peer_as for each in bgp.neighbor}
        self._is_fed = is_fed
        self._find_faults = find_faults
        self._clock = clock
        self._started = clock()

    def observe(self, now: float) -> Observation:
        """How it is now. `now` is the time of another clock than that of the sessions."""
        if not self._expected:
            return Observation("no neighbors are configured")
        peers = {peer.session.peer: peer for peer in tuple(self._sessions.peers.values())}
        up = [address for address in self._expected if _is_up(peers.get(address))]
        problems = (*self._find_common(up), *self._find_of_neighbors(peers))
        routes = sum(
            family.source.accepted for peer in peers.values() for family in peer.families.values()
        )
        summary = f"{len(up)} of {len(self._expected)} neighbors are up, {routes:,} routes are used"
        return Observation(summary, problems)

    def _find_common(self, up: list[str]) -> Iterator[Problem]:
        if not self._is_fed():
            yield Problem(Level.ERROR, "exabgp", "ExaBGP does not run, or says nothing")
        elif not up:
            yield Problem(Level.ERROR, "sessions", "no neighbor is up: nobody can be steered here")
        fault = self._find_faults()
        if fault:
            yield Problem(Level.WARNING, "rpki", fault)

    def _find_of_neighbors(self, peers: dict[str, Peer]) -> Iterator[Problem]:
        for address, peer_as in self._expected.items():
            peer = peers.get(address)
            if peer is None or not (peer.ups or _is_up(peer)):
                yield Problem(Level.WARNING, address, self._describe_never_up(address, peer))
            elif not _is_up(peer):
                seconds = self._clock() - peer.since
                reason = f"{address}: down for {seconds:.0f} s: {peer.reason or 'no reason given'}"
                yield Problem(Level.WARNING, address, reason)
            elif peer.peer_as != peer_as:
                reason = f"{address}: says that its AS is {peer.peer_as}, not {peer_as}"
                yield Problem(Level.WARNING, address, reason)
            else:
                yield from self._find_of_families(peer)

    def _describe_never_up(self, address: str, peer: Peer | None) -> str:
        seconds = self._clock() - self._started
        said = f" ({peer.reason})" if peer is not None and peer.reason else ""
        return (
            f"{address}: no session in the {seconds:.0f} s since the start{said}; are the address, "
            "the port, the AS numbers and the MD5 key the same on both sides?"
        )

    def _find_of_families(self, peer: Peer) -> Iterator[Problem]:
        for family in tuple(peer.families.values()):
            reason = self._judge_family(family)
            if reason:
                subject = f"{peer.session.peer} {family.name}"
                yield Problem(Level.WARNING, subject, f"{subject}: {reason}")

    def _judge_family(self, family: Family) -> str:
        if family.state is FamilyState.IGNORED:
            return f"more than {family.source.limit:,} prefixes: all of them are ignored"
        seconds = self._clock() - family.since
        if family.state is FamilyState.LOADING and seconds > _LOADING_S:
            return f"not all routes have come after {seconds:.0f} s"
        if family.state is FamilyState.LIVE and not family.source.routes:
            return "no routes, although the session carries them"
        return ""


def _is_up(peer: Peer | None) -> bool:
    return peer is not None and peer.state == "up"
