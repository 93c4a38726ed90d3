"""Plans: each rule by a row, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fill.manifest import Entry, Manifest
from ocaserve.fill.planner import UNVERIFIED, Held, Kind, Plan, Rules, StoreRoom, make_plan

DIGEST, OTHER = "ab" * 32, "cd" * 32
GB = 1_000_000_000
ROOMY = [StoreRoom(name="d1", size=100 * GB, free=100 * GB)]


def entry(key: str, size: int = GB, **more: Any) -> Entry:
    return Entry(key=key, size=size, sha256=DIGEST, **more)


def held(key: str, size: int = GB, sha256: str = DIGEST, **more: Any) -> dict[str, list[Held]]:
    return {key: [Held(key=key, store=more.pop("store", "d1"), size=size, sha256=sha256, **more)]}


def plan(
    *entries: Entry,
    here: Mapping[str, Sequence[Held]] | None = None,
    stores: Sequence[StoreRoom] = ROOMY,
    popularity: Mapping[str, float] | None = None,
    now: float = 1_000.0,
    **rules: Any,
) -> Plan:
    manifest = Manifest(version="1", objects=list(entries))
    return make_plan(manifest, here or {}, stores, popularity or {}, Rules(**rules), now)


def told(found: Plan) -> list[tuple[str, str, str]]:
    return [(action.kind, action.key, action.why) for action in found.actions]


def test_missing_is_fetched() -> None:
    assert told(plan(entry("a"))) == [("fetch", "a", "is not here")]


def test_held_is_kept() -> None:
    assert told(plan(entry("a"), here=held("a"))) == [("keep", "a", "is here")]


def test_other_version_is_replaced_where_it_is() -> None:
    """By size, or by digest."""
    stores = [*ROOMY, StoreRoom(name="d2", size=100 * GB, free=100 * GB)]
    for here in (
        held("a", sha256=OTHER, store="d2"),
        held("a", size=5, store="d2"),
    ):
        [action] = plan(entry("a"), here=here, stores=stores).actions
        assert (action.kind, action.store, action.why) == ("fetch", "d2", "another version is here")


def test_digest_that_nobody_has_looked_at() -> None:
    """It is not fetched again for that; a copy that is known to be right is as good."""
    [action] = plan(entry("a"), here=held("a", sha256="")).actions
    assert (action.kind, action.why) == ("wait", UNVERIFIED)
    both = {"a": [*held("a", sha256="")["a"], *held("a", store="d2")["a"]]}
    [action] = plan(entry("a"), here=both).actions
    assert (action.kind, action.store) == ("keep", "d2")


def test_order() -> None:
    """Priority, then what is asked for, then the manifest's order."""
    entries = [entry("a"), entry("b"), entry("c", priority=10), entry("d")]
    found = plan(*entries, popularity={"d": 2.0})
    assert [action.key for action in found.actions] == ["c", "d", "a", "b"]


def test_other_version_beside_the_right_one() -> None:
    """Clients must be given the right one, whichever store is asked."""
    stores = [*ROOMY, StoreRoom(name="d2", size=100 * GB, free=100 * GB)]
    for other in (held("a", sha256=OTHER, store="d2"), held("a", size=5, store="d2")):
        found = plan(entry("a"), here={"a": [*other["a"], *held("a")["a"]]}, stores=stores)
        assert [(each.kind, each.store) for each in found.actions] == [
            ("evict", "d2"), ("keep", "d1"),
        ]  # fmt: skip
    twice = {"a": [*held("a")["a"], *held("a", store="d2")["a"]]}
    assert [each.kind for each in plan(entry("a"), here=twice, stores=stores).actions] == ["keep"]


def test_begun_goes_on_where_it_was() -> None:
    """The room that it has taken is no longer free, and is its own."""
    wanted = entry("a", size=10 * GB)
    stores = [
        StoreRoom(
            name=f"d{n}", size=100 * GB, free=5 * GB, started={wanted.id: 9 * GB} if n == 3 else {}
        )
        for n in range(5)
    ]
    [action] = plan(wanted, stores=stores, high=0.97).actions
    assert (action.kind, action.store) == ("fetch", "d3")


def test_not_before_its_time() -> None:
    [action] = plan(entry("a", not_before=2_000.0)).actions
    assert (action.kind, action.why) == ("wait", "not before its time")
    assert plan(entry("a", not_before=2_000.0), now=2_000.0).actions[0].kind == "fetch"


def test_high_watermark() -> None:
    """What would fill a store beyond it waits."""
    small = [StoreRoom(name="d1", size=10 * GB, free=2 * GB)]
    found = plan(entry("a"), entry("b"), stores=small, high=0.9)
    assert told(found) == [("fetch", "a", "is not here"), ("wait", "b", "no store has room for it")]


def test_room_is_made_of_what_is_least_wanted() -> None:
    """Only of what fill has brought, and that is neither wanted nor being sent."""
    full = [StoreRoom(name="d1", size=10 * GB, free=0)]
    here = {
        **held("keep"),
        **held("cold", is_ours=True),
        **held("hot", is_ours=True),
        **held("sending", is_ours=True, is_being_sent=True),
        **held("theirs"),
    }
    found = plan(
        entry("keep"), entry("new"), here=here, stores=full, popularity={"hot": 9}, high=1.0
    )
    assert told(found) == [
        ("evict", "cold", "no longer wanted, and room is needed"),
        ("fetch", "new", "is not here"),
        ("keep", "keep", "is here"),
    ]
    found = plan(entry("new", 3 * GB), here=here, stores=full, high=1.0)
    assert told(found) == [("wait", "new", "no store has room for it")]


def test_exclusive() -> None:
    """What the manifest does not name goes, but what is being sent."""
    here = {**held("a"), **held("theirs"), **held("sent", is_being_sent=True)}
    assert told(plan(entry("a"), here=here)) == [("keep", "a", "is here")]
    assert told(plan(entry("a"), here=here, is_exclusive=True)) == [
        ("wait", "sent", "not wanted, but being sent"),
        ("evict", "theirs", "not in the manifest"),
        ("keep", "a", "is here"),
    ]


def test_store_that_is_lost() -> None:
    """What was on it is fetched to another; without any, it waits."""
    stores = [
        StoreRoom(name="d1", size=100 * GB, free=0, is_writable=False),
        StoreRoom(name="d2", size=100 * GB, free=100 * GB),
    ]
    [action] = plan(entry("a"), stores=stores).actions
    assert (action.kind, action.store) == ("fetch", "d2")
    [action] = plan(entry("a"), stores=stores[:1]).actions
    assert action.why == "no store can be written"


SIZES = st.integers(0, 30)


@given(
    entries=st.lists(
        st.tuples(st.integers(0, 12), SIZES, st.integers(0, 3)), unique_by=lambda row: row[0]
    ),
    here=st.lists(
        st.tuples(
            st.integers(0, 12),
            SIZES,
            st.booleans(),
            st.booleans(),
            st.booleans(),
            st.sampled_from(["d1", "d2"]),
        ),
        unique_by=lambda row: row[0],
    ),
    free=st.tuples(SIZES, SIZES),
    is_exclusive=st.booleans(),
)
def test_what_holds_for_every_plan(
    entries: list[tuple[int, int, int]],
    here: list[tuple[int, int, bool, bool, bool, str]],
    free: tuple[int, int],
    is_exclusive: bool,
) -> None:
    """One action for each entry, nothing wanted or sent is evicted, no store is overfilled."""
    stores = [StoreRoom(name=f"d{n + 1}", size=100, free=room) for n, room in enumerate(free)]
    wanted = [entry(str(key), size, priority=priority) for key, size, priority in entries]
    held_now = {
        str(key): [
            Held(
                key=str(key), store=store, size=size, sha256=DIGEST if same else OTHER,
                is_ours=ours, is_being_sent=sent,
            )
        ]
        for key, size, same, ours, sent, store in here
    }  # fmt: skip
    found = plan(*wanted, here=held_now, stores=stores, high=1.0, is_exclusive=is_exclusive)
    places = [action.place for action in found.actions if action.place is not None]
    assert sorted(places) == list(range(len(wanted)))
    keys = {each.key for each in wanted}
    room = {store.name: store.free for store in stores}
    for action in found.actions:
        if action.kind is Kind.EVICT:
            [copy] = held_now[action.key]
            assert action.key not in keys
            assert not copy.is_being_sent
            assert copy.is_ours or is_exclusive
            room[action.store] += action.size
        elif action.kind is Kind.FETCH:
            room[action.store] -= action.size
            assert room[action.store] >= 0
    order = [action.kind for action in found.actions if action.kind in (Kind.EVICT, Kind.FETCH)]
    assert order == sorted(order)  # all evictions come first
