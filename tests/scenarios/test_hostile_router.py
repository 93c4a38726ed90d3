"""A router that says what no router should, to the real ExaBGP: judged, counted, shown."""

from __future__ import annotations

import json
import struct
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from socket import AF_INET6, inet_pton
from typing import Any
from urllib.parse import urlencode

import pytest

from benchmarks.routes import speaker
from benchmarks.routes.speaker import Speaker, announce, attributes, withdraw
from bgp.prefixes import format_prefix
from tests.support.daemon import Daemon
from tests.support.routers import loopback
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

PEER_AS, LOCAL_AS = 65_001, 65_000
HOP_4, HOP_6 = "192.0.2.1", "2a00::1"
MOST = 100
"""Prefixes that one of the routers may have."""
_SETTINGS = f"""\
[serve]
listen = ["127.0.0.1:0"]
workers = 1
[control]
listen = ["127.0.0.1:0"]
[bgp]
router_id = "192.0.2.10"
local_as = {LOCAL_AS}
rpki_vrps = "vrps.json"
"""
_VRPS = {"roas": [{"prefix": "21.0.0.0/8", "maxLength": 16, "asn": LOCAL_AS}]}
_NEIGHBOR = """\
[[bgp.neighbor]]
address = "{address}"
peer_as = {peer_as}
local_address = "{local}"
port = {port}
max_prefixes = {most}
"""
FLAPS = 2_000


@dataclass
class Lab:
    """Four routers, and the appliance: one may have few prefixes, one is of our own AS, and one
    sends several paths of a prefix.
    """

    daemon: Daemon
    router: Speaker
    limited: Speaker
    internal: Speaker
    many: Speaker

    def get(self, path: str, **query: str) -> Any:
        """What the control process answers."""
        url = f"http://{self.daemon.control_addresses[0]}{path}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            text = answer.read().decode()
        return json.loads(text) if answer.headers.get_content_subtype() == "json" else text

    def peer(self, router: Speaker) -> dict[str, Any]:
        peers = self.get("/v1/routes/peers")["peers"]
        return next(dict(peer) for peer in peers if peer["address"] == router.address)

    def route(self, prefix: str) -> dict[str, Any] | None:
        """What is known of exactly this prefix."""
        for match in self.get("/v1/routes/lookup", at=prefix)["covering"]:
            if match["prefix"] == prefix:
                return dict(match["routes"][0])
        return None

    def await_route(self, prefix: str) -> dict[str, Any]:
        return eventually(lambda: self.route(prefix), f"{prefix} is known", timeout_s=30)

    def await_alive(self) -> None:
        """What comes next is heard: nothing is stuck, and the session is still there."""
        self.router.send(announce(4, [(16, 0x0BFF)], attributes([PEER_AS]), HOP_4))
        self.await_route("11.255.0.0/16")
        self.router.send(withdraw(4, [(16, 0x0BFF)]))
        eventually(lambda: not self.route("11.255.0.0/16"), "it is withdrawn", timeout_s=30)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "store").mkdir()
    with ExitStack() as stack:
        toml, routers = _SETTINGS, []
        for peer_as, most, adds_paths in (
            (PEER_AS, 1_000_000, False),
            (PEER_AS, MOST, False),
            (LOCAL_AS, 1_000_000, False),
            (PEER_AS, 1_000_000, True),
        ):
            speaking = Speaker(loopback(), peer_as, adds_paths=adds_paths)
            router = stack.enter_context(closing(speaking))
            routers.append(router)
            toml += _NEIGHBOR.format(
                address=router.address,
                local=loopback(),
                port=router.port,
                most=most,
                peer_as=peer_as,
            )
        (folder / "vrps.json").write_text(json.dumps(_VRPS))
        (folder / "ocaserve.toml").write_text(f'{toml}[[store]]\npath = "store"\n')
        daemon = Daemon.start(["serve", "-c", str(folder / "ocaserve.toml")], folder / "log")
        stack.callback(daemon.stop)
        for router in routers:
            router.meet()
        yield Lab(daemon, *routers)


def plain(family: int, length: int, bits: int) -> bytes:
    hop = HOP_4 if family == 4 else HOP_6
    return announce(family, [(length, bits)], attributes([PEER_AS]), hop)


@pytest.mark.parametrize(
    ("data", "prefix", "reason"),
    [
        pytest.param(plain(4, 0, 0), "0.0.0.0/0", "default-route", id="default_4"),
        pytest.param(plain(6, 0, 0), "::/0", "default-route", id="default_6"),
        pytest.param(plain(4, 8, 10), "10.0.0.0/8", "bogon", id="private"),
        pytest.param(plain(6, 32, 0x20010DB8), "2001:db8::/32", "bogon", id="documentation"),
        pytest.param(plain(4, 32, 0x0B010101), "11.1.1.1/32", "too-long", id="host"),
        pytest.param(plain(4, 4, 1), "16.0.0.0/4", "too-short", id="sixteenth"),
        pytest.param(
            announce(4, [(16, 0x0B02)], attributes([PEER_AS, LOCAL_AS, 7]), HOP_4),
            "11.2.0.0/16",
            "as-loop",
            id="own_as",
        ),
        pytest.param(
            announce(4, [(16, 0x0B03)], attributes(range(70_000, 71_000)), HOP_4),
            "11.3.0.0/16",
            "path-too-long",
            id="path_of_1000",
        ),
        pytest.param(
            announce(4, [(16, 0x0B04)], attributes([PEER_AS]), "0.0.0.0"),
            "11.4.0.0/16",
            "no-nexthop",
            id="no_next_hop",
        ),
    ],
)
def test_filtered(lab: Lab, data: bytes, prefix: str, reason: str) -> None:
    """It is not used; the lookup, the list, the counts and the metrics say why."""
    lab.router.send(data)
    assert lab.await_route(prefix)["reason"] == reason
    listed = {each["prefix"]: each for each in lab.get("/v1/routes", filtered="true")["routes"]}
    assert listed[prefix]["routes"][0]["reason"] == reason
    family = "ipv6" if ":" in prefix else "ipv4"
    assert lab.peer(lab.router)["families"][family]["filtered"][reason] >= 1
    labels = f'family="{family}",peer="{lab.router.address}",verdict="{reason}"'
    assert f"ocaserve_routes{{{labels}}}" in lab.get("/metrics")
    assert prefix not in lab.get("/v1/report")["routes"]


def global_and_unspecified() -> bytes:
    """MP_REACH_NLRI with two next hops, of which the second is `::`."""
    hops = inet_pton(AF_INET6, HOP_6) + bytes(16)
    reach = struct.pack("!HBB", 2, 1, len(hops)) + hops + b"\0\x20" + bytes.fromhex("2a000002")
    return speaker.update(attributes([PEER_AS]) + speaker.attribute(14, reach, 0x80))


def test_next_hop_with_an_unspecified_one_beside_it(lab: Lab) -> None:
    """As FRR has sent it (FRR#4940); RFC 2545 section 3 has the global one first."""
    lab.router.send(global_and_unspecified())
    route = lab.await_route("2a00:2::/32")
    assert (route["reason"], route["attributes"]["next_hop"]) == (None, HOP_6)


ORIGIN_IGP = speaker.attribute(1, b"\0")


@pytest.mark.parametrize(
    ("given", "prefix", "reason"),
    [
        pytest.param(b"", (16, 0x0B21), "empty-path", id="missing"),
        pytest.param(speaker.as_path([]), (16, 0x0B22), "empty-path", id="empty"),
        pytest.param(speaker.attribute(2, b"\2\0"), (16, 0x0B23), "empty-path", id="empty_segment"),
        pytest.param(speaker.as_path([PEER_AS, 0]), (16, 0x0B24), "malformed", id="as_0"),
    ],
)
def test_path_without_the_router(
    lab: Lab, given: bytes, prefix: tuple[int, int], reason: str
) -> None:
    """RFC 7606 section 3(d), RFC 4271 section 5.1.2, RFC 7607: such a route beats no rival."""
    lab.router.send(announce(4, [prefix], ORIGIN_IGP + given, HOP_4))
    assert lab.await_route(format_prefix(4, *prefix))["reason"] == reason


def test_confederation_that_nobody_can_tell(lab: Lab) -> None:
    """ExaBGP writes its segments as plain ones, which `bgp.messages` says; the route counts."""
    confederation = struct.pack("!BBII", 3, 2, 65100, 65101)
    plain_path = struct.pack("!BBII", 2, 2, PEER_AS, 64500)
    given = ORIGIN_IGP + speaker.attribute(2, confederation + plain_path)
    lab.router.send(announce(4, [(16, 0x0B0E)], given, HOP_4))
    route = lab.await_route("11.14.0.0/16")
    assert (route["reason"], route["path_length"]) == (None, 4)


def test_empty_path_inside_of_our_own_as(lab: Lab) -> None:
    """RFC 6811 section 2: its origin is our own AS, for which there is a payload."""
    preference = speaker.attribute(5, struct.pack("!I", 100))
    given = ORIGIN_IGP + speaker.as_path([]) + preference
    lab.internal.send(announce(4, [(16, 0x1501)], given, HOP_4))
    route = lab.await_route("21.1.0.0/16")
    assert (route["reason"], route["rov"]) == (None, "valid")


def test_malformed_attributes_are_counted_as_what_became_of_them(lab: Lab) -> None:
    """RFC 7606: an AGGREGATOR of 5 bytes is let go of, with COMMUNITIES of 3 the route is gone."""
    lab.router.send(plain(4, 16, 0x0B18))
    lab.await_route("11.24.0.0/16")
    before = lab.peer(lab.router)["counts"]
    aggregator = attributes([PEER_AS]) + speaker.attribute(7, bytes(5), 0xC0)
    lab.router.send(announce(4, [(16, 0x0B19)], aggregator, HOP_4))
    assert lab.await_route("11.25.0.0/16")["reason"] is None
    communities = attributes([PEER_AS]) + speaker.attribute(8, bytes(3), 0xC0)
    lab.router.send(announce(4, [(16, 0x0B18)], communities, HOP_4))
    eventually(lambda: lab.route("11.24.0.0/16") is None, "it is withdrawn", timeout_s=30)
    after = lab.peer(lab.router)["counts"]
    for name in ("attributes_discarded", "treated_as_withdraw"):
        assert after[name] - before.get(name, 0) == 1, name


def test_session_without_a_hold_time_is_said(lab: Lab) -> None:
    """RFC 4271 section 4.2 allows a router to ask for none: then its end is never noticed."""
    assert lab.peer(lab.router)["hold_time_s"] == 0
    assert f'ocaserve_bgp_hold_time_seconds{{peer="{lab.router.address}"}} 0.0' in lab.get(
        "/metrics"
    )
    said = f"the session with {lab.router.address} has no hold time: its end is never noticed"
    eventually(lambda: said in json.dumps(lab.get("/v1/health")), "health says so", timeout_s=60)


def test_unknown_attribute(lab: Lab) -> None:
    """The route counts, and what is not understood is shown, bounded."""
    odd = attributes([PEER_AS]) + speaker.attribute(200, b"\xee" * 2_000, 0xC0)
    lab.router.send(announce(4, [(16, 0x0B05)], odd, HOP_4))
    route = lab.await_route("11.5.0.0/16")
    assert route["reason"] is None
    ((name, value),) = route["attributes"]["other"].items()
    assert name.lower().startswith("0xc8")
    assert value.startswith("0xeeee")
    assert len(value) < 1_000


def test_line_beyond_64_kib(lab: Lab) -> None:
    """The same prefix as often as a message holds it: what a default of asyncio would refuse."""
    lab.router.send(announce(4, [(0, 0)] * 3_900, attributes([PEER_AS]), HOP_4))
    lab.await_alive()
    assert lab.await_route("0.0.0.0/0")["reason"] == "default-route"


def test_flapping(lab: Lab) -> None:
    """As fast as ExaBGP passes it on: the end is what counts, and consumers are told seldom."""
    lab.await_alive()
    before, serial = lab.peer(lab.router)["counts"], lab.get("/v1/report/session")["serial"]
    flap = plain(4, 16, 0x0B06) + withdraw(4, [(16, 0x0B06)])
    lab.router.send(flap * FLAPS + plain(4, 16, 0x0B07))
    eventually(lambda: lab.route("11.7.0.0/16"), "the last one is heard", timeout_s=60)
    assert lab.route("11.6.0.0/16") is None
    after = lab.peer(lab.router)["counts"]
    assert after["announced"] - before["announced"] == FLAPS + 1
    assert after["withdrawn"] - before["withdrawn"] == FLAPS
    assert lab.get("/v1/report/session")["serial"] - serial < FLAPS


def test_path_identifiers_without_end(lab: Lab) -> None:
    """213 KB of them kept control busy for a minute and a half, and others waiting for 29 s."""
    given = attributes([PEER_AS])
    for start in range(0, 60 * 400, 400):
        ids = range(start, start + 400)
        lab.many.send(speaker.announce_paths((16, 0x0B30), ids, given, HOP_4))
    lab.many.send(speaker.announce_paths((16, 0x0B31), [1], given, HOP_4))
    longest = 0.0

    def is_over() -> bool:
        nonlocal longest
        begun = time.monotonic()
        found = lab.route("11.49.0.0/16")
        longest = max(longest, time.monotonic() - begun)
        return found is not None

    eventually(is_over, "all is heard", timeout_s=60)
    assert longest < 10
    assert len(lab.get("/v1/routes/lookup", at="11.48.0.0/16")["match"]["routes"]) == 64
    assert lab.peer(lab.many)["counts"]["paths_left_out"] == 60 * 400 - 64
    assert lab.peer(lab.many)["families"]["ipv4"]["add_path"]


def test_too_many_prefixes(lab: Lab) -> None:
    """All of the peer's are ignored until its next session, and its neighbours' are not."""
    many = [(24, 0x0C0000 + number) for number in range(MOST + 1)]
    lab.router.send(plain(4, 16, 0x0B08))
    lab.await_route("11.8.0.0/16")
    lab.limited.send(announce(4, many[:50], attributes([PEER_AS]), HOP_4))
    lab.await_route("12.0.0.0/24")
    lab.limited.send(announce(4, many[50:], attributes([PEER_AS]), HOP_4))
    family = eventually(lambda: over_limit(lab), "it is over its limit", timeout_s=30)
    assert (family["routes"], family["limit"]) == (0, MOST)
    assert lab.peer(lab.limited)["counts"]["over_limit"] == 1
    assert lab.route("12.0.0.0/24") is None
    assert lab.route("11.8.0.0/16") is not None
    assert "prefixes: ignored until its next session" in lab.daemon.log.read_text()
    lab.limited.meet()
    lab.limited.send(announce(4, many[:50], attributes([PEER_AS]), HOP_4))
    lab.await_route("12.0.0.0/24")


def over_limit(lab: Lab) -> dict[str, Any] | None:
    family = lab.peer(lab.limited)["families"]["ipv4"]
    return dict(family) if family["state"] == "ignored" and not family["routes"] else None


def test_shutdown_text_that_is_no_text(lab: Lab) -> None:
    """RFC 9003: it says that an administrator ends the session; what it says besides is escaped."""
    lab.limited.send(plain(4, 16, 0x0B09))
    lab.await_route("11.9.0.0/16")
    text = b"\xff\xfe\x1b[2J\r\n" + b"x" * 100
    lab.limited.send(speaker.notification(6, 2, bytes([len(text)]) + text))
    eventually(lambda: lab.peer(lab.limited)["state"] != "up", "the session is down", timeout_s=30)
    eventually(lambda: lab.route("11.9.0.0/16") is None, "its routes are gone")
    notice = lab.peer(lab.limited)["notice"]
    assert notice.startswith("received 6/2")
    assert notice.isprintable()
    assert "\x1b" not in lab.daemon.log.read_text()
    lab.limited.meet()
    lab.limited.send(plain(4, 16, 0x0B09))
    lab.await_route("11.9.0.0/16")
    lab.await_alive()
