"""What a worker tells the ledger: once a second, what each client network was sent.

A thread writes, so that a slow disk delays no client; while it does, tallies go on and nothing is
lost. When it cannot write, the bytes are told the next time.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ocaserve.ledger.spool import SpoolWriter
from ocaserve.ledger.tallies import Tallies
from ocaserve.serving.pool import IoPool

_log = logging.getLogger(__name__)

_SPOOL_BYTES = 1 << 20  # then another is begun, and the first can be removed when it is read
_MOST_SPOOLED = 64  # files that nobody has read; then tallies wait in memory for their reader


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
        """The process is about to end."""
        taken = self._tallies.take()
        try:
            if taken:
                self._writer.append(int(time.time()), taken)
            self._writer.close()
        except OSError as error:
            _log.error("ledger: %d bytes are not in it: %s", sum(taken.values()), error.strerror)

    def _write(self, at: int, taken: dict[str, int]) -> None:
        if self._writer.is_full and self._count_spools() >= _MOST_SPOOLED:
            raise OSError(0, "nobody reads what is told")
        self._writer.append(at, taken)

    def _count_spools(self) -> int:
        return sum(1 for _ in self._folder.iterdir())

    def _written(self, taken: dict[str, int], outcome: object) -> None:
        """Report the first failure of a row of them."""
        is_failed = isinstance(outcome, OSError)
        if isinstance(outcome, OSError):
            self._tallies.put_back(taken)
            if not self._is_failing:
                _log.error("ledger: %s: told later", outcome.strerror or outcome)
        self._is_failing = is_failed
