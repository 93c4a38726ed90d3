"""What each appliance is to hold and has: rules without a socket, and manifests over HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fill.manifest import Entry, Manifest, Source, read_manifest
from ocaserve.fleet import stocking
from ocaserve.fleet.allotment import Catalogue, SitePlan, allot, count_copies
from ocaserve.fleet.client_urls import ClientLocation, Object, Signer
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.planned_manifests import Neighbour, make_manifest, tag_of
from ocaserve.fleet.popularity import KeptPopularity, Popularity, encode_popularity
from ocaserve.fleet.presence import Presence, Sighting, sight
from ocaserve.fleet.pushed_documents import Copy, DocumentError, HeldObjects, advance, read_document
from ocaserve.fleet.stock import Stock
from ocaserve.fleet.stocking import load_popularity
from ocaserve.fleet.tables import Tables
from ocaserve.settings.fleet import Fleet, FleetTokens, find_fleet_faults
from ocaserve.settings.fleet_members import FleetAppliance, FleetContent, FleetSite
from tests.fleet.test_app import FleetApp
from tests.support.fleet import report
from tests.support.waiting import until

HEARD = {"11.0.0.0/8": (1, 0)}


def entry(name: str) -> Entry:
    source = Source(tier="origin", url=f"http://origin/{name}")
    return Entry(key=name, size=1, sha256="0" * 64, sources=[source])


def catalogue_of(*names: str) -> Catalogue:
    manifest = Manifest(version="x", objects=[entry(name) for name in names])
    return Catalogue.of(manifest, repr(names).encode())


MANY = catalogue_of(*(f"film/{number}.mp4" for number in range(600)))


# -- how many copies, and where ------------------------------------------------------------------


@given(st.lists(st.integers(1, 1 << 20), max_size=40), st.floats(0, 6), st.integers(1, 5))
def test_copies(weights: list[int], copies: float, most: int) -> None:
    """So many in all, a floor under each, never more than appliances, more of what is wanted."""
    counts = count_copies(weights, copies, most)
    assert len(counts) == len(weights)
    assert sum(counts) == min(round(copies * len(weights)), most * len(weights))
    assert all(min(int(copies), 1) <= count <= most for count in counts)
    by_weight = sorted(zip(weights, counts, strict=True))
    assert all(few <= many for (light, few), (heavy, many) in pairwise(by_weight) if light < heavy)


def test_what_is_not_wanted_is_not_at_a_small_site() -> None:
    assert count_copies([1, 8, 2, 4], 0.5, 3) == [0, 1, 0, 1]


def holders(plan: SitePlan) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {number: set() for number in range(len(plan.catalogue.objects))}
    for name, numbers in plan.numbers.items():
        for number in numbers:
            found[number].add(name)
    return found


def test_one_appliance_more_moves_its_share_alone() -> None:
    """Of three to four: a quarter, all of it to the new one."""
    counts = [1] * len(MANY.objects)
    shares = dict.fromkeys("abc", 1.0)
    before, after = (
        holders(allot(MANY, counts, shares)),
        holders(allot(MANY, counts, {**shares, "d": 1.0})),
    )
    moved = [number for number in before if before[number] != after[number]]
    assert all(after[number] == {"d"} for number in moved)
    assert len(moved) <= 1.2 * len(MANY.objects) / 4


def test_one_copy_more_moves_nothing() -> None:
    shares = dict.fromkeys("abc", 1.0)
    one, two = (holders(allot(MANY, [n] * len(MANY.objects), shares)) for n in (1, 2))
    assert all(one[number] < two[number] for number in one)
    everywhere = holders(allot(MANY, [3] * len(MANY.objects), shares))
    assert all(held == set(shares) for held in everywhere.values())


def test_shares() -> None:
    """A large appliance holds more; within what so few draws allow."""
    plan = allot(MANY, [1] * len(MANY.objects), {"large": 3.0, "small": 1.0})
    assert 0.65 <= len(plan.numbers["large"]) / len(MANY.objects) <= 0.85


# -- popularity ----------------------------------------------------------------------------------


def test_popularity_counts_from_the_next_day() -> None:
    """By classes: twice as much is one class more, and a bit more is none."""
    before = Popularity().after({}, 100).after({"a": 9, "b": 10, "c": 16}, 100)
    before = before.after({"b": 5}, 100)
    assert {before.weight(name) for name in "abcd"} == {1}
    popularity = before.after({}, 101)
    assert [popularity.weight(name) for name in "abcd"] == [16, 16, 32, 1]
    assert popularity.digest != before.digest
    assert popularity.after({}, 101) == popularity
    assert popularity.after({}, 102).weight("c") == 16
    assert popularity.after({}, 200).kept.scores == {}


def test_popularity_outlives_a_restart(tmp_path: Path) -> None:
    """With what was counted today; a file that is none costs what it held."""
    many = {f'film/{number} ü".ts': number for number in range(12_345)}
    popularity = Popularity().after({}, 100).after(many, 101).after({"a": 1}, 101)
    file = tmp_path / "kept"
    file.write_bytes(encode_popularity(popularity.kept))
    assert load_popularity(file) == popularity
    file.write_bytes(b"{")
    assert load_popularity(file).kept.scores == {}
    assert load_popularity(tmp_path / "none").kept.scores == {}


async def test_popularity_is_made_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million objects it takes seconds, in which everybody is to be answered."""
    threads = set()

    class Watched(Popularity):
        def after(self, noted: Mapping[str, int], day: int) -> Popularity:
            threads.add(threading.get_ident())
            return super().after(noted, day)

    def encode(kept: KeptPopularity) -> bytes:
        threads.add(threading.get_ident())
        return encode_popularity(kept)

    monkeypatch.setattr(stocking, "encode_popularity", encode)
    state = FleetState(Fleet(content=FleetContent(catalogue=str(tmp_path / "none"))))
    monkeypatch.setattr(stocking, "load_popularity", lambda _: Watched())
    file = tmp_path / "kept"
    keeping = asyncio.create_task(stocking.keep_stock(state, file))
    await until(file.exists)
    keeping.cancel()
    assert len(threads) > 0
    assert threading.get_ident() not in threads


# -- what appliances have ------------------------------------------------------------------------


def held_of(plan: SitePlan, appliance: str, names: set[str]) -> HeldObjects:
    """What an appliance with its manifest of this plan tells that it has."""
    numbers = plan.numbers[appliance]
    bits = bytearray(-(-len(numbers) // 8))
    for place, number in enumerate(numbers):
        if plan.catalogue.objects[number].key in names:
            bits[place // 8] |= 1 << place % 8
    return HeldObjects(plan.versions[appliance], len(numbers), bytes(bits))


NAMES = [f"{letter}" for letter in "abcdefghijklmnopqrst"]
SOME = st.sets(st.sampled_from(NAMES))


@given(SOME, SOME, st.permutations(NAMES[:15]))
def test_sightings(first: set[str], then: set[str], others: list[str]) -> None:
    """What is told after changes, and of a manifest of an older catalogue, is what is had."""
    catalogue = catalogue_of(*NAMES)
    plan = allot(catalogue, [1] * len(NAMES), {"a": 1.0, "b": 1.0})
    mine = {catalogue.objects[number].key for number in plan.numbers["a"]}
    before = None
    for names in (first, then):
        before = sight("a", held_of(plan, "a", names), plan, catalogue, before)
        assert had(before, catalogue) == names & mine
    newer = catalogue_of(*others, "new")
    seen = sight("a", held_of(plan, "a", then), plan, newer, before)
    assert had(seen, newer) == then & mine & set(others)


def had(sighting: Sighting, catalogue: Catalogue) -> set[str]:
    presence = Presence(catalogue, {"a": sighting}, {"a": "site"})
    return {each.key for number, each in enumerate(catalogue.objects) if presence.has("a", number)}


@given(st.lists(st.tuples(st.sampled_from("xyz"), SOME), max_size=6), st.integers(1, 3))
def test_live(told: list[tuple[str, set[str]]], least: int) -> None:
    """Where so many sites have it; two appliances of one site are one."""
    catalogue = catalogue_of(*NAMES)
    names = [str(number) for number in range(len(told))]
    plan = allot(catalogue, [len(told)] * len(NAMES), dict.fromkeys(names, 1.0))
    sightings = {
        name: sight(name, held_of(plan, name, some), plan, catalogue)
        for name, (_, some) in zip(names, told, strict=True)
    }
    sites = {name: site for name, (site, _) in zip(names, told, strict=True)}
    presence = Presence(catalogue, sightings, sites, least)
    counts = Counter(key for key, _ in {(key, site) for site, some in told for key in some})
    live = {key for key, count in counts.items() if count >= least}
    assert {key for key in NAMES if presence.is_live(catalogue.numbers[key])} == live
    assert presence.live == len(live)


def test_manifest_of_before_is_understood() -> None:
    """Until the appliance has pulled the next; one that is not known asks for a plan."""
    stock = Stock(FleetContent(everywhere=False, catalogue="x"))
    stock.catalogue = catalogue_of("a", "b")
    old = allot(stock.catalogue, [1, 1], {"one": 1.0}, ("old",))
    stock.hear("one", "site", held_of(old, "one", {"a"}))
    assert stock.unplanned() == {"site"}
    stock.presence = stock.look_again()()
    assert not holds(stock, b"a")
    assert stock.held_share("one") is None
    stock.take_plan("site", old)
    assert stock.held_share("one") == 0.5
    assert stock.unplanned() == set()
    stock.presence = stock.look_again()()
    assert holds(stock, b"a")
    stock.catalogue = catalogue_of("c", "a")
    stock.take_plan("site", allot(stock.catalogue, [1, 1], {"one": 1.0}, ("new",)))
    stock.presence = stock.look_again()()
    assert [holds(stock, key) for key in (b"a", b"b", b"c")] == [True, False, False]
    stock.forget("one")
    assert stock.held_share("one") is None
    stock.presence = stock.look_again()()
    assert not holds(stock, b"a")


def holds(stock: Stock, key: bytes) -> bool:
    found = stock.holders_of(key)
    assert found is not None
    return found("one")


def test_everywhere() -> None:
    assert Stock(FleetContent()).holders_of(b"a") is None


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["x", "y", "z", "gone"])), max_size=20
)


@given(STEPS, st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from(["", "x", "y"])))
def test_who_is_at_a_site(steps: list[tuple[str, str]], listed: dict[str, str]) -> None:
    """As if each appliance were asked where it is, whoever came, moved, and was forgotten."""
    roster = [
        FleetAppliance(id=name, site=site, share=float(place))
        for place, (name, site) in enumerate(listed.items(), 2)
    ]
    stock = Stock(FleetContent(), roster)
    sites: dict[str, str] = {}
    for name, site in steps:
        if site != "gone":
            sites[name] = listed.get(name) or site
            stock.hear(name, sites[name], None)
        elif not listed.get(name):
            sites.pop(name, None)
            stock.forget(name)
    shares = {each.id: each.share for each in roster}
    everybody = {name: site for name, site in listed.items() if site} | sites
    for site in ("", "x", "y", "z"):
        found = {name: shares.get(name, 1.0) for name, its in everybody.items() if its == site}
        assert stock.shares_at(site) == found


# -- documents -----------------------------------------------------------------------------------


def told(before: Copy, serial: int, after: int | None = None, **objects: Any) -> Copy:
    document = report("a", HEARD, serial=serial, after=after) | {"objects": objects}
    return advance(before, read_document(json.dumps(document).encode()), Tables())[0]


def test_changes_of_objects() -> None:
    here = b64encode(bytes([0b101, 1])).decode()
    copy = told(Copy("a"), 1, manifest="m", count=9, here=here)
    assert copy.objects == HeldObjects("m", 9, bytes([0b101, 1]))
    copy = told(copy, 2, 1, manifest="m", count=9, came=[1], went=[0, 8])
    assert copy.objects == HeldObjects("m", 9, bytes([0b110, 0]))
    copy = told(copy, 3, 2, manifest="m", count=9, came=[], went=[])
    assert copy.objects == HeldObjects("m", 9, bytes([0b110, 0]))
    copy = told(copy, 4, 3, manifest="n", count=1, here=b64encode(b"\1").decode())
    assert copy.objects == HeldObjects("n", 1, b"\1")


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ({"manifest": "m", "count": 9, "here": "AA=="}, "have 2 bytes"),
        ({"manifest": "m", "count": 8, "came": [8]}, "there are 8"),
        ({"manifest": "n", "count": 8, "came": [1]}, "are not known"),
        ({"manifest": "m", "count": -1, "here": ""}, "objects.count"),
        ({"manifest": "m", "count": 8, "here": "?"}, "objects.here"),
    ],
)
def test_objects_that_are_refused(objects: dict[str, Any], says: str) -> None:
    copy = told(Copy("a"), 1, manifest="m", count=8, here="AA==")
    with pytest.raises(DocumentError, match=says):
        told(copy, 2, 1, **objects)


# -- manifests -----------------------------------------------------------------------------------


def test_sources_by_distance() -> None:
    """Peers that are to hold it, then other sites, all of them signed; then the catalogue's own."""
    catalogue = catalogue_of("a", "b")
    plan = allot(catalogue, [3, 3], {"me": 1.0, "peer-1": 1.0, "peer-2": 1.0})
    theirs = allot(catalogue, [1, 0], {"far": 1.0})
    signers = {
        name: Signer(ClientLocation(f"http://{name}", "7", bytes(32)))
        for name in ("peer-1", "peer-2", "far")
    }
    neighbours = [
        Neighbour("peer-1", "peer", signers["peer-1"], plan),
        Neighbour("peer-2", "peer", signers["peer-2"], plan),
        Neighbour("far", "tier", signers["far"], theirs),
    ]
    made = read_manifest(make_manifest("me", plan, neighbours, 1_800_000_000))
    assert made.version == plan.versions["me"]
    first, second = made.objects
    assert [each.tier for each in first.sources] == ["peer", "peer", "tier", "origin"]
    assert [each.tier for each in second.sources] == ["peer", "peer", "origin"]
    assert first.sources[2].url.startswith("http://far/a?v=7&e=1800000000&t=")
    tags = {
        tag_of("me", plan, neighbours, 1), tag_of("me", plan, neighbours, 2),
        tag_of("me", plan, neighbours[:2], 1), tag_of("peer-1", plan, neighbours, 1),
    }  # fmt: skip
    assert len(tags) == 4


def test_source_of_a_key_that_looks_like_a_form() -> None:
    """It is asked for by the query, by which all appliances take it."""
    plan = allot(catalogue_of("range/0-9/x"), [2], {"me": 1.0, "peer": 1.0})
    neighbour = Neighbour("peer", "peer", Signer(ClientLocation("http://peer")), plan)
    (made,) = read_manifest(make_manifest("me", plan, [neighbour], 1)).objects
    assert made.sources[0].url == "http://peer/?o=range/0-9/x"


TOKEN = {"a": "token-of-a-0123456789", "b": "token-of-b-0123456789"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[FleetApp]:
    """Two appliances of a site, and a catalogue."""
    manifest = {"version": "1", "objects": [
        {"key": key, "size": 1, "sha256": "0" * 64} for key in ("one", "two", "three")
    ]}  # fmt: skip
    (tmp_path / "catalogue").write_text(json.dumps(manifest))
    appliances = []
    for name, token in TOKEN.items():
        (tmp_path / name).write_text(token)
        (tmp_path / name).chmod(0o600)
        appliances.append(
            FleetAppliance(
                id=name, site="s", urls=[f"http://{name}"], token_file=str(tmp_path / name)
            )
        )
    settings = Fleet(
        site=[FleetSite(id="s", copies=2.0)], appliance=appliances,
        content=FleetContent(everywhere=False, catalogue=str(tmp_path / "catalogue")),
    )  # fmt: skip
    made = FleetApp(settings, FleetTokens())
    async with made.operators, made.clients:
        await until(lambda: bool(made.state.stock.catalogue.digest))
        yield made


def bearer(name: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {TOKEN[name]}"}


async def test_manifest_over_http(app: FleetApp) -> None:
    """To the appliance itself and to operators; not again while it is the same."""
    assert await app.tell(report("b", HEARD, site="s"), **bearer("b")) == 204
    for headers in (bearer("a"), {}):
        answer = await app.call(app.operators, "GET", "/v1/manifests/a", **headers)
        assert answer.status == 200
        assert [each["key"] for each in answer.body["objects"]] == ["one", "two", "three"]
        assert answer.body["objects"][0]["sources"] == [{"tier": "peer", "url": "http://b/one"}]
    known = {"If-None-Match": answer.headers["etag"], **bearer("a")}
    assert (await app.call(app.operators, "GET", "/v1/manifests/a", **known)).status == 304
    other = await app.call(app.operators, "GET", "/v1/manifests/b", **bearer("a"))
    assert other.status == 403
    assert (await app.call(app.operators, "GET", "/v1/manifests/c")).status == 404


async def test_clients_go_where_an_object_is(app: FleetApp) -> None:
    """And are told why not where it is not."""
    version = (await app.call(app.operators, "GET", "/v1/manifests/a", **bearer("a"))).body[
        "version"
    ]
    objects = {"manifest": version, "count": 3, "here": b64encode(b"\2").decode()}
    document = report("a", HEARD, site="s") | {"objects": objects}
    assert await app.tell(document, **bearer("a")) == 204
    await until(lambda: bool(app.state.stock.presence.live))
    await until(lambda: len(app.state.atlas) > 0)
    found = await app.serve("11.1.1.1", "one", "two")
    assert found["objects"] == {"one": [], "two": ["http://a/two"]}
    assert [(each["why"], each["reason"]) for each in found["skipped"]] == [
        ("C", "it does not have 1 of 2 objects")
    ]
    because = (await app.look("/v1/explain?ip=11.1.1.1&key=one"))["because"]
    assert any("it does not have the object" in each for each in because)
    assert (await app.look("/v1/content"))["live"] == 1


async def test_what_if_looks_at_contents(app: FleetApp) -> None:
    """Who does not have what clients of the lost one ask for is sent none of them."""
    answer = await app.call(app.operators, "GET", "/v1/manifests/a", **bearer("a"))
    for name, networks, here in (
        ("a", HEARD, b"\7"),
        ("b", {"11.0.0.0/8": (2, 0)}, b"\2"),
    ):
        objects = {
            "manifest": answer.body["version"], "count": 3, "here": b64encode(here).decode(),
        }  # fmt: skip
        document = report(name, networks, site="s") | {"objects": objects}
        assert await app.tell(document, **bearer(name)) == 204
    await until(lambda: len(app.state.stock.presence.sightings) == 2)
    await until(lambda: len(app.state.atlas.tables) == 2)
    for client, *keys in (("11.1.1.1", "two"), ("11.1.2.1", "one", "two"), ("11.1.3.1", "three")):
        assert (await app.serve(client, *keys))["servers"][0]["id"] == "a"
    lost = {"lose": {"appliances": ["a"]}}
    found = (await app.call(app.operators, "POST", "/v1/what-if", lost)).body
    rate = app.state.settings.client_bits_per_s
    assert [(each["from"], each["to"], each["bits_per_s"]) for each in found["moves"]] == [
        ("a", None, 1.5 * rate),
        ("a", "b", 1.5 * rate),
    ]
    assert found["unserved"] == [
        {"cause": "content", "before_bits_per_s": 0.0, "after_bits_per_s": 1.5 * rate}
    ]
    assert [each["network"] for each in found["uncovered"]] == ["11.1.3.0/24"]
    assert any(each.startswith("3 objects that 3 clients asked for") for each in found["limits"])


async def test_some_of_many_objects_are_noted(app: FleetApp) -> None:
    """Of one question, with the weight of one client."""
    await app.serve("11.1.1.1", *(f"film-{number}" for number in range(20)))
    rows, _ = app.state.journal.demand.recent(int(time.time() // 60)).rows()
    assert [len(row.wanted) for row in rows] == [7]
    assert sum(rows[0].wanted.values()) == pytest.approx(1)
    taker = app.clients.decider.notes
    taker.outcomes["served"] += 1
    for number in range(400):
        asker = 1, 4, b"%d" % number, None
        taker.count(asker, number << 8, {"x": Object("/x", b"x")}, is_policed=False)
    notes = taker.take()
    assert notes is not None
    assert sum(bool(each.wanted) for each in notes.askers) == 300
    assert not any(map(gc.is_tracked, notes.askers)), "there are thousands each second"


async def test_what_the_network_does_not_have_is_not_counted(app: FleetApp) -> None:
    """Anybody may ask for anything."""
    for key in ("one", "absent", "two", "one", "%ff"):
        assert (await app.call(app.clients, "GET", f"/r/{key}?ip=11.1.1.1")).status == 404
    assert app.state.stock.take_noted() == {"one": 2, "two": 1}
    assert app.state.stock.take_noted() == {}


async def test_catalogue_is_read_again(app: FleetApp, tmp_path: Path) -> None:
    """One that is none leaves the one before, and is told."""
    file = tmp_path / "catalogue"
    file.write_text("{")
    await until(lambda: bool(app.state.stock.fault))
    assert "catalogue" in (await app.look("/v1/content"))["fault"]
    assert (await app.call(app.operators, "GET", "/v1/manifests/a", **bearer("a"))).status == 200
    file.write_text(json.dumps({"version": "2", "objects": []}))
    await until(lambda: not app.state.stock.fault)
    await until(lambda: not app.state.stock.catalogue.objects)


def test_settings_that_contradict() -> None:
    faults = find_fleet_faults(Fleet(content=FleetContent(everywhere=False)))
    assert [each.key for each in faults] == ["fleet.content.everywhere"]
