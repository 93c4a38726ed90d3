"""The ledger in force, and the one that is kept beside it while a migration is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ocaserve.bills.parties import Grouping
from ocaserve.bills.taking import Taken, take
from ocaserve.bills.vault import LedgerUnavailableError, Vault
from ocaserve.ledger.records import LedgerRecord

_PARTIES = "parties"


class Ledger(NamedTuple):
    """A vault, with the grouping of its months that are open and to come."""

    vault: Vault
    grouping: Grouping


class Sides:
    """changing: held by whoever changes a ledger, so that both are changed alike.

    beside_fault: why the one beside could not be told all; empty while it was.
    """

    def __init__(self, vault: Vault) -> None:
        self.changing = threading.RLock()
        self.vault = vault
        self.in_force: Ledger | None = None
        self.beside: Ledger | None = None
        self.beside_fault = ""

    def take(self, records: Sequence[LedgerRecord], sites: Mapping[str, str], now: float) -> Taken:
        """Into both. Only what the one in force cannot take is a failure."""
        with self.changing:
            assert self.in_force is not None, "its grouping is settled before"
            taken = take(*self.in_force, records, sites, now)
            self.tell_beside(lambda beside: take(*beside, records, sites, now))
        return taken

    def tell_beside(self, tell: Callable[[Ledger], object]) -> None:
        """Have the other one, if there is one, changed as the one in force was."""
        if self.beside is None:
            return
        try:
            tell(self.beside)
        except LedgerUnavailableError as error:
            self.beside_fault = str(error)


def read_parties(vault: Vault) -> Grouping | None:
    """The grouping of its months that are open and to come; None where it has not begun."""
    noted = vault.read_note(_PARTIES)
    return Grouping.read(noted) if noted else None


def write_parties(vault: Vault, grouping: Grouping) -> None:
    vault.write_note(_PARTIES, grouping.text)
