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

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from bgp.attributes import Attributes
from bgp.events import Announcement, Nlri
from bgp.prefixes import WIDTH, Prefix, format_prefix
from ocaserve.steering.communities import read_marks
from ocaserve.steering.filters import (
    COMMUNITY,
    FAMILY_OFF,
    RPKI_INVALID,
    Policy,
    PrefixFilter,
    judge_attributes,
)
from ocaserve.steering.held_paths import HeldPaths
from ocaserve.steering.paths import (
    DIGEST_BYTES,
    AttributeSet,
    Entry,
    Level,
    Path,
    RouteSource,
    hash_line,
    is_same_route,
    origin_of,
    paths_of,
    preference,
    route_line,
)

_DIGEST_MODULUS = 1 << (8 * DIGEST_BYTES)
_STEP = 200  # entries that one step of work looks at: two milliseconds where all of them go


class Validator(Protocol):
    """RPKI's verdict on a prefix and the AS at the end of its path."""

    def validate(self, family: int, length: int, bits: int, origin_as: int | None) -> str: ...

    def explain(self, prefix: Prefix, origin_as: int | None) -> str: ...


class RoutingTable:
    """Give it announcements and withdrawals; call `work` while it has some.

    changed: told of each prefix whose accepted routes are not what they were. None: nobody follows
    the table, so the digest too is left until somebody asks for it.
    """

    def __init__(self, policy: Policy, changed: Callable[[int, int, int], None] | None) -> None:
        self.policy = policy
        self._changed = changed
        self._filters = {family: PrefixFilter(family, policy) for family in WIDTH}
        self._validator: Validator | None = None
        self._levels: dict[int, dict[int, Level]] = {family: {} for family in WIDTH}
        self.search: dict[int, tuple[tuple[int, Level], ...]] = dict.fromkeys(WIDTH, ())
        self.held = HeldPaths()
        self._digest = self._prefix_digest = 0
        self._jobs: deque[Iterator[None]] = deque()

    # -- reading ---------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """32 hexadecimal digits."""
        digest = self._sum_up()[0] if self._changed is None else self._digest
        return f"{digest:0{2 * DIGEST_BYTES}x}"

    @property
    def prefix_digest(self) -> str:
        """Likewise of the accepted prefixes alone, whoever announces them, and how."""
        digest = self._sum_up()[1] if self._changed is None else self._prefix_digest
        return f"{digest:0{2 * DIGEST_BYTES}x}"

    def _sum_up(self) -> tuple[int, int]:
        """Both digests, from all routes."""
        of_routes = of_prefixes = 0
        for family, length, level in self.snapshot():
            for bits, entry in level.items():
                text = format_prefix(family, length, bits)
                accepted = [path for path in paths_of(entry) if path.reason is None]
                of_routes += sum(hash_line(route_line(text, path)) for path in accepted)
                of_prefixes += hash_line(text) if accepted else 0
        return of_routes % _DIGEST_MODULUS, of_prefixes % _DIGEST_MODULUS

    @property
    def attribute_sets(self) -> int:
        return self.held.attribute_sets

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

    def announce(
        self, source: RouteSource, announcement: Announcement, attributes: Attributes
    ) -> None:
        """Take routes; each replaces what the source said before under the same identifier."""
        if not announcement.nlri or source.excess:
            return
        family, next_hop, nlri = announcement
        marks = read_marks(attributes.values, self.policy.communities)
        held = self.held.hold_attributes(attributes, next_hop, marks)
        verdict = (
            FAMILY_OFF
            if source.is_off
            else judge_attributes(
                attributes, next_hop, source.local_as, source.peer_as, self.policy.longest_path
            )
            or (COMMUNITY if marks.is_excluded else None)
        )
        judge, levels = self._filters[family].judge, self._levels[family]
        is_judged_by_rpki, is_followed = self._validator is not None, self._changed is not None
        made: dict[tuple[int, str | None, str | None], Path] = {}
        rov = None
        for length, bits, path_id in nlri:
            if is_judged_by_rpki:
                rov = self._validate(source, length, bits, held)
            reason = verdict or judge(length, bits) or self._judge_rov(rov)
            key = (path_id, reason, rov)
            path = made.get(key)
            if path is None:
                path = made[key] = self.held.hold_path(source, held, source.generation, *key)
            level = levels.get(length)
            if level is None or bits in level:
                self._put(family, length, bits, path)
                continue
            level[bits] = path  # as `_put` would, for most of a table are new
            path.routes += 1
            source.routes += 1
            if reason is None:
                source.accepted += 1
            else:
                source.filtered[reason] += 1
            if is_followed:
                self._tell(family, length, bits, None, path)
        for path in made.values():
            if not path.routes:
                self.held.forget(path)
        source.watch_limits()

    def withdraw(self, source: RouteSource, nlri: Sequence[Nlri]) -> None:
        """Let routes go; one that is not there is no fault."""
        levels = self._levels[source.family]
        for length, bits, path_id in nlri:
            entry = levels.get(length, {}).get(bits)
            for path in paths_of(entry):
                if path.source is source and path.path_id == path_id:
                    self._remove(source.family, length, bits, path)

    def sweep(self, source: RouteSource) -> None:
        """Let go of the source's routes that are of an older generation than now, step by step."""
        if not source.old:
            return
        if not source.sweeps_below:
            self._jobs.append(self._sweep(source))
        source.sweeps_below = source.generation

    @property
    def validator(self) -> Validator | None:
        """What routes are judged by."""
        return self._validator

    def set_validator(self, validator: Validator | None) -> None:
        """Judge all routes by another RPKI table, those that are here step by step."""
        self._validator = validator
        self._jobs.append(self._validate_again(validator))

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
        elif entry.__class__ is Path and is_same_route(entry, path):
            old = entry
            level[bits] = path
        else:
            rivals = list(paths_of(entry))
            if path in rivals:  # compared by identity
                return
            old = next((each for each in rivals if is_same_route(each, path)), None)
            if old is not None:
                rivals.remove(old)
            elif not _has_room(path.source, rivals):
                return
            insort(rivals, path, key=preference)
            level[bits] = tuple(rivals)
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
            self.held.let_go(old)
            return  # announced again
        if old is not None:
            source = old.source
            source.routes -= 1
            if old.reason is None:
                source.accepted -= 1
            else:
                source.filtered[old.reason] -= 1
        if new is not None:
            source = new.source
            source.routes += 1
            if new.reason is None:
                source.accepted += 1
            else:
                source.filtered[new.reason] += 1
        if self._changed is not None:
            self._tell(family, length, bits, old, new)
        if old is not None:
            self.held.let_go(old)

    def _tell(
        self, family: int, length: int, bits: int, old: Path | None, new: Path | None
    ) -> None:
        """Digest and change of a prefix, where accepted routes are what has changed."""
        is_lost = old is not None and old.reason is None
        is_won = new is not None and new.reason is None
        if not is_lost and not is_won:
            return
        assert self._changed is not None
        text = format_prefix(family, length, bits)
        if old is not None and is_lost:
            self._digest = (self._digest - hash_line(route_line(text, old))) % _DIGEST_MODULUS
        if new is not None and is_won:
            self._digest = (self._digest + hash_line(route_line(text, new))) % _DIGEST_MODULUS
        entry = self.entry(family, length, bits)
        if is_lost is not is_won and not any(
            path.reason is None and path is not new for path in paths_of(entry)
        ):
            share = hash_line(text) if is_won else -hash_line(text)
            self._prefix_digest = (self._prefix_digest + share) % _DIGEST_MODULUS
        self._changed(family, length, bits)

    def _add_level(self, family: int, length: int) -> Level:
        levels = self._levels[family]
        levels[length] = {}
        self.search[family] = tuple(
            (WIDTH[family] - each, levels[each]) for each in sorted(levels, reverse=True)
        )
        return levels[length]

    # -- RPKI ------------------------------------------------------------------------------------

    def _validate(
        self, source: RouteSource, length: int, bits: int, held: AttributeSet
    ) -> str | None:
        if self._validator is None:
            return None
        return self._validator.validate(source.family, length, bits, origin_of(source, held))

    def _judge_rov(self, rov: str | None) -> str | None:
        if rov is None or not self.policy.excludes_rpki_invalid:
            return None
        return RPKI_INVALID if rov == "invalid" else None

    # -- work in steps ---------------------------------------------------------------------------

    def _sweep(self, source: RouteSource) -> Iterator[None]:
        """One walk at a time: a peer may begin and end refreshes faster than they are done."""
        done = 0
        while done < source.sweeps_below:
            done = source.sweeps_below
            for length, bits, path in self._walk(source.family):
                if path is None:
                    if not source.old:
                        break
                    yield
                elif path.source is source and path.generation < done:
                    self._remove(source.family, length, bits, path)
        source.sweeps_below = 0

    def _validate_again(self, validator: Validator | None) -> Iterator[None]:
        for family in WIDTH:
            for length, bits, path in self._walk(family):
                if validator is not self._validator:
                    return  # another one has its own turn
                if path is None:
                    yield
                elif path.reason in (None, RPKI_INVALID):
                    rov = self._validate(path.source, length, bits, path.attributes)
                    reason = self._judge_rov(rov)
                    if (rov, reason) != (path.rov, path.reason):
                        judged = self.held.hold_path(
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


def _has_room(source: RouteSource, rivals: Sequence[Path]) -> bool:
    """Whether the source may have one more path for a prefix; it is counted where not."""
    most = source.most_paths
    if len(rivals) < most or sum(each.source is source for each in rivals) < most:
        return True
    source.paths_left_out += 1
    return False
