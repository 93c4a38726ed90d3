"""What would become of clients: beside a slow and plain way, and nobody is lost on the way."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fleet.decisions import Candidate, Place, Server, choose, rank_candidates
from ocaserve.fleet.demand import MOST_NETWORKS, MOST_WANTED, Demand, DemandRow
from ocaserve.fleet.liveness import FULL
from ocaserve.fleet.projections import NOTHING_LOST, Lost, Projection
from ocaserve.fleet.shedding import ShedCause, ShedFigures, TurnedAway, find_turned_away
from ocaserve.fleet.tables import parse_network
from ocaserve.fleet.what_if import MOST_MIXED, ClientRoom, Outlook, foresee, mix_wanted
from ocaserve.fleet.wishes import Unserved
from tests.fleet.brute_force import Known, hear
from tests.fleet.test_atlas import KNOWN, draw_up
from tests.fleet.test_decisions import at, ids, rank, seed
from tests.fleet.test_recorded_decisions import SERVERS

NAMES = ("a", "b", "c", "d")
ADDRESSES = ["0.0.0.0", "0.7.0.1", "0.255.255.255", "2001::", "2001:ff::1"]
WIDE = {"11.0.0.0/8": (1, 0)}


def ask(*clients: str, times: int = 1) -> list[DemandRow]:
    demand = Demand(300)
    for client in clients * times:
        parsed = ip_address(client)
        demand.add(parsed.version, int(parsed), None, 7)
    rows, others = demand.recent(7).rows()
    assert not others
    return rows


def foresee_loss(
    known: Known, servers: Mapping[str, Server], rows: list[DemandRow], lost: Lost
) -> Outlook:
    """Where each has room for all, and everything."""
    return foresee(Projection(draw_up(known), servers), lost, rows, {})


def shares(known: Known, address: str) -> dict[str, float]:
    """Of equals each the same, by every network of every appliance."""
    heard = hear(known, address)
    best = [name for name, how in heard.items() if how == min(heard.values())]
    return {name: 1 / len(best) for name in best}


@given(KNOWN, st.sets(st.sampled_from(NAMES)), st.lists(st.sampled_from(ADDRESSES), min_size=1))
def test_beside_brute_force(known: Known, gone: set[str], clients: list[str]) -> None:
    """Before and after are those of all tables, and of those that are left."""
    servers = {each.id: each for each in at(*NAMES)}
    found = foresee_loss(known, servers, ask(*clients), Lost(frozenset(gone)))
    left = {name: networks for name, networks in known.items() if name not in gone}
    before, after = Counter[str](), Counter[str]()
    for client in clients:
        before.update(shares(known, client))
        after.update(shares(left, client))
    assert found.before.taken == pytest.approx(dict(before))
    assert found.after.taken == pytest.approx(dict(after))
    check_that_nobody_is_lost(found, len(clients))


def check_that_nobody_is_lost(found: Outlook, clients: int) -> None:
    """Who is somewhere before is somewhere after, or told of."""
    for side in (found.before, found.after):
        assert sum(side.taken.values()) + sum(side.unserved.values()) == pytest.approx(clients)
    flow = defaultdict[str | None, float](float)
    for move, moved in found.moves.items():
        flow[move.source] -= moved.clients
        flow[move.target] += moved.clients
    for name in found.before.taken.keys() | found.after.taken.keys():
        after = found.before.taken.get(name, 0.0) + flow[name]
        assert after == pytest.approx(found.after.taken.get(name, 0.0), abs=1e-4)


@given(
    KNOWN, SERVERS, st.sampled_from(ADDRESSES), st.none() | st.tuples(st.just(50.0), st.just(8.0))
)
def test_order_is_that_of_decisions(
    known: Known, servers: tuple[Server, ...], client: str, place: Place | None
) -> None:
    """The first group of whom somebody can take the client, whatever it is ranked by."""
    atlas, parsed = draw_up(known), ip_address(client)
    by_id = {each.id: each for each in servers}
    region = atlas.find(parsed.version, int(parsed))
    groups = rank_candidates(atlas.covering(region), by_id, place)
    able = [[each for each in group if not each.server.fault] for group in groups]
    first: list[Candidate] = next(filter(None, able), [])
    demand = Demand(300)
    demand.add(parsed.version, int(parsed), place, 7)
    (row,) = demand.recent(7).rows()[0]
    whole = sum(each.weight for each in first)
    expected = {each.server.id: each.weight / whole for each in first}
    projection = Projection(atlas, by_id)
    heard = projection.find(row)
    assert heard is not None
    wish = projection.wish(row, heard, None)
    assert wish.shares() == pytest.approx(expected)


def test_shares_are_those_of_draws() -> None:
    """What is foreseen without a draw is what very many draws come to."""
    known: Known = {"a": WIDE, "b": {"11.0.0.0/8": (1, 0, False, 0.5)}}
    servers = {"a": Server("a", "s", weight=3.0), "b": Server("b", "t", weight=2.0)}
    found = foresee_loss(known, servers, ask("11.1.1.1"), Lost())
    groups = rank(known, *servers.values())
    drawn = Counter(ids(choose(groups, seed(str(number))))[0] for number in range(4_000))
    assert found.before.taken["a"] == 0.75
    assert drawn["a"] / 4_000 == pytest.approx(found.before.taken["a"], abs=0.03)


def test_a_lost_network() -> None:
    """The next outer one counts then; who has none has nobody."""
    known: Known = {"a": {"11.1.0.0/16": (1, 0)}, "b": WIDE}
    servers = {each.id: each for each in at("a", "b")}
    rows = ask("11.1.1.1", times=2) + ask("11.2.1.1")
    inner, outer = parse_network("11.1.0.0/16"), parse_network("11.0.0.0/8")
    found = foresee_loss(known, servers, rows, Lost(networks=frozenset([inner])))
    assert [(*move, moved.clients) for move, moved in found.moves.items()] == [("a", "b", 2)]
    found = foresee_loss(known, servers, rows, Lost(networks=frozenset([outer])))
    assert [str(row.network) for row in found.uncovered] == ["11.2.1.0/24"]
    assert [(*move, moved.clients) for move, moved in found.moves.items()] == [("b", None, 1)]


def test_faults_of_now() -> None:
    """Who is full is able, so that it is seen to be overloaded; who is silent is not."""
    known: Known = dict.fromkeys("abc", WIDE)
    servers = {
        "a": Server("a", "s", fault=FULL),
        "b": Server("b", "s", fault="silent: long"),
        "c": Server("c", "s"),
    }
    found = foresee_loss(known, servers, ask("11.1.1.1"), Lost())
    assert found.before.taken == {"a": 0.5, "c": 0.5}


def test_why_nobody_takes_them() -> None:
    """By the first thing that leaves none; who has no content loses nobody's coverage."""
    known: Known = {"a": WIDE, "b": WIDE | {"13.0.0.0/8": (1, 0)}}
    servers = {"a": Server("a", "s"), "b": Server("b", "s", fault="silent: long")}
    demand = Demand(300)
    for client, key in (("11.1.1.1", b"here"), ("11.1.1.2", b"gone"), ("12.1.1.1", b"here")):
        demand.add(4, int(ip_address(client)), None, 7, wanted={key: 1.0})
    demand.add(4, int(ip_address("13.1.1.1")), None, 7)
    now = Projection(draw_up(known), servers, lambda key: {"a": key == b"here"}.__getitem__)
    found = foresee(now, NOTHING_LOST, demand.recent(7).rows()[0], {"a": ClientRoom(0.25, 0.25)})
    assert found.before.unserved == pytest.approx(
        {
            Unserved.COVERAGE: 1,
            Unserved.HEALTH: 1,
            Unserved.CONTENT: 1,
            Unserved.CAPACITY: 0.75,
        }
    )
    assert found.before.taken == {"a": 0.25}
    assert found.before.full == {"a"}
    assert not found.moves


def test_what_they_want_of_whom_it_is_not_known() -> None:
    """What the others want; of very many objects some stand for all, each for as many clients."""
    demand = Demand(300)
    for number in range(9 * MOST_MIXED):
        demand.add(4, number << 8, None, 7, wanted={b"%04d" % number: 1 + number % 3})
    demand.add(4, 1 << 30, None, 7, clients=100)
    rows, _ = demand.recent(7).rows()
    mixed = mix_wanted(rows)
    assert len(mixed) <= MOST_MIXED
    assert sum(mixed.values()) == pytest.approx(18 * MOST_MIXED)
    few = {"a": Server("a", "s"), "b": Server("b", "s")}
    projection = Projection(
        draw_up({"a": {"0.0.0.0/0": (1, 0)}, "b": {"0.0.0.0/0": (2, 0)}}), few,
        lambda key: lambda name: name == "b" or key < b"0450",
    )  # fmt: skip
    found = foresee(projection, NOTHING_LOST, rows, {})
    assert found.before.taken["a"] == pytest.approx(450 + 100 * 0.25, abs=2)
    unknown = [row for row in rows if not row.wanted]
    found = foresee(projection, NOTHING_LOST, unknown, {})
    assert found.before.taken == {"a": 100}, "nothing is known of anybody"


def test_networks_of_too_many_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the most clients stand for all; and of those alone it is told who loses all."""
    monkeypatch.setattr("ocaserve.fleet.projections.MOST_KINDS", 3)
    demand = Demand(300)
    for number in range(6):
        demand.add(4, 11 << 24 | number << 8, (float(number), 0.0), 7, clients=6 - number)
    demand.add(4, 11 << 24 | 7 << 8, (0.0, 0.0), 7)
    found = foresee_loss(
        {"a": WIDE}, {"a": Server("a", "s")}, demand.recent(7).rows()[0], Lost(frozenset("a"))
    )
    assert found.networks == 4
    assert found.before.taken == pytest.approx({"a": 22})
    assert [row.clients for row in found.uncovered] == [6, 5, 4, 1]


def test_demand_is_bounded() -> None:
    """Of more networks than that only the sum is known; and only of the last minutes."""
    demand = Demand(120)
    for number in range(MOST_NETWORKS + 10):
        demand.add(4, number << 8, None, 1)
    demand.add(4, 0, None, 1)
    rows, others = demand.recent(1).rows()
    assert (len(rows), others, rows[0].clients) == (MOST_NETWORKS, 10, 2)
    demand.add(4, 1 << 30, None, 2)
    rows, others = demand.recent(2).rows()
    assert (len(rows), others) == (MOST_NETWORKS, 11)
    assert [row.clients for row in demand.recent(3).rows()[0]] == [1]
    assert demand.recent(9).rows() == ([], 0)


def test_what_is_known_of_objects_is_bounded() -> None:
    demand = Demand(120)
    for number in range(MOST_WANTED + 10):
        demand.add(4, 0, None, 1, wanted={b"%d" % number: 0.5})
    demand.add(4, 0, None, 1, wanted={b"0": 0.5})
    demand.add(4, 0, None, 2, wanted={b"0": 1.0, b"new": 1.0})
    (row,) = demand.recent(2).rows()[0]
    assert (row.clients, len(row.wanted)) == (MOST_WANTED + 12, MOST_WANTED + 1)
    assert (row.wanted[b"0"], row.wanted[b"new"]) == (2.0, 1.0)


def test_demand_goes_on_while_it_is_summed() -> None:
    """In a thread, of what was asked until then."""
    demand = Demand(120)
    for minute in (1, 2):
        demand.add(4, 0, None, minute)
    recent = demand.recent(2)
    demand.add(4, 0, None, 2)
    demand.add(4, 1 << 30, None, 2)
    demand.add(4, 0, None, 3)
    assert [row.clients for row in recent.rows()[0]] == [2]
    assert [row.clients for row in demand.recent(3).rows()[0]] == [3, 1]


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(FULL, ShedCause.CAPACITY), ("draining: fans", ShedCause.HEALTH), ("", None)],
)
def test_who_is_turned_away(fault: str, cause: ShedCause | None) -> None:
    """At the appliance that would have been the first, once, by what kept the client from it."""
    known: Known = {"a": WIDE, "b": WIDE, "z": {"11.0.0.0/8": (9, 0)}}
    groups = rank(known, Server("a", "s", fault=fault), Server("b", "s"), Server("z", "t"))
    found = Counter(find_turned_away(groups, seed(str(number))) for number in range(200))
    expected = {None} if cause is None else {None, TurnedAway("a", cause)}
    assert set(found) == expected


def test_content_turns_away() -> None:
    groups = rank({"a": WIDE}, *at("a"))
    found = find_turned_away(groups, seed(), lambda server: server != "a")
    assert found == TurnedAway("a", ShedCause.CONTENT)
    assert find_turned_away((), seed()) is None


def test_figures_of_an_hour() -> None:
    figures, turned = ShedFigures(), TurnedAway("a", ShedCause.HEALTH)
    for minute in range(100):
        figures.add(turned, 0.5, 2.5e6, minute)
    assert figures.decisions[turned] == 50
    assert [minute for minute, _ in figures.minutes(0)] == list(range(40, 100))
    assert list(figures.minutes(99)) == [(99, {turned: 2.5e6})]
    figures.forget("a")
    assert not figures.decisions
