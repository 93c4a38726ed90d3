"""What the supervisor decides, apart from what it does: no clock, no process, no socket here.

A *place* is a worker's number, 0 to the number of workers - 1. A *generation* is a set of settings,
by number. Each place is to have one serving worker of the wanted generation; `plan_workers` says
what to do next to get there, and is asked after every event.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ocaserve.lifecycle import WorkerState


@dataclass(frozen=True)
class Timing:
    """How long the supervisor waits for what. Seconds, but for `starts_tried`."""

    first_pause_s: float = 0.1  # after one death: most are single, and a place should not be empty
    longest_pause_s: float = 30.0  # more would leave a place empty long after a disk is back
    healthy_s: float = 60.0  # a worker that lived this long did not die of its start
    starts_tried: int = 3  # at the first start of all, where a person waits for the reason
    silence_s: float = 30.0  # without a sign of life, which comes each second: it is stuck
    kill_margin_s: float = 5.0  # for a worker to end by itself after its drain deadline
    upgrade_s: float = 30.0  # for a new version to become ready


def pause_after(deaths: int, timing: Timing) -> float:
    """Seconds before a place gets a new worker after so many deaths in a row."""
    doublings = min(deaths - 1, 32)  # the power of a long row of deaths would not fit a float
    return min(timing.longest_pause_s, timing.first_pause_s * 2.0**doublings)


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
class Plan(Generic[W]):
    """What to do now. `is_settled`: once that is done, every place has its worker and no other."""

    retire: tuple[W, ...]
    start: tuple[int, ...]
    is_settled: bool


def plan_workers(
    places: int, generation: int, workers: Sequence[W], resting: Collection[int]
) -> Plan[W]:
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
    return Plan(retire, start, is_covered and not start)


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
