"""Pushes reports to the control plane: all first, then what changed, each until it is taken.

A POST that is answered with 2xx was taken. 409 or 410 says that the receiver does not know what the
changes go on from: it gets all again, first with the table's digest alone, since another appliance
of the site may have told the table (`forms`). Everything else is tried again after a pause
(`pacing`). What is sent then is what is so by then; so a document may come twice, and none that
matters is left out.

A process that begins knows no routes, and its predecessor's report is what the receiver has. So
nothing is sent before the table is complete, or `bgp.stale_s` has passed, for which routes of lost
sessions are kept as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Iterator

import aiohttp

from ocaserve.routing.forms import Form, answer_to
from ocaserve.routing.live import RouteService
from ocaserve.routing.pacing import Pacing
from ocaserve.settings.report import ReportSettings, read_push_token
from ocaserve.steering.changes import GoneError
from ocaserve.steering.report import Heading

_log = logging.getLogger(__name__)

MIN_GAP_S = 0.5  # between two pushes: what changes meanwhile goes together


class PushError(Exception):
    """A push was not taken; the text says why."""


class Reporter:
    """One receiver. `failures`: pushes in a row that were not taken; `fault`: why the last."""

    def __init__(self, service: RouteService, settings: ReportSettings) -> None:
        self._service = service
        self._settings = settings
        self._form = Form.BRIEF
        self._taken = 0  # the serial that the receiver has, where it is told changes
        self._pacing = Pacing(settings.interval_s)
        self.pushes = 0
        self.fault = ""

    @property
    def failures(self) -> int:
        return self._pacing.failures

    async def run(self) -> None:
        """Push for as long as the appliance runs."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            await self._service.wait_until_complete()
            while True:
                try:
                    await self.push(client)
                except (PushError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    await asyncio.sleep(self._fail(error))
                else:
                    wait_s = self._succeed()
                    if self._form is not Form.CHANGES:  # what it asks for waits for nothing
                        continue
                    await asyncio.sleep(MIN_GAP_S)
                    if self._service.log.serial == self._taken:
                        await self._service.wait_for_news(wait_s - MIN_GAP_S)

    async def push(self, client: aiohttp.ClientSession) -> None:
        """One document. Raises PushError and what aiohttp raises."""
        heading, pieces = self._next_document()
        body = await asyncio.to_thread(compress, pieces)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        token = read_push_token(self._settings.token_file)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with client.post(
            self._settings.push_url, data=body, headers=headers, allow_redirects=False
        ) as response:
            form = answer_to(self._form, response.status)
            if form is None:
                raise PushError(f"the answer was {response.status}")
        self._form = form
        if form is Form.CHANGES:
            self._taken = heading.serial
        else:
            _log.info("report: the receiver asks for more: %s", form.value)

    def _next_document(self) -> tuple[Heading, Iterator[bytes]]:
        if self._form is Form.CHANGES:
            try:
                return self._service.changes(self._service.log.session, self._taken)
            except GoneError:
                self._form = Form.BRIEF
        return self._service.report(is_brief=self._form is Form.BRIEF)

    def _succeed(self) -> float:
        if self.failures:
            _log.info("report: pushes are taken again after %d failures", self.failures)
        self.pushes += 1
        self.fault = ""
        self._service.last_contact = time.monotonic()
        return self._pacing.succeed()

    def _fail(self, error: Exception) -> float:
        pause_s = self._pacing.fail()
        self.fault = str(error) or type(error).__name__
        if self.failures == 1:
            _log.warning("report: not taken: %s; trying again", self.fault)
        return pause_s


def compress(pieces: Iterator[bytes]) -> bytes:
    """All pieces as one gzip member."""
    return b"".join(compress_pieces(pieces))


def compress_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same, piece by piece; the same pieces give the same bytes."""
    gzip = zlib.compressobj(4, wbits=31)
    for piece in pieces:
        if out := gzip.compress(piece):
            yield out
    yield gzip.flush()
