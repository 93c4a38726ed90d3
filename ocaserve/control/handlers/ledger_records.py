"""Closed periods as records: to be fetched where one is missing, and closing one early."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from ocaserve.control.auth import Role
from ocaserve.control.bookkeeping import LEDGER, LEDGER_THREAD, READERS
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.control.state import STATE
from ocaserve.ledger.collector import Collector, EarlyCloseError
from ocaserve.ledger.handover import MOST_RECORDS
from ocaserve.ledger.record_files import RecordFiles
from ocaserve.ledger.records import MOST_BYTES, BookName, LedgerRecord

_ANSWER_BYTES = 4 << 20  # of records in one answer, or one record


class RecordsQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Records with a greater number than `after`; from the first that is kept on without it.

    book: the newest without it.
    """

    after: Annotated[int, Meta(ge=0, le=MOST_BYTES)] | None = None
    book: BookName | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_RECORDS)] = 100


class BookShown(Struct, frozen=True, kw_only=True):
    """The numbers of the first and the last record of it that are kept."""

    book: str
    first: int
    last: int


class RecordsShown(Struct, frozen=True, kw_only=True):
    """Records of one book, in the order of their numbers, `limit` or 4 MB of them; where `last` is
    not among them there are more. A number that is left out is damaged. books: all that have
    records, the oldest first. Before the first period is closed there is none: then `book` is
    empty.
    """

    appliance: str
    book: str
    first: int
    last: int
    records: list[LedgerRecord]
    books: list[BookShown]


class PeriodClosed(Struct, frozen=True, kw_only=True):
    """The record of the period that ran: its begin, seconds since the epoch, and its bytes."""

    book: str
    seq: int
    start: int
    total: int


async def show_records(call: Call) -> RecordsShown:
    app = call.request.app
    work = partial(_read, _ledger_of(app).records, app[STATE].settings.appliance.id, call.query)
    return await app[READERS].read(work)


def _read(files: RecordFiles, appliance: str, query: RecordsQuery) -> RecordsShown:
    kept = {book.name: book.seqs for book in files.books()}
    books = [BookShown(book=name, first=seqs[0], last=seqs[-1]) for name, seqs in kept.items()]
    name = query.book or (books[-1].book if books else "")
    seqs = kept.get(name, [])
    if query.book and not seqs:
        raise Problem(404, f"no record of book {name} is kept; there are {', '.join(kept) or '-'}")
    first, last = (seqs[0], seqs[-1]) if seqs else (0, 0)
    after = max(first - 1, 0) if query.after is None else query.after
    if after < first - 1:
        raise Problem(410, f"the first record that is kept is {first}: ask after={first - 1}")
    wanted = [seq for seq in seqs if seq > after][: query.limit]
    return RecordsShown(
        appliance=appliance,
        book=name,
        first=first,
        last=last,
        records=files.read(name, wanted, _ANSWER_BYTES),
        books=books,
    )


async def close_period(call: Call) -> PeriodClosed:
    app = call.request.app
    try:
        record = await asyncio.get_running_loop().run_in_executor(
            app[LEDGER_THREAD], _ledger_of(app).close_early
        )
    except EarlyCloseError as error:
        raise Problem(409, str(error)) from error
    except OSError as error:
        raise Problem(503, f"the ledger cannot be written: {error}") from error
    return PeriodClosed(book=record.book, seq=record.seq, start=record.start, total=record.total)


def _ledger_of(app: web.Application) -> Collector:
    collector = app.get(LEDGER)
    if collector is None:
        raise Problem(404, "no ledger is kept: see ledger.is_kept")
    return collector


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/ledger/records",
        show_records,
        "Closed periods, each once and for good; 410 where older ones are gone",
        RecordsShown,
        query=RecordsQuery,
        refuses=(404, 410),
    ),
    Endpoint(
        "POST",
        "/v1/ledger/close",
        close_period,
        "Close the period that runs, before the appliance is taken away",
        PeriodClosed,
        role=Role.OPERATE,
        lane=Lane.VITAL,
        refuses=(404, 409),
    ),
)
