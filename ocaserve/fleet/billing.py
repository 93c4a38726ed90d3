"""The endpoints of bills and of the fleet's ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from ocaserve.bills.bill import Bill, Entry, write_csv
from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.bills.months import PERIOD_S, Month
from ocaserve.bills.taking import TakenAs
from ocaserve.bills.vault import LedgerRefusedError, LedgerUnavailableError
from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.handlers.dashboard import page_part
from ocaserve.control.problems import Problem
from ocaserve.fleet.bill_shapes import (
    BillCurve,
    BillList,
    BillsQuery,
    CloseRequest,
    CorrectionRequest,
    CorrectionShown,
    FleetLedgerStatus,
    HoleList,
    HoleShown,
    HolesQuery,
    LedgerMonthShown,
)

LEDGER: web.AppKey[Bookkeeper] = web.AppKey("LEDGER", Bookkeeper)

Answer = TypeVar("Answer")
_LOOK_S = 30.0


async def keep_looking(app: web.Application) -> None:
    """Have it known how the ledger stands, for metrics and who asks."""
    while True:
        await asyncio.to_thread(app[LEDGER].look)
        await asyncio.sleep(_LOOK_S)


def ledger_of(call: Call) -> Bookkeeper:
    """Raises Problem where none is kept."""
    ledger = call.request.app.get(LEDGER)
    if ledger is None:
        raise Problem(404, "no ledger is kept here: fleet.ledger is off, or has no place")
    return ledger


async def in_thread(ask: Callable[[], Answer], refused: int = 409) -> Answer:
    """What the ledger says. Raises Problem. refused: the status where it refuses."""
    try:
        return await asyncio.to_thread(ask)
    except LedgerRefusedError as error:
        raise Problem(refused, error.what, faults=error.faults) from error
    except LedgerUnavailableError as error:
        raise Problem(503, str(error), headers={"Retry-After": "5"}) from error


def month_of(name: str) -> Month:
    """Raises Problem."""
    try:
        return Month.parse(name)
    except ValueError as error:
        raise Problem(422, str(error)) from error


# -- bills ---------------------------------------------------------------------------------------


async def list_bills(call: Call) -> BillList:
    return BillList(month=call.query.month, bills=await _find_bills(call))


async def list_bills_as_csv(call: Call) -> web.Response:
    text = write_csv(await _find_bills(call))
    name = f"bills-{call.query.month}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=text, content_type="text/csv", headers=headers)


async def _find_bills(call: Call) -> list[Bill]:
    ledger, month = ledger_of(call), month_of(call.query.month)
    party = call.query.party
    return await in_thread(lambda: ledger.bills(month, party), 404)


async def show_bill(call: Call) -> Bill:
    ledger, month = ledger_of(call), month_of(call.path["month"])
    party = call.path["party"]
    [bill] = await in_thread(lambda: ledger.bills(month, party), 404)
    return bill


async def show_curve(call: Call) -> BillCurve:
    ledger, month = ledger_of(call), month_of(call.path["month"])
    party = call.path["party"]
    curve = await in_thread(lambda: ledger.curve(month, party), 404)
    return BillCurve(
        party=party, month=month.name, start=month.start, seconds=PERIOD_S, bytes=curve.tolist()
    )


# -- the ledger ----------------------------------------------------------------------------------


async def show_ledger(call: Call) -> FleetLedgerStatus:
    ledger = ledger_of(call)
    await asyncio.to_thread(ledger.look)
    return describe_ledger(ledger)


def describe_ledger(ledger: Bookkeeper) -> FleetLedgerStatus:
    """As it was looked at last."""
    standing = ledger.standing
    return FleetLedgerStatus(
        ledger=standing.url,
        parties=list(standing.parties),
        parties_wait=standing.waiting,
        books=standing.books,
        months=[
            LedgerMonthShown(
                month=each.month.name,
                state=each.state.value,
                bytes=each.bytes,
                held=each.completeness.held,
                missing=each.completeness.missing,
                completeness_percent=each.completeness.percent,
                parked=each.parked,
            )
            for each in standing.months
        ],
        records={outcome.value: ledger.counts[outcome] for outcome in TakenAs},
        fault=standing.fault,
    )


async def list_holes(call: Call) -> HoleList:
    ledger = ledger_of(call)
    month = None if call.query.month is None else month_of(call.query.month)
    gaps = await in_thread(lambda: ledger.gaps(month))
    return HoleList(
        holes=[
            HoleShown(
                appliance=each.appliance,
                book=each.book,
                first=each.first,
                last=each.last,
                since=each.since,
                until=each.until,
                tail=each.is_tail,
            )
            for each in gaps
        ]
    )


async def close_month(call: Call) -> BillList:
    ledger, month = ledger_of(call), month_of(call.body.month)
    bills = await in_thread(lambda: ledger.close_month(month, call.body.accepted))
    return BillList(month=month.name, bills=bills)


async def enter_correction(call: Call) -> CorrectionShown:
    ledger, wanted = ledger_of(call), call.body
    month = month_of(wanted.month)
    asked = Entry(
        month.name, wanted.reference, wanted.party, None, wanted.bytes, wanted.reason, ""
    )  # fmt: skip
    entry = await in_thread(lambda: ledger.enter_correction(asked))
    return CorrectionShown(
        party=entry.party,
        month=entry.month,
        bytes=entry.bytes,
        reason=entry.reason,
        reference=entry.reference,
        billed_in=entry.billed_in,
    )


ENDPOINTS = (
    page_part("/bills", "bills.html", "text/html", "ocaserve.fleet"),
    page_part("/dashboard/bills.js", "bills.js", "text/javascript", "ocaserve.fleet"),
    Endpoint(
        "GET", "/v1/bills", list_bills, "Bills of a month, of all parties or of one", BillList,
        query=BillsQuery, refuses=(404, 422, 503),
    ),
    Endpoint(
        "GET", "/v1/bills.csv", list_bills_as_csv, "The same as CSV", "CSV",
        query=BillsQuery, media="text/csv", refuses=(404, 422, 503),
    ),
    Endpoint(
        "GET", "/v1/bills/{party}/{month}", show_bill,
        "A bill: as issued where the month is closed, else as of now", Bill,
        refuses=(404, 422, 503),
    ),
    Endpoint(
        "GET", "/v1/bills/{party}/{month}/curve", show_curve,
        "Bytes of each five minutes that the percentile is of", BillCurve,
        refuses=(404, 422, 503),
    ),
    Endpoint(
        "GET", "/v1/ledger", show_ledger, "The fleet's ledger: months, records, completeness",
        FleetLedgerStatus, refuses=(404,),
    ),
    Endpoint(
        "GET", "/v1/ledger/holes", list_holes, "Records that are missing", HoleList,
        query=HolesQuery, refuses=(404, 422, 503),
    ),
    Endpoint(
        "POST", "/v1/ledger/close", close_month, "Close a month, and issue its signed bills",
        BillList, role=Role.OPERATE, body=CloseRequest, refuses=(404, 409, 422, 503),
    ),
    Endpoint(
        "POST", "/v1/ledger/entries", enter_correction,
        "Correct a month by an entry of the next bill", CorrectionShown,
        role=Role.OPERATE, body=CorrectionRequest, refuses=(404, 409, 422, 503),
    ),
)  # fmt: skip
