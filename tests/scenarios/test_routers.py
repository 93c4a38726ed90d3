"""ExaBGP and the feeder against routers as providers have them: BIRD, FRR, GoBGP.

One ExaBGP has a session with each, and more with BIRD, one for each way to protect or to start one.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bgp.configuration import NeighborConfiguration
from tests.support.bgp import Heard, Listening, configure, exabgp, listening
from tests.support.processes import children
from tests.support.routers import PORT, Bird, BirdSession, Frr, GoBgp, Router, loopback
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

KEY = "its a secret; \\ or {not}"
LISTEN_PORT = 1791


@dataclass
class Lab:
    """Everything that runs, and what is heard of it."""

    folder: Path
    routers: dict[str, Router]
    bird: Bird
    neighbors: list[NeighborConfiguration]
    control: Listening
    exabgp: subprocess.Popen[bytes]

    @property
    def heard(self) -> Heard:
        return self.control.heard

    def feeder(self) -> int:
        (pid,) = children(self.exabgp.pid)
        return pid

    def await_same(self, peer: str, what: str) -> None:
        """Wait until the table of a BIRD session is that of BIRD's main one."""
        eventually(
            lambda: self.heard.prefixes(peer) == self.heard.prefixes(self.bird.address), what
        )


def neighbor(router: Router, local: str, **more: object) -> NeighborConfiguration:
    facts = {
        "address": router.address,
        "peer_as": router.peer_as,
        "local_as": 65000,
        "router_id": "10.0.0.2",
        "local_address": local,
        "port": PORT,
    }
    return NeighborConfiguration(**{**facts, **more})  # type: ignore[arg-type] # a row of fields


def bird_sessions() -> dict[str, tuple[BirdSession, dict[str, object]]]:
    """Each way to have a session: BIRD's side, and how ours differs from a plain one."""
    return {
        "plain": (BirdSession(loopback(), ipv4="add paths tx;"), {}),
        "md5": (
            BirdSession(loopback(), how=f'multihop; passive yes; password "{KEY}";'),
            {"md5_key": KEY},
        ),
        "other_key": (
            BirdSession(loopback(), how=f'multihop; passive yes; password "{KEY}x";'),
            {"md5_key": KEY},
        ),
        "gtsm": (
            BirdSession(loopback(), how="multihop 1; ttl security on; passive yes;"),
            {"ttl_security": True},
        ),
        "waiting": (
            BirdSession(loopback(), how="multihop;", peer_port=f"port {LISTEN_PORT}"),
            {"passive": True, "listen_port": LISTEN_PORT},
        ),
        "ipv6_only": (BirdSession(loopback()), {"families": ("ipv6",)}),
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("bird", "frr", "gobgp", "exabgp")}
    sessions = bird_sessions()
    with ExitStack() as stack:
        bird = Bird(folders["bird"], {name: session for name, (session, _) in sessions.items()})
        frr, gobgp = Frr(folders["frr"], loopback()), GoBgp(folders["gobgp"], loopback())
        stack.enter_context(bird.running())
        stack.enter_context(frr.running())
        stack.enter_context(gobgp.running())
        neighbors = [neighbor(frr, frr.peer), neighbor(gobgp, gobgp.peer)]
        for session, more in sessions.values():
            neighbors.append(neighbor(bird, session.peer, **{"address": session.address, **more}))
        control = stack.enter_context(listening(folders["exabgp"] / "feed.sock"))
        process = stack.enter_context(exabgp(folders["exabgp"], neighbors))
        routers: dict[str, Router] = {"bird": bird, "frr": frr, "gobgp": gobgp}
        yield Lab(folders["exabgp"], routers, bird, neighbors, control, process)


@pytest.fixture(params=["bird", "frr", "gobgp"])
def router(lab: Lab, request: pytest.FixtureRequest) -> Router:
    """One of the routers, its session up."""
    name: str = request.param
    found = lab.routers[name]
    eventually(lambda: lab.heard.states.get(found.address) == "up", f"a session with {name}")
    return found


# -- what a router does --------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["10.1.0.0/16", "2001:db8:1::/48"])
def test_announce_change_withdraw(lab: Lab, router: Router, prefix: str) -> None:
    """A route appears, has another metric, and goes."""

    def med() -> int | None:
        keys = [key for key in lab.heard.tables[router.address] if key.split(" ")[0] == prefix]
        return lab.heard.med(router.address, keys[0]) if keys else None

    router.announce(prefix)
    eventually(lambda: med() == 0, "it is announced")
    router.announce(prefix, med=50)
    eventually(lambda: med() == 50, "it has a metric")
    router.withdraw(prefix)
    eventually(lambda: med() is None, "it is withdrawn")


def test_end_of_rib(lab: Lab, router: Router) -> None:
    """Every router says when its table is whole, because we announce graceful restart."""
    whole = {(router.address, "ipv4"), (router.address, "ipv6")}
    eventually(lambda: whole <= lab.heard.whole, "End-of-RIB of both families")


def test_refresh(lab: Lab, router: Router) -> None:
    """Asked to, the router sends its table again."""
    router.announce("10.3.0.0/16")
    eventually(lambda: "10.3.0.0/16" in lab.heard.prefixes(router.address), "it is announced")
    before = len(lab.heard.lines)
    lab.control.refresh(router.address)
    eventually(
        lambda: any(
            "10.3.0.0/16" in str(line) and "announce" in str(line)
            for line in lab.heard.lines[before:]
        ),
        "it is announced again",
    )
    asked = [
        each["peer"]
        for listed in lab.heard.of_feeder("neighbors")
        if listed in lab.heard.lines[before:]
        for each in listed["neighbors"]
        if each["asked"]
    ]
    assert asked == [router.address]


# -- how sessions are protected, and who begins --------------------------------------------------


@pytest.mark.parametrize("name", ["md5", "gtsm", "waiting"])
def test_session(lab: Lab, name: str) -> None:
    """It comes up, and the routes are the same."""
    lab.bird.announce("10.4.0.0/16")
    peer = lab.bird.sessions[name].address
    eventually(lambda: "10.4.0.0/16" in lab.heard.prefixes(peer), "its routes", timeout_s=30)
    lab.await_same(peer, "the same table")


def test_other_key(lab: Lab, router: Router) -> None:
    """With another MD5 key there is no session, and not a word: only its absence can be seen."""
    assert lab.heard.states.get(lab.bird.sessions["other_key"].address) is None


def test_one_family(lab: Lab) -> None:
    """What was not agreed on does not come."""
    lab.bird.announce("2001:db8:5::/48")
    peer = lab.bird.sessions["ipv6_only"].address
    eventually(lambda: "2001:db8:5::/48" in lab.heard.prefixes(peer), "the route of IPv6")
    assert all(":" in prefix for prefix in lab.heard.prefixes(peer))


def test_path_identifiers(lab: Lab) -> None:
    """With add-path, each route has one."""
    lab.bird.announce("10.6.0.0/16")
    peer = lab.bird.address
    eventually(lambda: "10.6.0.0/16" in lab.heard.prefixes(peer), "the route")
    keys = [key for key in lab.heard.tables[peer] if key.startswith("10.6.0.0/16")]
    assert all(" 0.0.0." in key for key in keys)


# -- what dies -----------------------------------------------------------------------------------


def load(count: int) -> dict[str, str]:
    """So many routes, none with the attributes of another: each in a message of its own."""
    return {
        f"10.{128 + number // 256}.{number % 256}.0/24": f"{{ bgp_med = {number + 1}; }}"
        for number in range(count)
    }


def test_killed_feeder_under_load(lab: Lab) -> None:
    """ExaBGP starts another one, no session ends, and the table is the router's."""
    peer = lab.bird.address
    eventually(lambda: lab.heard.states.get(peer) == "up", "a session")
    downs = {each.address: lab.heard.count("down", each.address) for each in lab.neighbors}
    first = lab.feeder()
    routes = load(4_000)
    lab.bird.set_routes(routes)
    eventually(lambda: len(lab.heard.prefixes(peer)) > 100, "some of the routes")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(lab.heard.of_feeder("hello")) > 1, "another feeder")
    lab.bird.set_routes(dict(list(routes.items())[:2_000]))
    eventually(
        lambda: lab.heard.prefixes(peer) == set(list(routes)[:2_000]), "the table", timeout_s=60
    )
    assert lab.feeder() != first
    assert {each.address: lab.heard.count("down", each.address) for each in lab.neighbors} == downs
    lab.bird.set_routes({})
    eventually(lambda: not lab.heard.prefixes(peer), "it is empty again")


def test_other_neighbors_after_reload(lab: Lab) -> None:
    """A neighbor that goes and comes takes no other session with it."""
    gone, stay = lab.bird.sessions["ipv6_only"].address, lab.bird.address
    eventually(lambda: lab.heard.states.get(stay) == "up", "a session")
    downs = lab.heard.count("down", stay)
    configure(lab.folder, [each for each in lab.neighbors if each.address != gone])
    lab.exabgp.send_signal(signal.SIGUSR1)
    eventually(lambda: lab.heard.states[gone] == "down", "the session is down")
    configure(lab.folder, lab.neighbors)
    lab.exabgp.send_signal(signal.SIGUSR1)
    eventually(lambda: lab.heard.states[gone] == "up", "the session is up", timeout_s=30)
    lab.bird.announce("10.7.0.0/16")
    eventually(lambda: "10.7.0.0/16" in lab.heard.prefixes(stay), "the other one goes on")
    assert lab.heard.count("down", stay) == downs
