"""The routes of all peers, accepted and filtered ones.

A route is what one peer says of one prefix (with add-path, under one path identifier). What many
routes have in common is held once: an `AttributeSet` by all routes with these attributes and next
hop, a `Path` by all routes of one peer that have in addition the same verdict and generation. So a
route is nothing but an entry of a dictionary, from a prefix's leading bits to its Path, or to a
tuple of Paths, best first, where several peers announce it. A dictionary for each length makes a
longest match a walk from the longest to the shortest. (A million routes: 110 MB, and neither a
number nor a Path is anything the garbage collector walks through.)

Paths have a generation, which a session's start or a refresh raises; what was not announced again
by its end has an older one, and is swept away. A sweep is work in small steps (`work`), so that a
million withdrawals do not hold whoever waits for the same thread.

The digest is a sum, over the accepted routes, of a hash of each: it says whether two tables are the
same, whatever the order in which they were filled, and a change costs one hash.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Protocol, TypeAlias

import msgspec

from bgp.messages import Announcement, Attributes, Nlri
from bgp.prefixes import WIDTH, format_prefix, parse_address
from ocaserve.steering.filters import (
    FAMILY_OFF,
    RPKI_INVALID,
    Policy,
    PrefixFilter,
    judge_attributes,
)

DIGEST_BYTES = 16
_DIGEST_MODULUS = 1 << (8 * DIGEST_BYTES)
_STEP = 200  # entries that one step of work looks at: two milliseconds where all of them go

_encode = msgspec.json.Encoder(order="sorted").encode


class Source:
    """One family of one peer: its routes, by number.

    generation: of the routes that are announced now. old: how many routes have an older one.
    limit: routes it may have; one more and `is_over_limit` is set, until the owner clears it.
    """

    __slots__ = (
        "accepted", "address", "address_number", "family", "filtered", "generation", "is_off",
        "is_over_limit", "limit", "local_as", "number", "old", "peer_number", "routes", "sweeps",
    )  # fmt: skip

    def __init__(
        self, number: int, peer_number: int, address: str, local_as: int, family: int
    ) -> None:
        self.number = number
        self.peer_number = peer_number
        self.address = address
        self.address_number = parse_address(6 if ":" in address else 4, address)
        self.local_as = local_as
        self.family = family
        self.is_off = False
        self.limit = 0
        self.is_over_limit = False
        self.generation = 0
        self.routes = 0
        self.accepted = 0
        self.old = 0
        self.filtered: Counter[str] = Counter()
        self.sweeps = 0  # that are not done yet

    def begin_generation(self) -> None:
        """From here on, a route that is not announced again is old."""
        self.generation += 1
        self.old = self.routes


class AttributeSet(msgspec.Struct, gc=False, eq=False):
    """`text`: attributes and next hop as JSON, keys sorted, without spaces."""

    number: int
    text: str
    path_length: int
    med: int
    origin_as: int | None
    uses: int = 0


class Path(msgspec.Struct, gc=False, eq=False):
    """What all routes have that refer to it. `reason`: why they are not used, else None."""

    source: Source
    path_id: int
    attributes: AttributeSet
    reason: str | None
    rov: str | None
    generation: int
    routes: int = 0


Entry: TypeAlias = Path | tuple[Path, ...]
Level: TypeAlias = dict[int, Entry]


class Validator(Protocol):
    """RPKI's verdict on a prefix and the AS at the end of its path."""

    def validate(self, family: int, length: int, bits: int, origin_as: int | None) -> str: ...


def preference(path: Path) -> tuple[bool, int, int, int, int]:
    """Sorts the best first: used at all, shorter path, lower MED, peer address, path identifier."""
    attributes = path.attributes
    return (
        path.reason is not None,
        attributes.path_length,
        attributes.med,
        path.source.address_number,
        path.path_id,
    )


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


class RoutingTable:
    """Give it announcements and withdrawals; call `work` while it has some.

    changed: told of each prefix whose accepted routes are not what they were.
    """

    def __init__(self, policy: Policy, changed: Callable[[int, int, int], None]) -> None:
        self.policy = policy
        self._changed = changed
        self._filters = {family: PrefixFilter(family, policy) for family in WIDTH}
        self._validator: Validator | None = None
        self._levels: dict[int, dict[int, Level]] = {family: {} for family in WIDTH}
        self.search: dict[int, tuple[tuple[int, Level], ...]] = dict.fromkeys(WIDTH, ())
        self._attributes: dict[str, AttributeSet] = {}
        self._paths: dict[int, Path] = {}
        self._verdicts: dict[tuple[str | None, str | None], int] = {}
        self._numbered = 0
        self._digest = 0
        self._jobs: deque[Iterator[None]] = deque()

    # -- reading ---------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._digest:0{2 * DIGEST_BYTES}x}"

    @property
    def attribute_sets(self) -> int:
        return len(self._attributes)

    def entry(self, family: int, length: int, bits: int) -> Entry | None:
        """What is known of exactly this prefix."""
        return self._levels[family].get(length, {}).get(bits)

    def snapshot(self) -> list[tuple[int, int, Level]]:
        """All entries as they are now: (family, length, entry of each by its bits).

        Paths are never changed but in their counts, so another thread may read it while the table
        goes on. It takes 20 ms a million. Copies as dictionaries are nothing for the garbage
        collector; lists would be: 35 ms for each walk through them.
        """
        return [
            (family, length, level.copy())
            for family, levels in self._levels.items()
            for length, level in sorted(levels.items())
        ]

    # -- changing --------------------------------------------------------------------------------

    def announce(self, source: Source, announcement: Announcement, attributes: Attributes) -> None:
        """Take routes; each replaces what the source said before under the same identifier."""
        if not announcement.nlri or source.is_over_limit:
            return
        family, next_hop, nlri = announcement
        held = self._hold_attributes(attributes, next_hop)
        verdict = (
            FAMILY_OFF
            if source.is_off
            else judge_attributes(attributes, next_hop, source.local_as, self.policy.longest_path)
        )
        judge = self._filters[family].judge
        made: dict[tuple[int, str | None, str | None], Path] = {}
        for length, bits, path_id in nlri:
            rov = self._validate(family, length, bits, held)
            reason = verdict or judge(length, bits) or self._judge_rov(rov)
            key = (path_id, reason, rov)
            path = made.get(key)
            if path is None:
                path = made[key] = self._hold_path(source, held, source.generation, *key)
            self._put(family, length, bits, path)
        source.is_over_limit = source.routes > source.limit

    def withdraw(self, source: Source, nlri: Sequence[Nlri]) -> None:
        """Let routes go; one that is not there is no fault."""
        levels = self._levels[source.family]
        for length, bits, path_id in nlri:
            entry = levels.get(length, {}).get(bits)
            for path in paths_of(entry):
                if path.source is source and path.path_id == path_id:
                    self._remove(source.family, length, bits, path)

    def sweep(self, source: Source) -> None:
        """Let go of the source's routes that are of an older generation than now, step by step."""
        if source.old:
            source.sweeps += 1
            self._jobs.append(self._sweep(source, source.generation))

    def set_validator(self, validator: Validator | None) -> None:
        """Judge all routes by another RPKI table, those that are here step by step."""
        self._validator = validator
        self._jobs.append(self._validate_again())

    @property
    def has_work(self) -> bool:
        return bool(self._jobs)

    def work(self) -> bool:
        """Do one step; whether there is more."""
        if self._jobs and next(self._jobs[0], self) is self:
            self._jobs.popleft()
        return bool(self._jobs)

    def settle(self) -> None:
        """Do all the work there is."""
        while self.work():
            pass

    # -- entries ---------------------------------------------------------------------------------

    def _put(self, family: int, length: int, bits: int, path: Path) -> None:
        level = self._levels[family].get(length)
        if level is None:
            level = self._add_level(family, length)
        entry = level.get(bits)
        if entry is path:
            return
        old = None
        if entry is None:
            level[bits] = path
        elif entry.__class__ is Path and _is_same_route(entry, path):
            old = entry
            level[bits] = path
        else:
            rivals = paths_of(entry)
            if path in rivals:  # compared by identity
                return
            old = next((each for each in rivals if _is_same_route(each, path)), None)
            level[bits] = tuple(
                sorted([path, *(r for r in rivals if r is not old)], key=preference)
            )
        path.routes += 1
        self._count(family, length, bits, old, path)

    def _remove(self, family: int, length: int, bits: int, path: Path) -> None:
        level = self._levels[family][length]
        left = [each for each in paths_of(level[bits]) if each is not path]
        if not left:
            del level[bits]
        else:
            level[bits] = tuple(left) if len(left) > 1 else left[0]
        self._count(family, length, bits, path, None)

    def _count(
        self, family: int, length: int, bits: int, old: Path | None, new: Path | None
    ) -> None:
        """Counters, digest and change of a prefix where `new` has taken the place of `old`."""
        if (
            old is not None
            and new is not None
            and old.attributes is new.attributes
            and old.reason == new.reason
            and old.rov == new.rov
        ):
            self._let_go(old)
            return  # announced again
        text = ""
        if old is not None:
            source = old.source
            source.routes -= 1
            if old.reason is None:
                source.accepted -= 1
                text = format_prefix(family, length, bits)
                self._digest = (self._digest - hash_line(route_line(text, old))) % _DIGEST_MODULUS
            else:
                source.filtered[old.reason] -= 1
            self._let_go(old)
        if new is not None:
            source = new.source
            source.routes += 1
            if new.reason is None:
                source.accepted += 1
                text = text or format_prefix(family, length, bits)
                self._digest = (self._digest + hash_line(route_line(text, new))) % _DIGEST_MODULUS
            else:
                source.filtered[new.reason] += 1
        if text:
            self._changed(family, length, bits)

    def _add_level(self, family: int, length: int) -> Level:
        levels = self._levels[family]
        levels[length] = {}
        self.search[family] = tuple(
            (WIDTH[family] - each, levels[each]) for each in sorted(levels, reverse=True)
        )
        return levels[length]

    # -- what routes have in common --------------------------------------------------------------

    def _hold_attributes(self, attributes: Attributes, next_hop: str) -> AttributeSet:
        text = _encode({**attributes.values, "next_hop": next_hop}).decode()
        held = self._attributes.get(text)
        if held is None:
            self._numbered += 1
            held = self._attributes[text] = AttributeSet(
                self._numbered, text, attributes.path_length, attributes.med, attributes.origin_as
            )
        return held

    def _hold_path(
        self,
        source: Source,
        attributes: AttributeSet,
        generation: int,
        path_id: int,
        reason: str | None,
        rov: str | None,
    ) -> Path:
        key = self._path_key(source, generation, path_id, attributes, reason, rov)
        path = self._paths.get(key)
        if path is None:
            attributes.uses += 1
            path = Path(source, path_id, attributes, reason, rov, generation)
            self._paths[key] = path
        return path

    def _path_key(
        self,
        source: Source,
        generation: int,
        path_id: int,
        attributes: AttributeSet,
        reason: str | None,
        rov: str | None,
    ) -> int:
        """One number: tuples would be a million more objects for the garbage collector."""
        verdict = self._verdicts.setdefault((reason, rov), len(self._verdicts))
        key = generation << 16 | source.number
        return ((key << 32 | path_id) << 40 | attributes.number) << 8 | verdict

    def _let_go(self, path: Path) -> None:
        """One route fewer refers to the path."""
        source, attributes = path.source, path.attributes
        if path.generation != source.generation:
            source.old -= 1
        path.routes -= 1
        if path.routes:
            return
        key = self._path_key(
            source, path.generation, path.path_id, attributes, path.reason, path.rov
        )
        del self._paths[key]
        attributes.uses -= 1
        if not attributes.uses:
            del self._attributes[attributes.text]

    def _validate(self, family: int, length: int, bits: int, held: AttributeSet) -> str | None:
        if self._validator is None:
            return None
        return self._validator.validate(family, length, bits, held.origin_as)

    def _judge_rov(self, rov: str | None) -> str | None:
        return RPKI_INVALID if rov == "invalid" and self.policy.excludes_rpki_invalid else None

    # -- work in steps ---------------------------------------------------------------------------

    def _sweep(self, source: Source, generation: int) -> Iterator[None]:
        family = source.family
        for length, bits, path in self._walk(family):
            if path is None:
                if not source.old:
                    break
                yield
            elif path.source is source and path.generation < generation:
                self._remove(family, length, bits, path)
        source.sweeps -= 1

    def _validate_again(self) -> Iterator[None]:
        for family in WIDTH:
            for length, bits, path in self._walk(family):
                if path is None:
                    yield
                elif path.reason in (None, RPKI_INVALID):
                    rov = self._validate(family, length, bits, path.attributes)
                    reason = self._judge_rov(rov)
                    if (rov, reason) != (path.rov, path.reason):
                        judged = self._hold_path(
                            path.source, path.attributes, path.generation, path.path_id, reason, rov
                        )
                        self._put(family, length, bits, judged)

    def _walk(self, family: int) -> Iterator[tuple[int, int, Path | None]]:
        """Every route of a family that is there when it is reached; None where one may pause."""
        for length, level in list(self._levels[family].items()):
            for place, bits in enumerate(list(level)):
                for path in paths_of(level.get(bits)):
                    yield length, bits, path
                if not place % _STEP:
                    yield length, bits, None


def _is_same_route(one: Path, other: Path) -> bool:
    return one.source is other.source and one.path_id == other.path_id
