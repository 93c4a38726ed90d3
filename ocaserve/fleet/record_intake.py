"""Taking the records of appliances' ledgers, and telling each appliance what is missing of its own.

Every push is answered with what is held by then: the greatest number, and the holes below it. The
appliance goes on there and closes the holes, so nobody has to ask appliances, which may stand where
no call comes through. What an appliance no longer has stays a hole, which bills show.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Protocol

import msgspec
from aiohttp import web

from ocaserve.bills.taking import Taken
from ocaserve.bills.vault import LedgerUnavailableError
from ocaserve.control.auth import Role
from ocaserve.control.bodies import read_body
from ocaserve.control.endpoints import LIMITS, Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.operating import INTAKE, refuse_document, sender_of
from ocaserve.fleet.pushed_documents import DocumentError
from ocaserve.ledger.handover import PUSH_BYTES, RecordPush, Watermark
from ocaserve.ledger.records import LedgerRecord

_log = logging.getLogger(__name__)

_IN_THE_LOOP_BYTES = 128 << 10  # read within a millisecond or two; more is for a thread
_LOOK_AGAIN_S = 3_600.0  # at what is held, all months of it, though nothing but the next one comes
_MOST_MARKS = 50_000
_MOST_FAULTS = 5  # said of one push


class RecordStore(Protocol):
    """Where records are kept for good. Both may wait, and raise LedgerUnavailableError."""

    def take(self, records: Sequence[LedgerRecord], sites: Mapping[str, str]) -> Taken:
        """What was taken is held when this returns. sites: of the appliances."""

    def watermark(self, appliance: str, book: str) -> Watermark:
        """What is held of a book."""


class RecordIntake:
    """The way into a store, through a thread of its own: one that hangs keeps no other work from
    threads.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "ledger-intake")
        self._marks: dict[tuple[str, str], tuple[Watermark, float]] = {}

    async def take(self, push: RecordPush, site: str) -> Watermark:
        """Raises Problem."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._take, push, site
            )
        except LedgerUnavailableError as error:
            raise Problem(503, str(error), headers={"Retry-After": "5"}) from error

    def close(self) -> None:
        """Nobody waits for an answer any more."""
        self._thread.shutdown(cancel_futures=True)

    def _take(self, push: RecordPush, site: str) -> Watermark:
        if not push.records:
            return self._look(push.appliance, push.book)
        taken = self._store.take(push.records, {push.appliance: site})
        for complaint in taken.complaints[:_MOST_FAULTS]:
            _log.warning("fleet: ledger: record %s: %s", complaint.record, complaint.why)
        known = self._marks.get((push.appliance, push.book))
        if known and monotonic() - known[1] < _LOOK_AGAIN_S and not taken.complaints:
            mark = _go_on(known[0], [record.seq for record in push.records])
            if mark is not None:
                self._marks[push.appliance, push.book] = mark, known[1]
                return mark
        mark = self._look(push.appliance, push.book)
        faults = [f"{each.record}: {each.why}" for each in taken.complaints[:_MOST_FAULTS]]
        return msgspec.structs.replace(mark, faults=faults)

    def _look(self, appliance: str, book: str) -> Watermark:
        mark = self._store.watermark(appliance, book)
        if len(self._marks) >= _MOST_MARKS:
            self._marks.clear()
        self._marks[appliance, book] = mark, monotonic()
        return mark


def _go_on(mark: Watermark, seqs: Sequence[int]) -> Watermark | None:
    """The mark after these, where that is plain: nothing is missing, and they follow it."""
    follows = list(range(mark.seq + 1, mark.seq + 1 + len(seqs)))
    return None if mark.missing or seqs != follows else Watermark(book=mark.book, seq=seqs[-1])


RECORDS: web.AppKey[RecordIntake] = web.AppKey("RECORDS", RecordIntake)


def start_intake(app: web.Application, store: RecordStore) -> None:
    """Take records for as long as the application runs."""
    intake = app[RECORDS] = RecordIntake(store)

    async def close(_: web.Application) -> None:
        intake.close()

    app.on_cleanup.append(close)


async def take_records(call: Call) -> Watermark:
    """Records of one book. Who sends them is decided before they are read."""
    app = call.request.app
    try:
        name = sender_of(call.request, app[INTAKE])
        data = await read_body(call.request, PUSH_BYTES, app[LIMITS].body_s)
        push = await _read(data)
        app[INTAKE].admit(push.appliance, name)
    except DocumentError as error:
        raise refuse_document(error) from error
    if RECORDS not in app:
        raise Problem(404, "no ledger is kept here: see fleet.ledger")
    for record in push.records:
        if (record.appliance, record.book) != (push.appliance, push.book):
            raise Problem(
                422,
                f"record {record.seq} is of {record.appliance!r}, book {record.book}; "
                f"the push is of {push.appliance!r}, book {push.book}",
            )
    return await app[RECORDS].take(push, _site_of(app[FLEET], push.appliance))


def _site_of(state: FleetState, appliance: str) -> str:
    """Raises Problem while nobody has said it: the record stands with its site for good."""
    listed = state.roster.get(appliance)
    if appliance not in state.members and not (listed and listed.site):
        raise Problem(409, f"the site of {appliance!r} is not known before its first report")
    return state.site_of(appliance).id


async def _read(data: bytes) -> RecordPush:
    """Raises Problem."""
    try:
        if len(data) <= _IN_THE_LOOP_BYTES:
            return msgspec.json.decode(data, type=RecordPush)
        return await asyncio.to_thread(msgspec.json.decode, data, type=RecordPush)
    except msgspec.ValidationError as error:
        raise Problem(422, f"the body: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from error


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/ledger/records", take_records,
        "Closed records of an appliance's ledger, gzipped or plain; the answer says what is held",
        Watermark, role=Role.ANYONE, lane=Lane.FETCHING,
        refuses=(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
    ),
)  # fmt: skip
