"""Takes records, and is killed before each of its statements in turn.

    python -m tests.bills.mortal FOLDER

Each time a child takes the same records and kills itself before its n-th statement; the last one
lives. Printed is how many died, and what each left behind: how many records, and how many bytes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocaserve.bills.months import Month
from ocaserve.bills.sqlite_vault import SqliteVault
from ocaserve.bills.taking import take
from ocaserve.bills.vault import MonthTables, Row, Vault
from tests.support.bills import DECEMBER, GROUPING, SITES, chain


class MortalTables:
    """Counts statements, also those that begin and end the transaction."""

    def __init__(self, tables: MonthTables, step: Callable[[], None]) -> None:
        self._tables = tables
        self._step = step

    def ask(self, statement: str, *values: Any) -> list[Row]:
        self._step()
        return self._tables.ask(statement, *values)

    def stream(self, statement: str, *values: Any) -> Iterator[Row]:
        self._step()
        return self._tables.stream(statement, *values)

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        def counted() -> Iterator[Row]:
            for row in rows:
                self._step()
                yield row

        self._tables.run_many(statement, counted())

    def append(self, table: str, rows: Sequence[Row]) -> None:
        for row in rows:
            self._step()
            self._tables.append(table, [row])


class Mortal:
    """Any `Vault`; its process dies before step `last`."""

    def __init__(self, vault: Vault, last: int) -> None:
        self.url = vault.url
        self._vault = vault
        self._left = last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def writing(self, month: Month) -> Iterator[MonthTables]:
        self.step()
        with self._vault.writing(month) as tables:
            yield MortalTables(tables, self.step)
            self.step()
        self.step()


def main(folder: Path) -> None:
    records = [
        *chain("oca-1", 4, DECEMBER - 2 * 300),
        *chain("oca-2", 3),
        *chain("oca-1", 2, DECEMBER - 2 * 300),
    ]
    left: list[list[int]] = []
    for last in range(1, 1_000):
        child = os.fork()
        if not child:
            take(Mortal(SqliteVault(folder), last), GROUPING, records, SITES, DECEMBER + 86_400.0)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        left.append(_look(folder))
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    print(json.dumps(left))


def _look(folder: Path) -> list[int]:
    """Records held, their bytes, the bytes of samples, those of chains."""
    vault = SqliteVault(folder)
    found = [0, 0, 0, 0]
    cells = " + ".join(f"s{n}" for n in range(12))
    for month in vault.months():
        with vault.reading(month) as tables:
            if tables is None:
                continue
            [(count, total)] = tables.ask("SELECT COUNT(*), COALESCE(SUM(total), 0) FROM records")
            [(sampled,)] = tables.ask(f"SELECT COALESCE(SUM({cells}), 0) FROM samples")
            [(chained,)] = tables.ask("SELECT COALESCE(SUM(bytes), 0) FROM chains")
        found = [a + b for a, b in zip(found, (count, total, sampled, chained), strict=True)]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
