"""What is asked and answered over HTTP about bills and the fleet's ledger."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ocaserve.bills.bill import Bill

_MonthName = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}\Z")]
_PartyName = Annotated[str, Meta(min_length=1, max_length=64)]


class BillsQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A month such as 2026-11, and a party if it is about one."""

    month: _MonthName
    party: Annotated[str, Meta(max_length=64)] = ""


class BillList(Struct, frozen=True, kw_only=True):
    """Of all parties of a month."""

    month: str
    bills: list[Bill]


class BillCurve(Struct, frozen=True, kw_only=True):
    """`bytes`: of each period of `seconds` from `start` (Unix time) on, over all appliances."""

    party: str
    month: str
    start: int
    seconds: int
    bytes: list[int]


class LedgerMonthShown(Struct, frozen=True, kw_only=True):
    """`held`, `missing`: records, as far as the month is over; `parked`: that contradict others."""

    month: str
    state: str
    bytes: int
    held: int
    missing: int
    completeness_percent: float
    parked: int


class FleetLedgerStatus(Struct, frozen=True, kw_only=True):
    """`records`: since the start, by what became of them. `books`: that appliances have written in.

    `parties_wait`: the settings name other parties than those in force. `fault`: why it cannot be
    asked; empty while it can.
    """

    ledger: str
    parties: list[str]
    parties_wait: bool
    books: int
    months: list[LedgerMonthShown]
    records: dict[str, int]
    fault: str


class HolesQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one month; without it of all that are open."""

    month: _MonthName | None = None


class HoleShown(Struct, frozen=True, kw_only=True):
    """Records `first` to `last` of a book; `since`, `until`: Unix time. `tail`: nothing later of
    the book is held.
    """

    appliance: str
    book: str
    first: int
    last: int
    since: int
    until: int
    tail: bool


class HoleList(Struct, frozen=True, kw_only=True):
    holes: list[HoleShown]


class CloseRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`accepted`: why it is closed though something is missing; empty: only if nothing is."""

    month: _MonthName
    accepted: Annotated[str, Meta(max_length=500)] = ""


class CorrectionRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`bytes` may be negative. `reference`: of an operator's own; the same is entered once."""

    party: _PartyName
    month: _MonthName
    bytes: Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    reference: Annotated[str, Meta(min_length=1, max_length=200)]


class CorrectionShown(Struct, frozen=True, kw_only=True):
    """`billed_in`: the month on whose bill it is."""

    party: str
    month: str
    bytes: int
    reason: str
    reference: str
    billed_in: str


class MigrationPlanRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """To the parties of the settings, in the store `target`, a URL as of `fleet.ledger`; empty: at
    another place of the same store. `days`: to be equal before a switch; 0: all that is held.
    """

    target: Annotated[str, Meta(max_length=1_000)] = ""
    days: Annotated[int, Meta(ge=0, le=366)] = 7


class DoubleRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`afresh`: let go of what is beside, and copy all again."""

    afresh: bool = False


class PlannedMonth(Struct, frozen=True, kw_only=True):
    """An open one is grouped anew, record by record; a closed one is copied as it is."""

    month: str
    state: str
    records: int


class MigrationShown(Struct, frozen=True, kw_only=True):
    """`state`: none, planned, doubling or switched. `in_force`, `beside`: where the ledgers are.

    `parties`: of the new one. `doubled_since`: Unix time, 0 while nothing is doubled. `fault`: why
    the one beside could not be told all; `double` mends that. `months`: what `double` will do, of a
    plan that was just made.
    """

    state: str
    in_force: str
    beside: str
    days: int
    doubled_since: int
    parties: list[str]
    fault: str
    months: list[PlannedMonth]


class ComparisonQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`since`: Unix time; without it what counts for a switch."""

    since: Annotated[int, Meta(ge=0)] | None = None


class DiscrepancyShown(Struct, frozen=True, kw_only=True):
    """A party and five minutes from `start` (Unix time) on. `in_force`, `beside`: bytes by each."""

    party: str
    start: int
    in_force: int
    beside: int
    causes: list[str]


class ComparisonShown(Struct, frozen=True, kw_only=True):
    """`cells`: parties and five minutes with bytes; `unequal`: of these, of which the first stand
    there. `faults`: of whole months.
    """

    equal: bool
    cells: int
    unequal: int
    discrepancies: list[DiscrepancyShown]
    faults: list[str]
