"""Asking appliances, where clients reach them, whether they are there: beside all answers."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.turn_up import TurnUp

_ROUND_S = 1.0  # who waits to be let in is asked so often
_IN_SERVICE_S = 30.0
_AT_ONCE = 64
_NAMES_AT_ONCE = 8
_FAULT_CHARACTERS = 300  # a certificate may have many names
_OF_AN_APPLIANCE = (200, 503)  # 503: it is there, and its health says why it takes nobody


class _Resolver(AbstractResolver):
    """In threads of its own: names that nobody resolves must not hold up who writes files."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_NAMES_AT_ONCE, "fleet-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        find = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, find)
        except UnicodeError as error:  # a label of more than 63 characters, for one
            raise OSError(f"{host[:80]!r} is no name") from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def open_session(answer_s: float = 5.0) -> AsyncIterator[aiohttp.ClientSession]:
    """By which `ask` asks; each time by a new connection, as a new client does.

    answer_s: which all of it may take: name, connection, TLS, answer.
    """
    resolver = _Resolver()
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=answer_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            yield session
    finally:
        await resolver.close()


async def ask(session: aiohttp.ClientSession, url: str) -> str:
    """What hinders asking this base URL for `/healthz`, with its port; empty where nothing does."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        async with session.get(f"{url.rstrip('/')}/healthz", allow_redirects=False) as response:
            if response.status in _OF_AN_APPLIANCE:
                return ""
            fault = f"/healthz is answered with {response.status}, so by no appliance"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        fault = describe_failure(error)
    return f"port {port}: {fault[:_FAULT_CHARACTERS]}"


def describe_failure(error: Exception) -> str:
    """What was refused."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name is not resolved: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"TLS: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"TLS: {error.os_error}"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientResponseError):  # whose text is what was sent
        return "no answer in HTTP"
    return f"no answer in HTTP: {str(error) or type(error).__name__}"


async def keep_asking(state: FleetState) -> None:
    """Each URL of each appliance, again and again, so many at a time."""
    asked_at: dict[str, float] = {}
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask_in_turn(url: str) -> str:
        async with places:
            return await ask(session, url)

    async def ask_all(appliance: str, urls: tuple[str, ...]) -> None:
        faults = await asyncio.gather(*map(ask_in_turn, urls))
        state.tell_contacts(appliance, dict(zip(urls, faults, strict=True)))

    async with open_session() as session:
        while True:
            now = asyncio.get_running_loop().time()
            due = dict(_find_due(state, asked_at, now))
            asked_at = {name: at for name, at in asked_at.items() if name in state.members}
            asked_at |= dict.fromkeys(due, now)
            await asyncio.gather(*(ask_all(name, urls) for name, urls in due.items()))
            await asyncio.sleep(_ROUND_S)


def _find_due(
    state: FleetState, asked_at: dict[str, float], now: float
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Appliances to be asked now, with their URLs."""
    for name, member in state.members.items():
        urls = state.urls_of(name)
        waits = member.copy.turn_up is TurnUp.COMMISSIONING
        is_new = state.contacts.get(name, {}).keys() != set(urls)
        if waits or is_new or now - asked_at.get(name, float("-inf")) >= _IN_SERVICE_S:
            yield name, urls
