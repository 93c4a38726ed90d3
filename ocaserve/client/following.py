"""Doing what a course says: asking for lists, fetching spans, handing on what comes.

Time that the receiver takes does not count against a server: the clock of the course stands still
while a sink works.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import NamedTuple, Protocol, TypeAlias

import aiohttp

from ocaserve.client.asking import (
    AskError,
    Fared,
    ListSource,
    QoeSession,
    reason_of,
    tell_how_it_went,
)
from ocaserve.client.course import (
    Ask,
    BeginAnew,
    Change,
    Course,
    Done,
    Fetch,
    GiveUp,
    Version,
    Wait,
)  # fmt: skip
from ocaserve.client.limits import Patience
from ocaserve.client.opening import Opened, check_head, fields_for
from ocaserve.client.words import plain
from ocaserve.errors import OcaserveError
from ocaserve.origins import Fault, SourceError

_MOST_REDIRECTS = 4
_MOST_ANEW = 3  # times that all servers may change the object under us


class FollowError(OcaserveError):
    """It could not be had; the text says why."""


class Receiver(Protocol):
    """Takes what comes, in order. What it raises ends the download."""

    async def begin(self, version: Version) -> None:
        """This is what comes."""

    async def take(self, chunk: bytes) -> None:
        """The next bytes."""

    async def begin_anew(self) -> None:
        """What was taken is of no use: the first byte comes again. Raises FollowError."""


class Asked(NamedTuple):
    """A list has come: so many URLs, good for so long."""

    urls: int
    good_s: float


class NotTold(NamedTuple):
    """No list has come."""

    why: str


class NotHeard(NamedTuple):
    """Who named the servers has not taken it how it went."""

    why: str


class Waiting(NamedTuple):
    """Nobody can be asked now."""

    why: str


class Anew(NamedTuple):
    """All servers have another version: it is begun again."""


class Going(NamedTuple):
    """So many bytes are there."""

    position: int
    size: int


News: TypeAlias = Change | Asked | NotTold | NotHeard | Waiting | Anew | Going


class Figures(NamedTuple):
    """What one server did. server: its origin. first_byte_s, bytes_per_s: averages of late."""

    server: str
    bytes: int
    first_byte_s: float | None
    bytes_per_s: float | None


class Outcome(NamedTuple):
    """A download that is whole. received: bytes of bodies, also those that came twice."""

    version: Version
    received: int
    changes: list[Change]
    servers: list[Figures]


class Begun(NamedTuple):
    """What is there of an earlier run."""

    position: int = 0
    version: Version | None = None


async def follow(
    session: aiohttp.ClientSession,
    sink: Receiver,
    *,
    urls: Sequence[str] = (),
    source: ListSource | None = None,
    patience: Patience | None = None,
    begun: Begun | None = None,
    tell: Callable[[News], None] = lambda _: None,
) -> Outcome:
    """Fetch one object, whoever of the servers fails meanwhile.

    session: without time limits of its own, see `make_session`. urls: ranked, best first; or
    source: where such a list is asked for. begun: from where to go on. tell: is told what happens.
    Raises FollowError, and what the sink raises.
    """
    assert bool(urls) != (source is not None), "either a list, or where to ask for one"
    follower = _Follower(
        session, sink, urls, source, patience or Patience(), begun or Begun(), tell
    )  # fmt: skip
    return await follower.run()


def make_session() -> aiohttp.ClientSession:
    """A session as `follow` wants it: bytes as they are, no time limits but those of `Patience`."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "ocaserve-follow"},
    )


class _Clock:
    """Seconds, but for those that it was stopped."""

    def __init__(self) -> None:
        self._stopped_s = 0.0

    def now(self) -> float:
        return monotonic() - self._stopped_s

    async def stopped_by(self, sink: Receiver, chunk: bytes) -> None:
        began = monotonic()
        await sink.take(chunk)
        self._stopped_s += monotonic() - began


class _Follower:
    """One run of `follow`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        sink: Receiver,
        urls: Sequence[str],
        source: ListSource | None,
        patience: Patience,
        begun: Begun,
        tell: Callable[[News], None],
    ) -> None:
        self._session = session
        self._sink = sink
        self._source = source
        self._patience = patience
        self._tell = tell
        self._clock = _Clock()
        self._course = Course(
            patience, urls, self._clock.now(), can_ask=source is not None,
            position=begun.position, version=begun.version,
        )  # fmt: skip
        self._received = 0
        self._told = 0
        self._anew = 0
        self._failovers = 0
        self._named_by: QoeSession | None = None

    async def run(self) -> Outcome:
        """All of it, and then a word to who named the servers, if that wants one."""
        began = monotonic()
        try:
            outcome = await self._follow()
        except FollowError:
            await self._tell_how_it_went(monotonic() - began)
            raise
        await self._tell_how_it_went(monotonic() - began)
        return outcome

    async def _tell_how_it_went(self, seconds: float) -> None:
        if self._named_by is None:
            return
        fared = Fared(self._failovers, seconds, self._received)
        try:
            await tell_how_it_went(self._session, self._named_by, fared)
        except AskError as error:
            self._tell(NotHeard(str(error)))

    async def _follow(self) -> Outcome:
        while True:
            step = self._course.next(self._clock.now())
            self._tell_changes()
            match step:
                case Ask():
                    await self._ask()
                case Fetch():
                    await self._fetch(step)
                case Wait():
                    self._tell(Waiting(step.why))
                    await asyncio.sleep(max(step.until - self._clock.now(), 0.01))
                case BeginAnew():
                    await self._begin_anew()
                case GiveUp():
                    raise FollowError(step.why)
                case Done():
                    return self._outcome()

    def _tell_changes(self) -> None:
        for change in self._course.changes[self._told :]:
            self._tell(change)
        self._told = len(self._course.changes)

    async def _ask(self) -> None:
        assert self._source is not None
        try:
            ranked = await self._source.ask(self._session)
        except AskError as error:
            self._tell(NotTold(str(error)))
            self._course.not_told(str(error), self._clock.now(), is_final=error.is_final)
            return
        self._tell(Asked(len(ranked.urls), ranked.good_s))
        self._named_by = ranked.session or self._named_by
        now = self._clock.now()
        self._course.told(ranked.urls, now + ranked.good_s, now)

    async def _begin_anew(self) -> None:
        self._anew += 1
        if self._anew > _MOST_ANEW:
            raise FollowError(f"the object changed {self._anew} times on all servers")
        self._tell(Anew())
        await self._sink.begin_anew()
        self._course.begin_anew()

    async def _fetch(self, wanted: Fetch) -> None:
        try:
            async with self._open(wanted) as (response, opened):
                await self._begin(wanted, opened)
                await self._receive(response, opened.length)
        except SourceError as error:
            self._failovers += 1
            self._course.left(error.fault, plain(str(error)), self._clock.now())
        else:
            self._course.span_ended(self._clock.now())

    @asynccontextmanager
    async def _open(self, wanted: Fetch) -> AsyncIterator[tuple[aiohttp.ClientResponse, Opened]]:
        try:
            async with asyncio.timeout(self._patience.first_byte_s):
                response = await self._session.get(
                    wanted.url, headers=fields_for(wanted), max_redirects=_MOST_REDIRECTS
                )
        except TimeoutError:
            why = f"no answer in {self._patience.first_byte_s:g} s"
            raise SourceError(Fault.STALLED, why) from None
        except aiohttp.TooManyRedirects:
            raise SourceError(Fault.REDIRECTS, f"more than {_MOST_REDIRECTS}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceError(Fault.UNREACHABLE, reason_of(error)) from None
        try:
            yield response, check_head(wanted, response.status, response.headers)
        finally:
            response.release()  # which closes the connection where bytes are still to come

    async def _begin(self, wanted: Fetch, opened: Opened) -> None:
        if wanted.version is None:
            await self._sink.begin(opened.version)
        self._course.opened(opened.version, self._clock.now())

    async def _receive(self, response: aiohttp.ClientResponse, left: int) -> None:
        course = self._course
        while left:
            chunk = await self._read(response, left)
            if not chunk:
                raise SourceError(Fault.CUT, f"{left} bytes did not come")
            left -= len(chunk)
            if left < 0:
                raise SourceError(Fault.TOO_MANY, "more bytes than were asked for")
            self._received += len(chunk)
            await self._clock.stopped_by(self._sink, chunk)
            course.received(len(chunk), self._clock.now())
            self._tell(Going(course.position, course.size))
            self._leave_if_slow()

    async def _read(self, response: aiohttp.ClientResponse, left: int) -> bytes:
        """What has come; b"" at the end. left: how much is to come."""
        while True:
            now = self._clock.now()
            try:
                async with asyncio.timeout(self._course.judge_at(now) - now):
                    return await response.content.readany()
            except TimeoutError:
                self._leave_if_slow()
            except aiohttp.ClientPayloadError:
                raise SourceError(Fault.CUT, f"{left} bytes did not come") from None
            except (aiohttp.ClientError, OSError) as error:
                raise SourceError(Fault.CUT, f"{left} to come: {reason_of(error)}") from None

    def _leave_if_slow(self) -> None:
        leave = self._course.judge(self._clock.now())
        if leave is not None:
            raise SourceError(leave.fault, leave.why)

    def _outcome(self) -> Outcome:
        course = self._course
        assert course.version is not None
        servers = [
            Figures(server, meter.taken, meter.first_byte_s, meter.bytes_per_s)
            for server, meter in course.meters.items()
        ]
        return Outcome(course.version, self._received, course.changes, servers)
