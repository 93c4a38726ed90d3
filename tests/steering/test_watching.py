"""What health says of the routes: each problem with its reason, and its end."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import pytest

from bgp.messages import Session
from ocaserve.health.model import Level, Problem
from ocaserve.settings import settings_from_directories
from ocaserve.settings.bgp import Bgp, NeighborSettings
from ocaserve.steering.service import RouteService
from ocaserve.steering.watching import LONGEST_LOADING_S, RouteHealth
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

    def problems(self) -> list[Problem]:
        return list(self.health.observe(0.0).problems)


@pytest.fixture
def watched() -> Watched:
    neighbors = [
        NeighborSettings(address=PEER, peer_as=65001, max_prefixes=10),
        NeighborSettings(address=OTHER, peer_as=65001),
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
    watched.service.vrps_fault = "bgp.rpki_vrps = 'x': not a list"
    (problem,) = watched.problems()
    assert (problem.level, problem.subject) == (Level.WARNING, "rpki")
    watched.service.vrps_fault = ""
    assert watched.problems() == []
