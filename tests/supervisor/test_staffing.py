"""What the supervisor decides: pauses, which workers to start and retire, who accepts where."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.lifecycle import WorkerState
from ocaserve.supervisor.staffing import (
    RestartTiming,
    Rests,
    WorkerPlan,
    listeners_of_share,
    next_start,
    pause_after,
    plan_haste,
    plan_workers,
    share_out,
)

STARTING, SERVING, DRAINING = WorkerState.STARTING, WorkerState.SERVING, WorkerState.DRAINING


@pytest.mark.parametrize(
    ("failures", "pause_s"),
    [
        pytest.param(1, 0.1, id="first"),
        pytest.param(2, 0.2, id="second"),
        pytest.param(6, 3.2, id="last_that_doubles"),
        pytest.param(7, 5.0, id="longest"),
        pytest.param(100_000, 5.0, id="after_days_of_it"),
    ],
)
def test_pause(failures: int, pause_s: float) -> None:
    """It doubles with each start in a row that failed, to a bound."""
    assert pause_after(failures, RestartTiming()) == pytest.approx(pause_s)


@pytest.mark.parametrize(
    ("started", "failures", "at"),
    [
        pytest.param(90.0, 0, 100.0, id="has_served_at_once"),
        pytest.param(99.99, 0, 100.09, id="has_served_for_a_moment"),
        pytest.param(90.0, 1, 100.1, id="failed_once"),
        pytest.param(90.0, 5, 101.6, id="failed_again_and_again"),
    ],
)
def test_next_start(started: float, failures: int, at: float) -> None:
    """What has ended at 100 is started anew then."""
    assert next_start(started, 100.0, failures, RestartTiming()) == pytest.approx(at)


# -- places that wait ----------------------------------------------------------------------------


def test_worker_killed_again_and_again_after_it_served() -> None:
    """However often: its place never waits."""
    rests = Rests(RestartTiming())
    for now in range(2, 200, 2):
        rests.note_death(0, now - 2, now, has_served=True)
        assert rests.resting(now, is_empty=True) == set()


def test_place_whose_workers_die_of_their_start() -> None:
    """Its waits grow, while another place has a worker."""
    rests = Rests(RestartTiming())
    waits = []
    for _ in range(9):
        rests.note_death(1, 0, 0, has_served=False)
        assert rests.resting(0, is_empty=False) == {1}
        waits.append(rests.next_end())
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert rests.resting(5, is_empty=False) == set()
    assert rests.next_end() is None


def test_no_place_has_a_worker() -> None:
    """Then none waits for long."""
    rests = Rests(RestartTiming())
    for place in (0, 1):
        for _ in range(9):
            rests.note_death(place, 0, 0, has_served=False)
    assert rests.resting(0, is_empty=True) == {0, 1}
    assert rests.next_end() == 1
    assert rests.resting(1, is_empty=True) == set()


def test_one_comes_into_service() -> None:
    """What kept the others from it may be gone: they are tried at once, and wait little again."""
    rests = Rests(RestartTiming())
    for _ in range(9):
        rests.note_death(1, 0, 0, has_served=False)
    rests.end_all()
    assert rests.resting(0, is_empty=False) == set()
    rests.note_death(1, 0, 0, has_served=False)
    assert rests.next_end() == pytest.approx(0.1)


def test_system_refuses_a_process() -> None:
    """It is asked again each second, however often it refuses."""
    rests = Rests(RestartTiming())
    for now in range(100):
        rests.note_refusal(0, now)
        assert rests.next_end() == now + 1


# -- workers -------------------------------------------------------------------------------------


class W(NamedTuple):
    """A worker as a plan sees it."""

    place: int
    generation: int
    state: WorkerState


@pytest.mark.parametrize(
    ("places", "workers", "resting", "plan"),
    [
        pytest.param(2, [], [], WorkerPlan((), (0, 1), False), id="first_start_fills_all"),
        pytest.param(
            2,
            [W(0, 1, STARTING), W(1, 1, SERVING)],
            [],
            WorkerPlan((), (), False),
            id="one_still_starts",
        ),
        pytest.param(
            2, [W(0, 1, SERVING), W(1, 1, SERVING)], [], WorkerPlan((), (), True), id="all_serve"
        ),
        pytest.param(2, [W(0, 1, SERVING)], [], WorkerPlan((), (1,), False), id="one_died"),
        pytest.param(
            2, [W(0, 1, SERVING)], [1], WorkerPlan((), (), False), id="one_died_and_rests"
        ),
        pytest.param(
            2,
            [W(0, 1, SERVING), W(1, 1, DRAINING)],
            [],
            WorkerPlan((), (1,), False),
            id="one_that_drains_fills_no_place",
        ),
        pytest.param(
            2,
            [W(0, 0, SERVING), W(1, 0, SERVING)],
            [],
            WorkerPlan((), (0,), False),
            id="reload_begins_with_one",
        ),
        pytest.param(
            2,
            [W(0, 0, SERVING), W(1, 0, SERVING), W(0, 1, STARTING)],
            [],
            WorkerPlan((), (), False),
            id="reload_waits_for_it",
        ),
        pytest.param(
            2,
            [W(0, 0, SERVING), W(1, 0, SERVING), W(0, 1, SERVING)],
            [],
            WorkerPlan((W(0, 0, SERVING),), (1,), False),
            id="reload_retires_one_and_goes_on",
        ),
        pytest.param(
            2,
            [W(0, 0, DRAINING), W(1, 0, SERVING), W(0, 1, SERVING), W(1, 1, SERVING)],
            [],
            WorkerPlan((W(1, 0, SERVING),), (), True),
            id="reload_ends_with_the_last",
        ),
        pytest.param(
            2,
            [W(0, 0, SERVING), W(0, 1, STARTING)],
            [],
            WorkerPlan((), (1,), False),
            id="death_during_a_reload_is_replaced_at_once",
        ),
        pytest.param(
            2,
            [W(0, 0, SERVING), W(1, 0, SERVING)],
            [0],
            WorkerPlan((), (1,), False),
            id="reload_passes_by_a_place_that_rests",
        ),
        pytest.param(
            1,
            [W(0, 0, SERVING), W(0, -1, STARTING)],
            [],
            WorkerPlan((W(0, -1, STARTING),), (0,), False),
            id="reload_within_a_reload_drops_who_starts_in_vain",
        ),
        pytest.param(
            3,
            [W(0, 0, SERVING), W(1, 0, SERVING)],
            [],
            WorkerPlan((), (2,), False),
            id="more_places_are_filled_first",
        ),
        pytest.param(
            1,
            [W(0, 0, SERVING), W(1, 0, SERVING), W(2, 0, SERVING)],
            [],
            WorkerPlan((), (0,), False),
            id="fewer_places_keep_all_until_covered",
        ),
        pytest.param(
            1,
            [W(0, 1, SERVING), W(1, 0, SERVING), W(2, 0, SERVING)],
            [],
            WorkerPlan((W(1, 0, SERVING), W(2, 0, SERVING)), (), True),
            id="fewer_places_retire_the_others",
        ),
    ],
)
def test_plan(places: int, workers: list[W], resting: list[int], plan: WorkerPlan[W]) -> None:
    """One row for each situation; generation 1 is the one that is wanted."""
    assert plan_workers(places, 1, workers, resting) == plan


@pytest.mark.parametrize(
    ("generations", "most", "late"),
    [
        pytest.param([], 2, [], id="none"),
        pytest.param([1, 2], 2, [], id="as_many_as_may"),
        pytest.param([1, 2, 3], 2, [1], id="one_too_many"),
        pytest.param([1, 1, 4, 4, 9], 1, [1, 1, 4, 4], id="by_generation_and_not_by_worker"),
    ],
)
def test_haste(generations: list[int], most: int, late: list[int]) -> None:
    """Of those that drain; those that serve, or start, are none of them."""
    workers = [W(0, generation, DRAINING) for generation in generations]
    others = [W(0, 0, SERVING), W(0, 10, STARTING)]
    assert [w.generation for w in plan_haste([*others, *workers], most)] == late


def carry_out(plan: WorkerPlan[W], workers: list[W]) -> list[W]:
    """The workers a moment after: those that started before serve now, the new ones start."""
    retired = [w._replace(state=DRAINING) if w in plan.retire else w for w in workers]
    ready = [w._replace(state=SERVING) if w.state is STARTING else w for w in retired]
    return ready + [W(place, 1, STARTING) for place in plan.start]


def serving(workers: list[W]) -> set[tuple[int, int]]:
    return {(w.place, w.generation) for w in workers if w.state is SERVING}


@given(before=st.integers(1, 6), after=st.integers(1, 6))
def test_reload_leaves_no_place_without_a_server(before: int, after: int) -> None:
    """Whatever the numbers of workers: it takes two steps for each place at most."""
    workers = [W(place, 0, SERVING) for place in range(before)]
    plan = plan_workers(after, 1, workers, [])
    for _ in range(2 * (before + after)):
        workers = carry_out(plan, workers)
        assert {place for place, _ in serving(workers)} >= set(range(min(before, after)))
        plan = plan_workers(after, 1, workers, [])
    assert plan == WorkerPlan((), (), True)
    assert serving(workers) == {(place, 1) for place in range(after)}


@given(places=st.integers(1, 6), deaths=st.lists(st.integers(0, 9), max_size=8))
def test_whoever_dies_is_replaced(places: int, deaths: list[int]) -> None:
    """Deaths at any moment of a reload delay its end, and no more than that."""
    workers = [W(place, 0, SERVING) for place in range(places)]
    for death in [*deaths, *[None] * (4 * places)]:
        workers = carry_out(plan_workers(places, 1, workers, []), workers)
        if death is not None and workers:
            del workers[death % len(workers)]
    assert plan_workers(places, 1, workers, []) == WorkerPlan((), (), True)
    assert serving(workers) == {(place, 1) for place in range(places)}


# -- listeners -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "serve", "shares"),
    [
        pytest.param(2, [], {}, id="none_serves"),
        pytest.param(2, [0, 1], {0: {0}, 1: {1}}, id="each_its_own"),
        pytest.param(3, [0, 2], {0: {0}, 2: {2, 1}}, id="a_sibling_takes_over"),
        pytest.param(4, [3], {3: {0, 1, 2, 3}}, id="one_takes_all"),
        pytest.param(1, [0, 1], {0: {0}, 1: set()}, id="one_too_many"),
        pytest.param(1, [1], {1: {0}}, id="one_too_many_is_all_there_is"),
    ],
)
def test_shares(places: int, serve: list[int], shares: dict[int, set[int]]) -> None:
    """One row for each situation."""
    assert share_out(places, serve) == shares


@given(
    places=st.integers(1, 12),
    serve=st.sets(st.integers(0, 15), min_size=1),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
)
def test_no_listener_is_without_a_worker(places: int, serve: set[int], sizes: list[int]) -> None:
    """Each share has one owner, its own place if that serves; and each socket is in a share."""
    shares = share_out(places, sorted(serve))
    owners = [place for place, owned in shares.items() for _ in owned]
    assert sorted(share for owned in shares.values() for share in owned) == list(range(places))
    assert all(place in shares[place] for place in serve if place < places)
    accepted = {
        position
        for place in owners
        for share in shares[place]
        for position in listeners_of_share(sizes, places, share)
    }
    assert accepted == set(range(sum(sizes)))


@pytest.mark.parametrize(
    ("sizes", "places", "share", "positions"),
    [
        pytest.param([2], 2, 1, [1], id="a_socket_for_each"),
        pytest.param([2, 2], 2, 1, [1, 3], id="two_addresses"),
        pytest.param([1], 3, 2, [0], id="one_for_all"),
        pytest.param([2], 4, 3, [1], id="fewer_than_places"),
        pytest.param([4], 2, 1, [1, 3], id="more_than_places"),
        pytest.param([3], 2, 0, [0, 2], id="more_but_not_evenly"),
    ],
)
def test_listeners_of_a_share(
    sizes: list[int], places: int, share: int, positions: list[int]
) -> None:
    """One row for each proportion of sockets to places."""
    assert listeners_of_share(sizes, places, share) == positions
