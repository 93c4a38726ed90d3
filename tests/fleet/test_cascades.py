"""What is foreseen where appliances fill up, lack objects and are ruled over: beside thousands of
decisions, each made as a worker makes it, one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.cascades import settle
from ocaserve.fleet.decisions import (
    Candidate,
    Group,
    Server,
    SiteKind,
    apply_ruling,
    choose,
    network_of,
    rank_candidates,
    seed_of,
)
from ocaserve.fleet.demand import Demand, DemandRow
from ocaserve.fleet.liveness import FULL
from ocaserve.fleet.projections import NOTHING_LOST, Lost, NoPolicies, PolicySaying, Projection
from ocaserve.fleet.tables import Network, parse_network
from ocaserve.fleet.what_if import ClientRoom, foresee
from ocaserve.fleet.wishes import PlainWish
from ocaserve.policies.rulings import Ruling
from tests.fleet.test_atlas import draw_up

NETWORKS = ["0.0.0.0/0", "11.0.0.0/8", "11.1.0.0/16", "12.0.0.0/8"]
KEYS = [b"one.mp4", b"two.mp4", b"three.ts"]
CLIENTS = 3_000
TOLERANCE = 0.035


class Scene:
    """A network of six appliances by chance, its clients, and what is lost."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = Random(seed)
        names = "abcdef"
        self.known = {
            name: {
                text: (chance.randint(1, 2), 0, chance.random() < 0.2, chance.choice([0.5, 1.0]))
                for text in chance.sample(NETWORKS, chance.randint(1, 3))
            }
            for name in names
        }
        self.servers = {
            name: Server(
                name, f"site-{name in 'abc'}", chance.choice(list(SiteKind)[:2]),
                weight=chance.choice([1.0, 2.0, 4.0]),
                fault=chance.choice(["", "", "", FULL, "silent: long"]),
            )
            for name in names
        }  # fmt: skip
        self.held = {name: {key for key in KEYS if chance.random() < 0.8} for name in names}
        self.rooms = {
            name: ClientRoom(chance.choice([None, CLIENTS / 4, CLIENTS / 6]), CLIENTS / 12 * more)
            for name, more in zip("abcde", (0, 1, 2, 3, 4), strict=True)
        }
        self.lost = Lost(
            frozenset(chance.sample(names, 1)),
            frozenset([parse_network(chance.choice(NETWORKS))]),
        )

    def ask(self) -> tuple[list[DemandRow], list[tuple[int, bytes]]]:
        """Some networks, each with its taste; and every client by itself, in any order."""
        chance, demand, single = self.chance, Demand(60), []
        for _ in range(30):
            address = (chance.choice([11, 11, 12, 13]) << 24) | chance.randrange(1 << 18)
            tastes = chance.sample(KEYS, chance.randint(1, 3))
            for number in range(CLIENTS // 30):
                key = tastes[number % len(tastes)]
                demand.add(4, address, None, 1, wanted={key: 1.0})
                single.append((address, key))
        chance.shuffle(single)
        return demand.recent(1).rows()[0], single

    def holders_of(self, key: bytes) -> object:
        return lambda name: key in self.held[name]


class Rulers(NoPolicies):
    """One object is not for one appliance, another sort goes there more often; and all of a site
    stand first.
    """

    def arm_of(self, _: DemandRow) -> Hashable:
        return "arm"

    def rule(self, _: DemandRow, __: Sequence[Group], key: bytes) -> PolicySaying:
        ruling = Ruling({"a": "no"} if key == KEYS[0] else {}, {"b": 3.0, "c": 0.0})
        return PolicySaying(key, ruling, self.order)

    @staticmethod
    def order(chosen: list[Candidate]) -> list[Candidate]:
        return sorted(chosen, key=lambda each: each.server.site)


def decide_all(
    scene: Scene, atlas: Atlas, single: Sequence[tuple[int, bytes]], lost: Lost,
    limits: Mapping[str, float], judge: NoPolicies,
) -> Counter[str]:  # fmt: skip
    """Each by a decision of its own, with what was granted before."""
    servers = {
        name: replace(
            each,
            fault="lost" if name in lost.appliances else "" if each.fault == FULL else each.fault,
        )
        for name, each in scene.servers.items()
    }
    given = Counter[str]()
    for name, limit in limits.items():
        if limit <= 0 and not servers[name].fault:
            servers[name] = replace(servers[name], fault=FULL)
    for number, (address, key) in enumerate(single):
        first = decide_one(scene, atlas, servers, address, key, number, lost.networks, judge)
        given[first] += 1
        if first in limits and given[first] >= limits[first]:
            servers[first] = replace(servers[first], fault=FULL)
    return given


def decide_one(
    scene: Scene, atlas: Atlas, servers: Mapping[str, Server], address: int, key: bytes,
    minute: int, without: frozenset[Network], judge: NoPolicies,
) -> str:  # fmt: skip
    """Who is the first; nobody: empty."""
    groups: Sequence[Group] = rank_candidates(
        atlas.covering(atlas.find(4, address), without), servers
    )
    order = None
    if isinstance(judge, Rulers):
        _, ruling, order = judge.rule(DemandRow(None, None, 0, 0), groups, key)  # type: ignore[arg-type]
        groups = apply_ruling(groups, ruling)
    chosen = choose(groups, seed_of(network_of(4, address), key, minute), scene.holders_of(key))  # type: ignore[arg-type]
    if order is not None:
        chosen = order(chosen)
    return chosen[0].server.id if chosen else ""


@pytest.mark.parametrize("judge", [NoPolicies(), Rulers()], ids=["plain", "policies"])
@pytest.mark.parametrize("seed", range(12))
def test_beside_decisions(seed: int, judge: NoPolicies) -> None:
    scene = Scene(seed)
    rows, single = scene.ask()
    atlas = draw_up(scene.known)
    now = Projection(atlas, scene.servers, scene.holders_of, judge)  # type: ignore[arg-type]
    found = foresee(now, scene.lost, rows, scene.rooms)
    limits = {name: room.total for name, room in scene.rooms.items() if room.total is not None}
    before = decide_all(scene, atlas, single, NOTHING_LOST, limits, judge)
    check(found.before.taken, before)
    more = {name: before[name] + room.more for name, room in scene.rooms.items()}
    limits = more | {name: min(total, more[name]) for name, total in limits.items()}
    after = decide_all(scene, atlas, single, scene.lost, limits, judge)
    check(found.after.taken, after)
    assert sum(found.after.unserved.values()) == pytest.approx(after[""], abs=CLIENTS * TOLERANCE)
    full = {name for name, limit in limits.items() if after[name] >= limit}
    late = {name for name in found.after.full ^ full if after[name] < limits[name] * 0.9}
    assert not late, (found.after.full, full)


def check(found: Mapping[str, float], decided: Counter[str]) -> None:
    """Within what draws differ by, and what `DRAWS` draws do."""
    for name in found.keys() | decided.keys() - {""}:
        assert found.get(name, 0.0) == pytest.approx(decided[name], abs=CLIENTS * TOLERANCE), (
            found, decided,
        )  # fmt: skip


def test_scenes_differ() -> None:
    """Among them are some in which what is lost fills others, and these still others."""
    full, unserved = Counter[int](), 0
    for seed in range(12):
        scene = Scene(seed)
        rows, _ = scene.ask()
        now = Projection(draw_up(scene.known), scene.servers, scene.holders_of)  # type: ignore[arg-type]
        found = foresee(now, scene.lost, rows, scene.rooms)
        full[len(found.after.full)] += 1
        unserved += bool(found.after.unserved)
    assert sum(count for number, count in full.items() if number >= 2) >= 4, full
    assert unserved >= 3


WEIGHTS = st.sampled_from([1.0, 2.0, 3.0, 0.0])
GROUPS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcd"), WEIGHTS), min_size=1, max_size=3, unique_by=lambda
             each: each[0]).map(tuple),
    max_size=3,
).map(tuple)  # fmt: skip


@given(
    st.lists(st.tuples(GROUPS, st.floats(0.1, 50)), max_size=6),
    st.dictionaries(st.sampled_from("abc"), st.floats(0, 60)),
)
def test_nobody_takes_more_than_it_can(
    crowds: list[tuple[tuple[tuple[tuple[str, float], ...], ...], float]], room: dict[str, float]
) -> None:
    """And no client is turned away that somebody had room for, or lost, or had twice."""
    wishes, clients = [PlainWish(groups) for groups, _ in crowds], [each for _, each in crowds]
    settled = settle(wishes, clients, room)
    for name, taken in settled.taken.items():
        assert taken <= room.get(name, 1e9) + 1e-6
        of_parts = sum(
            part.get(name, 0.0) * count for part, count in zip(settled.parts, clients, strict=True)
        )
        assert taken == pytest.approx(of_parts, abs=1e-6)
    for name in settled.full:
        assert settled.taken.get(name, 0.0) == pytest.approx(room[name], abs=1e-6)
    for wish, part in zip(wishes, settled.parts, strict=True):
        assert sum(part.values()) <= 1 + 1e-9
        if sum(part.values()) < 1 - 1e-6:
            assert not wish.shares(settled.full), "somebody has room"
