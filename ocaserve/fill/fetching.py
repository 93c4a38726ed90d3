"""One range from one source, or the fault of the source.

Nothing that a source says is believed that can be checked: status, range, length, validators, and
what comes more or less than was promised.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import NamedTuple
from urllib.parse import urljoin

import aiohttp

from ocaserve.fill.rate import RateCap
from ocaserve.origins import Fault, SourceError, origin_of
from ocaserve.urls import is_http_url

_CHUNK_BYTES = 256 * 1024
_MOST_REDIRECTS = 4
_CONNECT_S = 10.0
_JUDGED_AFTER_S = 10.0  # a rate over less says little
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class Wanted(NamedTuple):
    """Bytes [start, stop) of an object of `size` bytes."""

    start: int
    stop: int
    size: int

    @property
    def is_whole(self) -> bool:
        return self.start == 0 and self.stop == self.size


class FetchManner(NamedTuple):
    """How sources are asked. headers: for all, a token for instance.

    stall_s: without a byte. min_bytes_per_s: less is too slow, but for what the cap costs.
    """

    session: aiohttp.ClientSession
    cap: RateCap
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None
    stall_s: float = 15.0
    min_bytes_per_s: float = 16_384.0


async def fetch(
    asking: FetchManner, url: str, wanted: Wanted, validators: dict[str, str] | None = None
) -> AsyncGenerator[bytes, None]:
    """The bytes as they come: all of them, or SourceError.

    validators: entity-tags by URL, of the parts that were fetched before; they must be those still,
    and are added to.
    """
    validator = (validators or {}).get(url, "")
    reading = 0.0  # what the cap, or our own disk, takes is no fault of the source
    left = wanted.stop - wanted.start
    async with _open(asking, url, wanted, validator) as response:
        if validators is not None and (tag := response.headers.get("ETag", "")).startswith('"'):
            validators[url] = tag  # a weak one says nothing of bytes
        while True:
            began = monotonic()
            try:
                async with asyncio.timeout(asking.stall_s):
                    chunk = await response.content.read(_CHUNK_BYTES)
            except TimeoutError:
                raise SourceError(
                    Fault.STALLED, f"no byte in {asking.stall_s:g} s, {left} to come"
                ) from None
            except (aiohttp.ClientError, OSError) as error:
                raise SourceError(Fault.CUT, f"{left} bytes were to come: {error}") from error
            if not chunk:
                break
            reading += monotonic() - began
            left -= len(chunk)
            if left < 0:
                raise SourceError(Fault.TOO_MANY, "more bytes than were asked for")
            yield chunk
            await asking.cap.take(len(chunk))
            _judge_rate(asking, wanted.stop - wanted.start - left, reading)
    if left:
        raise SourceError(Fault.CUT, f"{left} bytes did not come")


def _judge_rate(asking: FetchManner, taken: int, seconds: float) -> None:
    if seconds > _JUDGED_AFTER_S and taken < asking.min_bytes_per_s * seconds:
        raise SourceError(
            Fault.SLOW, f"{taken / seconds:.0f} bytes/s; {asking.min_bytes_per_s:.0f} are wanted"
        )


@asynccontextmanager
async def _open(
    asking: FetchManner, url: str, wanted: Wanted, validator: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The response to a range, its head checked."""
    headers = {**asking.headers, "Accept-Encoding": "identity"}
    headers["Range"] = f"bytes={wanted.start}-{wanted.stop - 1}"
    if validator:
        headers["If-Range"] = validator
    response = await _follow(asking, url, headers)
    try:
        _check_head(response, wanted, validator)
        yield response
    finally:
        response.close()


async def _follow(asking: FetchManner, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
    """Redirects are followed by hand: few, to http and https, and no token to another origin."""
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            async with asyncio.timeout(_CONNECT_S + asking.stall_s):
                response = await asking.session.get(
                    url, headers=headers, allow_redirects=False, ssl=asking.tls or True
                )
        except TimeoutError:
            raise SourceError(Fault.STALLED, f"{url}: no answer") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceError(Fault.UNREACHABLE, f"{url}: {error}") from error
        if response.status not in (301, 302, 303, 307, 308):
            return response
        target = urljoin(url, response.headers.get("Location", ""))
        response.close()
        if not is_http_url(target):
            raise SourceError(Fault.REDIRECTS, f"to {target[:200]!r}")
        if origin_of(target) != origin_of(url):
            headers = {name: value for name, value in headers.items() if name != "Authorization"}
        url = target
    raise SourceError(Fault.REDIRECTS, f"more than {_MOST_REDIRECTS} of them")


def _check_head(response: aiohttp.ClientResponse, wanted: Wanted, validator: str) -> None:
    status = response.status
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceError(Fault.ENCODED, response.headers["Content-Encoding"][:80])
    if status == 200:
        if validator and response.headers.get("ETag", "") != validator:
            raise SourceError(Fault.CHANGED, f"it was {validator}")
        if not wanted.is_whole:
            raise SourceError(Fault.NO_RANGE, "200 for a range")
        if response.content_length not in (None, wanted.size):
            raise SourceError(
                Fault.WRONG_RANGE, f"{response.content_length} bytes; the object has {wanted.size}"
            )
        return
    if status == 425:  # as `sharing` answers
        raise SourceError(Fault.PENDING, "it is on its way there")
    if status in (404, 410):
        raise SourceError(Fault.ABSENT, f"status {status}")
    if status != 206:
        raise SourceError(Fault.STATUS, f"status {status}")
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if found is None or tuple(map(int, found.groups())) != (
        wanted.start, wanted.stop - 1, wanted.size,
    ):  # fmt: skip
        raise SourceError(
            Fault.WRONG_RANGE,
            f"{response.headers.get('Content-Range', 'no Content-Range')[:80]!r}; wanted "
            f"{wanted.start}-{wanted.stop - 1}/{wanted.size}",
        )
    tag = response.headers.get("ETag", "")
    if validator and tag and tag != validator:
        raise SourceError(Fault.CHANGED, f"from {validator} to {tag[:80]}")
