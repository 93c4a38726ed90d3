"""The objects' own playlists, as appliances have them: fetched from those that clients are sent to.

Many clients ask for the same within a moment, so one is kept for a moment, and fetched once for all
who wait. Where it cannot be had again, the last that is known is good for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp

FRESH_S = 2.0
"""A live MPD changes every few seconds."""
_STALE_S = 300.0
_MOST_BYTES = 4 << 20
_MOST_KEPT_BYTES = 64 << 20
_MOST_WAITING = 64  # clients of a worker, of an appliance that hangs perhaps
_CONNECT_S = 1.0
_TRY_S = 3.0


class OriginalError(Exception):
    """It could not be had. is_absent: every appliance that answered has no such object;
    is_crowded: too many wait for one.
    """

    def __init__(self, text: str, *, is_absent: bool = False, is_crowded: bool = False) -> None:
        super().__init__(text)
        self.is_absent = is_absent
        self.is_crowded = is_crowded


class _Kept(NamedTuple):
    data: bytes
    at: float


class Originals:
    """Fetches them. Times are of the monotonic clock. waiting: clients, for one of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[bytes, asyncio.Task[bytes]] = {}
        self.waiting = 0
        self._session: aiohttp.ClientSession | None = None

    async def get(self, key: bytes, urls: Sequence[str]) -> bytes:
        """What an object holds. urls: where it may be had, tried in turn. Raises OriginalError."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept.at < FRESH_S:
            return kept.data
        if self.waiting >= _MOST_WAITING:
            raise OriginalError(f"{_MOST_WAITING} clients wait for playlists", is_crowded=True)
        self.waiting += 1
        try:
            data = await self._wait_for(key, urls)
        except OriginalError as error:
            if error.is_absent or kept is None or time.monotonic() - kept.at > _STALE_S:
                raise
            return kept.data
        finally:
            self.waiting -= 1
        self._keep(key, data)
        return data

    async def _wait_for(self, key: bytes, urls: Sequence[str]) -> bytes:
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(urls))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(task)  # who waits with others does not end it for them

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._under_way.values()):
            task.cancel()
        if self._session is not None:
            await self._session.close()

    def _keep(self, key: bytes, data: bytes) -> None:
        before = self._kept.pop(key, None)
        self._bytes += len(data) - (len(before.data) if before else 0)
        self._kept[key] = _Kept(data, time.monotonic())
        while self._bytes > _MOST_KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.data)

    async def _fetch(self, urls: Sequence[str]) -> bytes:
        said, is_absent = "no appliance was asked", True
        for url in urls:
            try:
                return await self._try(url)
            except OriginalError as error:
                said, is_absent = str(error), is_absent and error.is_absent
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                said, is_absent = str(error) or "it took too long", False
        raise OriginalError(said, is_absent=is_absent)

    async def _try(self, url: str) -> bytes:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TRY_S, sock_connect=_CONNECT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                is_absent = response.status == 404
                raise OriginalError(f"status {response.status}", is_absent=is_absent)
            data = await response.content.read(_MOST_BYTES + 1)
            while len(data) <= _MOST_BYTES and not response.content.at_eof():
                data += await response.content.read(_MOST_BYTES + 1 - len(data))
        if len(data) > _MOST_BYTES:
            raise OriginalError(f"it has more than {_MOST_BYTES} bytes", is_absent=False)
        return data
