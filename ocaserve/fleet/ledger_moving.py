"""The endpoints by which another ledger takes the place of the one in force."""

from __future__ import annotations

from collections.abc import Sequence

from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.bills.comparison import Comparison
from ocaserve.bills.migration import MonthPlan
from ocaserve.bills.vault import LedgerRefusedError
from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.errors import SettingsError
from ocaserve.fleet.bill_shapes import (
    ComparisonQuery,
    ComparisonShown,
    DiscrepancyShown,
    DoubleRequest,
    MigrationPlanRequest,
    MigrationShown,
    PlannedMonth,
)
from ocaserve.fleet.billing import in_thread, ledger_of

_PATH = "/v1/ledger/migration"
_REFUSES = (404, 409, 422, 503)


async def show_migration(call: Call) -> MigrationShown:
    ledger = ledger_of(call)
    return await in_thread(lambda: _describe(ledger))


async def plan(call: Call) -> MigrationShown:
    ledger, wanted = ledger_of(call), call.body

    def plan_it() -> MigrationShown:
        try:
            months = ledger.migrator().plan(wanted.target, wanted.days)
        except SettingsError as error:
            raise LedgerRefusedError("the target is no ledger", error.faults) from error
        return _describe(ledger, months)

    return await in_thread(plan_it)


async def double(call: Call) -> MigrationShown:
    ledger = ledger_of(call)

    def double_it() -> MigrationShown:
        ledger.migrator().double(afresh=call.body.afresh)
        return _describe(ledger)

    return await in_thread(double_it)


async def compare(call: Call) -> ComparisonShown:
    ledger = ledger_of(call)
    return _show(await in_thread(lambda: ledger.migrator().compare(call.query.since)))


async def switch(call: Call) -> ComparisonShown:
    ledger = ledger_of(call)
    return _show(await in_thread(lambda: ledger.migrator().switch()))


async def go_back(call: Call) -> MigrationShown:
    ledger = ledger_of(call)

    def go() -> MigrationShown:
        ledger.migrator().back()
        return _describe(ledger)

    return await in_thread(go)


def _describe(ledger: Bookkeeper, months: Sequence[MonthPlan] = ()) -> MigrationShown:
    migrator = ledger.migrator()
    current, beside = migrator.current, migrator.beside
    return MigrationShown(
        state=current.state.value if current else "none",
        in_force=ledger.vault.url,
        beside=beside.url if beside else "",
        days=current.days if current else 0,
        doubled_since=current.doubled_at if current else 0,
        parties=migrator.parties,
        fault=ledger.beside_fault,
        months=[
            PlannedMonth(month=each.month, state=each.state.value, records=each.records)
            for each in months
        ],
    )


def _show(found: Comparison) -> ComparisonShown:
    return ComparisonShown(
        equal=found.is_equal,
        cells=found.cells,
        unequal=found.unequal,
        discrepancies=[
            DiscrepancyShown(
                party=each.party,
                start=each.start,
                in_force=each.left,
                beside=each.right,
                causes=[str(reason) for reason in each.reasons],
            )
            for each in found.discrepancies
        ],
        faults=found.faults,
    )


ENDPOINTS = (
    Endpoint(
        "GET", _PATH, show_migration, "Which ledger is to take the place of which",
        MigrationShown, refuses=(404, 503),
    ),
    Endpoint(
        "POST", f"{_PATH}/plan", plan, "Plan another ledger: other parties, another store",
        MigrationShown, role=Role.OPERATE, body=MigrationPlanRequest, refuses=_REFUSES,
    ),
    Endpoint(
        "POST", f"{_PATH}/double", double,
        "Have records go into both, and copy what is missing in the new one", MigrationShown,
        role=Role.OPERATE, body=DoubleRequest, refuses=_REFUSES,
    ),
    Endpoint(
        "GET", f"{_PATH}/comparison", compare,
        "Where the two ledgers differ, by party and five minutes, and why", ComparisonShown,
        query=ComparisonQuery, refuses=(404, 409, 503),
    ),
    Endpoint(
        "POST", f"{_PATH}/switch", switch, "Have the new ledger in force, if both are equal",
        ComparisonShown, role=Role.OPERATE, refuses=_REFUSES,
    ),
    Endpoint(
        "POST", f"{_PATH}/back", go_back, "Have the old ledger in force again", MigrationShown,
        role=Role.OPERATE, refuses=_REFUSES,
    ),
)  # fmt: skip
