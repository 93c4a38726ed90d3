"""What the lines of ExaBGP 5.0.15 say, from lines captured and lines made."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.attributes import OUR_OWN, make_attributes
from bgp.events import (
    EndOfRib,
    FeederGap,
    FeederHello,
    FeederNeighbors,
    Ignored,
    Neighbor,
    Notified,
    Refresh,
    Session,
    Shutdown,
    StateChange,
    Update,
)
from bgp.messages import MalformedLineError, decode, printable
from bgp.prefixes import format_prefix
from tests.support.exabgp_lines import LOCAL, PEER, Exabgp

GOLDEN = Path(__file__).parent.parent / "golden"


def describe(line: bytes) -> str:
    """A line for a line; sets in order."""
    envelope, event = decode(line)
    fields = event._asdict() if isinstance(event, tuple) else {}
    values = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in fields.items()
    }
    if isinstance(event, Update):
        values["withdrawn"] = [_prefixes(*each) for each in event.withdrawn]
        values["announced"] = [
            (each.next_hop, _prefixes(each.family, each.nlri)) for each in event.announced
        ]
        values["attributes"] = [dict(event.attributes.values), *event.attributes[1:2]]
    counter = envelope.counter if envelope else None
    return f"{counter} {type(event).__name__} {json.dumps(values, sort_keys=True, default=str)}"


def _prefixes(family: int, nlri: Any) -> list[str]:
    return [
        format_prefix(family, length, bits) + (f" id {path_id}" if path_id else "")
        for length, bits, path_id in nlri
    ]


def test_captured_lines() -> None:
    """Each line of several sessions with BIRD, GoBGP and a speaker of odd messages."""
    lines = (GOLDEN / "exabgp-5.0.15.in").read_bytes().splitlines()
    expected = (GOLDEN / "exabgp-5.0.15.ok").read_text().splitlines()
    assert [describe(line) for line in lines] == expected


def read(line: bytes) -> Any:
    return decode(line)[1]


def test_global_next_hop_wins() -> None:
    """RFC 2545: each prefix stands under both addresses; the order in the text says nothing."""
    hops = {"fe80::1": [{"nlri": "2a00::/32"}], "2a00::1": [{"nlri": "2a00::/32"}]}
    update = read(Exabgp().update({"attribute": {}, "announce": {"ipv6 unicast": hops}}))
    assert [each.next_hop for each in update.announced] == ["2a00::1"]


@pytest.mark.parametrize(
    ("hops", "chosen"),
    [
        pytest.param(["2a00::1", "::"], "2a00::1", id="unspecified_second"),
        pytest.param(["::", "2a00::1"], "2a00::1", id="unspecified_first"),
        pytest.param(["::", "fe80::1"], "fe80::1", id="unspecified_and_link_local"),
        pytest.param(["no-nexthop", "2a00::1"], "2a00::1", id="none_and_global"),
        pytest.param(["2a00::1", "2a00::2"], "2a00::1", id="two_global"),
    ],
)
def test_one_of_two_next_hops(hops: list[str], chosen: str) -> None:
    """What RFC 2545 section 3 has beside the global address, and what else was seen there."""
    nlri = {hop: [{"nlri": "2a00::/32"}] for hop in hops}
    update = read(Exabgp().update({"attribute": {}, "announce": {"ipv6 unicast": nlri}}))
    assert [each.next_hop for each in update.announced] == [chosen]


def test_next_hops_of_different_prefixes() -> None:
    """One of NEXT_HOP and one of MP_REACH_NLRI: both count."""
    nlri = {"fe80::1": ["11.0.0.0/8"], "192.0.2.1": ["12.0.0.0/8"]}
    update = read(Exabgp().update({"attribute": {}, "announce": {"ipv4 unicast": nlri}}))
    assert len(update.announced) == 2


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        pytest.param("treat-as-withdraw", (True, 0), id="withdraw"),
        pytest.param("treat-as-withdraw due to aggregator", (True, 0), id="aggregator_of_0"),
        pytest.param("discard", (False, 1), id="attribute_discard"),
    ],
)
def test_what_becomes_of_malformed_attributes(error: str, counted: tuple[bool, int]) -> None:
    update = read(Exabgp().update({"attribute": {"error": error}}))
    assert (update.is_treated_as_withdraw, update.discarded) == counted


def test_link_local_next_hop_alone_counts() -> None:
    hops = {"fe80::1": [{"nlri": "2a00::/32"}]}
    update = read(Exabgp().update({"attribute": {}, "announce": {"ipv6 unicast": hops}}))
    assert [each.next_hop for each in update.announced] == ["fe80::1"]


@pytest.mark.parametrize(
    ("nlri", "found", "noncanonical", "malformed"),
    [
        pytest.param({"nlri": "10.0.21.0/20"}, [(20, 0x0A001, 0)], 1, 0, id="host_bits"),
        pytest.param("10.0.16.0/20", [(20, 0x0A001, 0)], 0, 0, id="string"),
        pytest.param(
            {"nlri": "10.0.16.0/20", "path-information": "0.0.1.2"},
            [(20, 0x0A001, 258)],
            0,
            0,
            id="path_id",
        ),
        pytest.param({"nlri": "0.0.0.0/0"}, [(0, 0, 0)], 0, 0, id="default"),
        pytest.param({"nlri": "10.0.0.0/33"}, [], 0, 1, id="length"),
        pytest.param({"nlri": "10.0.0.0/-1"}, [], 0, 1, id="negative_length"),
        pytest.param({"nlri": "10.0.0/8"}, [], 0, 1, id="three_octets"),
        pytest.param({"nlri": "2a00::/16"}, [], 0, 1, id="other_family"),
        pytest.param({"nlri": 7}, [], 0, 1, id="number"),
        pytest.param({}, [], 0, 1, id="no_nlri"),
        pytest.param({"nlri": "10.0.0.0/8", "path-information": "x"}, [], 0, 1, id="bad_path_id"),
    ],
)
def test_prefixes(nlri: Any, found: list[Any], noncanonical: int, malformed: int) -> None:
    """Whatever stands there is a prefix or is counted."""
    update = read(Exabgp().update({"withdraw": {"ipv4 unicast": [nlri]}}))
    assert (list(update.withdrawn[0][1]), update.noncanonical, update.malformed) == (
        found, noncanonical, malformed,
    )  # fmt: skip


def test_other_families_are_counted() -> None:
    update = read(Exabgp().update({"withdraw": {"ipv4 multicast": [{"nlri": "10.0.0.0/8"}]}}))
    assert (list(update.withdrawn), update.foreign) == ([], 1)


def test_path_of_a_thousand() -> None:
    """Its length counts; not all of it is kept."""
    update = read(Exabgp().announce("11.0.0.0/8", path=range(1000, 2000)))
    assert update.attributes.path_length == 1000
    assert update.attributes.origin_as == 1999
    assert len(update.attributes.values["as_path"]) < 100
    assert update.attributes.values["as_path_length"] == 1000


@pytest.mark.parametrize(
    ("segments", "origin"),
    [
        pytest.param([], OUR_OWN, id="empty"),
        pytest.param([("as-sequence", [1]), ("as-confed-sequence", [2])], OUR_OWN, id="confed"),
        pytest.param([("as-sequence", [1, 2])], 2, id="sequence"),
        pytest.param([("as-sequence", [1]), ("as-set", [2])], None, id="set"),
    ],
)
def test_origin_of_a_path(segments: list[Any], origin: int | None) -> None:
    """RFC 6811 section 2."""
    assert make_attributes({}, segments).origin_as == origin


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            [("as-sequence", [1, 2])],
            [("as-confed-sequence", [1]), ("as-sequence", [2])],
            id="confederation",
        ),
        pytest.param(
            [("as-sequence", [*range(1, 100), 7])],
            [("as-sequence", [*range(1, 100), 8])],
            id="origin_that_is_not_shown",
        ),
    ],
)
def test_paths_that_differ_are_reported_differently(one: list[Any], other: list[Any]) -> None:
    """Attributes are held once by what is reported of them, and judged by the rest too."""
    assert make_attributes({}, one).values != make_attributes({}, other).values


def test_confederations_do_not_lengthen_a_path() -> None:
    segments = {
        "0": {"element": "as-confed-sequence", "value": [1, 2, 3]},
        "1": {"element": "as-sequence", "value": [4]},
        "2": {"element": "as-set", "value": [5, 6]},
    }
    attributes = {"as-path": segments}
    hops = {"192.0.2.1": ["11.0.0.0/8"]}
    update = read(Exabgp().update({"attribute": attributes, "announce": {"ipv4 unicast": hops}}))
    assert update.attributes.path_length == 2
    assert update.attributes.origin_as is None


def test_hostile_shutdown_text_is_bounded_and_printable() -> None:
    """RFC 9003: the peer chooses it."""
    body = {"code": 6, "subcode": 2, "message": "\x1b[2J\ud800\n" + "x" * 10_000}
    event = read(Exabgp().line("notification", {"direction": "receive", "notification": body}))
    assert isinstance(event, Notified)
    assert event.text.isprintable()
    assert len(event.text) < 300


@pytest.mark.parametrize(
    ("line", "event"),
    [
        pytest.param(b"done", Ignored("done"), id="answer"),
        pytest.param(b"error\x1b[0m", Ignored("error\\x1b[0m"), id="escape"),
        pytest.param(
            b'{"exabgp":"5.0.0","time":1,"pid":7,"type":"notification","notification":"shutdown"}',
            Shutdown(),
            id="shutdown",
        ),
        pytest.param(
            Exabgp().state("down", "notification received (6,3)"),
            StateChange("down", "notification received (6,3)", (6, 3), False),
            id="received",
        ),
        pytest.param(
            Exabgp().state("down", "notification sent (4,0)"),
            StateChange("down", "notification sent (4,0)", (4, 0), True),
            id="sent",
        ),
        pytest.param(
            Exabgp().state("down", "notification received (a,b)"),
            StateChange("down", "notification received (a,b)"),
            id="no_numbers",
        ),
        pytest.param(Exabgp().end_of_rib(6), EndOfRib(6), id="end_of_rib"),
        pytest.param(Exabgp().refresh("begin"), Refresh(4, "begin"), id="begin"),
        pytest.param(Exabgp().line("keepalive", {}), Ignored("keepalive"), id="keepalive"),
        pytest.param(
            b'{"feeder": "hello", "version": 1, "pid": 2, "exabgp_pid": 3}',
            FeederHello(3),
            id="hello",
        ),
        pytest.param(b'{"feeder": "gap", "dropped": 4096}', FeederGap(4096), id="gap"),
        pytest.param(
            b'{"feeder": "neighbors", "neighbors": [{"peer": "192.0.2.1", "local": "192.0.2.10",'
            b'"peer_as": 65001, "local_as": 65000, "up": true, "families": ["ipv4 unicast"],'
            b'"asked": true}]}',
            FeederNeighbors(
                [Neighbor(Session(PEER, LOCAL), 65001, 65000, True, frozenset({4}), True)]
            ),
            id="neighbors",
        ),
    ],
)
def test_events(line: bytes, event: object) -> None:
    assert read(line) == event


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param(b"{", "not JSON", id="cut"),
        pytest.param(b"{" * 100_000, "not JSON", id="deep"),
        pytest.param(b"{}", "exabgp", id="empty"),
        pytest.param(
            Exabgp().state("up").replace(b'"5.0.0"', b'"6.0.0"'), "must be 5.x", id="version"
        ),
        pytest.param(Exabgp().state("sideways"), "sideways", id="state"),
        pytest.param(Exabgp().line("update", {"message": {"update": []}}), "not as", id="list"),
        pytest.param(
            Exabgp().announce("11.0.0.0/8", med="x"),  # type: ignore[arg-type]
            "med",
            id="med",
        ),
    ],
)
def test_malformed_lines_say_why(line: bytes, why: str) -> None:
    with pytest.raises(MalformedLineError, match=why):
        decode(line)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(line: bytes) -> None:
    for given_line in (line, b"{" + line):
        with suppress(MalformedLineError):
            decode(given_line)


@given(st.text(max_size=1000))
def test_printable(text: str) -> None:
    assert printable(text).isprintable()
