"""Rankings that are remembered, while servers change."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.decisions import Server, SiteKind
from ocaserve.fleet.ranking import Rankings
from ocaserve.fleet.survey import Survey, draw_atlas
from ocaserve.fleet.tables import Tables
from tests.fleet.brute_force import Known
from tests.fleet.test_atlas import KNOWN, draw_up, table_of

_CLIENTS = [ip_address(each) for each in ("0.7.0.1", "0.255.255.255", "2001::")]
_CHANGES = st.tuples(
    st.sampled_from("abcd"),
    st.fixed_dictionaries(
        {},
        optional={
            "fault": st.sampled_from(["", "drained"]),
            "weight": st.sampled_from([1.0, 2.0]),
            "kind": st.sampled_from(SiteKind),
            "location": st.sampled_from([None, (50.0, 8.0), (40.0, -3.0)]),
            "site": st.sampled_from(["one", "other"]),
        },
    ),
)


@given(KNOWN, st.lists(_CHANGES, max_size=8))
def test_what_is_remembered_is_what_would_be_found(
    known: Known, changes: list[tuple[str, dict[str, object]]]
) -> None:
    atlas, place = draw_up(known), (50.0, 8.0)
    servers = {name: Server(name, f"site-{name}") for name in "abcd"}
    remembered = Rankings(atlas)
    for name, change in [("a", {}), *changes]:
        servers[name] = replace(servers[name], **change)  # type: ignore[arg-type]
        remembered.note_change()
        for client in _CLIENTS:
            asked = servers, client.version, int(client), place
            assert remembered.rank(*asked) == Rankings(atlas).rank(*asked)


@settings(max_examples=60)
@given(st.lists(st.tuples(KNOWN, st.booleans()), min_size=2, max_size=6))
def test_what_outlives_an_atlas_is_as_it_would_be_found(steps: list[tuple[Known, bool]]) -> None:
    """Tables come, go, change, and are those of other appliances; a server may change between."""
    survey, tables = Survey(1), Tables()
    servers = {name: Server(name, f"site-{name}") for name in "abcd"}
    remembered = Rankings(draw_atlas({}))
    for known, is_faulty in steps:
        now = {name: table_of(tables, networks) for name, networks in known.items()}
        atlas = Atlas(survey.draw(now), now)
        remembered.follow(atlas)
        servers["b"] = replace(servers["b"], fault="drained" if is_faulty else "")
        remembered.note_change()
        for client in _CLIENTS:
            asked = servers, client.version, int(client), None
            assert remembered.rank(*asked) == Rankings(atlas).rank(*asked)


def test_who_has_not_changed_is_not_ranked_anew() -> None:
    """What policies have said of a ranking stays with it."""
    servers = {"a": Server("a", "one")}
    rankings = Rankings(draw_up({"a": {"0.0.0.0/8": (1, 0)}}))
    first = rankings.rank(servers, 4, 1, None)
    assert [len(group) for group in first.groups] == [1]
    rankings.note_change()
    assert rankings.rank(servers, 4, 1, None) is first


def test_networks_that_are_heard_alike_are_ranked_once() -> None:
    """However many there are; what policies say of each is its own."""
    alike = {"11.0.0.0/8": (1, 0), "12.0.0.0/8": (1, 0)}
    atlas = draw_up({"a": {**alike, "13.0.0.0/8": (2, 0)}, "b": alike})
    servers = {name: Server(name, "one") for name in "ab"}
    rankings = Rankings(atlas)
    first, second, third = (rankings.rank(servers, 4, each << 24, None) for each in (11, 12, 13))
    assert first.groups is second.groups
    assert first.ruled is not second.ruled
    assert third.groups != first.groups
    known = [(each.family, each.address) for each in rankings.known()]
    assert known == [(4, each << 24) for each in (11, 12, 13)]


def test_what_has_not_changed_is_not_ranked_anew_for_another_atlas() -> None:
    survey, tables = Survey(1), Tables()
    servers = {name: Server(name, "one") for name in "ab"}
    wide, other = {"11.0.0.0/8": (1, 0)}, {"12.0.0.0/8": (1, 0)}

    def draw(known: Known) -> Atlas:
        now = {name: table_of(tables, networks) for name, networks in known.items()}
        return Atlas(survey.draw(now), now)

    rankings = Rankings(draw({"a": wide, "b": other}))
    before = [rankings.rank(servers, 4, each << 24, None).groups for each in (11, 12)]
    rankings.follow(draw({"a": wide, "b": {**other, "13.0.0.0/8": (1, 0)}}))
    assert [rankings.rank(servers, 4, each << 24, None).groups for each in (11, 12)] == before
    assert rankings.rank(servers, 4, 11 << 24, None).groups is before[0]
    rankings.follow(draw({"a": wide, "b": wide}))
    (both,) = rankings.rank(servers, 4, 11 << 24, None).groups
    assert [each.server.id for each in both] == ["a", "b"]
