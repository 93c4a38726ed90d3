"""Another grouping or another store takes over only when it says the same, and can be gone back
from; whatever is planted is found and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocaserve.bills.bill import BillKey, Entry
from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.bills.discrepancies import Cause, Discrepancy
from ocaserve.bills.from_settings import open_vault
from ocaserve.bills.months import Month
from ocaserve.bills.parties import Grouping, Party
from ocaserve.bills.samples import read_cells
from ocaserve.bills.taking import TakenAs
from ocaserve.bills.vault import LedgerRefusedError, MonthTables
from ocaserve.ledger.records import LedgerRecord
from tests.support.bills import DECEMBER, GROUPING, NOVEMBER, PARTIES, SITES, add_up, chain
from tests.support.postgresql import PostgresqlServer

KEY = BillKey("7", b"k" * 32)
MONTH = Month.parse("2026-11")
HELD = 100  # records of each appliance before anything is planned
OTHERS = (
    Party(id="alpha", prefixes=("198.51.0.0/20",)),
    Party(id="delta", prefixes=("198.51.96.0/19", "203.0.113.0/24")),
)


class Clock:
    """Seconds since the epoch, as it is set."""

    def __init__(self) -> None:
        self.now = NOVEMBER + 6 * 86_400.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Case:
    """A ledger, another one to go to, and all that was brought. parties: of the settings."""

    url: str
    target: str
    wanted: tuple[Party, ...]
    clock: Clock
    keeper: Bookkeeper
    brought: list[LedgerRecord]

    def bring(self, records: list[LedgerRecord]) -> None:
        self.keeper.take(records, SITES)
        self.brought += records

    def restart(self, url: str) -> None:
        """With settings that name this ledger."""
        self.keeper.close()
        self.keeper = Bookkeeper(url, open_vault, Grouping(self.wanted), KEY, self.clock)
        self.keeper.look()

    def sums(self, url: str) -> dict[tuple[str, int], int]:
        """Of November, as a ledger has them."""
        vault = open_vault(url)
        try:
            with vault.reading(MONTH) as tables:
                return {} if tables is None else read_cells(tables, MONTH.start, MONTH.end)
        finally:
            vault.close()

    def require_sums(self) -> None:
        """Both ledgers have what the records add up to, each by its own parties."""
        november = [each for each in self.brought if each.start < DECEMBER]
        assert self.sums(self.url) == add_up(november, PARTIES)
        assert self.sums(self.target) == add_up(november, self.wanted)


@pytest.fixture(params=["other parties", "other store", "both"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Some hours of three appliances."""
    url = f"sqlite://{tmp_path}/ledger"
    target = f"sqlite://{tmp_path}/next"
    if request.param != "other parties":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        target = f"{server.url}&schema=m{abs(hash(str(tmp_path))):x}"[-200:]
    wanted = PARTIES if request.param == "other store" else OTHERS
    clock = Clock()
    first = Bookkeeper(url, open_vault, GROUPING, KEY, clock)
    made = Case(url, target, wanted, clock, first, [])
    made.bring([each for name in SITES for each in chain(name, HELD)])
    made.restart(url)
    yield made
    made.keeper.close()


def rest(times: int = 1) -> list[LedgerRecord]:
    """What comes while both are kept."""
    return [each for name in SITES for each in chain(name, HELD + times * 20)[HELD:]]


def test_the_new_one_takes_over_and_can_be_gone_back_from(case: Case) -> None:
    migrator = case.keeper.migrator()
    months = migrator.plan(case.target, days=0)
    assert [(each.month, each.records) for each in months] == [("2026-11", 3 * HELD)]
    with pytest.raises(LedgerRefusedError, match="nothing is doubled"):
        migrator.compare()
    migrator.double()
    case.bring(rest())
    found = migrator.compare()
    assert found.is_equal
    assert found.cells > 300
    case.require_sums()

    assert migrator.switch().is_equal
    assert case.keeper.look().url == open_vault(case.target).url
    case.bring(rest(2))
    case.require_sums()
    case.restart(case.url)  # the settings still name the old one
    assert case.keeper.look().url == open_vault(case.target).url
    case.restart(case.target)
    assert case.keeper.look().url == open_vault(case.target).url
    assert not case.keeper.standing.waiting

    migrator = case.keeper.migrator()
    migrator.back()
    assert case.keeper.look().url == open_vault(case.url).url
    case.bring(rest(3))
    case.require_sums()
    assert migrator.switch().is_equal


def test_a_switch_waits_for_its_days(case: Case) -> None:
    migrator = case.keeper.migrator()
    migrator.plan(case.target, days=2)
    with pytest.raises(LedgerRefusedError, match="switch: the migration is planned"):
        migrator.switch()
    migrator.double()
    with pytest.raises(LedgerRefusedError, match=r"2 days are to be equal, and 2\.0 are to come"):
        migrator.switch()
    case.clock.now += 2 * 86_400
    assert migrator.switch().is_equal


def test_a_plan_can_be_dropped_and_made_again(case: Case) -> None:
    migrator = case.keeper.migrator()
    migrator.plan(case.target)
    migrator.double()
    migrator.plan(case.target, days=0)
    case.bring(rest())
    migrator.double()
    assert migrator.switch().is_equal
    case.require_sums()


# -- what is planted -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """How it is planted in the tables of the target, given two records that are held."""

    cause: Cause
    plant: Callable[[MonthTables, LedgerRecord, dict[str, int]], None]


def _count(tables: MonthTables, start: int, parts: dict[str, int], sign: int) -> None:
    hour, cell = start // 3_600 * 3_600, start % 3_600 // 300
    for party, count in parts.items():
        tables.ask(
            f"UPDATE samples SET s{cell} = s{cell} + ? WHERE hour = ? AND party = ?",
            sign * count, hour, party,
        )  # fmt: skip


_WHERE = (
    "WHERE seq = ? AND chain = (SELECT id FROM chains WHERE appliance = ? AND book = ?)"
)  # fmt: skip


def lose(tables: MonthTables, record: LedgerRecord, parts: dict[str, int]) -> None:
    tables.ask(f"DELETE FROM records {_WHERE}", record.seq, record.appliance, record.book)
    tables.ask(
        "UPDATE chains SET held = held - 1, bytes = bytes - ? WHERE appliance = ? AND book = ?",
        record.total, record.appliance, record.book,
    )  # fmt: skip
    _count(tables, record.start, parts, -1)


def double(tables: MonthTables, record: LedgerRecord, parts: dict[str, int]) -> None:
    _count(tables, record.start, parts, 1)


def repeat(tables: MonthTables, record: LedgerRecord, parts: dict[str, int]) -> None:
    """Held a second time, under another number."""
    named = (record.seq, record.appliance, record.book)
    tables.ask(
        "INSERT INTO records SELECT chain, seq + 100000, start, total, is_late, site, prev, "
        f"digest, networks FROM records {_WHERE}", *named,
    )  # fmt: skip
    _count(tables, record.start, parts, 1)


def shift(tables: MonthTables, record: LedgerRecord, parts: dict[str, int]) -> None:
    """Its bytes are counted a period later."""
    _count(tables, record.start, parts, -1)
    _count(tables, record.start + 300, parts, 1)


def shift_record(tables: MonthTables, record: LedgerRecord, parts: dict[str, int]) -> None:
    """It stands itself a period later."""
    named = (record.seq, record.appliance, record.book)
    tables.ask(f"UPDATE records SET start = start + 300 {_WHERE}", *named)
    shift(tables, record, parts)


def forget(tables: MonthTables, record: LedgerRecord, parts: dict[str, int]) -> None:
    """It is held, and not counted."""
    _count(tables, record.start, parts, -1)


FAULTS = [
    pytest.param(Fault(Cause.LOST, lose), id="lost"),
    pytest.param(Fault(Cause.DOUBLED, double), id="doubled"),
    pytest.param(Fault(Cause.DOUBLED, repeat), id="repeated"),
    pytest.param(Fault(Cause.SHIFTED, shift), id="shifted"),
    pytest.param(Fault(Cause.SHIFTED, shift_record), id="record-shifted"),
    pytest.param(Fault(Cause.UNCOUNTED, forget), id="uncounted"),
]


def of_party(found: list[Discrepancy], party: str, start: int) -> Discrepancy:
    [one] = [each for each in found if (each.party, each.start) == (party, start)]
    return one


@pytest.mark.parametrize("case", ["other parties", "both"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_planted_is_found_and_named(case: Case, fault: Fault) -> None:
    migrator = case.keeper.migrator()
    migrator.plan(case.target, days=0)
    migrator.double()
    record = next(each for each in case.brought if each.seq == 90 and each.total)
    parts = {
        party: count for (party, _), count in add_up([record], case.wanted).items()
    }  # fmt: skip
    vault = open_vault(case.target)
    with vault.writing(MONTH) as tables:
        fault.plant(tables, record, parts)
    vault.close()

    found = migrator.compare()
    assert not found.is_equal
    name = f"{record.appliance}/{record.book}/{record.seq}"
    for party in parts:
        [reason] = of_party(found.discrepancies, party, record.start).reasons
        assert (reason.cause, reason.record) == (fault.cause, name)
    touched = {record.start, record.start + 300}
    assert {each.start for each in found.discrepancies} <= touched
    with pytest.raises(LedgerRefusedError, match="not equal") as refused:
        migrator.switch()
    assert any(name in line and fault.cause.value in line for line in refused.value.faults)
    assert case.keeper.look().url == open_vault(case.url).url

    migrator.double(afresh=fault.cause is not Cause.LOST)  # what is lost is seen to be missing
    case.bring(rest())
    assert migrator.switch().is_equal
    case.require_sums()
    migrator.back()
    case.bring(rest(2))
    case.require_sums()


def test_closed_months_go_along_as_they_are(case: Case) -> None:
    """Their bills, and what corrects them, are the same in both, and in their old grouping."""
    records = chain("oca-1", 30 * 288 + 10)
    late = records[5_000:5_003]
    case.clock.now = DECEMBER + 86_400.0
    case.bring([each for each in records if each not in late])
    bills = case.keeper.close_month(MONTH, accepted="known")
    migrator = case.keeper.migrator()
    migrator.plan(case.target, days=0)
    migrator.double()
    assert case.keeper.take(late, SITES).counts == {TakenAs.LATE: 3}
    credit = Entry("2026-11", "ticket 1", "alpha", None, -5, "a credit", "")
    case.keeper.enter_correction(credit)
    assert migrator.switch().is_equal
    assert case.keeper.bills(MONTH) == bills
    december = Month.parse("2026-12")
    after = {each.party: each for each in case.keeper.bills(december)}
    lateness = add_up(late)
    for party in {name for name, _ in lateness}:
        mine = sum(count for (name, _), count in lateness.items() if name == party)
        corrected = sum(each.bytes for each in after[party].corrections)
        assert corrected == mine - (5 if party == "alpha" else 0)


def test_a_month_that_is_closed_meanwhile_is_closed_in_both(case: Case) -> None:
    migrator = case.keeper.migrator()
    migrator.plan(case.target, days=0)
    migrator.double()
    case.clock.now = DECEMBER + 86_400.0
    case.bring(chain("oca-1", 1, DECEMBER, book="9" * 8 + "-0000-0000-0000-" + "0" * 12))
    bills = case.keeper.close_month(MONTH, accepted="known")
    assert migrator.switch().is_equal
    assert case.keeper.bills(MONTH) == bills


# -- parties of the settings ---------------------------------------------------------------------


def keeper_of(url: str, parties: tuple[Party, ...], clock: Clock) -> Bookkeeper:
    keeper = Bookkeeper(url, open_vault, Grouping(parties), KEY, clock)
    keeper.look()
    return keeper


@pytest.fixture
def held(vault_url: str) -> str:
    keeper = keeper_of(vault_url, PARTIES, Clock())
    keeper.take(chain("oca-1", 10), SITES)
    keeper.close()
    return vault_url


def test_parties_that_change_nothing_held_are_taken_over(held: str) -> None:
    new = Party(id="new", prefixes=("203.0.113.0/24",), since=NOVEMBER + 86_400)
    keeper = keeper_of(held, (*PARTIES, new), Clock())
    assert not keeper.standing.waiting
    later = chain("oca-1", 300)
    keeper.take(later, SITES)
    with keeper.vault.reading(MONTH) as tables:
        assert tables is not None
        assert read_cells(tables, MONTH.start, MONTH.end) == add_up(later, (*PARTIES, new))
    keeper.close()


def test_parties_that_would_change_what_is_held_wait(held: str) -> None:
    keeper = keeper_of(held, PARTIES[:1], Clock())
    assert keeper.standing.waiting
    keeper.take(chain("oca-1", 20), SITES)
    with keeper.vault.reading(MONTH) as tables:
        assert tables is not None
        assert read_cells(tables, MONTH.start, MONTH.end) == add_up(chain("oca-1", 20))
    migrator = keeper.migrator()
    migrator.plan(days=0)
    migrator.double()
    assert migrator.switch().is_equal
    assert not keeper.look().waiting
    keeper.close()


def test_plans_that_change_nothing_or_hit_another_ledger_are_refused(
    held: str, tmp_path: Path
) -> None:
    keeper = keeper_of(held, PARTIES, Clock())
    with pytest.raises(LedgerRefusedError, match="nothing would change"):
        keeper.migrator().plan()
    other = f"sqlite://{tmp_path}/other"
    stranger = keeper_of(other, OTHERS, Clock())
    stranger.take(chain("oca-9", 3), SITES)
    stranger.close()
    with pytest.raises(LedgerRefusedError, match="holds another ledger"):
        keeper.migrator().plan(other)
    keeper.close()
