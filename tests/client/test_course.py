"""Who is asked next, and when a server is left: decisions alone, at times that the test says."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.client.course import (
    Ask,
    BeginAnew,
    Course,
    Done,
    Fetch,
    GiveUp,
    Leave,
    Step,
    Version,
    Wait,
)  # fmt: skip
from ocaserve.client.limits import Patience
from ocaserve.client.phases import STATES, FollowEvent, FollowState
from ocaserve.lifecycle import ImpossibleTransitionError, advance
from ocaserve.origins import Fault

A, B, C = (f"http://oca-{name}/film" for name in "abc")
A1 = f"{A}?e=2"  # the same object and server, signed anew
MIB = 1 << 20
VERSION = Version('"v1"', 100 * MIB)
PATIENCE = Patience(give_up_s=100)


def course(*urls: str, can_ask: bool = False, position: int = 0) -> Course:
    version = VERSION if position else None
    return Course(PATIENCE, urls, 0.0, can_ask=can_ask, position=position, version=version)


def url_of(step: Step) -> str:
    assert isinstance(step, Fetch), step
    return step.url


def send(of: Course, count: int, began: float, ended: float) -> None:
    """The server that was asked sends so many bytes, one tenth each tenth of the time."""
    of.opened(VERSION, began)
    for tenth in range(1, 11):
        of.received(count // 10, began + (ended - began) * tenth / 10)


def serve_span(of: Course, now: float, seconds: float) -> float:
    """Whoever is chosen sends all that it is asked for in so long. Returns when it has ended."""
    step = of.next(now)
    assert isinstance(step, Fetch)
    of.opened(VERSION, now)
    of.received(step.stop - step.start, now + seconds)
    of.span_ended(now + seconds)
    return now + seconds


def fail(of: Course, now: float, fault: Fault = Fault.CUT) -> str:
    """Whoever is chosen fails; returns who that was."""
    url = url_of(of.next(now))
    of.left(fault, "as told", now)
    return url


def test_first_of_the_list_from_the_first_byte() -> None:
    """A server that was not measured is asked for little."""
    assert course(A, B).next(0) == Fetch(A, 0, MIB, None)


def test_spans_take_the_time_that_they_should() -> None:
    """2 MiB a second are 8 MiB in four; never more than there is."""
    of = course(A, B)
    now = serve_span(of, 0, 0.5)
    assert of.next(now) == Fetch(A, MIB, MIB + 8 * MIB, VERSION)
    of.left(Fault.CUT, "", now)
    near_the_end = course(A, position=VERSION.size - 7)
    assert near_the_end.next(0) == Fetch(A, VERSION.size - 7, VERSION.size, VERSION)


def test_next_one_goes_on_at_the_same_byte() -> None:
    of = course(A, B)
    of.next(0)
    send(of, 1_000, 0, 1)
    of.left(Fault.CUT, "7 bytes did not come", 1)
    assert of.next(1) == Fetch(B, 1_000, 1_000 + MIB, VERSION)
    [change] = of.changes
    assert change == (1_000, "http://oca-a:80", "http://oca-b:80", "cut: 7 bytes did not come")


def test_comes_back_to_the_better_one() -> None:
    """When it was left alone for long enough, and between two spans: nothing is lost."""
    of = course(A, B)
    fail(of, 0)
    now = serve_span(of, 0, 4)
    assert url_of(of.next(now)) == B
    of.opened(VERSION, now)
    of.received(of.size - of.position - 1, 6)
    of.span_ended(6)
    assert url_of(of.next(6)) == A
    assert of.changes[-1].why == "better: it stands before in the list"


def test_left_alone_for_longer_each_time() -> None:
    """5 s, 10 s, 20 s; a whole span clears it."""
    of = course(A, B)
    for began, pause in ((0, 5), (5, 10), (15, 20)):
        assert fail(of, began) == A
        now = float(began)
        while now < began + pause - 1:
            assert url_of(of.next(now)) == B
            of.opened(VERSION, now)
            of.span_ended(now)
            now += 1
    serve_span(of, 35, 0.1)
    assert fail(of, 36) == A
    assert url_of(of.next(40.9)) == B
    of.opened(VERSION, 41)
    of.span_ended(41)
    assert url_of(of.next(41)) == A


def test_slower_than_half_of_another_is_passed_over() -> None:
    """What was measured goes before the list's order, until it is forgotten."""
    of = course(A, B)
    fail(of, 0)
    now = 0.0
    while now < 5:
        now = serve_span(of, now, 1)
        assert of.server == "http://oca-b:80"
    now = serve_span(of, now, 10)  # 1 MiB in 10 s
    assert of.server == "http://oca-a:80"
    now = serve_span(of, now, 1)
    assert of.server == "http://oca-b:80"
    assert of.changes[-1].why.startswith("faster: ")
    later = now + PATIENCE.remember_s
    assert url_of(of.next(later)) == A


def test_first_that_is_slow_is_not_all_there_is() -> None:
    """Of others nothing is known; with half an hour to come it is worth finding out."""
    of = course(A, B)
    now = serve_span(of, 0, 20)  # 1 MiB
    now = serve_span(of, now, 1)
    assert of.server == "http://oca-b:80"
    assert of.changes[-1].why == "a trial: 52.4 kB/s is slow for what is left"
    while now < 25:
        now = serve_span(of, now, 1)
        assert of.server == "http://oca-b:80"


# -- leaving -------------------------------------------------------------------------------------


def test_stalled() -> None:
    """Counted from the last byte, also for a server that is the only one."""
    of = course(A)
    of.next(0)
    send(of, 1_000_000, 0, 3)
    assert of.judge(7.9) is None
    assert of.judge(8.0) == Leave(Fault.STALLED, "no byte in 5 s")


def drip(of: Course, seconds: int) -> Leave | None:
    """A byte a second; what is decided meanwhile."""
    of.next(0)
    of.opened(VERSION, 0)
    for second in range(1, seconds + 1):
        of.received(1, second)
        if leave := of.judge(second):
            return leave
    return None


def test_a_drip_is_left_within_the_time_that_is_set() -> None:
    of = course(A, B)
    leave = drip(of, 6)
    assert leave is not None
    assert leave.fault is Fault.SLOW
    assert of.position == PATIENCE.judge_s


def test_a_drip_after_a_flood_is_left_as_soon() -> None:
    """What came before does not speak for it."""
    of = course(A, B)
    of.next(0)
    send(of, 50 * MIB, 0, 3)
    for tenth in range(30, 100):
        of.received(1, tenth / 10)
        if of.judge(tenth / 10):
            break
    assert 7 <= tenth / 10 <= 3 + 1.2 * PATIENCE.judge_s


def test_a_drip_is_better_than_nothing() -> None:
    """Where nobody else can be asked it is not left."""
    assert drip(course(A), 60) is None
    of = course(A, B)
    assert fail(of, 0, Fault.ABSENT) == A
    assert drip(of, 60) is None


def test_slower_than_another_was_is_left() -> None:
    """Though more than a drip."""
    of = course(A, B)
    fail(of, 0)
    now = 0.0
    while now < 5:
        now = serve_span(of, now, 1)
    assert url_of(of.next(now)) == A
    of.opened(VERSION, now)
    leave = None
    while leave is None and now < 30:
        now += 0.5
        of.received(50_000, now)
        leave = of.judge(now)
    assert leave is not None
    assert leave.fault is Fault.SLOW
    assert now <= 5 + 1.2 * PATIENCE.judge_s


def test_slower_than_before_is_left() -> None:
    """Or a span that was made for a fast server would take a slow one for ever."""
    of = course(A, B)
    now = 0.0
    while now < 5:
        now = serve_span(of, now, 1)
    step = of.next(now)
    assert isinstance(step, Fetch)
    assert step.stop - step.start > 4 * MIB
    of.opened(VERSION, now)
    leave = None
    while leave is None and now < 30:
        now += 0.5
        of.received(50_000, now)
        leave = of.judge(now)
    assert leave is not None
    assert url_of_next(of, leave, now) == B


def url_of_next(of: Course, leave: Leave, now: float) -> str:
    of.left(leave.fault, leave.why, now)
    return url_of(of.next(now))


# -- who is out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.ABSENT, Fault.CHANGED, Fault.REFUSED, Fault.UNTAGGED])
def test_out_for_good(fault: Fault) -> None:
    """The same URL is not asked again, however long it is."""
    of = course(A, B)
    assert fail(of, 0, fault) == A
    now = 0.0
    while now < 90:
        now = serve_span(of, now, 10)
        assert of.server == "http://oca-b:80"


def test_nobody_has_it() -> None:
    of = course(A, B)
    fail(of, 0, Fault.ABSENT)
    fail(of, 0, Fault.REFUSED)
    step = of.next(0)
    assert step == GiveUp(
        "no URL is good: http://oca-a:80: absent: as told; http://oca-b:80: refused: as told"
    )
    with pytest.raises(ImpossibleTransitionError):
        of.left(Fault.CUT, "", 1)


def test_all_have_another_version() -> None:
    """Nothing of the old one can be finished; of the new one nothing is there."""
    of = course(A, B, position=1_000)
    fail(of, 0, Fault.CHANGED)
    fail(of, 0, Fault.CHANGED)
    assert of.next(0) == BeginAnew()
    of.begin_anew()
    assert of.next(0) == Fetch(A, 0, MIB, None)


def test_one_that_may_have_the_version_is_waited_for() -> None:
    of = course(A, B, position=1_000)
    fail(of, 0, Fault.UNREACHABLE)
    fail(of, 0, Fault.CHANGED)
    assert isinstance(of.next(0), Wait)
    assert url_of(of.next(5)) == A


# -- all gone ------------------------------------------------------------------------------------


def test_all_gone_and_one_back() -> None:
    """Each is tried again, soon at first, then every eight seconds; a byte begins it anew."""
    of = course(A, B)
    tried, now = [], 0.0
    while now < 60:
        step = of.next(now)
        if isinstance(step, Wait):
            assert step.until > now
            assert step.why == "unreachable: as told"
            now = step.until
            continue
        tried.append((now, url_of(step)))
        of.left(Fault.UNREACHABLE, "as told", now)
    assert tried[:4] == [(0, A), (0, B), (0.5, A), (0.5, B)]
    assert 12 <= len(tried) <= 24
    serve_span(of, 70, 0.1)
    assert of.position == MIB


def test_given_up_after_so_long_without_a_byte() -> None:
    of = course(A)
    now = 0.0
    while not isinstance(step := of.next(now), GiveUp):
        if isinstance(step, Wait):
            now = step.until
        else:
            of.left(Fault.UNREACHABLE, "as told", now)
    assert 100 <= now <= 110
    assert step.why == "no byte in 100 s"


# -- asking --------------------------------------------------------------------------------------


def asked(of: Course, now: float, *urls: str, good_s: float = 1e9) -> None:
    assert of.next(now) == Ask()
    of.told(urls, now + good_s, now)


def test_a_list_is_asked_for() -> None:
    of = course(can_ask=True)
    asked(of, 0, A, B)
    assert url_of(of.next(0)) == A


def test_asked_again_when_it_is_over() -> None:
    """Between two spans, and the new URL of the same server is no change of it."""
    of = course(can_ask=True)
    asked(of, 0, A, good_s=3)
    now = serve_span(of, 0, 2.9)
    serve_span(of, now, 0.2)
    asked(of, 3.1, A1)
    assert url_of(of.next(3.1)) == A1
    assert not of.changes


def test_goes_on_with_the_old_list_where_no_new_one_comes() -> None:
    """What was handed out works until it does not; the control plane is asked ever more seldom."""
    of = course(can_ask=True)
    asked(of, 0, A, good_s=3)
    times, now = [], serve_span(of, 0, 3)
    while now < 130:
        if of.next(now) == Ask():
            times.append(now)
            of.not_told("connection refused", now)
        else:
            of.opened(VERSION, now)
            of.received(1, now + 0.5)
            of.span_ended(now + 0.5)
            now += 0.5
    assert times == [3, 4, 6, 10, 18, 34, 66, 126]


def test_asked_again_when_signatures_are_over() -> None:
    of = course(can_ask=True)
    asked(of, 0, A, B)
    serve_span(of, 0, 2)
    fail(of, 2, Fault.REFUSED)
    fail(of, 2, Fault.REFUSED)
    asked(of, 2, A1)
    step = of.next(2)
    assert isinstance(step, Wait)
    assert url_of(of.next(step.until)) == A1
    assert step.until < 4


def test_asked_again_when_all_are_left_alone() -> None:
    of = course(can_ask=True)
    asked(of, 0, A)
    serve_span(of, 0, 2)
    fail(of, 2)
    asked(of, 2, A, C)
    assert url_of(of.next(2)) == C


def test_not_asked_without_end_for_what_nobody_has() -> None:
    of = course(can_ask=True)
    now, lists = 0.0, 0
    while not isinstance(step := of.next(now), GiveUp):
        match step:
            case Ask():
                lists += 1
                of.told([A, B], 1e9, now)
            case Fetch():
                of.left(Fault.ABSENT, "as told", now)
            case Wait(until):
                now = until
    assert (lists, now < 10) == (3, True)


def test_refused_a_list_for_good() -> None:
    of = course(can_ask=True)
    assert of.next(0) == Ask()
    of.not_told("status 404: no such object", 0, is_final=True)
    assert of.next(0) == GiveUp("there is no list of servers; status 404: no such object")


def test_refused_a_list_for_a_while() -> None:
    of = course(can_ask=True)
    assert of.next(0) == Ask()
    of.not_told("status 503", 0)
    assert of.next(0) == Wait(1, "status 503")
    asked(of, 1, A)


# -- all of it -----------------------------------------------------------------------------------


def test_the_table_refuses() -> None:
    """Whatever is not listed."""
    for state, event in set(product(FollowState, FollowEvent)) - STATES.keys():
        with pytest.raises(ImpossibleTransitionError):
            advance(STATES, state, event)
    assert not any(state in (FollowState.DONE, FollowState.GIVEN_UP) for state, _ in STATES)


@given(st.lists(st.tuples(st.sampled_from([None, *Fault]), st.floats(0, 20)), max_size=60))
def test_every_byte_once_whatever_happens(deeds: list[tuple[Fault | None, float]]) -> None:
    """Bytes are asked for from where they end, never beyond the end, and it always comes to one."""
    of = course(A, B, C)
    now, kept = 0.0, 0
    for fault, seconds in [*deeds, *[(None, 1.0)] * 200]:
        step = of.next(now)
        if isinstance(step, Wait):
            now = max(step.until, now)
        elif isinstance(step, BeginAnew):
            of.begin_anew()
            kept = 0
        elif isinstance(step, Fetch):
            assert step.start == kept < step.stop
            count = min(step.stop, VERSION.size) - step.start
            now += seconds
            if fault is not None:
                of.left(fault, "as told", now)
                continue
            of.opened(VERSION, now)
            of.received(count, now + 0.1)
            of.span_ended(now + 0.1)
            kept += count
        else:
            break
    assert isinstance(step, Done | GiveUp)
    assert isinstance(step, GiveUp) or kept == VERSION.size
