"""Sessions and families: when routes are whole, stale, gone, and when they are in doubt."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import product

import pytest

from bgp.events import Session
from ocaserve.lifecycle import ImpossibleTransitionError, advance
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.families import FAMILY_STATES, Family, FamilyEvent, FamilyState, Times
from ocaserve.steering.filters import PeerPolicy, Policy
from ocaserve.steering.noting import MOST_LINES, NoteLimit
from ocaserve.steering.paths import paths_of
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import Sessions
from tests.support.exabgp_lines import LOCAL, PEER, Exabgp

OTHER = "192.0.2.2"
BOTH = ("ipv4/unicast", "ipv6/unicast")


class Table:
    """A table that is told lines at times of the test's choice."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.log = ChangeLog("s")
        self.table = RoutingTable(policy or Policy(), self.log.mark)
        self.sessions = Sessions(self.table, Times(stale_s=120, load_s=60, quiet_s=10))
        self.notes: list[str] = []
        self.refreshes = 0

    def hear(self, *lines: bytes, at: float = 0.0) -> None:
        for line in lines:
            step = self.sessions.apply(line, at)
            self.notes += step.notes
            self.refreshes += step.wants_refresh
        self.table.settle()

    def tick(self, at: float) -> None:
        self.notes += self.sessions.tick(at).notes
        self.table.settle()

    def family(self, number: int = 4, peer: str = PEER) -> Family:
        return self.sessions.peers[Session(peer, LOCAL)].families[number]

    def prefixes(self) -> set[str]:
        from bgp.prefixes import format_prefix

        return {
            format_prefix(family, length, bits)
            for family, length, keys in self.table.snapshot()
            for bits in keys
        }


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def exabgp() -> Exabgp:
    return Exabgp()


def start(table: Table, exabgp: Exabgp, *prefixes: str, at: float = 0.0) -> None:
    """A session up and loaded."""
    table.hear(exabgp.state("connected"), exabgp.opened([1, 2, 70], ["ipv4/unicast"]), at=at)
    table.hear(exabgp.state("up"), exabgp.announce(*prefixes), exabgp.end_of_rib(), at=at)


def test_family_table_refuses_what_it_does_not_list() -> None:
    """Nothing is loaded or too large where there is no session."""
    with pytest.raises(ImpossibleTransitionError):
        advance(FAMILY_STATES, FamilyState.DOWN, FamilyEvent.LOADED)
    for state, event in product(FamilyState, (FamilyEvent.LOST, FamilyEvent.CLOSED)):
        assert advance(FAMILY_STATES, state, event) in {FamilyState.DOWN, FamilyState.STALE}


def test_loading_is_not_complete_until_end_of_rib(table: Table, exabgp: Exabgp) -> None:
    table.hear(exabgp.state("up"), exabgp.announce("11.0.0.0/8"))
    assert table.family().state is FamilyState.LOADING
    assert not table.family().is_complete
    table.hear(exabgp.end_of_rib())
    assert table.family().is_complete


def test_loading_ends_when_it_has_been_quiet(table: Table, exabgp: Exabgp) -> None:
    """Not every router sends End-of-RIB."""
    table.hear(exabgp.state("up"), at=0)
    table.hear(exabgp.announce("11.0.0.0/8"), at=55)
    table.tick(61)
    assert table.family().state is FamilyState.LOADING
    table.tick(66)
    assert table.family().is_complete


def test_lost_session_keeps_routes_as_stale_for_a_time(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    table.hear(exabgp.state("down", "notification sent (4,0)"), at=100)
    table.tick(219)
    assert table.family().state is FamilyState.STALE
    assert table.prefixes() == {"11.0.0.0/8"}
    table.tick(220)
    assert table.family().state is FamilyState.DOWN
    assert not table.prefixes()


def test_routes_not_announced_again_go_with_end_of_rib(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8", "12.0.0.0/8")
    table.hear(exabgp.state("down", "closing connection"), at=10)
    table.hear(exabgp.state("up"), exabgp.announce("11.0.0.0/8"), at=20)
    assert table.prefixes() == {"11.0.0.0/8", "12.0.0.0/8"}
    assert table.family().source.old == 1
    table.hear(exabgp.end_of_rib(), at=21)
    assert table.prefixes() == {"11.0.0.0/8"}


def test_stale_routes_go_in_time_also_while_loading(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8", "12.0.0.0/8")
    table.hear(exabgp.state("down"), at=10)
    table.hear(exabgp.state("up"), exabgp.announce("11.0.0.0/8"), at=100)
    table.tick(130)
    assert table.prefixes() == {"11.0.0.0/8"}
    assert table.family().state is FamilyState.LOADING


@pytest.mark.parametrize("subcode", [2, 3])
def test_administrative_shutdown_withdraws_at_once(
    table: Table, exabgp: Exabgp, subcode: int
) -> None:
    start(table, exabgp, "11.0.0.0/8")
    table.hear(exabgp.state("down", f"notification received (6,{subcode})"))
    assert table.family().state is FamilyState.DOWN
    assert not table.prefixes()


def test_attempts_that_fail_do_not_hide_why_the_session_ended(table: Table, exabgp: Exabgp) -> None:
    """A router that was shut down closes each new connection without a word."""
    table.hear(exabgp.state("up"), exabgp.state("down", "notification received (6,2)"))
    peer = table.sessions.peers[Session(PEER, LOCAL)]
    assert peer.reason == "notification received (6,2): administrative shutdown"
    table.hear(exabgp.state("connected"), exabgp.state("down", "closing connection"))
    assert (peer.state, peer.reason) == (
        "down", "notification received (6,2): administrative shutdown",
    )  # fmt: skip
    table.hear(exabgp.state("connected"), exabgp.state("down", "notification sent (2,9)"))
    assert peer.reason == "notification sent (2,9): OPEN message error"
    table.hear(exabgp.state("up"), exabgp.state("down", "closing connection"))
    assert peer.reason == "closing connection"


def test_down_comes_again_with_each_failed_attempt(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    for at in (10, 50, 100):
        table.hear(exabgp.state("connected"), exabgp.state("down", "closing connection"), at=at)
    table.tick(130)
    assert table.family().state is FamilyState.DOWN
    assert table.sessions.peers[Session(PEER, LOCAL)].ups == 1


def test_refresh_sweeps_what_was_not_sent_again(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8", "12.0.0.0/8")
    serial = table.log.serial
    table.log.commit()
    table.hear(exabgp.refresh("begin"), exabgp.announce("11.0.0.0/8"))
    assert table.family().state is FamilyState.LIVE
    assert not table.log.commit(), "a route that comes again is no change"
    table.hear(exabgp.end_of_rib())
    assert "12.0.0.0/8" in table.prefixes(), "only the end of the refresh ends it"
    table.hear(exabgp.refresh("end"))
    assert table.prefixes() == {"11.0.0.0/8"}
    assert table.log.commit()
    assert table.log.serial == serial + 2


def test_gap_puts_the_family_in_doubt_until_a_refresh(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    exabgp.withdraw("11.0.0.0/8")  # is lost
    table.hear(exabgp.announce("12.0.0.0/8"))
    assert table.refreshes == 1
    assert not table.family().is_complete
    table.hear(exabgp.end_of_rib())
    assert not table.family().is_complete, "the end of the first telling, in which lines are lost"
    table.hear(exabgp.refresh("begin"), exabgp.announce("12.0.0.0/8"), exabgp.refresh("end"))
    assert table.family().is_complete
    assert table.prefixes() == {"12.0.0.0/8"}


def test_another_pid_is_another_exabgp(table: Table, exabgp: Exabgp) -> None:
    """Its counters begin anew, and what it does not say again goes."""
    start(table, exabgp, "11.0.0.0/8", "12.0.0.0/8")
    other = Exabgp(pid=101)
    table.hear(other.state("connected"), at=5)
    assert table.family().state is FamilyState.STALE
    table.hear(other.state("up"), other.announce("12.0.0.0/8"), other.end_of_rib(), at=6)
    assert table.prefixes() == {"12.0.0.0/8"}
    assert not table.refreshes


def feeder(**values: object) -> bytes:
    return json.dumps(values).encode()


def neighbors(up: bool, asked: bool, families: Sequence[str] = ("ipv4 unicast",)) -> bytes:
    listed = {"peer": PEER, "local": LOCAL, "peer_as": 65001, "local_as": 65000, "up": up}
    return feeder(feeder="neighbors", neighbors=[{**listed, "families": families, "asked": asked}])


def test_feeder_comes_back_to_a_table(table: Table, exabgp: Exabgp) -> None:
    """A new feeder: what was known is in doubt until the refresh that it asks for has ended."""
    start(table, exabgp, "11.0.0.0/8", "12.0.0.0/8")
    table.hear(feeder(feeder="hello", version=1, pid=5, exabgp_pid=100))
    assert not table.family().is_complete
    exabgp.announce("13.0.0.0/8")  # while there was no feeder
    table.hear(neighbors(up=True, asked=True), exabgp.refresh("begin"))
    table.hear(exabgp.announce("12.0.0.0/8", "13.0.0.0/8"), exabgp.refresh("end"))
    assert table.family().is_complete
    assert table.prefixes() == {"12.0.0.0/8", "13.0.0.0/8"}
    assert not table.refreshes, "the feeder asks by itself"


def test_control_comes_back_to_a_running_session(table: Table, exabgp: Exabgp) -> None:
    """An empty table hears of a session whose start it has not heard."""
    exabgp.counters[PEER] = 500
    table.hear(feeder(feeder="hello", version=1, pid=5, exabgp_pid=100))
    table.hear(neighbors(up=True, asked=True))
    assert table.family().state is FamilyState.LOADING
    table.hear(exabgp.refresh("begin"), exabgp.announce("12.0.0.0/8"), exabgp.refresh("end"))
    assert table.family().is_complete
    assert table.sessions.peers[Session(PEER, LOCAL)].state == "up"


def test_session_that_went_down_unheard(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    table.hear(feeder(feeder="gap", dropped=100), neighbors(up=False, asked=False))
    assert table.family().state is FamilyState.STALE
    assert table.sessions.peers[Session(PEER, LOCAL)].state == "down"


def test_session_in_the_middle_of_telling_is_not_asked_again(table: Table, exabgp: Exabgp) -> None:
    table.hear(exabgp.opened([70], BOTH), exabgp.state("up"), exabgp.announce("11.0.0.0/8"))
    table.hear(feeder(feeder="hello", version=1, pid=5, exabgp_pid=100))
    table.hear(neighbors(up=True, asked=False), exabgp.announce("11.0.0.0/8"))
    table.hear(exabgp.end_of_rib())
    assert table.family().is_complete


def test_too_many_prefixes_ignore_the_peer_until_its_next_session(exabgp: Exabgp) -> None:
    table = Table(Policy(peers={PEER: PeerPolicy(max_prefixes=5)}))
    first = [f"11.{n}.0.0/16" for n in range(5)]
    start(table, exabgp, *first)
    assert any("5 of 5 prefixes" in note for note in table.notes)
    assert table.family().is_complete
    table.hear(exabgp.announce("11.9.0.0/16"))
    assert table.family().state is FamilyState.IGNORED
    table.hear(exabgp.announce("12.0.0.0/8"), exabgp.withdraw("11.0.0.0/16"))
    assert not table.prefixes()
    table.hear(exabgp.state("down"), exabgp.state("up"), exabgp.announce("12.0.0.0/8"))
    assert table.prefixes() == {"12.0.0.0/8"}


def test_attributes_that_take_too_much_ignore_the_peer(exabgp: Exabgp) -> None:
    """A thousand communities make 13 KiB of a route; what many routes share counts once."""
    table = Table(Policy(peers={PEER: PeerPolicy(max_attribute_bytes=100_000)}))
    start(table, exabgp, *(f"12.{n}.0.0/16" for n in range(200)))
    assert table.family().is_complete
    for number in range(9):
        table.hear(with_communities(exabgp, f"11.{number}.0.0/16", 1_000, number))
    assert table.family().state is FamilyState.IGNORED
    assert table.family().source.excess == "more than 100000 bytes of attributes"
    assert any("more than 100000 bytes of attributes" in note for note in table.notes)
    assert not table.prefixes()
    assert table.family().source.allowance.bytes == 0
    table.hear(exabgp.state("down"), exabgp.state("up"), exabgp.announce("12.0.0.0/8"))
    assert table.prefixes() == {"12.0.0.0/8"}


def with_communities(exabgp: Exabgp, prefix: str, count: int, first: int) -> bytes:
    attributes = {
        "origin": "igp",
        "as-path": {"0": {"element": "as-sequence", "value": [65001]}},
        "community": [[65001, first + number] for number in range(count)],
    }
    hops = {"192.0.2.1": [{"nlri": prefix}]}
    return exabgp.update({"attribute": attributes, "announce": {"ipv4 unicast": hops}})


def test_refresh_counts_attributes_once(exabgp: Exabgp) -> None:
    """What is told again takes no more, whether the old generation is gone by then or not."""
    table = Table(Policy(peers={PEER: PeerPolicy(max_attribute_bytes=100_000)}))
    start(table, exabgp, "13.0.0.0/8")
    lines = [with_communities(exabgp, f"11.{n}.0.0/16", 1_000, n) for n in range(5)]
    table.hear(*lines)
    before = table.family().source.allowance.bytes
    table.hear(exabgp.refresh("begin"), *lines)
    assert table.family().source.allowance.bytes == before
    assert table.family().state is not FamilyState.IGNORED


def test_paths_of_a_prefix_are_bounded(exabgp: Exabgp) -> None:
    """More are left out and counted; those that are here change and go as before."""
    table = Table(Policy(peers={PEER: PeerPolicy(max_paths=3)}))
    start(table, exabgp, "13.0.0.0/8")
    for number in range(1, 9):
        table.hear(exabgp.announce("11.0.0.0/8", path_id=f"0.0.0.{number}"))
    entry = paths_of(table.table.entry(4, 8, 11))
    assert [path.path_id for path in entry] == [1, 2, 3]
    assert table.sessions.peers[Session(PEER, LOCAL)].counts["paths_left_out"] == 5
    table.hear(exabgp.announce("11.0.0.0/8", path_id="0.0.0.1", med=7))
    table.hear(exabgp.announce("11.0.0.0/8", peer=OTHER))
    entry = paths_of(table.table.entry(4, 8, 11))
    assert [path.path_id for path in entry] == [2, 3, 0, 1]
    table.hear(exabgp.withdraw("11.0.0.0/8", path_id="0.0.0.2"))
    table.hear(exabgp.announce("11.0.0.0/8", path_id="0.0.0.9"))
    assert len(paths_of(table.table.entry(4, 8, 11))) == 4
    for peer in (PEER, OTHER):
        table.hear(exabgp.state("down", "notification received (6,2)", peer=peer))
    assert not len(table.table.held)
    assert not table.table.attribute_sets


def test_path_identifiers_cost_what_they_are(exabgp: Exabgp) -> None:
    """213 KB of them, in 60 UPDATEs, took a minute and a half: each was sorted among all."""
    table = Table()
    start(table, exabgp, "13.0.0.0/8")
    begun = time.process_time()
    for number in range(60):
        table.hear(many_paths(exabgp, range(700 * number, 700 * (number + 1))))
    for med in range(20):
        table.hear(many_paths(exabgp, range(500), med=med))
    assert time.process_time() - begun < 20  # less than one where nobody else works


def many_paths(exabgp: Exabgp, numbers: range, med: int = 0) -> bytes:
    nlri = [
        {"nlri": "11.0.0.0/8", "path-information": f"0.0.{number >> 8}.{number & 255}"}
        for number in numbers
    ]
    attributes = {
        "origin": "igp",
        "med": med,
        "as-path": {"0": {"element": "as-sequence", "value": [65001]}},
    }
    update = {"attribute": attributes, "announce": {"ipv4 unicast": {"192.0.2.1": nlri}}}
    return exabgp.update(update)


def test_refreshes_without_end_are_one_walk_at_a_time(exabgp: Exabgp) -> None:
    """A peer may begin and end them faster than a table is walked through."""
    table = Table()
    start(table, exabgp, *(f"12.{n}.0.0/16" for n in range(200)))
    for _ in range(50):
        for line in (exabgp.refresh("begin"), exabgp.refresh("end")):
            table.sessions.apply(line, 0.0)
        table.sessions.apply(exabgp.announce("11.0.0.0/8"), 0.0)
    assert len(table.table._jobs) == 1
    table.table.settle()
    assert table.prefixes() == {"11.0.0.0/8"}


def test_notes_are_bounded_by_the_minute() -> None:
    noting = NoteLimit()
    told = [line for n in range(1_000) for line in noting.admit((f"note {n}",), n / 100)]
    assert len(told) == MOST_LINES
    assert noting.admit(("later",), 61.0) == [
        f"{1_000 - MOST_LINES} more notes within a minute, which are not logged",
        "later",
    ]


def test_family_that_is_not_spoken_is_not_waited_for(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    assert table.family(6).state is FamilyState.DOWN


def test_peers_do_not_touch_each_other(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    table.hear(exabgp.state("up", peer=OTHER), exabgp.announce("11.0.0.0/8", peer=OTHER))
    table.hear(exabgp.state("down", "notification received (6,2)"))
    assert table.prefixes() == {"11.0.0.0/8"}
    assert table.family(peer=OTHER).source.accepted == 1


def test_line_of_400_kb(table: Table, exabgp: Exabgp) -> None:
    """As ExaBGP writes for a message of 64 KiB, which is not agreed on but may come."""
    prefixes = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(16_000)]
    line = exabgp.announce(*prefixes)
    assert len(line) > 400_000
    table.hear(exabgp.state("up"), line)
    assert table.prefixes() == set(prefixes)
    assert table.sessions.counts["malformed_lines"] == 0


def test_malformed_line_costs_itself_alone(table: Table, exabgp: Exabgp) -> None:
    start(table, exabgp, "11.0.0.0/8")
    table.hear(b"{ not JSON", b"done", b"", exabgp.announce("12.0.0.0/8"))
    assert table.prefixes() == {"11.0.0.0/8", "12.0.0.0/8"}
    assert table.sessions.counts["malformed_lines"] == 1
