"""The pool: results come back on the loop, errors are results, defects are reported."""

from __future__ import annotations

import asyncio
import errno
import threading

import pytest

from ocaserve.serving.pool import IoPool, JobError


async def outcome_of(pool: IoPool, work: object) -> object:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    pool.submit(work, future.set_result)  # type: ignore[arg-type]
    return await future


async def test_result_arrives_on_the_loop() -> None:
    pool = IoPool(asyncio.get_running_loop(), "test", 2)
    main = threading.get_ident()
    ran_in = await outcome_of(pool, threading.get_ident)
    assert ran_in != main
    assert pool.pending == 0


async def test_os_error_is_a_result() -> None:
    pool = IoPool(asyncio.get_running_loop(), "test", 1)

    def fail() -> None:
        raise FileNotFoundError(2, "No such file")

    assert isinstance(await outcome_of(pool, fail), FileNotFoundError)


async def test_defect_is_reported_and_the_waiter_told() -> None:
    loop = asyncio.get_running_loop()
    reports: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))
    pool = IoPool(loop, "test", 1)
    assert isinstance(await outcome_of(pool, lambda: 1 // 0), JobError)
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


async def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked is told, as of any want of the machine; the next one finds a thread again."""
    pool = IoPool(asyncio.get_running_loop(), "test", 1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = await outcome_of(pool, threading.get_ident)
    assert isinstance(outcome, OSError)
    assert outcome.errno == errno.ENOMEM
    assert pool.pending == 0
    assert await outcome_of(pool, lambda: "done") == "done"


async def test_threads_are_bounded() -> None:
    pool = IoPool(asyncio.get_running_loop(), "bounded", 3)
    gate = threading.Event()
    futures = []
    for _ in range(10):
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        pool.submit(gate.wait, future.set_result)
        futures.append(future)
    running = [t for t in threading.enumerate() if t.name.startswith("bounded")]
    assert len(running) == 3
    gate.set()
    assert await asyncio.gather(*futures) == [True] * 10


@pytest.mark.parametrize("jobs", [1, 200])
async def test_every_job_is_delivered_once(jobs: int) -> None:
    pool = IoPool(asyncio.get_running_loop(), "test", 4)
    results = await asyncio.gather(
        *(outcome_of(pool, lambda number=number: number) for number in range(jobs))
    )
    assert results == list(range(jobs))


async def test_jobs_under_way_at_the_end() -> None:
    """They are waited for, in order, and their outcomes told, without a turn of the loop."""
    pool = IoPool(asyncio.get_running_loop(), "test", 1)
    told: list[object] = []
    assert pool.finish(0)
    for number in range(3):
        pool.submit(lambda number=number: number, told.append)  # type: ignore[misc]
    assert pool.finish(5)
    assert told == [0, 1, 2]


async def test_end_that_a_job_would_hold_up() -> None:
    pool = IoPool(asyncio.get_running_loop(), "test", 1)
    gate = threading.Event()
    pool.submit(gate.wait, lambda _: None)
    assert not pool.finish(0.01)
    gate.set()


def fail(_: object) -> None:
    raise ZeroDivisionError


async def test_result_that_is_not_taken_keeps_no_other() -> None:
    loop = asyncio.get_running_loop()
    reports: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))
    pool = IoPool(loop, "test", 1)
    gate = threading.Event()
    pool.submit(gate.wait, fail)
    second = asyncio.ensure_future(outcome_of(pool, lambda: 2))
    gate.set()
    assert await second == 2
    assert isinstance(reports[0]["exception"], ZeroDivisionError)
