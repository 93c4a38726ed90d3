"""Reading what is stored again, at a low rate: what is damaged is put aside and fetched again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from pathlib import Path

import msgspec

from ocaserve.fill.index import Index, Row
from ocaserve.fill.rate import RateCap
from ocaserve.fill.storing import digest_on_disk, quarantine
from ocaserve.stores.answers import ABSENT

_log = logging.getLogger(__name__)

_AGE_S = 7 * 86_400  # an object is read again when its last reading is so long ago
_IDLE_S = 5.0
_AGAIN_S = 3_600.0  # before one that could not be looked at is so again
_AT_ONCE = 16
_DAMAGE = frozenset({errno.EIO, getattr(errno, "EUCLEAN", errno.EIO)})
"""What reading says of an object that is damaged; all else says nothing of what is on the disk."""


class Scrubber:
    """Verifies what nobody has looked at first, then what was looked at longest ago.

    Where the manifest does not say otherwise, the digest that a file has now is what it is to have.
    """

    def __init__(self, index: Index, bits_per_s: float) -> None:
        self._index = index
        self._bits_per_s = bits_per_s
        self._cap = RateCap(bits_per_s)
        self.bytes_read = 0
        self.damaged = 0
        self._asked = asyncio.Event()
        self.news = asyncio.Event()  # something is known now, or gone: plan anew

    async def ask(self) -> None:
        """Read everything again, from now on. Raises OSError of the index."""
        await asyncio.to_thread(self._index.age_all)
        self._asked.set()

    async def keep_scrubbing(self) -> None:
        """For ever; nothing at a rate of 0."""
        while self._bits_per_s:
            try:
                is_busy = await self._scrub_some()
            except OSError as error:  # of the index
                _log.error("fill: scrubbing: %s", error)
                is_busy = False
            if not is_busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_S):
                        await self._asked.wait()
                self._asked.clear()

    async def _scrub_some(self) -> bool:
        """Whether there was anything to do."""
        rows = await asyncio.to_thread(self._index.oldest, _AT_ONCE)
        due = [row for row in rows if is_due(row, time.time())]
        for row in due:
            await self._verify(row)
        if due:
            self.news.set()
        return bool(due)

    async def _verify(self, row: Row) -> None:
        try:
            digest = await self._read(Path(row.store, row.key), row.size)
        except OSError as error:
            if error.errno not in ABSENT:
                _log.error("fill: %s in %s cannot be read: %s", row.key, row.store, error)
            if error.errno not in _DAMAGE:
                await self._look_later(row)
                return
            digest = ""
        if digest and row.sha256 in ("", digest):
            await self._keep(row, digest)
        else:
            await asyncio.to_thread(self._put_aside, row)

    async def _read(self, file: Path, size: int) -> str:
        """Its digest, at the rate that is allowed."""
        loop = asyncio.get_running_loop()

        def paced(count: int) -> None:
            self.bytes_read += count
            asyncio.run_coroutine_threadsafe(self._cap.take(count), loop).result()

        return await asyncio.to_thread(digest_on_disk, file, size, paced)

    async def _look_later(self, row: Row) -> None:
        """Nothing was learned of it: whether it is there at all is the next comparison's to say."""
        later = msgspec.structs.replace(row, verified=time.time() - _AGE_S + _AGAIN_S)
        await asyncio.to_thread(self._index.hold, [later])

    async def _keep(self, row: Row, digest: str) -> None:
        kept = msgspec.structs.replace(row, sha256=digest, verified=time.time())
        await asyncio.to_thread(self._index.hold, [kept])

    def _put_aside(self, row: Row) -> None:
        """A file that was replaced meanwhile is another version, and no damage."""
        file = Path(row.store, row.key)
        try:
            status = file.stat()
            if (status.st_size, status.st_mtime_ns) == (row.size, row.seen_ns):
                self.damaged += 1
                where = quarantine(Path(row.store), row.key, row.sha256)
                _log.error("fill: %s in %s is damaged: put aside as %s", row.key, row.store, where)
        except OSError as error:
            _log.error("fill: %s in %s is damaged, and stays: %s", row.key, row.store, error)
        self._index.drop(row.key, row.store)


def is_due(row: Row, now: float) -> bool:
    """Whether it is to be read again."""
    # A time that is yet to come was taken from a clock that has been set since.
    return row.verified is None or not 0 <= now - row.verified < _AGE_S
