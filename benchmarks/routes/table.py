"""The routes that are played: made, with what a real table has, or recorded in an MRT file.

Made ones have 5.7 prefixes an UPDATE, a fifth of IPv6, and attributes of its own for each UPDATE.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from benchmarks.routes import speaker
from bgp.attributes import Attributes
from bgp.events import Session, Update
from bgp.prefixes import format_prefix
from ocaserve.routing.recordings import read_recording
from ocaserve.steering.mrt import MrtReader, RecordFault

PEER, PEER_AS, LOCAL_AS = "192.0.2.1", 65_001, 65_000
CHANGED = 1_000
"""Routes that change at once."""

_Place = tuple[int, int, int]  # family, length, leading bits
_NEXT_HOPS = {4: PEER, 6: "2a00:1::1"}
_MESSAGE_PREFIXES = {4: 700, 6: 200}  # withdrawn by one message of 4,096 bytes
_LINE = (
    '{ "exabgp": "5.0.0", "time": 1795466883.5, "host" : "vm", "pid" : 27162, "ppid" : 1, '
    '"counter": %d, "type": "%s", "neighbor": { "address": { "local": "192.0.2.10", "peer": '
    f'"{PEER}" }}, "asn": {{ "local": {LOCAL_AS}, "peer": {PEER_AS} }}, '
    '"router-id": "10.0.0.2" , %s } }'
)
_UPDATE = (
    '"direction": "receive", "message": { "update": { "attribute": { "origin": "igp", "as-path": '
    '{"0": {"element": "as-sequence", "value": %s}}, "med": %d, "community": %s }, '
    '"announce": { "ipv%d unicast": { "%s": [ %s ] } } } }'
)


@dataclass(frozen=True)
class Group:
    """Prefixes that one UPDATE announces."""

    family: int
    prefixes: Sequence[speaker.Prefix]
    path: Sequence[int]
    med: int
    communities: Sequence[tuple[int, int]]

    def as_message(self) -> bytes:
        given = speaker.attributes(self.path, self.med, self.communities)
        return speaker.announce(self.family, self.prefixes, given, _NEXT_HOPS[self.family])

    def as_body(self) -> str:
        """The same as ExaBGP has it in a line."""
        nlri = (f'{{ "nlri": "{format_prefix(self.family, *each)}" }}' for each in self.prefixes)
        communities = [list(each) for each in self.communities]
        return _UPDATE % (
            list(self.path), self.med, communities, self.family, _NEXT_HOPS[self.family],
            ", ".join(nlri),
        )  # fmt: skip


class Lines:
    """Numbers lines as ExaBGP does."""

    def __init__(self) -> None:
        self._counter = 0

    def line(self, kind: str, body: str) -> bytes:
        self._counter += 1
        return (_LINE % (self._counter, kind, body)).encode()

    def end_of_rib(self, family: int) -> bytes:
        eor = f'"message": {{ "eor": {{ "afi" : "ipv{family}", "safi" : "unicast" }} }}'
        return self.line("update", eor)


# -- which routes --------------------------------------------------------------------------------


def make_groups(routes: int) -> list[Group]:
    """So many routes in all, all prefixes different; the same ones each time."""
    chance = random.Random(1)  # noqa: S311 - repeatable is what is wanted
    groups: list[Group] = []
    done = 0
    while done < routes:
        size = min(chance.choice((1, 2, 4, 6, 8, 13)), routes - done)
        family = 6 if chance.random() < 0.2 else 4
        hops = [chance.randrange(70_000, 400_000) for _ in range(chance.randrange(1, 5))]
        communities = [(PEER_AS, chance.randrange(1_000)), (PEER_AS, 200)]
        prefixes = [_make_prefix(done + place, family) for place in range(size)]
        groups.append(Group(family, prefixes, [PEER_AS, *hops], chance.randrange(100), communities))
        done += size
    return groups


def _make_prefix(number: int, family: int) -> speaker.Prefix:
    """Of /20 to /24, and /48, spread over what is in use."""
    if family == 6:
        return 48, (0x2A00 << 32) + number * 7
    length = 24 - (number % 16 == 0) - (number % 64 == 0) - (number % 256 == 0)
    spread = 0x0B0000 + number * 7_919 % 0x590000
    return length, spread >> (24 - length)


def read_groups(file: str) -> list[Group]:
    """The routes of the peer that has most in an MRT file. Raises ReplayError."""
    heard: dict[Session, dict[_Place, Attributes]] = {}
    for read in MrtReader().read(read_recording(file)[0]):
        if isinstance(read, RecordFault):
            continue
        envelope, event = read
        if isinstance(event, Update) and envelope.session is not None:
            _apply(event, heard.setdefault(envelope.session, {}))
    routes = max(heard.values(), key=len, default={})
    return list(_group(routes))


def _apply(update: Update, routes: dict[_Place, Attributes]) -> None:
    for family, nlri in update.withdrawn:
        for length, bits, _ in nlri:
            routes.pop((family, length, bits), None)
    for family, _, nlri in update.announced:
        for length, bits, _ in nlri:
            routes[family, length, bits] = update.attributes


def _group(routes: dict[_Place, Attributes]) -> Iterator[Group]:
    by_attributes: dict[tuple[int, int], tuple[Attributes, list[speaker.Prefix]]] = {}
    for (family, length, bits), attributes in routes.items():
        _, prefixes = by_attributes.setdefault((id(attributes), family), (attributes, []))
        prefixes.append((length, bits))
    for (_, family), (attributes, prefixes) in by_attributes.items():
        most = _MESSAGE_PREFIXES[family] // 2
        for start in range(0, len(prefixes), most):
            yield Group(family, prefixes[start : start + most], *_described(attributes.values))


def _described(values: Any) -> tuple[list[int], int, list[tuple[int, int]]]:
    path = [each for each in values["as_path"] if isinstance(each, int)]
    communities = [each.split(":") for each in values.get("communities", ())]
    return [PEER_AS, *path], values.get("med", 0), [(int(a), int(b)) for a, b in communities]


# -- what is sent --------------------------------------------------------------------------------


class Played(NamedTuple):
    """Messages: all routes, other metrics of `CHANGED` of them (twice), and the end of all."""

    routes: int
    updates: int
    load: bytes
    changes: Sequence[bytes]
    withdrawal: bytes


def render(groups: Sequence[Group]) -> Played:
    """As a router sends them. Prefixes count once, however often they stand in `groups`."""
    load = b"".join(group.as_message() for group in groups)
    some = list(changing(groups))
    changes = [
        b"".join(replace(group, med=group.med + more).as_message() for group in some)
        for more in (1_000, 2_000)
    ]
    routes = count(groups)
    ends = speaker.end_of_rib(4) + speaker.end_of_rib(6)
    return Played(routes, len(groups), load + ends, changes, b"".join(_withdrawals(groups)))


def count(groups: Sequence[Group]) -> int:
    return sum(
        Counter({(group.family, each) for group in groups for each in group.prefixes}).values()
    )


def changing(groups: Sequence[Group]) -> Iterator[Group]:
    """The first groups, with `CHANGED` prefixes in all."""
    left = CHANGED
    for group in groups:
        if left <= 0:
            return
        yield replace(group, prefixes=group.prefixes[:left])
        left -= len(group.prefixes)


def _withdrawals(groups: Sequence[Group]) -> Iterator[bytes]:
    for family, most in _MESSAGE_PREFIXES.items():
        prefixes = [each for group in groups if group.family == family for each in group.prefixes]
        for start in range(0, len(prefixes), most):
            yield speaker.withdraw(family, prefixes[start : start + most])
