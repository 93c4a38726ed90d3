"""Decisions as they are written down, each with all that it was made of, and made again from that.

A line of JSON is one decision. It holds every appliance that heard the client, as it was then, so
nothing else is needed to decide again: `replay` uses the functions that decide, and says where
their answer is another now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from bgp.prefixes import WIDTH, parse_prefix
from ocaserve.fleet.atlas import Covered
from ocaserve.fleet.client_urls import parse_key
from ocaserve.fleet.decisions import (
    CHOSEN,
    Candidate,
    Group,
    Place,
    Server,
    SiteKind,
    apply_ruling,
    choose,
    client_prefix_of,
    heard_network,
    holds_but,
    network_of,
    rank_candidates,
    seed_of,
)
from ocaserve.fleet.tables import Rank, parse_network, start_and_length
from ocaserve.policies.rulings import Ruling

SCHEMA: Final = "ocaserve.decision/1"

MOST_OBJECTS_RECORDED = 20  # of a question; each is decided by itself, so the others tell no more
MOST_CANDIDATES_RECORDED = 256  # a decision among more is not written down: 40 kB

_Location = tuple[Annotated[float, Meta(ge=-90, le=90)], Annotated[float, Meta(ge=-180, le=180)]]


class CandidateRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An appliance that heard the client, and by which of its networks.

    backup, route_weight: what communities make of that route, where they do. labels, used: what
    policies were told of it.
    """

    server: str
    site: str
    kind: Literal["embedded", "pni", "exchange"]
    location: _Location | None
    weight: Annotated[float, Meta(gt=0)]
    fault: str
    network: str
    path_length: int
    med: int
    backup: bool = False
    route_weight: Annotated[float, Meta(gt=0)] | None = None
    labels: dict[str, str] = {}
    used: float = 0.0

    @property
    def rank(self) -> Rank:
        return Rank(self.path_length, self.med, self.backup, self.route_weight or 1.0)


class DecisionRow(Struct, frozen=True, kw_only=True):
    """A decision. at: seconds since the epoch; minute: likewise, by which draws are seeded.

    client: its network, of the length that draws go by; its address is not told. objects: the
    appliances chosen for each, the best first, by its key. lacking: the candidates that did not
    have an object, by its key. left_out: the objects of the question that are not told.

    policies: NAME@VERSION of those that were asked. refused and weights: what they said of each
    object, by its key; ordered: of whom was chosen, where they wanted another order.
    """

    schema: Literal["ocaserve.decision/1"]
    decision: str
    at: float
    minute: Annotated[int, Meta(ge=0)]
    client: str
    location: _Location | None
    candidates: list[CandidateRow]
    objects: dict[str, Annotated[list[str], Meta(max_length=CHOSEN)]]
    lacking: dict[str, list[str]] = {}
    left_out: Annotated[int, Meta(ge=0)] = 0
    policies: list[str] = []
    refused: dict[str, dict[str, str]] = {}
    weights: dict[str, dict[str, Annotated[float, Meta(ge=0)]]] = {}
    ordered: dict[str, list[str]] = {}

    def ruling_of(self, key: str) -> Ruling:
        """What policies said of an object."""
        return Ruling(self.refused.get(key, {}), self.weights.get(key, {}), tuple(self.policies))


class PolicyRecord(NamedTuple):
    """What policies have said. by: which; rulings, ordered: by the key of the object."""

    by: Sequence[str] = ()
    rulings: Mapping[str, Ruling] = MappingProxyType({})
    ordered: Mapping[str, Sequence[str]] = MappingProxyType({})

    def by_key(self, keys: Mapping[str, str]) -> PolicyRecord:
        """The same by other keys, which stand by the ones here."""
        return self._replace(
            rulings={keys[name]: ruling for name, ruling in self.rulings.items()},
            ordered={keys[name]: order for name, order in self.ordered.items()},
        )


NO_POLICIES = PolicyRecord()


class Question(NamedTuple):
    """Of a decision: by which name, when, from which address, at which place, in which minute."""

    decision: str
    at: float
    family: int
    address: int
    place: Place | None
    minute: int


def record_decision(
    question: Question,
    groups: Sequence[Group],
    chosen: Mapping[str, Sequence[Candidate]],
    left_out: int,
    lacking: Mapping[str, frozenset[str]] = MappingProxyType({}),
    said: PolicyRecord = NO_POLICIES,
    used: Mapping[str, float] = MappingProxyType({}),
) -> DecisionRow | None:
    """What is to be written down; None where there are too many candidates.

    chosen: by the key of the object; those beyond `MOST_OBJECTS_RECORDED` are left out too. used:
    of what servers can take.
    """
    if sum(map(len, groups)) > MOST_CANDIDATES_RECORDED:
        return None
    told = list(chosen.items())[:MOST_OBJECTS_RECORDED]
    keys = [key for key, _ in told]
    return DecisionRow(
        schema=SCHEMA,
        decision=question.decision,
        at=question.at,
        minute=question.minute,
        client=str(client_prefix_of(question.family, question.address)),
        location=question.place,
        candidates=[
            _describe(question, each, used.get(each.server.id, 0.0))
            for group in groups
            for each in group
        ],
        objects={key: [each.server.id for each in rows] for key, rows in told},
        lacking={key: sorted(lacking[key]) for key in keys if key in lacking},
        left_out=left_out + len(chosen) - len(told),
        policies=list(said.by),
        refused={key: dict(said.rulings[key].refused) for key in keys if key in said.rulings},
        weights={key: dict(said.rulings[key].weights) for key in keys if key in said.rulings},
        ordered={key: list(said.ordered[key]) for key in keys if key in said.ordered},
    )


def _describe(question: Question, candidate: Candidate, used: float) -> CandidateRow:
    server, rank = candidate.server, candidate.rank
    return CandidateRow(
        server=server.id,
        site=server.site,
        kind=server.kind.value,
        location=server.location,
        weight=server.weight,
        fault=server.fault,
        network=str(heard_network(candidate, question.family, question.address)),
        path_length=rank.path_length,
        med=rank.med,
        backup=rank.is_backup,
        route_weight=None if rank.weight == 1 else rank.weight,
        labels=dict(server.labels),
        used=used,
    )


class RecordError(Exception):
    """A line that is no decision; the text says why."""


class Difference(NamedTuple):
    """An object of a decision for which others are chosen now than were."""

    decision: str
    object: str
    recorded: Sequence[str]
    replayed: Sequence[str]


def read_decision(line: bytes) -> DecisionRow:
    """Raises RecordError."""
    try:
        return msgspec.json.decode(line, type=DecisionRow)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordError(str(error)) from error


class Again(NamedTuple):
    """What a decision is made of, by its record. network: that draws go by. address: of the clients
    that hear the same. keys: of the objects, as draws know them.
    """

    network: bytes
    family: int
    address: int
    groups: Sequence[Group]
    keys: Mapping[str, bytes]

    def choose(self, row: DecisionRow, key: str, ruling: Ruling) -> list[Candidate]:
        """For one of its objects."""
        holds = holds_but(frozenset(row.lacking.get(key, ())))
        seed = seed_of(self.network, self.keys[key], row.minute)
        return choose(apply_ruling(self.groups, ruling), seed, holds)


def read_again(row: DecisionRow) -> Again:
    """Raises RecordError."""
    try:
        family, length, bits = parse_prefix(row.client)
        servers = {each.server: _server_of(each) for each in row.candidates}
        networks = [parse_network(each.network) for each in row.candidates]
        covering = [
            Covered((each.server,), network.length, each.rank)
            for each, network in zip(row.candidates, networks, strict=True)
        ]
        keys = {key: parse_key(key).key for key in row.objects}
    except ValueError as error:
        raise RecordError(str(error)) from error
    first = bits << (WIDTH[family] - length)
    longest = max(networks, key=lambda each: each.length, default=None)
    address = first if longest is None else start_and_length(longest.code)[0]
    network = network_of(family, first)
    return Again(network, family, address, rank_candidates(covering, servers, row.location), keys)


def replay(row: DecisionRow) -> Iterator[Difference]:
    """Decide again; nothing where the answer is the same. Raises RecordError."""
    again = read_again(row)
    for key, recorded in row.objects.items():
        replayed = [each.server.id for each in again.choose(row, key, row.ruling_of(key))]
        if (order := row.ordered.get(key)) and sorted(order) == sorted(replayed):
            replayed = order
        if replayed != recorded:
            yield Difference(row.decision, key, recorded, replayed)


def _server_of(row: CandidateRow) -> Server:
    labels = tuple(sorted(row.labels.items()))
    kind = SiteKind(row.kind)
    return Server(row.server, row.site, kind, row.location, row.weight, row.fault, labels)
