"""What a worker tells: once a second, what each client network was sent (the ledger), and how much
of each object was (demand).

A thread writes, so that a slow disk delays no client; while it does, tallies go on and nothing is
lost. When it cannot write, the bytes are told the next time.
"""

from __future__ import annotations

import errno
import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ocaserve.ledger.spool import SpoolWriter, count_spools
from ocaserve.serving.pool import IoPool

_log = logging.getLogger(__name__)

_LAST_S = 5.0  # that the end of the process waits for the disk
_SPOOL_BYTES = 1 << 20  # then another is begun, and the first can be removed when it is read
_MOST_SPOOLED = 512  # of the ledger, where bytes are money


class TellableSums(Protocol):
    """Sums that grow until they are taken: bytes, or millionths of copies, by name."""

    def take(self) -> dict[str, int]: ...

    def put_back(self, taken: Mapping[str, int]) -> None: ...


class Teller:
    """Tells what `tallies` hold, in spools below `folder`. what: for the log. most_spooled: files
    that nobody has read, of all workers; then it waits.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        tallies: TellableSums,
        folder: Path,
        name: str,
        what: str = "ledger",
        most_spooled: int = _MOST_SPOOLED,
    ) -> None:
        self._what = what
        self._most_spooled = most_spooled
        self._tallies = tallies
        self._folder = folder
        self._writer = SpoolWriter(folder, name, _SPOOL_BYTES)
        self._pool = IoPool(loop, what, 1)
        self._is_failing = False

    def tell(self) -> None:
        """Once a second, when connections have added to their tallies."""
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
                "%s: %d bytes are not in it: the disk does not answer",
                self._what, sum(taken.values()),
            )  # fmt: skip
            return
        try:
            if taken:
                self._writer.append(int(time.time()), taken)
            self._writer.close()
        except OSError as error:
            _log.error(
                "%s: %d bytes are not in it: %s", self._what, sum(taken.values()), error.strerror
            )

    def _write(self, at: int, taken: dict[str, int]) -> None:
        """Raises OSError, also when nobody reads what was told: then it waits here."""
        if self._writer.is_full and count_spools(self._folder) >= self._most_spooled:
            raise OSError(errno.EAGAIN, "nobody reads what workers tell")
        self._writer.append(at, taken)

    def _written(self, taken: dict[str, int], outcome: object) -> None:
        """Report the first failure of a row of them."""
        is_failed = isinstance(outcome, OSError)
        if isinstance(outcome, OSError):
            self._tallies.put_back(taken)
            if not self._is_failing:
                _log.error("%s: %s: told later", self._what, outcome.strerror or outcome)
        self._is_failing = is_failed
