"""The table against a model that is nothing but a dictionary, over random messages."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bgp.prefixes import Prefix, parse_prefix
from ocaserve.steering.changes import ChangeLog, GoneError
from ocaserve.steering.explain import look_up
from ocaserve.steering.filters import Policy
from ocaserve.steering.lookup import best_cover, longest_match
from ocaserve.steering.report import (
    Heading,
    peers_section,
    render_changes,
    render_report,
    totals_section,
)
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import Sessions
from tests.support.consumer import Consumer
from tests.support.exabgp_lines import Exabgp

PEERS = ("192.0.2.1", "192.0.2.2", "2a00::9")
PREFIXES = (
    "11.0.0.0/8", "11.0.0.0/16", "11.1.0.0/16", "11.1.1.0/24", "11.1.1.128/25", "12.0.0.0/8",
    "10.0.0.0/8", "0.0.0.0/0", "11.1.1.1/32", "2a00::/32", "2a00:1::/32", "2a00::/48",
    "::/0",
)  # fmt: skip
BAD = {"10.0.0.0/8", "0.0.0.0/0", "11.1.1.1/32", "::/0"}

peers = st.sampled_from(PEERS)
some = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=5)
path_ids = st.sampled_from([None, "0.0.0.1", "0.0.0.2"])
announcements = st.tuples(
    st.just("announce"), peers, some, path_ids, st.integers(1, 3), st.sampled_from([None, 0, 5])
)
withdrawals = st.tuples(st.just("withdraw"), peers, some, path_ids)
others = st.tuples(
    st.sampled_from(["up", "closed", "end", "begin", "end_refresh", "commit"]), peers
)
messages = st.lists(
    st.one_of(announcements, announcements, withdrawals, others), min_size=10, max_size=60
)

Key = tuple[str, str, str | None]


class Model:
    """By the words: what each peer said last of a prefix, and when."""

    def __init__(self) -> None:
        self.routes: dict[Key, tuple[int, int | None]] = {}
        self.old: set[Key] = set()
        self.refreshing: set[tuple[str, int]] = set()

    def mine(self, peer: str, family: int | None = None) -> set[Key]:
        return {
            key
            for key in self.routes
            if key[0] == peer and family in (None, 6 if ":" in key[1] else 4)
        }

    def take(self, message: tuple[Any, ...]) -> None:
        kind, peer, *rest = message
        if kind == "announce":
            prefixes, path_id, length, med = rest
            for prefix in _of_one_family(prefixes):
                self.routes[peer, prefix, path_id] = (length, med)
                self.old.discard((peer, prefix, path_id))
        elif kind == "withdraw":
            prefixes, path_id = rest
            for prefix in _of_one_family(prefixes):
                self.routes.pop((peer, prefix, path_id), None)
        elif kind == "up":
            self.old |= self.mine(peer)
            self.refreshing -= {(peer, 4), (peer, 6)}
        elif kind == "closed":
            for key in self.mine(peer):
                del self.routes[key]
            self.refreshing -= {(peer, 4), (peer, 6)}
        elif kind == "begin":
            self.old |= self.mine(peer, 4)
            self.refreshing.add((peer, 4))
        elif kind == "end" and (peer, 4) not in self.refreshing:
            self._sweep(peer)
        elif kind == "end_refresh" and (peer, 4) in self.refreshing:
            self.refreshing.discard((peer, 4))
            self._sweep(peer)
        self.old &= self.routes.keys()

    def _sweep(self, peer: str) -> None:
        for key in self.mine(peer, 4) & self.old:
            del self.routes[key]

    def accepted(self) -> dict[str, list[Key]]:
        """Prefix to keys, best first."""
        found: dict[str, list[Key]] = {}
        for key in self.routes:
            if key[1] not in BAD:
                found.setdefault(key[1], []).append(key)
        for keys in found.values():
            keys.sort(key=self._preference)
        return found

    def _preference(self, key: Key) -> tuple[int, int, int, str]:
        length, med = self.routes[key]
        return length, med or 0, int(ipaddress.ip_address(key[0])), key[2] or ""


def _of_one_family(prefixes: list[str]) -> list[str]:
    return [prefix for prefix in prefixes if (":" in prefix) == (":" in prefixes[0])]


def line_of(exabgp: Exabgp, message: tuple[Any, ...]) -> bytes | None:
    kind, peer, *rest = message
    if kind == "announce":
        prefixes, path_id, length, med = rest
        path = [65001, 1, 2][:length]
        return exabgp.announce(
            *_of_one_family(prefixes), peer=peer, path=path, med=med, path_id=path_id
        )
    if kind == "withdraw":
        prefixes, path_id = rest
        return exabgp.withdraw(*_of_one_family(prefixes), peer=peer, path_id=path_id)
    made = {
        "up": lambda: exabgp.state("up", peer=peer),
        "closed": lambda: exabgp.state("down", "notification received (6,2)", peer=peer),
        "end": lambda: exabgp.end_of_rib(4, peer),
        "begin": lambda: exabgp.refresh("begin", 4, peer),
        "end_refresh": lambda: exabgp.refresh("end", 4, peer),
    }
    return made[kind]() if kind in made else None


class Both:
    """The table and the model, told the same."""

    def __init__(self, kept: int = 1000) -> None:
        self.exabgp = Exabgp()
        self.log = ChangeLog("s", kept)
        self.table = RoutingTable(Policy(), self.log.mark)
        self.sessions = Sessions(self.table)
        self.model = Model()

    def take(self, message: tuple[Any, ...]) -> None:
        line = line_of(self.exabgp, message)
        if line is not None:
            self.sessions.apply(line, 0.0)
            self.table.settle()
            self.model.take(message)

    def heading(self) -> Heading:
        self.log.mark_section("peers")
        self.log.commit()
        return Heading("a", "", self.log.session, self.log.serial, self.table.digest, True, 0.0)

    def report(self) -> dict[str, Any]:
        heading = self.heading()
        pieces = render_report(heading, self.sections(), self.table.snapshot())
        return dict(json.loads(b"".join(pieces)))

    def changes(self, after: int) -> dict[str, Any]:
        heading = self.heading()
        snapshot = [
            (each.family, each.length, {each.bits: self.table.entry(*each)})
            for each in self.log.since("s", after).prefixes
        ]
        pieces = render_changes(heading, after, self.sections(), snapshot)
        return dict(json.loads(b"".join(pieces)))

    def sections(self) -> dict[str, Any]:
        return {"peers": peers_section(self.sessions, ())}


@given(messages)
@settings(max_examples=150)
def test_table_is_what_was_said_last(sequence: list[tuple[Any, ...]]) -> None:
    """Routes, order of rivals, counters and digest, after any messages."""
    both = Both()
    for message in sequence:
        both.take(message)
    consumer = Consumer()
    consumer.take(both.report())
    addresses = {peer["peer"]: peer["address"] for peer in consumer.sections["peers"]}
    found = {
        prefix: [(addresses[route["peer"]], prefix, route.get("path_id")) for route in routes]
        for prefix, routes in consumer.routes.items()
    }
    assert found == both.model.accepted()
    totals = totals_section(both.sessions)
    assert totals["routes"] == len(both.model.routes)
    assert totals["accepted"] == sum(map(len, found.values()))
    assert sum(totals["filtered"].values()) == totals["routes"] - totals["accepted"]
    assert totals["unconfirmed"] == len(both.model.old)
    assert consumer.computed_digest() == both.table.digest
    assert consumer.computed_prefix_digest() == both.table.prefix_digest
    assert both.table._sum_up() == (both.table._digest, both.table._prefix_digest)


@given(messages)
@settings(max_examples=150)
def test_report_and_changes_are_a_fresh_report(sequence: list[tuple[Any, ...]]) -> None:
    """Whenever the consumer asks, also where changes are too many to be known."""
    both, consumer = Both(kept=6), Consumer()
    consumer.take(both.report())
    for message in sequence:
        both.take(message)
        if message[0] == "commit":
            try:
                consumer.take(both.changes(consumer.serial))
            except GoneError:
                consumer.take(both.report())
    try:
        consumer.take(both.changes(consumer.serial))
    except GoneError:
        return
    fresh = Consumer()
    fresh.take(both.report())
    assert consumer.table() == fresh.table()
    assert consumer.digest == fresh.digest == consumer.computed_digest()


@given(messages)
@settings(max_examples=50)
def test_nothing_is_kept_of_what_is_gone(sequence: list[tuple[Any, ...]]) -> None:
    """Attributes that no route has any more take no memory, and the digest is that of nothing."""
    both = Both()
    for message in sequence:
        both.take(message)
    for peer in PEERS:
        both.take(("closed", peer))
    assert both.table.attribute_sets == 0
    assert both.table.digest == both.table.prefix_digest == "0" * 32
    assert not len(both.table.held)


networks = st.builds(
    lambda length, value: Prefix(4, length, value >> (32 - length)),
    st.integers(8, 31),
    st.integers(11 << 24, 14 << 24),
)


@given(st.lists(networks, max_size=40), st.lists(networks, min_size=1, max_size=10))
def test_longest_match_against_looking_at_all(held: list[Prefix], asked: list[Prefix]) -> None:
    both = Both()
    if held:
        both.sessions.apply(both.exabgp.announce(*map(str, held)), 0.0)
    for query in asked:
        covers = [each for each in held if each.covers(query)]
        longest = max(covers, key=lambda each: each.length, default=None)
        match = best_cover(both.table, query)
        assert (match.prefix if match else None) == longest
        inside = {str(each) for each in held if query.covers(each) and each != query}
        found = look_up(both.table, query)
        assert {each["prefix"] for each in found["more_specific"]} == inside
        assert {each["prefix"] for each in found["covering"]} == {str(each) for each in covers}
        address = query.bits << (32 - query.length)
        of_address = [each for each in held if each.covers(Prefix(4, 32, address))]
        best = longest_match(both.table, 4, address)
        longest_length = max((each.length for each in of_address), default=None)
        assert (best[0] if best else None) == longest_length


def test_filtered_routes_hide_nothing() -> None:
    """A longer prefix that is not used leaves the address to the shorter one."""
    both = Both()
    both.sessions.apply(both.exabgp.announce("11.0.0.0/8", "11.1.1.1/32", "0.0.0.0/0"), 0.0)
    found = longest_match(both.table, 4, parse_prefix("11.1.1.1").bits)
    assert found is not None
    assert found[0] == 8
    assert longest_match(both.table, 4, parse_prefix("99.0.0.1").bits) is None
