"""What health and Prometheus see of the routes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.health import Level, Observation, Timing, Trouble
from ocaserve.routing.live import RouteService
from ocaserve.routing.reporter import Reporter
from ocaserve.steering.families import Family, FamilyState, Peer
from ocaserve.steering.report import is_complete

LONGEST_LOADING_S = 300.0  # two full tables take ExaBGP 90 s


class RouteHealth:
    """A component of health: ExaBGP, sessions, limits, the file of payloads."""

    name = "routes"

    def __init__(self, service: RouteService) -> None:
        health = service.settings.health
        self.timing = Timing(health.rise_s, health.fall_s)
        self._service = service

    def observe(self, now: float) -> Observation:
        """Called from a thread: it reads single values, of which each is whole."""
        service = self._service
        peers = list(service.sessions.peers.values())
        problems = list(self._find_routing(peers))
        if service.recording_fault:
            level = Level.ERROR if service.is_recording_useless else Level.WARNING
            problems.append(
                Trouble(level, "recording", f"bgp.recording: {service.recording_fault}")
            )
        payloads = service.payloads
        if payloads.fault:
            problems.append(Trouble(Level.WARNING, "rpki", payloads.fault))
        elif payloads.table is not None and not payloads.table.count:
            left_out = payloads.table.left_out.total()
            why = f"bgp.rpki_vrps: none of its {left_out} payloads decides"
            problems.append(Trouble(Level.WARNING, "rpki", why))
        up = sum(peer.state == "up" for peer in peers)
        accepted = sum(f.source.accepted for peer in peers for f in peer.families.values())
        return Observation(f"{up} sessions up, {accepted} routes", tuple(problems))

    def _find_routing(self, peers: list[Peer]) -> Iterator[Trouble]:
        """Where nothing is heard of ExaBGP, that is the problem, and not each session."""
        if self._service.is_fed is not None and not self._service.is_fed():
            yield Trouble(
                Level.ERROR,
                "feeder",
                "ExaBGP's feeder is not connected: nothing is heard of the routers",
            )
            return
        yield from self._find_down(peers)
        for peer in peers:
            yield from self._find_in_session(peer)
            for family in list(peer.families.values()):
                yield from self._find_in_family(f"{peer.session.peer} {family.name}", family)

    def _find_in_session(self, peer: Peer) -> Iterator[Trouble]:
        """What was negotiated otherwise than it was meant."""
        address = peer.session.peer
        if peer.state != "up" or address not in self._service.expected:
            return
        if peer.hold_time_s == 0:
            why = f"the session with {address} has no hold time: its end is never noticed"
            yield Trouble(Level.WARNING, f"{address} hold time", why)
        for number, family in list(peer.families.items()):
            is_spoken = peer.families_spoken is None or number in peer.families_spoken
            if not is_spoken and not family.source.is_off:
                why = (
                    f"{address} does not speak {family.name}, which `families` lists: "
                    f"no {family.name} client is sent here by its routes"
                )
                yield Trouble(Level.WARNING, f"{address} {family.name} negotiated", why)

    def _find_down(self, peers: list[Peer]) -> Iterator[Trouble]:
        """A session that is down is a warning; with none up, no client can be steered here."""
        up = {peer.session.peer for peer in peers if peer.state == "up"}
        reasons = {peer.session.peer: _why_down(peer) for peer in peers}
        level = Level.WARNING if up else Level.ERROR
        for address in self._service.expected:
            if address not in up:
                why = reasons.get(address) or "never up: is the router reachable, the key right?"
                yield Trouble(level, address, f"the session with {address} is down: {why}")

    def _find_in_family(self, subject: str, family: Family) -> Iterator[Trouble]:
        source = family.source
        if family.state is FamilyState.IGNORED:
            why = f"{subject}: {source.excess}, all are ignored"
            yield Trouble(Level.ERROR, subject, why)
        elif nearly := family.nearly:
            yield Trouble(Level.WARNING, subject, f"{subject}: {nearly}")
        if source.paths_left_out:
            why = f"{subject}: {source.paths_left_out} paths left out, beyond `max_paths`"
            yield Trouble(Level.WARNING, f"{subject} paths", why)
        loading_s = self._service.now() - family.since
        if family.state is FamilyState.LOADING and loading_s > LONGEST_LOADING_S:
            why = f"{subject}: has not told all of its routes in {loading_s:.0f} s"
            yield Trouble(Level.WARNING, f"{subject} loading", why)


def _why_down(peer: Peer) -> str:
    if peer.opened_as not in (0, peer.peer_as):
        return f"it says that it is AS {peer.opened_as}, and `peer_as` is {peer.peer_as}"
    if peer.reason == "closing connection" and not peer.ups:
        return "it closes the connection; is this appliance's address and AS known to it, the key?"
    return peer.reason


class RouteMetrics(Collector):
    """Sessions, routes and pushes, as they lie in memory."""

    def __init__(self, service: RouteService, reporter: Reporter | None) -> None:
        self._service = service
        self._reporter = reporter

    def collect(self) -> Iterator[Metric]:
        """Called in the event loop."""
        yield from self._collect_families()
        yield from self._collect_peers()
        yield from self._collect_vrps()
        yield from self._collect_reports()

    def _collect_families(self) -> Iterator[Metric]:
        routes = GaugeMetricFamily(
            "ocaserve_routes", "Routes by verdict", labels=["peer", "family", "verdict"]
        )
        complete = GaugeMetricFamily(
            "ocaserve_routes_complete",
            "1 when all that the peer announces is here",
            labels=["peer", "family"],
        )
        old = GaugeMetricFamily(
            "ocaserve_routes_unconfirmed",
            "Routes that were not announced again since the session or a refresh began",
            labels=["peer", "family"],
        )
        spoken = GaugeMetricFamily(
            "ocaserve_bgp_family_negotiated",
            "1 when the router speaks the family, of those that are configured",
            labels=["peer", "family"],
        )
        for peer in self._service.sessions.peers.values():
            for number, family in peer.families.items():
                labels = [peer.session.peer, family.name]
                if peer.families_spoken is not None and not family.source.is_off:
                    spoken.add_metric(labels, number in peer.families_spoken)
                routes.add_metric([*labels, "accepted"], family.source.accepted)
                for reason, number in family.source.filtered.items():
                    routes.add_metric([*labels, reason], number)
                complete.add_metric(labels, family.is_complete)
                old.add_metric(labels, family.source.old)
        yield from (routes, complete, old, spoken)

    def _collect_peers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("ocaserve_bgp_up", "1 when the session is up", labels=["peer"])
        ups = CounterMetricFamily("ocaserve_bgp_sessions", "Sessions that came up", labels=["peer"])
        events = CounterMetricFamily(
            "ocaserve_bgp_events", "What the peer sent, by kind", labels=["peer", "kind"]
        )
        updated = GaugeMetricFamily(
            "ocaserve_bgp_last_update_timestamp_seconds",
            "When the last UPDATE came",
            labels=["peer"],
        )
        hold = GaugeMetricFamily(
            "ocaserve_bgp_hold_time_seconds", "As negotiated; 0: none", labels=["peer"]
        )
        held = GaugeMetricFamily(
            "ocaserve_bgp_attribute_bytes",
            "What the attributes of the peer's routes take in memory",
            labels=["peer"],
        )
        states = {peer.session.peer: peer for peer in self._service.sessions.peers.values()}
        for address in {*self._service.expected, *states}:
            peer = states.get(address)
            up.add_metric([address], peer is not None and peer.state == "up")
            if peer is not None:
                ups.add_metric([address], peer.ups)
                for kind, number in peer.counts.items():
                    events.add_metric([address, kind], number)
                if peer.updated is not None:
                    updated.add_metric([address], peer.updated)
                if peer.hold_time_s is not None:
                    hold.add_metric([address], peer.hold_time_s)
                held.add_metric([address], peer.allowance.bytes)
        yield from (up, ups, events, updated, hold, held)

    def _collect_vrps(self) -> Iterator[Metric]:
        vrps = self._service.payloads.table
        if vrps is None:
            return
        yield GaugeMetricFamily("ocaserve_rpki_vrps", "Payloads that decide", vrps.count)
        left_out = GaugeMetricFamily(
            "ocaserve_rpki_vrps_left_out", "Payloads that decide nothing", labels=["reason"]
        )
        for reason, number in vrps.left_out.items():
            left_out.add_metric([reason], number)
        yield left_out
        yield GaugeMetricFamily(
            "ocaserve_rpki_vrps_age_seconds",
            "Since the file in use was written",
            time.time() - self._service.payloads.written,
        )

    def _collect_reports(self) -> Iterator[Metric]:
        service, reporter = self._service, self._reporter
        yield GaugeMetricFamily("ocaserve_report_serial", "The report's", service.log.serial)
        yield GaugeMetricFamily(
            "ocaserve_report_complete",
            "1 when the table is whole",
            is_complete(service.sessions, service.expected),
        )
        lines = CounterMetricFamily("ocaserve_bgp_lines", "From ExaBGP", labels=["kind"])
        for kind, number in service.sessions.counts.items():
            lines.add_metric([kind], number)
        yield lines
        if reporter is not None:
            yield CounterMetricFamily("ocaserve_pushes", "Reports taken", reporter.pushes)
            yield GaugeMetricFamily(
                "ocaserve_push_failures", "Pushes in a row not taken", reporter.failures
            )
