"""The fleet's ledger in use: records come in, questions are answered, months are closed.

The parties in force are those that the ledger began with. Other ones in the settings are taken over
by themselves where they change nothing that is held, as with parties whose dates lie ahead; else
they wait for a migration, and it is said so.

All methods wait for disks or a database: they are for threads, and may be called at the same time.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import NamedTuple

from ocaserve.bills.bill import Bill, BillKey, Entry
from ocaserve.bills.copying import copy_as_it_is
from ocaserve.bills.gaps import Completeness, Gap, count_held, find_gaps, find_watermark, survey
from ocaserve.bills.migration import Migrator
from ocaserve.bills.month_end import close_month, empty_curve, enter_correction, find_bills
from ocaserve.bills.month_life import read_life
from ocaserve.bills.months import Month, MonthState
from ocaserve.bills.parties import Grouping
from ocaserve.bills.samples import read_curves
from ocaserve.bills.sides import Ledger, Sides, read_parties, write_parties
from ocaserve.bills.taking import Taken, TakenAs
from ocaserve.bills.vault import LedgerRefusedError, LedgerUnavailableError, Vault
from ocaserve.ledger.handover import Watermark
from ocaserve.ledger.records import LedgerRecord

_ON_ITS_WAY_S = 900  # after the end of a period its record is not missed yet


class MonthStanding(NamedTuple):
    """How a month stands. bytes: delivered in it, late ones too."""

    month: Month
    state: MonthState
    completeness: Completeness
    parked: int
    bytes: int


class LedgerStanding(NamedTuple):
    """How the ledger stands, or `fault`: why it cannot be asked.

    url: of the one in force. waiting: the settings name other parties than those in force.
    """

    url: str
    months: Sequence[MonthStanding] = ()
    parties: Sequence[str] = ()
    books: int = 0
    waiting: bool = False
    fault: str = ""

    @property
    def open_months(self) -> Sequence[MonthStanding]:
        return [each for each in self.months if each.state is MonthState.OPEN]


class Bookkeeper:
    """Keeps a ledger. wanted: the parties of the settings. counts: of records since the start."""

    def __init__(
        self,
        url: str,
        open_vault: Callable[[str], Vault],
        wanted: Grouping,
        key: BillKey | None,
        wall: Callable[[], float] = time,
    ) -> None:
        self.wanted = wanted
        self.counts: Counter[TakenAs] = Counter()
        self._configured = open_vault(url)
        self._sides = Sides(self._configured)
        self.standing = LedgerStanding(self._configured.url)  # as it was looked at last
        self._migrator = Migrator(self._sides, url, wanted, open_vault, wall)
        self._key = key
        self._wall = wall
        self._is_recalled = False

    @property
    def vault(self) -> Vault:
        """That of the ledger in force. Raises LedgerUnavailableError."""
        with self._sides.changing:
            self._recall()
            return self._sides.vault

    def _recall(self) -> None:
        """Which ledger is in force was decided before."""
        if not self._is_recalled:
            self._migrator.recall()
            self._is_recalled = True

    @property
    def beside_fault(self) -> str:
        """Why a ledger that is kept beside could not be told all."""
        return self._sides.beside_fault

    def migrator(self) -> Migrator:
        """By which another ledger takes the place of the one in force."""
        with self._sides.changing:
            self._grouping()
        return self._migrator

    # -- records ---------------------------------------------------------------------------------

    def take(self, records: Sequence[LedgerRecord], sites: Mapping[str, str]) -> Taken:
        """Records of any appliances, in any order. sites: of these appliances.

        What was taken is held for good when this returns. Raises LedgerUnavailableError, and then
        all may be brought again.
        """
        with self._sides.changing:
            self._grouping()
            taken = self._sides.take(records, sites, self._wall())
        self.counts += taken.counts
        return taken

    def watermark(self, appliance: str, book: str) -> Watermark:
        """What is held of a book, and what is missing in it."""
        return find_watermark(self.vault, (appliance, book))

    def gaps(self, month: Month | None = None) -> list[Gap]:
        """What is missing, of a month or of all that are open."""
        spans, now = survey(self.vault), self._wall() - _ON_ITS_WAY_S
        months = [month] if month is not None else self._open_months()
        return [gap for each in months for gap in find_gaps(self.vault, spans, each, now)]

    def _open_months(self) -> list[Month]:
        found = []
        for month in self.vault.months():
            with self.vault.reading(month) as tables:
                life = read_life(tables)
            if life is not None and life.state is MonthState.OPEN:
                found.append(month)
        return found

    # -- parties ---------------------------------------------------------------------------------

    def _grouping(self) -> Grouping:
        """In force; asked for while nothing else changes."""
        self._recall()
        sides = self._sides
        if sides.in_force is None:
            sides.in_force = Ledger(sides.vault, self._adopt(read_parties(sides.vault)))
        return sides.in_force.grouping

    def _adopt(self, noted: Grouping | None) -> Grouping:
        """The parties of the settings, where they change nothing that is held."""
        if noted is not None and noted.digest != self.wanted.digest:
            ends = (span.end for span in survey(self.vault).values())
            if noted.differs_from(self.wanted) < max(ends, default=0):
                return noted
        if noted is None or noted.digest != self.wanted.digest:
            for month in self._open_months():
                with self.vault.writing(month) as tables:
                    tables.ask("UPDATE life SET parties = ?", self.wanted.text)
            write_parties(self.vault, self.wanted)
        return self.wanted

    # -- bills -----------------------------------------------------------------------------------

    def bills(self, month: Month, party: str = "") -> list[Bill]:
        """Of all parties or of one. Raises LedgerRefusedError."""
        return find_bills(self.vault, month, self._wall(), party)

    def curve(self, month: Month, party: str) -> array[int]:
        """Bytes of each period of the month. Raises LedgerRefusedError."""
        with self.vault.reading(month) as tables:
            life = read_life(tables)
            if tables is None or life is None or life.grouping.find(party) is None:
                raise LedgerRefusedError(f"{party!r} has no bill of {month}")
            return read_curves(tables, month, party).get(party, empty_curve(month))

    def close_month(self, month: Month, accepted: str = "") -> list[Bill]:
        """Raises LedgerRefusedError, as `month_end.close_month`."""
        with self._sides.changing:
            self._grouping()
            bills = close_month(self.vault, month, self._wall(), self._key, accepted)
            with self.vault.reading(month) as tables:
                assert tables is not None
                self._sides.tell_beside(lambda beside: copy_as_it_is(tables, beside.vault, month))
        return bills

    def enter_correction(self, entry: Entry) -> Entry:
        """By hand; as it stands then. Raises LedgerRefusedError."""
        with self._sides.changing:
            self._grouping()
            beside = self._sides.beside
            if beside is not None and beside.grouping.find(entry.party) is None:
                raise LedgerRefusedError(f"{entry.party!r} is no party of the ledger beside")
            entered = enter_correction(self.vault, entry, self._wall())
            self._sides.tell_beside(
                lambda beside: enter_correction(beside.vault, entry, self._wall())
            )
            return entered

    # -- how it stands ---------------------------------------------------------------------------

    def look(self) -> LedgerStanding:
        """Look at all months; kept as `standing`."""
        try:
            self.standing = self._look()
        except LedgerUnavailableError as error:
            self.standing = self.standing._replace(fault=str(error))
        return self.standing

    def _look(self) -> LedgerStanding:
        with self._sides.changing:
            in_force = self._grouping()
        spans, now = survey(self.vault), self._wall() - _ON_ITS_WAY_S
        found = []
        for month in self.vault.months():
            gaps = find_gaps(self.vault, spans, month, now)
            with self.vault.reading(month) as tables:
                life = read_life(tables)
                if tables is None or life is None:
                    continue
                [(parked,)] = tables.ask("SELECT COUNT(*) FROM parked")
            chains = [span.by_month[month] for span in spans.values() if month in span.by_month]
            found.append(
                MonthStanding(
                    month=month,
                    state=life.state,
                    completeness=count_held(spans, month, gaps),
                    parked=parked,
                    bytes=sum(each.bytes + each.late_bytes for each in chains),
                )
            )
        return LedgerStanding(
            url=self.vault.url,
            months=found,
            parties=[each.id for each in in_force.parties],
            books=len(spans),
            waiting=in_force.digest != self.wanted.digest,
        )

    def close(self) -> None:
        self._migrator.close()
        self._configured.close()
