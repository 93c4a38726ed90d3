"""Work that may never end, as a look at a disk that has died: its thread must not be another's.

Threads of the loop's own pool serve everybody; a few that hang would hold up reports and lists. So
such work has threads of its own, so many at the most, which do not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

MOST_THREADS = 8


class HangingCalls:
    """Runs such work, and waits for it for a while."""

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._free = most

    async def run(self, work: Callable[[], T], timeout_s: float) -> T:
        """What `work` gives or raises. TimeoutError: it has not ended, or too many others hang."""
        if not self._free:
            raise TimeoutError
        self._free -= 1
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            self._free += 1
            if outcome.done():  # nobody waits any more
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]

        def go() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - it is raised where it is waited for
                error = raised
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, result, error)

        threading.Thread(target=go, name="patience", daemon=True).start()
        async with asyncio.timeout(timeout_s):
            return await outcome
