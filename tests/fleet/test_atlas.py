"""The longest match over all tables, beside a search that looks at every network."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocaserve.fleet.atlas import NOWHERE, Atlas
from ocaserve.fleet.survey import Survey, draw_atlas
from ocaserve.fleet.tables import NO_ROUTES, Rank, Table, Tables
from tests.fleet.brute_force import Heard, Known, hear
from tests.support.fleet import by_text


def draw_up(known: Known) -> Atlas:
    tables = Tables()
    return draw_atlas({name: table_of(tables, networks) for name, networks in known.items()})


def table_of(tables: Tables, networks: object) -> Table:
    assert isinstance(networks, dict)
    return tables.change(NO_ROUTES, ((text, Rank(*rank)) for text, rank in networks.items()))


def find(atlas: Atlas, address: str) -> dict[str, Heard]:
    parsed = ip_address(address)
    region = atlas.find(parsed.version, int(parsed))
    return {
        appliance: Heard(-each.length, each.rank.is_backup, each.rank.path_length, each.rank.med)
        for each in atlas.covering(region)
        for appliance in each.appliances
    }


def networks_of(width: int, prefix: int) -> st.SearchStrategy[str]:
    """Few different bits, so that they meet: within one place, from all of it to one address."""

    def make(length: int, bits: int) -> str:
        start = prefix | bits << (width - 16)
        start = start >> (width - length) << (width - length)
        return f"{ip_address(start.to_bytes(width // 8, 'big'))}/{length}"

    return st.builds(make, st.sampled_from([0, 7, 8, 9, 12, 15, 16, width]), st.integers(0, 255))


WEIGHTS = st.sampled_from([0.5, 1.0, 3.0])
PLAIN = st.tuples(st.integers(1, 3), st.integers(0, 1))
MARKED = st.tuples(st.integers(1, 3), st.integers(0, 1), st.booleans(), WEIGHTS)
RANKS = PLAIN | MARKED
NETWORKS = networks_of(32, 0) | networks_of(128, 0x2001 << 112)
KNOWN = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.dictionaries(NETWORKS, RANKS, max_size=8)
)


@given(KNOWN)
def test_is_what_looking_at_all_finds(known: Known) -> None:
    """At both ends of every network, and beside them."""
    insist_that_it_is(draw_up(known), known)


@settings(max_examples=40)
@given(st.lists(KNOWN, min_size=2, max_size=4))
def test_what_has_changed_is_drawn(steps: list[Known]) -> None:
    """One survey after the other finds what each would alone."""
    survey, tables = Survey(), Tables()
    for known in steps:
        now = {name: table_of(tables, networks) for name, networks in known.items()}
        atlas = Atlas(survey.draw(now), now)
        insist_that_it_is(atlas, known)
        assert len(atlas) == len({text for networks in known.values() for text in networks})


def insist_that_it_is(atlas: Atlas, known: Known) -> None:
    for text in {text for networks in known.values() for text in networks}:
        family, first, last = ends_of(text)
        width = 32 if family == 4 else 128
        for value in (first - 1, first, last, last + 1):
            if 0 <= value < 1 << width:
                address = str(ip_address(value.to_bytes(width // 8, "big")))
                assert find(atlas, address) == hear(known, address), address


def ends_of(text: str) -> tuple[int, int, int]:
    start, _, length = text.partition("/")
    parsed = ip_address(start)
    width = parsed.max_prefixlen
    return parsed.version, int(parsed), int(parsed) + (1 << (width - int(length))) - 1


def test_nobody_hears_what_is_not_announced() -> None:
    atlas = draw_up({"a": {"11.0.0.0/8": (1, 0)}})
    assert atlas.find(4, int(ip_address("12.0.0.0"))) == NOWHERE
    assert atlas.find(4, int(ip_address("10.255.255.255"))) == NOWHERE
    assert atlas.find(6, int(ip_address("::b00:1"))) == NOWHERE
    assert find(atlas, "11.255.255.255") == {"a": (-8, False, 1, 0)}


def test_networks_longer_than_64_bits() -> None:
    """The lower half of an address counts as the upper one does."""
    known: Known = {"a": {"2001:db8::/32": (1, 0)}, "b": {"2001:db8::8000:0:0:0/66": (9, 9)}}
    atlas = draw_up(known)
    for address in ("2001:db8::7fff:0:0:0", "2001:db8::8000:0:0:1", "2001:db8::c000:0:0:0"):
        assert find(atlas, address) == hear(known, address)


def test_equal_tables_are_one() -> None:
    """Of a site whose appliances hear the same, the routes lie there once."""
    tables = Tables()
    one = table_of(tables, {"11.0.0.0/8": (1, 0), "12.0.0.0/8": (2, 0)})
    other = table_of(tables, {"12.0.0.0/8": (2, 0), "11.0.0.0/8": (1, 0)})
    assert one is other
    atlas = draw_atlas({"a": one, "b": other})
    assert set(find(atlas, "11.1.1.1")) == {"a", "b"}
    assert len(atlas) == 2


@pytest.mark.parametrize("text", ["11.0.0.0/33", "11.0.0/8", "x", "", "11.0.0.0/8/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"length|neither"):
        Tables().change(NO_ROUTES, [(text, Rank(1, 0))])


News = list[tuple[str, Rank | None]]
NEWS = st.lists(st.tuples(NETWORKS, st.none() | st.builds(lambda route: Rank(*route), RANKS)))


@given(NEWS, NEWS)
def test_changes_lead_where_the_whole_does(first: News, second: News) -> None:
    """Applied one after the other, or as what is left at the end: one table, by its digest."""
    tables, news = Tables(), [*first, *second]
    by_steps = tables.change(tables.change(NO_ROUTES, first), second)
    left = {text: rank for text, rank in news if rank is not None}
    for text, rank in news:
        left.pop(text, None)
        if rank is not None:
            left[text] = rank
    at_once = tables.change(NO_ROUTES, left.items())
    assert at_once is by_steps
    assert by_text(at_once) == left
