"""What routes have in common, held once: who says them, their attributes, the verdict on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import msgspec

from bgp.attributes import OUR_OWN
from bgp.prefixes import parse_address

DIGEST_BYTES = 16
SET_BYTES = 200  # of an attribute set beside its text


class Allowance:
    """What the attributes of one peer's routes take in memory: `bytes`, of `most`.

    A set counts once for a peer, however many of its routes have it.
    """

    __slots__ = ("_uses", "bytes", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._uses: dict[int, int] = {}

    @property
    def is_spent(self) -> bool:
        return self.bytes > self.most

    def take(self, attributes: AttributeSet) -> None:
        """One more path has these."""
        uses = self._uses.get(attributes.number, 0)
        self._uses[attributes.number] = uses + 1
        if not uses:
            self.bytes += SET_BYTES + len(attributes.text)

    def give_back(self, attributes: AttributeSet) -> None:
        """One path fewer has these."""
        uses = self._uses.pop(attributes.number) - 1
        if uses:
            self._uses[attributes.number] = uses
        else:
            self.bytes -= SET_BYTES + len(attributes.text)


class PeerLimits(NamedTuple):
    """Of one peer: prefixes of a family, paths of a prefix, and what the attributes of all take."""

    prefixes: int
    paths: int
    allowance: Allowance


class RouteSource:
    """One family of one peer: its routes, by number.

    generation: of the routes that are announced now. old: how many routes have an older one.
    limit: routes it may have. allowance: what the attributes of all the peer's routes may take.
    With more, `excess` says so until the owner clears it, and nothing is taken. most_paths: for a
    prefix; more are left out, and counted in `paths_left_out`.
    """

    __slots__ = (
        "accepted", "address", "address_number", "allowance", "excess", "family", "filtered",
        "generation", "is_off", "limit", "local_as", "most_paths", "number", "old",
        "paths_left_out", "peer_as", "peer_number", "routes", "sweeps_below",
    )  # fmt: skip

    def __init__(
        self, peer_number: int, address: str, local_as: int, family: int, limits: PeerLimits
    ) -> None:
        self.number = peer_number << 8 | family  # nobody else's
        self.peer_number = peer_number
        self.address = address
        self.address_number = parse_address(6 if ":" in address else 4, address)
        self.local_as = local_as
        self.peer_as = 0  # not known
        self.family = family
        self.is_off = False
        self.limit = limits.prefixes
        self.allowance = limits.allowance
        self.most_paths = limits.paths
        self.excess = ""
        self.paths_left_out = 0
        self.generation = 0
        self.routes = 0
        self.accepted = 0
        self.old = 0
        self.filtered: Counter[str] = Counter()
        self.sweeps_below = 0  # the generation below which routes are being let go of; 0: none are

    def begin_generation(self) -> None:
        """From here on, a route that is not announced again is old."""
        assert 0 <= self.accepted <= self.routes, "counts follow each route that comes or goes"
        self.generation += 1
        self.old = self.routes

    def watch_limits(self) -> None:
        """Say what is too much. While routes are let go of, those count that will be left."""
        if self.sweeps_below:
            return
        if self.routes > self.limit:
            self.excess = f"more than {self.limit} prefixes"
        elif self.allowance.is_spent:
            self.excess = f"more than {self.allowance.most} bytes of attributes"


class AttributeSet(msgspec.Struct, gc=False, eq=False):
    """`text`: attributes, next hop and marks as JSON, keys sorted, without spaces."""

    number: int
    text: str
    path_length: int
    med: int
    origin_as: int | None
    is_backup: bool
    uses: int = 0


class Path(msgspec.Struct, gc=False, eq=False):
    """What all routes have that refer to it. `reason`: why they are not used, else None."""

    source: RouteSource
    path_id: int
    attributes: AttributeSet
    reason: str | None
    rov: str | None
    generation: int
    routes: int = 0


Entry: TypeAlias = Path | tuple[Path, ...]
Level: TypeAlias = dict[int, Entry]


def preference(path: Path) -> tuple[bool, bool, int, int, int, int]:
    """Sorts the best first: used at all, no backup, shorter path, lower MED, peer's address, path
    identifier.
    """
    attributes = path.attributes
    return (
        path.reason is not None,
        attributes.is_backup,
        attributes.path_length,
        attributes.med,
        path.source.address_number,
        path.path_id,
    )


def origin_of(source: RouteSource, attributes: AttributeSet) -> int | None:
    """The AS that a route comes from (RFC 6811 section 2); None where its path ends in a set."""
    return source.local_as if attributes.origin_as == OUR_OWN else attributes.origin_as


def paths_of(entry: Entry | None) -> Sequence[Path]:
    """All paths of an entry, best first."""
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, Path) else entry


def route_line(prefix: str, path: Path) -> str:
    """The text that a route's hash is made of; docs/report.md states it for consumers."""
    return f"{prefix} {path.source.address} {path.path_id} {path.attributes.text}"


def hash_line(line: str) -> int:
    """A route's share of the digest."""
    return int.from_bytes(blake2b(line.encode(), digest_size=DIGEST_BYTES).digest(), "big")


def is_same_route(one: Path, other: Path) -> bool:
    """Whether one takes the place of the other."""
    return one.source is other.source and one.path_id == other.path_id
