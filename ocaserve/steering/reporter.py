"""Pushes reports to the control plane: the whole first, then what changed, each until it is taken.

A POST that is answered with 2xx was taken. 409 or 410 says that the receiver does not know what the
changes go on from: it gets the whole report again. Everything else is tried again after a pause
that doubles up to a minute, with jitter, so that a fleet does not come back as one. What is sent
then is what is so by then; so a document may come twice, and none that matters is left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import zlib
from collections.abc import Iterator

import aiohttp

from ocaserve.settings.report import Report, read_push_token
from ocaserve.steering.changes import GoneError
from ocaserve.steering.report import Heading
from ocaserve.steering.service import RouteService

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
MIN_GAP_S = 0.5  # between two pushes: what changes meanwhile goes together
_START_OVER = (409, 410)


class PushError(Exception):
    """A push was not taken; the text says why."""


class Reporter:
    """One receiver. `failures`: pushes in a row that were not taken; `fault`: why the last."""

    def __init__(self, service: RouteService, settings: Report) -> None:
        self._service = service
        self._settings = settings
        self._taken: int | None = None  # the serial that the receiver has; None: nothing
        self.pushes = 0
        self.failures = 0
        self.fault = ""

    async def run(self) -> None:
        """Push for as long as the appliance runs."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while True:
                try:
                    await self.push(client)
                except (PushError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._fail(error)
                    await asyncio.sleep(self._pause())
                else:
                    self._succeed()
                    await asyncio.sleep(MIN_GAP_S)
                    if self._service.log.serial == self._taken:
                        await self._service.wait_for_news(self._settings.interval_s - MIN_GAP_S)

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
            if response.status in _START_OVER and self._taken is not None:
                self._taken = None
                _log.info("report: the receiver asks for the whole report")
                return
            if response.status // 100 != 2:
                raise PushError(f"the answer was {response.status}")
        self._taken = heading.serial

    def _next_document(self) -> tuple[Heading, Iterator[bytes]]:
        if self._taken is not None:
            try:
                return self._service.changes(self._service.log.session, self._taken)
            except GoneError:
                self._taken = None
        return self._service.report()

    def _succeed(self) -> None:
        if self.failures:
            _log.info("report: pushes are taken again after %d failures", self.failures)
        self.pushes += 1
        self.failures, self.fault = 0, ""
        self._service.last_contact = time.monotonic()

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        self.fault = str(error) or type(error).__name__
        if self.failures == 1:
            _log.warning("report: not taken: %s; trying again", self.fault)

    def _pause(self) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


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
