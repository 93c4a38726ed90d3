"""A decision that is written down can be made again: from its line alone, and bit for bit."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fleet.decisions import Server, SiteKind, choose, holds_but, network_of, seed_of
from ocaserve.fleet.recorded_decisions import (
    MOST_CANDIDATES_RECORDED,
    CandidateRow,
    DecisionRow,
    Question,
    RecordError,
    read_decision,
    record_decision,
    replay,
)
from ocaserve.fleet.tables import Rank
from tests.fleet.test_atlas import KNOWN
from tests.fleet.test_decisions import rank

NAMES = "abcd"
SERVERS = st.tuples(
    *(
        st.builds(
            Server,
            id=st.just(name),
            site=st.sampled_from(["one", "two"]),
            kind=st.sampled_from(list(SiteKind)),
            location=st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
            weight=st.floats(1, 1e12),
            fault=st.sampled_from(["", "", "silent: since long"]),
        )
        for name in NAMES
    )
)


def record(
    known: object,
    servers: tuple[Server, ...],
    client: str,
    *keys: str,
    lacking: frozenset[str] = frozenset(),
) -> DecisionRow:
    """As the control plane writes it down. lacking: who has none of these."""
    parsed = ip_address(client)
    groups = rank(known, *servers, client=client)  # type: ignore[arg-type]
    network = network_of(parsed.version, int(parsed))
    question = Question("d1", 1.5e9, parsed.version, int(parsed), None, 25_000_000)
    holds = holds_but(lacking)
    chosen = {
        key: choose(groups, seed_of(network, key.encode(), question.minute), holds) for key in keys
    }
    row = record_decision(question, groups, chosen, 0, dict.fromkeys(keys, lacking))
    assert row is not None
    return row


@given(
    KNOWN,
    SERVERS,
    st.sampled_from(["0.0.0.0", "0.7.0.1", "0.255.255.255", "2001::", "2001:ff::1"]),
    st.sampled_from(["film.mp4", "a/b c.ts", "größe.mp4"]),
    st.frozensets(st.sampled_from(NAMES)),
)
def test_replay_gives_the_same(
    known: object, servers: tuple[Server, ...], client: str, key: str, lacking: frozenset[str]
) -> None:
    """Through the line of JSON, with weights and places to their last bit."""
    row = record(known, servers, client, key, lacking=lacking)
    again = read_decision(msgspec.json.encode(row))
    assert again == row
    assert list(replay(again)) == []


def test_a_difference_is_told() -> None:
    known = {name: {"11.0.0.0/8": (1, 0)} for name in NAMES}
    servers = tuple(Server(name, f"site-{name}") for name in NAMES)
    row = record(known, servers, "11.1.1.1", "film.mp4", "other.mp4")
    was = row.objects["film.mp4"]
    changed = msgspec.structs.replace(row, objects={**row.objects, "film.mp4": was[::-1]})
    (found,) = replay(changed)
    assert found == ("d1", "film.mp4", was[::-1], was)


def test_all_that_counts_is_written_down() -> None:
    """Who adds to what decisions look at adds it here as well."""
    of_route = {"path_length", "med", "backup", "route_weight"}
    told = set(CandidateRow.__struct_fields__) - {"server", "network", "used"} - of_route
    assert {each.name for each in fields(Server)} - {"id"} == told
    assert len(of_route) == len(Rank._fields)


def test_a_line_tells_of_marks_where_there_are_some() -> None:
    """Those of who has none are what they were before there were any."""
    known = {"a": {"11.0.0.0/8": (1, 0)}, "b": {"11.0.0.0/8": (1, 0, True, 0.5)}}
    row = record(known, (Server("a", "one"), Server("b", "two")), "11.1.1.1", "x")
    plain, marked = msgspec.to_builtins(row)["candidates"]
    assert not {"backup", "route_weight"} & plain.keys()
    assert (marked["backup"], marked["route_weight"]) == (True, 0.5)


def test_a_line_is_bounded() -> None:
    """Of many objects the first are told; a decision among very many is not."""
    servers = (Server("a", "one"),)
    row = record({"a": {"11.0.0.0/8": (1, 0)}}, servers, "11.1.1.1", *map(str, range(50)))
    assert (len(row.objects), row.left_out) == (20, 30)
    assert row.client == "11.1.1.0/24"
    names = [f"a{number}" for number in range(MOST_CANDIDATES_RECORDED + 1)]
    groups = rank({name: {"11.0.0.0/8": (1, 0)} for name in names}, *(Server(n, n) for n in names))
    question = Question("d1", 1.5e9, 4, 11 << 24, None, 1)
    assert record_decision(question, groups, {}, 0) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "ocaserve.decision/2"}, "schema"),
        ({"client": "11.1.1"}, "11.1.1"),
        ({"objects": {"../x": []}}, "names no object"),
        ({"minute": -1}, "minute"),
        ({"candidates": [{}]}, "candidates"),
    ],
)
def test_what_is_no_decision(change: dict[str, object], says: str) -> None:
    row = record({"a": {"11.0.0.0/8": (1, 0)}}, (Server("a", "one"),), "11.1.1.1", "x")
    line = msgspec.json.encode({**msgspec.to_builtins(row), **change})
    with pytest.raises(RecordError, match=says):
        list(replay(read_decision(line)))
