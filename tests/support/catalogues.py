"""A catalogue over folders, and the clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.catalogue import ObjectCatalogue
from ocaserve.serving.failing import StoreChange
from ocaserve.serving.lookups import Found
from ocaserve.serving.store import OpenFile, Store


class Bench:
    """A catalogue over two folders, and the clock in the test's hand."""

    def __init__(
        self,
        *folders: Path,
        open_files: int = 100,
        small: int = 0,
        most_waiting: int = 1024,
        cold_pages: str = "keep",
    ) -> None:
        loop = asyncio.get_running_loop()
        self.notified: list[tuple[Store, StoreChange]] = []
        self.stores = [Store(str(folder), loop, 2, most_waiting=most_waiting) for folder in folders]
        self.catalogue = ObjectCatalogue(
            loop,
            self.stores,
            ResponsePolicy(),
            open_files=open_files,
            small_object_bytes=small,
            cold_pages=cold_pages,
            notify=lambda store, change: self.notified.append((store, change)),
        )

    async def start(self) -> Bench:
        """Serve, once all stores have been looked at."""
        looked = asyncio.Event()
        self.catalogue.start(looked.set)
        await asyncio.wait_for(looked.wait(), 5)
        self.notified.clear()
        return self

    async def find(self, key: bytes, *avoided: Store) -> Found:
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.catalogue.find(b"/" + key, key, future.set_result, avoided=frozenset(avoided))
        return await asyncio.wait_for(future, 5)

    async def open(self, key: bytes) -> OpenFile:
        found = await self.find(key)
        assert isinstance(found, OpenFile)
        return found

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.catalogue.tick_once()
            await self.settle()

    async def settle(self) -> None:
        for store in self.stores:
            for pool in (store.looks, store.trials, store.lookups, store.known, store.reads):
                while pool.pending:  # noqa: ASYNC110 - the pool has no event to wait for
                    await asyncio.sleep(0.001)


Make = Callable[..., Awaitable[Bench]]
