"""What health says of the routes: each problem with its reason, and its end."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import pytest

from bgp.events import Session
from ocaserve.health.model import Level, Trouble
from ocaserve.routing.live import RouteService
from ocaserve.routing.watching import LONGEST_LOADING_S, RouteHealth, RouteMetrics
from ocaserve.settings import settings_from_directories
from ocaserve.settings.bgp import Bgp, NeighborSettings
from tests.support.exabgp_lines import LOCAL, PEER, Exabgp

OTHER = "192.0.2.2"


@dataclass
class Watched:
    """A service that is told lines as if no time passed, and its component."""

    service: RouteService
    health: RouteHealth
    exabgp: Exabgp
    is_fed: bool = True

    def hear(self, *lines: bytes) -> None:
        for line in lines:
            self.service.sessions.apply(line, time.time())
        self.service.table.settle()

    def problems(self) -> list[Trouble]:
        return list(self.health.observe(0.0).problems)


@pytest.fixture
def watched() -> Watched:
    neighbors = [
        NeighborSettings(address=PEER, peer_as=65001, max_prefixes=10, families=["ipv4"]),
        NeighborSettings(address=OTHER, peer_as=65001, families=["ipv4"]),
    ]
    bgp = Bgp(router_id="192.0.2.10", local_as=65000, neighbor=neighbors)
    settings = msgspec.structs.replace(settings_from_directories(["/srv"]), bgp=bgp)
    service = RouteService(settings)
    made = Watched(service, RouteHealth(service), Exabgp())
    service.is_fed = lambda: made.is_fed
    for peer in (PEER, OTHER):
        made.hear(made.exabgp.opened([1, 2, 70], ["ipv4/unicast"], peer))
        made.hear(made.exabgp.state("up", peer=peer), made.exabgp.end_of_rib(4, peer))
    return made


def test_family_that_the_router_does_not_speak(watched: Watched) -> None:
    """All clients of it are lost, though everything else is well."""
    third = "192.0.2.3"
    watched.service.settings.bgp.neighbor.append(NeighborSettings(address=third, peer_as=65001))
    watched.hear(watched.exabgp.opened([1, 2], ["ipv4/unicast"], third))
    watched.hear(watched.exabgp.state("up", peer=third), watched.exabgp.end_of_rib(4, third))
    (problem,) = watched.problems()
    assert (problem.level, problem.subject) == (Level.WARNING, f"{third} ipv6 negotiated")
    assert "does not speak ipv6, which `families` lists" in problem.reason
    samples = samples_of(watched)
    assert samples["ocaserve_bgp_family_negotiated", third, "ipv6"] == 0
    assert samples["ocaserve_bgp_family_negotiated", third, "ipv4"] == 1
    assert ("ocaserve_bgp_family_negotiated", PEER, "ipv6") not in samples


def samples_of(watched: Watched) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in RouteMetrics(watched.service, None).collect()
        for sample in metric.samples
    }


def test_session_without_a_hold_time(watched: Watched) -> None:
    """RFC 4271 section 4.2 allows it; a router that is gone would never be missed."""
    opened = watched.exabgp.opened([1, 2], ["ipv4/unicast"])
    watched.hear(opened.replace(b'"hold_time": 90', b'"hold_time": 0'))
    (problem,) = watched.problems()
    assert problem.level is Level.WARNING
    assert "has no hold time: its end is never noticed" in problem.reason


def test_what_was_negotiated_is_reported(watched: Watched) -> None:
    capabilities = {
        "1": {"families": ["ipv4/unicast", "ipv6/unicast"]},
        "64": {"name": "graceful restart", "time": 77},
        "69": {"name": "addpath", "ipv4/unicast": "send", "ipv6/unicast": "receive"},
    }
    opened = {
        "version": 4, "asn": 65001, "hold_time": 30, "router_id": "10.0.0.1",
        "capabilities": capabilities,
    }  # fmt: skip
    watched.hear(watched.exabgp.line("open", {"direction": "receive", "open": opened}))
    watched.hear(watched.exabgp.announce("11.0.0.0/8"))
    watched.service.commit()
    peer = next(p for p in watched.service.values["peers"] if p["address"] == PEER)
    assert (peer["hold_time_s"], peer["router_id"], peer["restart_s"]) == (30, "10.0.0.1", 77)
    assert time.time() - peer["updated"] < 60
    four, six = peer["families"]["ipv4"], peer["families"]["ipv6"]
    assert (four["add_path"], six["add_path"]) == (True, False)
    assert (four["configured"], six["configured"]) == (True, False)
    assert (four["negotiated"], six["negotiated"]) == (True, True)
    assert samples_of(watched)["ocaserve_bgp_hold_time_seconds", PEER] == 30


def test_all_is_well(watched: Watched) -> None:
    assert watched.problems() == []
    assert watched.health.observe(0.0).summary == "2 sessions up, 0 routes"


def test_feeder_is_away(watched: Watched) -> None:
    """It is the one problem, whatever is known of the sessions."""
    watched.is_fed = False
    watched.hear(watched.exabgp.state("down"))
    (problem,) = watched.problems()
    assert (problem.level, problem.subject) == (Level.ERROR, "feeder")
    assert "nothing is heard of the routers" in problem.reason
    watched.is_fed = True
    watched.hear(watched.exabgp.state("up"), watched.exabgp.end_of_rib())
    assert watched.problems() == []


def test_session_is_down(watched: Watched) -> None:
    """One of two is a warning; with none left, nobody can be steered here."""
    watched.hear(watched.exabgp.state("down", "notification sent (4,0)"))
    (problem,) = watched.problems()
    assert (problem.level, problem.subject) == (Level.WARNING, PEER)
    assert "notification sent (4,0): hold timer expired" in problem.reason
    for _ in range(2):  # the router may close each attempt that follows, without a word
        watched.hear(watched.exabgp.state("connected"))
        watched.hear(watched.exabgp.state("down", "closing connection"))
        assert watched.problems() == [problem]
    watched.hear(watched.exabgp.state("down", peer=OTHER))
    assert [problem.level for problem in watched.problems()] == [Level.ERROR, Level.ERROR]
    for peer in (PEER, OTHER):
        watched.hear(watched.exabgp.state("up", peer=peer), watched.exabgp.end_of_rib(4, peer))
    assert watched.problems() == []


def test_router_that_does_not_know_us(watched: Watched) -> None:
    """It has never said why; what it may be is said instead."""
    third = "192.0.2.3"
    watched.service.settings.bgp.neighbor.append(NeighborSettings(address=third, peer_as=65001))
    watched.hear(watched.exabgp.state("connected", peer=third))
    watched.hear(watched.exabgp.state("down", "closing connection", peer=third))
    (problem,) = watched.problems()
    assert "is this appliance's address and AS known to it, the key?" in problem.reason


def test_peer_has_another_as(watched: Watched) -> None:
    """ExaBGP refuses it with a number; what ends the next attempt is said to be something else."""
    other = Exabgp(peer_as=65099)
    opened = other.opened([1, 2], ["ipv4/unicast"]).replace(b'"peer": 65099', b'"peer": 65001')
    watched.hear(watched.exabgp.state("down"), opened)
    watched.hear(watched.exabgp.state("down", "notification sent (2,2)"))
    watched.hear(watched.exabgp.state("connected"), watched.exabgp.state("down", "closing"))
    (problem,) = watched.problems()
    assert "says that it is AS 65099, and `peer_as` is 65001" in problem.reason
    watched.hear(watched.exabgp.opened([1, 2, 70], ["ipv4/unicast"]))
    watched.hear(watched.exabgp.state("up"), watched.exabgp.end_of_rib())
    assert watched.problems() == []


def test_loading_takes_too_long(watched: Watched) -> None:
    """A family whose end is not told, and which is not quiet either."""
    watched.hear(watched.exabgp.state("up"), watched.exabgp.announce("11.0.0.0/8"))
    assert watched.problems() == []
    family = watched.service.sessions.peers[Session(PEER, LOCAL)].families[4]
    family.since -= LONGEST_LOADING_S + 1
    (problem,) = watched.problems()
    assert (problem.level, problem.subject) == (Level.WARNING, f"{PEER} ipv4 loading")
    assert "has not told all of its routes" in problem.reason
    watched.hear(watched.exabgp.end_of_rib())
    assert watched.problems() == []


def test_many_prefixes_and_too_many(watched: Watched) -> None:
    """A warning before the limit, which goes with the prefixes; an error beyond it."""
    nine = [f"11.{number}.0.0/16" for number in range(9)]
    watched.hear(watched.exabgp.announce(*nine))
    (problem,) = watched.problems()
    assert (problem.level, problem.reason) == (
        Level.WARNING, f"{PEER} ipv4: 9 of 10 prefixes",
    )  # fmt: skip
    watched.hear(watched.exabgp.withdraw(*nine[4:]))
    assert watched.problems() == []
    watched.hear(watched.exabgp.announce(*nine, "12.0.0.0/16", "13.0.0.0/16"))
    (problem,) = watched.problems()
    assert problem.level is Level.ERROR
    assert "more than 10 prefixes, all are ignored" in problem.reason
    watched.hear(watched.exabgp.state("down"), watched.exabgp.state("up"))
    watched.hear(watched.exabgp.end_of_rib())
    assert watched.problems() == []


def test_payloads_cannot_be_read(watched: Watched) -> None:
    watched.service.payloads.fault = "bgp.rpki_vrps = 'x': not a list"
    (problem,) = watched.problems()
    assert (problem.level, problem.subject) == (Level.WARNING, "rpki")
    watched.service.payloads.fault = ""
    assert watched.problems() == []
