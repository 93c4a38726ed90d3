"""What a worker tells the ledger: once a second, what each client network was sent.

A thread writes, so that a slow disk delays no client; while it does, tallies go on and nothing is
lost. When it cannot write, the bytes are told the next time.
"""

from __future__ import annotations

import errno
import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ocaserve.ledger.spool import SpoolWriter, count_spools
from ocaserve.ledger.tallies import Tallies
from ocaserve.serving.pool import IoPool

_log = logging.getLogger(__name__)

_LAST_S = 5.0  # that the end of the process waits for the disk
_SPOOL_BYTES = 1 << 20  # then another is begun, and the first can be removed when it is read
_MOST_SPOOLED = 512  # files of all workers that nobody has read; then tallies wait in memory


class Delivering(Protocol):
    """A connection, which may be in the middle of a long response."""

    def tally_progress(self) -> None:
        """Add to its tally what it has sent since it last did."""


class Teller:
    """Tells what `tallies` hold, in spools below `folder`."""

    def __init__(self, loop: AbstractEventLoop, tallies: Tallies, folder: Path, name: str) -> None:
        self._tallies = tallies
        self._folder = folder
        self._writer = SpoolWriter(folder, name, _SPOOL_BYTES)
        self._pool = IoPool(loop, "ledger", 1)
        self._is_failing = False

    def tell(self, connections: Iterable[Delivering]) -> None:
        """Once a second."""
        for connection in connections:
            connection.tally_progress()
        if self._pool.pending:  # the disk is slow
            return
        taken = self._tallies.take()
        if taken:
            at = int(time.time())
            self._pool.submit(
                lambda: self._write(at, taken), lambda outcome: self._written(taken, outcome)
            )

    def tell_now(self) -> None:
        """The process is about to end: the rest, behind what a thread may be writing still."""
        is_free = self._pool.finish(_LAST_S)
        taken = self._tallies.take()
        if not is_free:
            _log.error(
                "ledger: %d bytes are not in it: the disk does not answer", sum(taken.values())
            )
            return
        try:
            if taken:
                self._writer.append(int(time.time()), taken)
            self._writer.close()
        except OSError as error:
            _log.error("ledger: %d bytes are not in it: %s", sum(taken.values()), error.strerror)

    def _write(self, at: int, taken: dict[str, int]) -> None:
        """Raises OSError, also when nobody reads what was told: then it waits here."""
        if self._writer.is_full and count_spools(self._folder) >= _MOST_SPOOLED:
            raise OSError(errno.EAGAIN, "nobody reads what workers tell")
        self._writer.append(at, taken)

    def _written(self, taken: dict[str, int], outcome: object) -> None:
        """Report the first failure of a row of them."""
        is_failed = isinstance(outcome, OSError)
        if isinstance(outcome, OSError):
            self._tallies.put_back(taken)
            if not self._is_failing:
                _log.error("ledger: %s: told later", outcome.strerror or outcome)
        self._is_failing = is_failed
