"""Which appliances of a site are not as the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fleet.allotment import Catalogue, SitePlan, allot
from ocaserve.fleet.presence import Presence, sight
from ocaserve.fleet.site_audit import MOST_EXAMPLES, Lack, audit_content, audit_routes
from ocaserve.fleet.tables import NO_ROUTES, Rank, Table, Tables
from tests.fleet.test_stock import catalogue_of, held_of

TABLES = Tables()
NAMES = [f"{number:02}" for number in range(40)]
NETWORK = st.sampled_from(["11.0.0.0/8", "12.0.0.0/8", "12.1.0.0/16", "2a00::/32", "2a01::/32"])


def table_of(networks: set[str], length: int = 1) -> Table:
    return TABLES.change(NO_ROUTES, [(network, Rank(length, 0)) for network in networks])


def test_lacking_networks() -> None:
    """Both families; of equal networks by longer paths nothing is said."""
    tables = {
        "a": table_of({"11.0.0.0/8", "2a00::/32"}),
        "b": table_of({"11.0.0.0/8", "12.0.0.0/8", "2a00::/32"}, 3),
        "c": table_of({"11.0.0.0/8", "12.0.0.0/8"}),
    }
    assert list(audit_routes(tables)) == [
        Lack("a", "IPv4 networks", 1, 2, ["12.0.0.0/8"]),
        Lack("c", "IPv6 networks", 1, 1, ["2a00::/32"]),
    ]
    del tables["a"], tables["c"]
    assert not list(audit_routes(tables))


@given(st.lists(st.sets(NETWORK), min_size=1, max_size=4))
def test_lacks_make_them_alike(heard: list[set[str]]) -> None:
    """Who is given what it lacks hears what all hear together."""
    tables = {str(place): table_of(networks) for place, networks in enumerate(heard)}
    lacks = list(audit_routes(tables))
    for place, networks in enumerate(heard):
        missing = {each for lack in lacks if lack.appliance == str(place) for each in lack.examples}
        assert not missing & networks
        assert missing | networks == set().union(*heard)


def present(plan: SitePlan, catalogue: Catalogue, **held: set[str]) -> Presence:
    sightings = {
        name: sight(name, held_of(plan, name, names), plan, catalogue)
        for name, names in held.items()
    }
    return Presence(catalogue, sightings, dict.fromkeys(held, "site"))


def test_lacking_objects() -> None:
    """Of those that tell; a few that have not come yet are no matter."""
    catalogue = catalogue_of(*NAMES)
    plan = allot(catalogue, [4] * len(NAMES), dict.fromkeys(["few", "most", "all", "mute"], 1.0))
    presence = present(plan, catalogue, few={"00"}, most=set(NAMES[4:]), all=set(NAMES))
    lack = Lack("few", "objects", 39, 40, NAMES[1 : MOST_EXAMPLES + 1])
    assert list(audit_content(plan, presence)) == [lack]
    assert not list(audit_content(plan, present(plan, catalogue_of("other"))))
