"""What a thread was asked, and whether it can still be taken back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ocaserve.serving.errand import Errand
from ocaserve.serving.pool import IoPool


async def test_outcome_is_heard() -> None:
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[object] = loop.create_future()
    errand = Errand()
    errand.begin(IoPool(loop, "test", 1), lambda: 42, heard.set_result)
    assert await asyncio.wait_for(heard, 5) == 42
    assert errand.since
    assert not errand.cancel()


async def test_errand_that_no_thread_has_begun_is_taken_back() -> None:
    loop = asyncio.get_running_loop()
    pool, gate = IoPool(loop, "test", 1), threading.Event()
    heard: asyncio.Future[object] = loop.create_future()
    busy, waiting = Errand(), Errand()
    busy.begin(pool, gate.wait, heard.set_result)
    waiting.begin(pool, lambda: pytest.fail("it was taken back"), lambda _: None)
    assert waiting.cancel()
    gate.set()
    assert await asyncio.wait_for(heard, 5) is True
    assert not busy.cancel()


def test_nothing_to_take_back() -> None:
    assert not Errand().cancel()
