"""What the supervisor decides, apart from what it does: no clock, no process, no socket here.

A *place* is a worker's number, 0 to the number of workers - 1. A *generation* is a set of settings,
by number. Each place is to have one serving worker of the wanted generation; `plan_workers` says
what to do next to get there, and is asked after every event.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ocaserve.lifecycle import WorkerState


@dataclass(frozen=True)
class RestartTiming:
    """How long the supervisor waits for what. Seconds, but for `starts_tried`."""

    first_pause_s: float = 0.1  # between two starts of a place, and after one that failed
    longest_pause_s: float = 5.0  # a start costs a few ms; more would outlast what kept it away
    longest_gap_s: float = 1.0  # the same while no place has a worker
    retry_s: float = 1.0  # after the system refused a process: asking again costs next to nothing
    listen_again_s: float = 5.0  # for an address that another program has
    settled_s: float = 10.0  # a command that lived this long did not die of its start
    starts_tried: int = 3  # at the first start of all, where a person waits for the reason
    silence_s: float = 30.0  # without a sign of life, which comes each second: it is stuck
    kill_margin_s: float = 5.0  # for a worker to end by itself after its drain deadline
    upgrade_s: float = 30.0  # for a new version to become ready


def pause_after(failures: int, timing: RestartTiming) -> float:
    """Seconds before the next start after so many in a row that failed."""
    doublings = min(failures - 1, 32)  # the power of a long row would not fit a float
    return min(timing.longest_pause_s, timing.first_pause_s * 2.0**doublings)


def next_start(started: float, now: float, failures: int, timing: RestartTiming) -> float:
    """When to start anew what was started at `started` and has ended now.

    failures: starts in a row that did not come to anything, this one included; 0 for a process that
    has served, which is started at once. But never more often than each `first_pause_s`.
    """
    if failures:
        return now + pause_after(failures, timing)
    return max(now, started + timing.first_pause_s)


@dataclass
class Rests:
    """Which places wait, and until when. Times are those of a monotonic clock, told by the caller.

    A place waits longer with each worker that dies of its start. All waits end when a worker comes
    into service somewhere, since what kept the others from it may be gone as well.
    """

    timing: RestartTiming
    _failures: dict[int, int] = field(default_factory=dict)  # in a row, by place
    _ends: dict[int, float] = field(default_factory=dict)

    def note_death(self, place: int, started: float, now: float, *, has_served: bool) -> None:
        """A place's worker has ended without having been told to."""
        self._failures[place] = failures = 0 if has_served else self._failures.get(place, 0) + 1
        self._ends[place] = next_start(started, now, failures, self.timing)

    def note_refusal(self, place: int, now: float) -> None:
        """The system has refused a process for the place."""
        self._ends[place] = now + self.timing.retry_s

    def end_all(self) -> None:
        """A worker has come into service, or there are other settings."""
        self._failures.clear()
        self._ends.clear()

    def resting(self, now: float, *, is_empty: bool) -> set[int]:
        """The places that wait. is_empty: no place has a worker, so none waits for long."""
        self._ends = {place: end for place, end in self._ends.items() if end > now}
        if is_empty:
            soon = now + self.timing.longest_gap_s
            self._ends = {place: min(end, soon) for place, end in self._ends.items()}
        return set(self._ends)

    @property
    def count(self) -> int:
        """How many places wait."""
        return len(self._ends)

    def next_end(self) -> float | None:
        """When the first wait ends; None where nobody waits."""
        return min(self._ends.values(), default=None)


# -- which workers there shall be ----------------------------------------------------------------


class HasPlace(Protocol):
    """What a plan is made from: a worker's place, generation and state."""

    @property
    def place(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def state(self) -> WorkerState: ...


W = TypeVar("W", bound=HasPlace)


@dataclass(frozen=True)
class WorkerPlan(Generic[W]):
    """What to do now. `is_settled`: once that is done, every place has its worker and no other."""

    retire: tuple[W, ...]
    start: tuple[int, ...]
    is_settled: bool


def plan_workers(
    places: int, generation: int, workers: Sequence[W], resting: Collection[int]
) -> WorkerPlan[W]:
    """Whom to retire and which places to start a worker for.

    resting: places that wait after a death. Empty places are filled all at once; a worker of
    another generation is replaced only while no other worker is starting, and retired only when its
    successor serves. So settings with which no worker starts cost none that serves.
    """
    successors = {w.place for w in _serving(workers) if w.generation == generation}
    is_covered = successors >= set(range(places))
    retire = tuple(
        w
        for w in workers
        if w.generation != generation
        and (
            w.state is WorkerState.STARTING
            or (w.state is WorkerState.SERVING and (w.place in successors or is_covered))
        )
    )
    kept = [w for w in workers if w not in retire and w.state is not WorkerState.DRAINING]
    start = _places_to_fill(places, generation, kept, resting)
    assert all(0 <= place < places for place in start), "each place has a share of the listeners"
    return WorkerPlan(retire, start, is_covered and not start)


def _places_to_fill(
    places: int, generation: int, kept: Sequence[HasPlace], resting: Collection[int]
) -> tuple[int, ...]:
    filled = {w.place for w in kept}
    awake = [place for place in range(places) if place not in resting]
    empty = tuple(place for place in awake if place not in filled)
    if empty or any(w.state is WorkerState.STARTING for w in kept):
        return empty
    outdated = {w.place for w in kept if w.generation != generation}
    return tuple(place for place in awake if place in outdated)[:1]


def plan_haste(workers: Sequence[W], most: int) -> tuple[W, ...]:
    """Whose grace ends now: those that drain while `most` later generations drain as well."""
    draining = [w for w in workers if w.state is WorkerState.DRAINING]
    late = sorted({w.generation for w in draining})[:-most]
    return tuple(w for w in draining if w.generation in late)


def _serving(workers: Sequence[W]) -> list[W]:
    return [w for w in workers if w.state is WorkerState.SERVING]


# -- who accepts from which listener -------------------------------------------------------------


def share_out(places: int, serving: Sequence[int]) -> dict[int, set[int]]:
    """Which shares of the listeners each serving place accepts from.

    Every share 0..places-1 has exactly one place, its own if that serves: a connection must not
    wait in a queue that nobody looks at. Places beyond the number of shares (fewer workers are
    wanted than there were) get none, unless they are all there are.
    """
    shares: dict[int, set[int]] = {place: set() for place in serving}
    candidates = sorted(place for place in serving if place < places) or sorted(serving)
    if not candidates:
        return shares
    for share in range(places):
        shares[share if share in shares else candidates[share % len(candidates)]].add(share)
    return shares


def listeners_of_share(group_sizes: Sequence[int], places: int, share: int) -> list[int]:
    """The positions, in the flat list of all sockets, that belong to a share.

    group_sizes: how many sockets each address has. An address with a socket for each place gives
    one to each share; with fewer, shares have one in common; with more, a share has several.
    """
    positions: list[int] = []
    start = 0
    for size in group_sizes:
        if size >= places:
            positions += range(start + share, start + size, places)
        else:
            positions.append(start + share % size)
        start += size
    return positions
