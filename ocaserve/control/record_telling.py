"""Telling the fleet of the ledger's records: each until it has it, beside the reports.

Nothing is written down of what was told: the fleet answers each push with what it has by then, and
this goes on there. So a fleet that was away, or has lost something, gets it when it answers again,
for as long as it is kept here; and it costs this appliance nothing but time.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from ocaserve.ledger.collector import Collector
from ocaserve.ledger.handover import MOST_RECORDS, RecordPush, Watermark, choose_untold
from ocaserve.ledger.record_files import KeptBook, RecordFiles
from ocaserve.ledger.records import LedgerRecord
from ocaserve.routing.pacing import find_pause
from ocaserve.routing.reporter import PushError, compress
from ocaserve.settings import Settings
from ocaserve.settings.report import ReportSettings, read_push_token

_log = logging.getLogger(__name__)

_REPORTS = "/v1/reports"
_RECORDS = "/v1/ledger/records"
_BATCH_BYTES = 1 << 20  # of one push, before it is compressed; a larger record goes alone


class NoLedgerError(PushError):
    """The receiver keeps no ledger."""


class NotTakenError(PushError):
    """Records were read, and none of them was taken."""


def find_records_url(push_url: str) -> str:
    """Where records go to: beside the reports, where a fleet takes those; else empty."""
    parts = urlsplit(push_url)
    if not parts.path.endswith(_REPORTS):
        return ""
    path = parts.path.removesuffix(_REPORTS) + _RECORDS
    return urlunsplit(parts._replace(path=path, query="", fragment=""))


class RecordTeller:
    """One fleet. `told`: the greatest number that it has of the newest book. `untold_since`: when
    the oldest record was closed that it does not have, seconds since the epoch; None: it has all.
    `failures`: pushes in a row that were not taken; `fault`: why the last.

    renew: told of a book of which the fleet has a later record than is here. wait_s: between the
    closing of a period and its record's push, so that a fleet's appliances, which all close at the
    same moment, do not push at the same moment.
    """

    def __init__(
        self,
        files: RecordFiles,
        appliance: str,
        url: str,
        report: ReportSettings,
        wait_s: float,
        renew: Callable[[str, int], None],
    ) -> None:
        self._files = files
        self._appliance = appliance
        self._url = url
        self._report = report
        self._wait_s = wait_s
        self._renew = renew
        self._news = asyncio.Event()
        self._marks: dict[str, Watermark] = {}
        self.told = 0
        self.untold_since: float | None = None
        self.failures = 0
        self.fault = ""

    def wake(self) -> None:
        """There is a record more."""
        self._news.set()

    async def run(self) -> None:
        """Push for as long as the appliance runs."""
        timeout = aiohttp.ClientTimeout(total=self._report.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while True:
                self._news.clear()
                try:
                    await self.tell(client)
                except (PushError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._fail(error)
                    await asyncio.sleep(find_pause(self.failures))
                else:
                    self._succeed()
                    await self._news.wait()
                    await asyncio.sleep(self._wait_s)

    async def tell(self, client: aiohttp.ClientSession) -> None:
        """All that the fleet does not have. Raises PushError and what aiohttp raises."""
        refused: NotTakenError | None = None
        for book in await asyncio.to_thread(self._files.books):
            try:
                await self._tell_book(client, book)
            except NotTakenError as error:  # it may be of this book alone
                refused = error
        if refused is not None:
            raise refused

    async def _tell_book(self, client: aiohttp.ClientSession, book: KeptBook) -> None:
        mark = self._marks.get(book.name) or await self._push(client, book.name, [])
        if mark.seq > book.seqs[-1]:
            self._renew(book.name, mark.seq)
        while untold := choose_untold(book.seqs, mark)[:MOST_RECORDS]:
            records = await asyncio.to_thread(self._files.read, book.name, untold, _BATCH_BYTES)
            if not records or records[0].appliance != self._appliance:
                return  # they are gone by now, or of the time when it had another id
            self.untold_since = min(record.end for record in records)
            before, mark = mark, await self._push(client, book.name, records)
            self.told = mark.seq
            if (mark.seq, mark.missing) == (before.seq, before.missing):
                why = "; ".join(mark.faults) or f"record {records[0].seq} was sent and is not there"
                raise NotTakenError(f"book {book.name}: {why}")
        self.told = mark.seq

    async def _push(
        self, client: aiohttp.ClientSession, book: str, records: list[LedgerRecord]
    ) -> Watermark:
        push = RecordPush(appliance=self._appliance, book=book, records=records)
        body = await asyncio.to_thread(lambda: compress(iter((msgspec.json.encode(push),))))
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if token := read_push_token(self._report.token_file):
            headers["Authorization"] = f"Bearer {token}"
        async with client.post(
            self._url, data=body, headers=headers, allow_redirects=False
        ) as response:
            answer = await response.read()
            if response.status == 404:
                raise NoLedgerError("the receiver keeps no ledger")
            if response.status != 200:
                raise PushError(f"the answer was {response.status}: {answer[:300]!r}")
        try:
            mark = msgspec.json.decode(answer, type=Watermark)
        except msgspec.DecodeError as error:
            raise PushError(f"the answer is no watermark: {error}") from error
        if mark.seq < self._marks.get(book, mark).seq:  # it has lost what it had: of others too
            self._marks.clear()
        self._marks[book] = mark
        return mark

    def _succeed(self) -> None:
        if self.failures:
            _log.info("ledger: records are taken again after %d failures", self.failures)
        self.failures, self.fault, self.untold_since = 0, "", None

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        self.fault = str(error) or type(error).__name__
        if isinstance(error, NoLedgerError):
            self.untold_since = None  # nobody waits for them
        elif self.untold_since is None:
            self.untold_since = time.time()
        if self.failures == 1:
            _log.warning("ledger: records are not taken: %s; trying again", self.fault)


def make_teller(collector: Collector, settings: Settings) -> RecordTeller | None:
    """None where the settings name no fleet."""
    url = find_records_url(settings.report.push_url)
    if not url or not settings.ledger.tell:
        return None
    appliance = settings.appliance.id
    place = zlib.crc32(appliance.encode()) / (1 << 32)  # of its own, and always the same
    wait_s = place * settings.ledger.tell_within_s
    return RecordTeller(collector.records, appliance, url, settings.report, wait_s, collector.renew)
