"""What fill is doing, as it is told: to people, to metrics, to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from ocaserve.fill.manifest import Manifest
from ocaserve.fill.planner import NOT_YET, UNVERIFIED, Action, Kind, Plan


class Doing(Struct, frozen=True, kw_only=True):
    """One object that is being fetched now."""

    key: str
    size: int
    bytes_done: int
    store: str


class Dropped(Struct, frozen=True, kw_only=True):
    """A source that is left alone for a while."""

    origin: str
    strikes: int
    for_s: float
    why: str


class Wanted(Struct, frozen=True, kw_only=True):
    """How much clients want an object: bytes of it that they were sent in a day, by its size."""

    key: str
    copies_per_day: float


class Part(Struct, frozen=True, kw_only=True):
    """So many objects, and their bytes together."""

    objects: int
    bytes: int


class Waiting(Struct, frozen=True, kw_only=True):
    """Objects that wait for one reason."""

    why: str
    objects: int
    bytes: int


class Sums(NamedTuple):
    """A plan's actions added up, once: status is asked for all the time.

    next_due: when the next object may be fetched that may not be yet, seconds since the epoch.
    blocked: why the most objects wait of those that wait for somebody to do something.
    """

    wanted: Part
    parts: dict[Kind, Part]
    waiting: list[Waiting]
    blocked: str
    next_due: float | None

    def moved(self, size: int) -> Sums:
        """One object more is here, and one less is missing."""
        parts = dict(self.parts)
        for kind, sign in ((Kind.KEEP, 1), (Kind.FETCH, -1)):
            part = parts[kind]
            parts[kind] = Part(
                objects=max(0, part.objects + sign), bytes=max(0, part.bytes + sign * size)
            )
        return self._replace(parts=parts)


def sum_up(manifest: Manifest, plan: Plan, now: float) -> Sums:
    """Goes through all of both."""
    by_kind: dict[Kind, list[Action]] = {kind: [] for kind in Kind}
    for action in plan.actions:
        by_kind[action.kind].append(action)
    waiting = _by_reason(by_kind[Kind.WAIT])
    blocked = [each.why for each in waiting if each.why not in (NOT_YET, UNVERIFIED)]
    dues = (entry.due for entry in manifest.objects if entry.not_before is not None)
    return Sums(
        Part(objects=len(manifest.objects), bytes=sum(entry.size for entry in manifest.objects)),
        {kind: part_of(actions) for kind, actions in by_kind.items()},
        waiting,
        blocked[0] if blocked else "",
        min((due for due in dues if due > now), default=None),
    )


def part_of(actions: Iterable[Action]) -> Part:
    """How many, and their bytes."""
    sizes = [action.size for action in actions]
    return Part(objects=len(sizes), bytes=sum(sizes))


def _by_reason(actions: Iterable[Action]) -> list[Waiting]:
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for action in actions:
        objects[action.why] += 1
        sizes[action.why] += action.size
    return [Waiting(why=why, objects=n, bytes=sizes[why]) for why, n in objects.most_common()]


class FillStatus(Struct, frozen=True, kw_only=True):
    """How far fill is.

    state: filling, idle (all is here), waiting (nothing can be done now), closed (outside of the
    window), held (the appliance is busy; `why` says with what). postponed: of what is missing, what
    could not be had when it was tried last, by reason. lost: stores that take nothing, and why.
    received: bytes by tier since the start. faults: of sources, by kind. ends: when all is here at
    the rate of now; null if nobody knows. holdings: another one when other objects are here.
    window_changes: when the window opens or closes next; null if it is always open.
    most_wanted: the objects that clients want most, as the last plan knew it.
    """

    state: str
    why: str
    manifest: str
    holdings: str
    manifest_at: datetime | None
    manifest_fault: str
    planned_at: datetime | None
    wanted: Part
    here: Part
    missing: Part
    waiting: list[Waiting]
    postponed: list[Waiting]
    lost: dict[str, str]
    doing: list[Doing]
    bits_per_s: int
    ends: datetime | None
    received: dict[str, int]
    published: int
    evicted: int
    damaged: int
    scrubbed_bytes: int
    failures: int
    last_failure: str
    dropped: list[Dropped]
    faults: dict[str, int]
    is_open: bool
    window_changes: datetime | None
    most_wanted: list[Wanted]
