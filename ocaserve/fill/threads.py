"""Threads that wait for disks: some for each store, so that one that hangs delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


class StoreThreads:
    """count: of each store."""

    def __init__(self, count: int = 8) -> None:
        self._count = count
        self._by_store: dict[str, ThreadPoolExecutor] = {}

    async def run(self, store: str, work: Callable[..., Result], *values: Any) -> Result:
        """In a thread of the store; what was begun is done, also for who is cancelled."""
        threads = self._by_store.get(store)
        if threads is None:
            threads = self._by_store[store] = ThreadPoolExecutor(self._count, "store")
        return await asyncio.get_running_loop().run_in_executor(threads, partial(work, *values))

    def close(self) -> None:
        """Begin nothing more. A thread whose disk hangs is not waited for."""
        for threads in self._by_store.values():
            threads.shutdown(wait=False, cancel_futures=True)
