"""The file of validated payloads, followed while it changes and while payloads expire."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from ocaserve.steering.rpki import VrpError, VrpTable, parse_vrps

_log = logging.getLogger(__name__)

_REST_SHARE = 50  # times as long as it took to drop expired payloads they are left alone


class PayloadFile:
    """The last good content of a file.

    path: empty for none. take: given each table that decides from then on. fault: why the file as
    it is cannot be used. written: when the one in use was, seconds since 1970.
    """

    def __init__(self, path: str, take: Callable[[VrpTable], None]) -> None:
        self._path = path
        self._take = take
        self._stamp: tuple[int, int] | None = None
        self._due = 0.0  # before which expired ones are not looked for again
        self.table: VrpTable | None = None
        self.fault = ""
        self.written = 0.0

    async def look(self) -> None:
        """Read the file where it is another; let those payloads go that have expired."""
        if not self._path:
            return
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._stamp = stamp
                await self._read(status.st_mtime)
        except (OSError, VrpError) as error:
            self._tell_fault(f"bgp.rpki_vrps = {self._path!r}: {error}")
        await self._expire(time.time())

    async def _read(self, written: float) -> None:
        before = self.table.count if self.table is not None else 0
        table = await asyncio.to_thread(_parse_file, self._path, before)
        self.fault, self.written = "", written
        self._use(table)
        left_out = table.left_out.total()
        _log.info("routes: %d validated payloads, %d left out", table.count, left_out)

    async def _expire(self, now: float) -> None:
        """Each payload may expire at a time of its own, and there may be a million."""
        if self.table is not None and self.table.next_expiry <= now and now >= self._due:
            begun = time.monotonic()
            self._use(await asyncio.to_thread(self.table.without_expired, now))
            self._due = now + _REST_SHARE * (time.monotonic() - begun)

    def _use(self, table: VrpTable) -> None:
        self.table = table
        self._take(table)

    def _tell_fault(self, fault: str) -> None:
        if fault != self.fault:
            _log.warning("routes: %s; the last good ones stay in use", fault)
        self.fault = fault


def _parse_file(path: str, before: int) -> VrpTable:
    """before: how many payloads decided until now; none after some is a fault of the writer."""
    with open(path, "rb") as file:
        table = parse_vrps(file.read(), time.time())
    if before and table.is_empty:
        raise VrpError(f"the list is empty, and was of {before} before")
    return table
