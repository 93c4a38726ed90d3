"""Work that hangs holds up nothing but itself."""

from __future__ import annotations

import threading

import pytest

from ocaserve.control.patience import HangingCalls
from tests.support.waiting import until


async def test_what_hangs_is_left_alone() -> None:
    """So much of it at the most; when it has ended there is room again."""
    patience, dead = HangingCalls(most=2), threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await patience.run(dead.wait, 0.01)
    assert sum(thread.name == "patience" for thread in threading.enumerate()) == 2
    dead.set()
    await until(lambda: patience._free == 2)
    assert await patience.run(lambda: 7, 20.0) == 7


async def test_what_it_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await HangingCalls().run(lambda: 1 // 0, 20.0)
