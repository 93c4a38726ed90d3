"""Rankings that are remembered, while servers change."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fleet.decisions import Server, SiteKind
from ocaserve.fleet.ranking import Rankings
from tests.fleet.brute_force import Known
from tests.fleet.test_atlas import KNOWN, draw_up

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
    remembered = Rankings()
    for name, change in [("a", {}), *changes]:
        servers[name] = replace(servers[name], **change)  # type: ignore[arg-type]
        remembered.note_change()
        for client in _CLIENTS:
            asked = atlas, servers, client.version, int(client), place
            assert remembered.rank(*asked) == Rankings().rank(*asked)


def test_who_has_not_changed_is_not_ranked_anew() -> None:
    """What policies have said of a ranking stays with it."""
    atlas = draw_up({"a": {"0.0.0.0/8": (1, 0)}})
    servers = {"a": Server("a", "one")}
    rankings = Rankings()
    first = rankings.rank(atlas, servers, 4, 1, None)
    assert [len(group) for group in first.groups] == [1]
    rankings.note_change()
    assert rankings.rank(atlas, servers, 4, 1, None) is first
