"""Where lists of URLs come from: the command line, a redirect, a control plane's decision.

What a list may be is bounded: so many URLs, http or https, of an answer that is not long. A list is
good until the first of its signatures ends, or for as long as it says itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import aiohttp
import msgspec
from msgspec import Struct

from ocaserve.client.words import plain
from ocaserve.urls import is_http_url

MOST_URLS = 32
_MOST_BYTES = 1 << 20
_TIMEOUT_S = 10.0
_TOLD_WITHIN_S = 2.0  # how it went: the object is there, and nobody is to wait for that
_MARGIN_S = 5.0  # before the end of a signature, so that a request begun then is in time
_SIGNED_PATH = re.compile(r"/s/[A-Za-z0-9._~-]{1,40}?\.(\d{1,12})\.[A-Za-z0-9_-]{43}/")
SESSION_FIELD = "OcaServe-Session"  # of a redirect; an answer to `POST /v1/steer` has it in itself
_FINAL = frozenset({400, 401, 403, 404, 405, 410, 413, 414, 422})


class AskError(Exception):
    """No list could be had. is_final: asking again would change nothing."""

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


class QoeSession(NamedTuple):
    """Where it is told how it went, and the token by which that is of this client."""

    url: str
    token: str


class Fared(NamedTuple):
    """How a client fared. failovers: how often it left a server."""

    failovers: int
    seconds: float
    bytes: int


class Ranked(NamedTuple):
    """URLs, best first. good_s: for how long."""

    urls: list[str]
    good_s: float = float("inf")
    session: QoeSession | None = None


class ListSource(Protocol):
    """Gives lists. Raises AskError."""

    async def ask(self, session: aiohttp.ClientSession) -> Ranked:
        """The list as it is now."""


class Redirect:
    """A URL that leads to the best server, and names the others (RFC 6249 section 3)."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._clock = clock

    async def ask(self, session: aiohttp.ClientSession) -> Ranked:
        """One request, not followed: the head of its answer is the list."""
        async with _calling(session, "GET", self._url) as response:
            if response.status not in (301, 302, 303, 307, 308):
                raise await _refusal(response)
            location = response.headers.get("Location")
            links = response.headers.getall("Link", [])
            told_at = _session_of(self._url, response.headers.get(SESSION_FIELD, ""))
        best = [urljoin(self._url, location)] if location else []
        ranked = _ranked([*best, *duplicates(links, self._url)], self._clock())
        return ranked._replace(session=told_at)


class Steering:
    """`POST /v1/steer` of a control plane. address: of the client, if it is not who asks."""

    def __init__(
        self,
        fleet: str,
        key: str,
        *,
        address: str | None = None,
        token: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = f"{fleet.rstrip('/')}/v1/steer"
        self._key = key
        self._body = {"client": {"ip": address} if address else {}, "objects": [key]}
        self._fields = {"Authorization": f"Bearer {token}"} if token else {}
        self._clock = clock

    async def ask(self, session: aiohttp.ClientSession) -> Ranked:
        """One decision."""
        async with _calling(session, "POST", self._url, self._body, self._fields) as response:
            if response.status != 200:
                raise await _refusal(response)
            data = await _read(response)
        try:
            told = msgspec.json.decode(data, type=_Decision)
        except msgspec.DecodeError as error:
            raise AskError(f"{self._url}: {error}") from None
        ranked = _ranked(told.objects.get(self._key, []), self._clock())
        good_s = min(ranked.good_s, max(told.ttl_s, 1.0))
        return Ranked(ranked.urls, good_s, _session_of(self._url, told.session))


class _Decision(Struct):
    objects: dict[str, list[str]]
    ttl_s: float = float("inf")
    session: str = ""


async def tell_how_it_went(session: aiohttp.ClientSession, of: QoeSession, fared: Fared) -> None:
    """Tell whoever named the servers. Raises AskError."""
    body = {"session": of.token, **fared._asdict()}
    async with _calling(session, "POST", of.url, body, timeout_s=_TOLD_WITHIN_S) as response:
        if response.status not in (200, 202, 204):
            raise await _refusal(response)


def _session_of(asked: str, token: str) -> QoeSession | None:
    return QoeSession(urljoin(asked, "/v1/qoe"), token) if token else None


def redirect_of(fleet: str, key: str) -> str:
    """The URL that leads a client to an object."""
    return f"{fleet.rstrip('/')}/r/{quote(key)}"


def duplicates(links: Sequence[str], base: str) -> list[str]:
    """The targets of `rel=duplicate`, best first (RFC 6249 section 3, RFC 8288 section 3)."""
    found: list[tuple[int, str]] = []
    for value in links:
        for target, parameters in re.findall(r"<([^>]*)>((?:\s*;[^,<]*)*)", value[:_MOST_BYTES]):
            said = {
                name.lower(): text.strip('"')
                for name, text in re.findall(r';\s*(\w+)\s*=\s*("[^"]*"|[^\s;,]*)', parameters)
            }
            if "duplicate" in said.get("rel", "").lower().split():
                pri = said.get("pri", "")
                found.append((int(pri) if re.fullmatch(r"\d{1,6}", pri) else 999_999, target))
    return [urljoin(base, target) for _, target in sorted(found, key=lambda each: each[0])]


def seconds_left(url: str, now: float) -> float:
    """Until the signature of a URL ends, by what stands in it; without end if none does.

    now: seconds since the epoch.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if {"v", "e", "t"} <= query.keys() and re.fullmatch(r"\d{1,12}", query["e"][0]):
        return int(query["e"][0]) - now
    found = _SIGNED_PATH.match(parts.path)
    return int(found[1]) - now if found else float("inf")


def _ranked(urls: Sequence[str], now: float) -> Ranked:
    good = [url for url in dict.fromkeys(urls) if is_http_url(url)][:MOST_URLS]
    if not good:
        raise AskError("the list that came names no URL of http or https")
    return Ranked(good, max(min(seconds_left(url, now) for url in good) - _MARGIN_S, 1.0))


def reason_of(error: Exception) -> str:
    """Why a connection was not made, or broke: as the system says it, where that is why."""
    found = getattr(error, "os_error", error)  # which aiohttp's wraps, with an address we know
    if isinstance(found, OSError) and found.errno is not None:
        return os.strerror(found.errno) if found.errno > 0 else found.strerror or "no such host"
    return str(error) or type(error).__name__


@asynccontextmanager
async def _calling(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: object = None,
    fields: Mapping[str, str] | None = None,
    *,
    timeout_s: float = _TIMEOUT_S,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a call, not followed. Whatever goes wrong is an AskError that names the URL."""
    name = plain(url)
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.request(
                method, url, json=body, headers=fields, allow_redirects=False
            ) as response,
        ):
            yield response
    except TimeoutError:
        raise AskError(f"{name}: no answer in {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise AskError(f"{name}: {plain(reason_of(error))}") from None


async def _refusal(response: aiohttp.ClientResponse) -> AskError:
    """What an answer that is no list says."""
    try:
        told = msgspec.json.decode(await _read(response), type=_Problem)
        why = plain((told.detail or told.title)[:200])
    except msgspec.DecodeError:
        why = ""
    name = plain(str(response.url))
    text = f"{name}: status {response.status}" + (f": {why}" if why else "")
    return AskError(text, is_final=response.status in _FINAL)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > _MOST_BYTES:
            raise AskError(f"{plain(str(response.url))}: more than {_MOST_BYTES} bytes")
    return bytes(data)


class _Problem(Struct):
    """RFC 9457."""

    title: str = ""
    detail: str = ""
