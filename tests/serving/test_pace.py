"""Who is fast enough: stalls and averages, over times that the test makes up."""

from __future__ import annotations

import pytest

from ocaserve.serving.incoming import IncomingBody
from ocaserve.serving.pace import Pace, Verdict
from ocaserve.settings import Limits

LIMITS = Limits(stall_s=30.0, min_bytes_per_s=1000, response_s=1000.0)
LOOK_S = 7.5


def judge(pace: Pace, totals: list[int]) -> list[Verdict]:
    """One look after the other, up to the first that is not good."""
    verdicts = []
    now = 0.0
    for total in totals:
        now = pace.next_look(now)
        verdicts.append(pace.judge(total, now))
        if verdicts[-1] is not Verdict.FAST_ENOUGH:
            break
    return verdicts


@pytest.mark.parametrize("rate", [1000, 5_000, 10**9])
@pytest.mark.parametrize("base", [0, -8_000_000, 5])
def test_who_keeps_the_rate_may_go_on(rate: int, base: int) -> None:
    """Also with what came before still on its way: then totals begin below zero."""
    totals = [base + int(rate * LOOK_S * n) for n in range(1, 100)]
    assert set(judge(Pace(LIMITS, 0.0), totals)) == {Verdict.FAST_ENOUGH}


@pytest.mark.parametrize("rate", [1, 100, 990])
def test_who_is_below_it_is_slow(rate: int) -> None:
    totals = [int(rate * LOOK_S * n) for n in range(1, 100)]
    verdicts = judge(Pace(LIMITS, 0.0), totals)
    assert verdicts[-1] is Verdict.SLOW
    assert len(verdicts) == 5  # a first look, and a window behind it


def test_who_moves_nothing_stalls() -> None:
    assert judge(Pace(LIMITS, 0.0), [0] * 9)[-1] is Verdict.STALLED
    totals = [10**6 * min(n, 8) for n in range(1, 100)]
    verdicts = judge(Pace(LIMITS, 0.0), totals)
    assert verdicts[-1] is Verdict.STALLED
    assert len(verdicts) == 12


def test_pauses_that_are_not_its_own_do_not_count() -> None:
    pace = Pace(LIMITS, 0.0)
    assert pace.judge(1000, 7.5) is Verdict.FAST_ENOUGH
    pace.resume(500.0)
    assert pace.judge(1001, 507.5) is Verdict.FAST_ENOUGH
    assert pace.judge(40_000, 530.0) is Verdict.FAST_ENOUGH


def test_no_rate_but_no_stall() -> None:
    limits = Limits(stall_s=30.0, min_bytes_per_s=0)
    assert set(judge(Pace(limits, 0.0), list(range(1, 100)))) == {Verdict.FAST_ENOUGH}


def upload_ends(every_s: float, piece: int, length: int = 10**9) -> float | None:
    """When an upload of pieces is judged too slow; None: not in its first thousand looks."""
    upload = IncomingBody(length, LIMITS, 0.0)
    now, sent_at = 0.0, 0.0
    for _ in range(1000):
        now = upload.next_look(now)
        while sent_at + every_s <= now:
            sent_at += every_s
            upload.take(bytes(piece))
        if not upload.is_fast_enough(now):
            return now
    return None


def test_uploads_must_keep_the_rate_of_downloads() -> None:
    assert upload_ends(25.0, 1) == 37.5
    assert upload_ends(1.0, 900) == 37.5
    assert upload_ends(1000.0, 1) == 30.0
    assert upload_ends(1.0, 1100) == LIMITS.response_s


def test_behind_the_body_stands_the_next_request() -> None:
    upload = IncomingBody(5, LIMITS, 0.0)
    assert upload.take(b"abc") == b""
    assert upload.take(b"deGET /") == b"GET /"
    assert upload.left == 0
