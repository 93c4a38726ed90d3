"""Where months are kept: what both engines promise.

1. A month is there from its first writing on, with the tables of schema.sql, and goes as a whole.
2. `writing` is a transaction: all that is done in it is kept, durably, when it is left, and nothing
   of it when it is left by an exception or a death. There is one at a time, over all processes.
3. `reading` is a snapshot, which waits for no writer. Of a month that is not there it is None.
4. Statements are those that SQLite and PostgreSQL both understand, with `?` for values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from typing import Any, Protocol

from ocaserve.bills.months import Month
from ocaserve.errors import OcaserveError

Row = tuple[Any, ...]
SCHEMA = resources.files("ocaserve.bills").joinpath("schema.sql").read_text()
TABLES = ("life", "chains", "records", "samples", "entries", "parked", "bills")


class LedgerUnavailableError(OcaserveError):
    """The engine cannot be asked now; the text says why, and holds no secret."""


class LedgerRefusedError(OcaserveError):
    """What was asked for is not done, and nothing has changed. `faults`: a line for each reason."""

    def __init__(self, what: str, faults: Sequence[str] = ()) -> None:
        super().__init__("\n".join((what, *faults)))
        self.what = what
        self.faults = tuple(faults)


class MonthTables(Protocol):
    """The tables of one month, within a transaction."""

    def ask(self, statement: str, *values: Any) -> list[Row]:
        """All rows; none of a statement that has none."""

    def stream(self, statement: str, *values: Any) -> Iterator[Row]:
        """The same, without all of them in memory at a time."""

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        """Once for each row of values."""

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """Put rows into a table, with values for all its columns, none of which is there."""


class Vault(Protocol):
    """All months of one ledger. Every method may raise LedgerUnavailableError."""

    url: str
    """Without secrets."""

    def months(self) -> list[Month]:
        """Those that are there, in order."""

    def writing(self, month: Month) -> AbstractContextManager[MonthTables]:
        """Rule 2."""

    def reading(self, month: Month) -> AbstractContextManager[MonthTables | None]:
        """Rule 3."""

    def discard(self, month: Month) -> None:
        """Let go of a month and all that is in it."""

    def read_note(self, name: str) -> str:
        """What was noted under this name; empty without."""

    def write_note(self, name: str, text: str) -> None:
        """Note it in place of what was."""

    def close(self) -> None:
        """Let go of the engine."""
