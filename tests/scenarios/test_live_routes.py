"""The appliance between routers and a control plane: the report follows what routers do.

Whoever is killed or stopped on the way, the table that is reported afterwards is the routers', and
no session ends for a fault of ours.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.processes import children
from tests.support.routers import PORT, Bird, BirdSession, Frr, GoBgp, Router, loopback
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

_SETTINGS = """\
[serve]
listen = ["127.0.0.1:0"]
workers = 1
[control]
listen = ["127.0.0.1:0"]
[bgp]
router_id = "192.0.2.10"
local_as = 65000
allow_bogons = ["10.0.0.0/8", "2001:db8::/32"]
"""
_NEIGHBOR = """\
[[bgp.neighbor]]
address = "{address}"
peer_as = {peer_as}
local_address = "{local}"
port = {port}
"""
_LONG_S = 60.0


@dataclass
class Lab:
    """The routers, and the appliance that hears of them."""

    daemon: Daemon
    routers: dict[str, Router]
    bird: Bird

    def report(self) -> dict[str, Any]:
        """A fresh one."""
        url = f"http://{self.daemon.control_addresses[0]}/v1/report"
        with urllib.request.urlopen(url, timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def peer(self, router: Router) -> dict[str, Any]:
        """What a report says of a router; nothing, where it has not been heard of."""
        return _peer_of(self.report(), router)

    def routes(self, router: Router) -> dict[str, int]:
        """MED by prefix of what it announces, stale ones too; all that a report has of it."""
        report = self.report()
        number = _peer_of(report, router).get("peer")
        return {
            prefix: int(report["attributes"][str(route["attributes"])].get("med", 0))
            for prefix, routes in report["routes"].items()
            for route in routes
            if route["peer"] == number
        }

    def is_up(self, router: Router) -> bool:
        try:
            families = self.peer(router).get("families", {}).values()
        except OSError:  # control is away
            return False
        return bool(families) and all(family["complete"] for family in families)

    def await_up(self, router: Router) -> None:
        eventually(lambda: self.is_up(router), f"{router.address} has told all", timeout_s=_LONG_S)

    def find(self, name: str) -> int:
        """A process of the appliance."""
        return eventually(lambda: self._find(name), f"{name} runs")

    def victims(self, name: str) -> list[int]:
        """The processes that are meant, those first that would know of the others' end."""
        if not name.startswith("feeder"):
            return [self.find(name)]
        (feeder,) = eventually(lambda: children(self.find("exabgp")), "the feeder runs")
        return [*children(feeder), feeder] if name == "feeder_and_guard" else [feeder]

    def _find(self, name: str) -> int | None:
        for pid in children(self.daemon.pid):
            folder = Path(f"/proc/{pid}")
            words = (folder / "cmdline").read_bytes()
            if (folder / "comm").read_text().strip() == f"oca-{name}" or name.encode() in words:
                return pid
        return None


def _peer_of(report: dict[str, Any], router: Router) -> dict[str, Any]:
    for peer in report.get("peers", ()):
        if peer["address"] == router.address:
            return dict(peer)
    return {}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("bird", "frr", "gobgp", "serve")}
    with ExitStack() as stack:
        session = BirdSession(loopback())
        bird = Bird(folders["bird"], {"main": session})
        frr, gobgp = Frr(folders["frr"], loopback()), GoBgp(folders["gobgp"], loopback())
        routers: dict[str, Router] = {"bird": bird, "frr": frr, "gobgp": gobgp}
        toml = _SETTINGS
        locals_ = {"bird": session.peer, "frr": frr.peer, "gobgp": gobgp.peer}
        for name, router in routers.items():
            stack.enter_context(router.running())
            toml += _NEIGHBOR.format(
                address=router.address, peer_as=router.peer_as, local=locals_[name], port=PORT
            )
        folder = folders["serve"]
        (folder / "store").mkdir()
        (folder / "ocaserve.toml").write_text(f'{toml}[[store]]\npath = "store"\n')
        daemon = Daemon.start(["serve", "-c", str(folder / "ocaserve.toml")], folder / "log")
        stack.callback(daemon.stop)
        running = Lab(daemon, routers, bird)
        for router in routers.values():
            running.await_up(router)
        yield running


@pytest.fixture(params=["bird", "frr", "gobgp"])
def router(lab: Lab, request: pytest.FixtureRequest) -> Router:
    found = lab.routers[request.param]
    lab.await_up(found)
    return found


def free_ipv6_port() -> int:
    """Of ::1, since there is no other address that every machine has. 0 without IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            return int(probe.getsockname()[1])
    except OSError:
        return 0


@pytest.mark.skipif(not free_ipv6_port(), reason="this machine has no IPv6, not even ::1")
def test_session_over_ipv6(tmp_path: Path) -> None:
    """Whose router has another AS than the settings say: that is told; put right, it comes up."""
    (tmp_path / "store").mkdir()
    session = BirdSession("::1", "::1", port=free_ipv6_port())
    bird = Bird(tmp_path, {"main": session})
    bird.set_routes({"2001:db8:9::/48": ""})
    settings = tmp_path / "ocaserve.toml"
    toml = f'{_SETTINGS}{_NEIGHBOR}[[store]]\npath = "store"\n'
    facts = {"address": "::1", "local": "::1", "port": session.port}
    settings.write_text(toml.format(peer_as=65099, **facts))
    with bird.running(), ExitStack() as stack:
        daemon = Daemon.start(["serve", "-c", str(settings)], tmp_path / "log")
        stack.callback(daemon.stop)
        lab = Lab(daemon, {"bird": bird}, bird)
        eventually(lambda: lab.peer(bird).get("opened_as") == bird.peer_as, "its AS is told")
        assert lab.peer(bird)["as"] == 65099
        settings.write_text(toml.format(peer_as=bird.peer_as, **facts))
        daemon.signal(signal.SIGHUP)
        eventually(lambda: daemon.log.read_text().count("reloaded: "), "reloaded")
        lab.await_up(bird)
        assert set(lab.routes(bird)) == {"2001:db8:9::/48"}
        bird.withdraw("2001:db8:9::/48")
        eventually(lambda: not lab.routes(bird), "it is withdrawn")


# -- what a router does --------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["10.1.0.0/16", "2001:db8:1::/48"])
def test_report_follows(lab: Lab, router: Router, prefix: str) -> None:
    """A route appears, has another metric, and goes, each within a second.

    How long it took is printed, not judged: a test machine may be busy.
    """

    def await_med(med: int | None) -> None:
        began = time.monotonic()
        eventually(lambda: lab.routes(router).get(prefix) == med, f"it is reported with {med}")
        print(f"{prefix} {med}: {time.monotonic() - began:.3f} s")

    for med in (0, 50):
        router.announce(prefix, med)
        await_med(med)
    router.withdraw(prefix)
    await_med(None)


def test_session_closed_and_opened(lab: Lab, router: Router) -> None:
    """An administrator ends it: its routes go at once, and come back with it."""
    router.announce("10.2.0.0/16")
    eventually(lambda: "10.2.0.0/16" in lab.routes(router), "it is reported")
    router.close_session()
    eventually(lambda: lab.peer(router)["state"] != "up", "the session is down")
    router.open_session()
    eventually(lambda: lab.peer(router)["state"] == "up", "it is up", timeout_s=_LONG_S)
    lab.await_up(router)
    assert "10.2.0.0/16" in lab.routes(router)


def test_router_that_restarts(lab: Lab) -> None:
    """Killed, it says nothing: its routes are stale, but there, until it has told them again."""
    bird = lab.bird
    bird.set_routes({"10.3.0.0/16": "", "10.4.0.0/16": ""})
    eventually(lambda: len(lab.routes(bird)) == 2, "they are reported")
    bird.kill()
    eventually(
        lambda: lab.peer(bird)["families"]["ipv4"]["state"] == "stale", "its routes are stale"
    )
    assert set(lab.routes(bird)) == {"10.3.0.0/16", "10.4.0.0/16"}
    bird.set_routes({"10.4.0.0/16": ""})
    bird.start()
    eventually(
        lambda: lab.is_up(bird) and set(lab.routes(bird)) == {"10.4.0.0/16"},
        "it is back, and what it has not told again is gone",
        timeout_s=_LONG_S,
    )


# -- who dies, or sleeps -------------------------------------------------------------------------


def load(count: int, med: int) -> dict[str, str]:
    """So many routes, in groups of ten with the same attributes."""
    return {
        f"10.{64 + number // 256}.{number % 256}.0/24": f"{{ bgp_med = {med + number // 10}; }}"
        for number in range(count)
    }


def as_reported(routes: dict[str, str]) -> dict[str, int]:
    """The same, as `Lab.routes` shows them."""
    return {prefix: int(text.strip("{ bgp_med=;}")) for prefix, text in routes.items()}


@pytest.mark.parametrize(
    ("name", "number", "may_end"),
    [
        pytest.param(
            "exabgp", signal.SIGKILL, True, id="exabgp_killed", marks=pytest.mark.exhaustive
        ),
        pytest.param("feeder", signal.SIGKILL, False, id="feeder_killed"),
        pytest.param(
            "feeder_and_guard",
            signal.SIGKILL,
            True,
            id="feeder_and_guard_killed",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            "control", signal.SIGKILL, False, id="control_killed", marks=pytest.mark.exhaustive
        ),
        pytest.param("control", signal.SIGSTOP, False, id="control_stopped"),
    ],
)
def test_under_load(lab: Lab, name: str, number: signal.Signals, may_end: bool) -> None:
    """Afterwards the report is what the router announces; a session ends only with ExaBGP.

    Without feeder and guard, ExaBGP ends if it has something to say, and else starts another one.
    """
    bird = lab.bird
    lab.await_up(bird)
    since = bird.since("main")
    bird.set_routes(load(6_000, med=1))
    eventually(lambda: len(lab.routes(bird)) > 300, "some are reported", every_s=0.2)
    victims = lab.victims(name)
    for victim in victims:
        os.kill(victim, number)
    routes = load(9_000, med=2_000)
    bird.set_routes(routes)
    if number is signal.SIGSTOP:
        time.sleep(3)  # what is meant is a time in which nothing is read
        os.kill(victims[0], signal.SIGCONT)
    expected = as_reported(routes)

    def is_same() -> bool:
        try:
            return lab.is_up(bird) and lab.routes(bird) == expected
        except OSError:  # control is away
            return False

    # Each look makes a report of thousands of routes.
    eventually(is_same, "the report is the router's table", timeout_s=_LONG_S, every_s=0.5)
    assert may_end or bird.since("main") == since
    bird.set_routes({})
    eventually(lambda: not lab.routes(bird), "all are withdrawn", every_s=0.5)
