"""The service `fill`: a process of its own, since hashing, writing and large manifests are no work
for the one that answers operators.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import aiohttp
import psutil
from aiohttp import web

from ocaserve.fill.bringing import Means
from ocaserve.fill.fetching import FetchManner
from ocaserve.fill.filler import Filler, Site
from ocaserve.fill.index import Index
from ocaserve.fill.local_api import SOCKET, Telling, make_app
from ocaserve.fill.manifests import Manifests
from ocaserve.fill.pulling import keep_pulling
from ocaserve.fill.rate import RateCap
from ocaserve.fill.scrubbing import Scrubber
from ocaserve.fill.sources import SourceBook
from ocaserve.fill.threads import StoreThreads
from ocaserve.host.courtesy import make_way
from ocaserve.link import Link
from ocaserve.logs import flush_log
from ocaserve.popularity.popularity_file import DAY_S, file_of, read_copies_per_day
from ocaserve.queue import Bounds, Queues, open_queues
from ocaserve.runtime import find_state_folder
from ocaserve.settings import Settings
from ocaserve.settings.fill import Fill, read_token
from ocaserve.supervisor.service import Given, Service, leave_signals

_log = logging.getLogger(__name__)

_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
_RESTART_S = 5.0  # before work that failed is begun again
_BEAT_S = 1.0


def fill_service() -> Service:
    """For the supervisor."""
    return Service("fill", run_fill, depends_on=_needs)


def _needs(settings: Settings) -> object:
    if not settings.fill.is_on:
        return None
    days = settings.serve.popularity_days
    return settings.fill, settings.store, settings.queue, settings.appliance, days


def run_fill(given: Given) -> int:
    """Fill until told to stop; returns the exit status."""
    leave_signals()
    make_way()
    asyncio.run(_fill(given))
    return 0


async def _fill(given: Given) -> None:
    settings = given.settings
    link, loop = Link(given.channel), asyncio.get_running_loop()
    is_over = link.open_until_stopped(loop)
    folder = _state_folder(given)
    index = await asyncio.to_thread(Index, folder / "fill.db")
    manifests = await asyncio.to_thread(Manifests, folder / "manifests")
    queues = open_queues(_engine_url(settings, folder), Bounds())
    async with _session(settings.fill) as session:
        filler = _make_filler(given, session, index, manifests, queues)
        scrubber = Scrubber(index, settings.fill.scrub_bits_per_s)
        fault: list[str] = []
        telling = Telling(filler, scrubber, fault)
        runner = web.AppRunner(make_app(filler, scrubber, telling), access_log=None)
        await runner.setup()
        path = given.folder / SOCKET
        path.unlink(missing_ok=True)
        await web.UnixSite(runner, str(path)).start()
        os.chmod(path, 0o600)
        tasks = [
            asyncio.create_task(_keep_at(name, work))
            for name, work in _works(settings.fill, filler, scrubber, telling, session, fault)
        ]
        link.tell_ready(loop)
        await is_over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
    await queues.close()
    index.close()


def _works(
    settings: Fill,
    filler: Filler,
    scrubber: Scrubber,
    telling: Telling,
    session: aiohttp.ClientSession,
    fault: list[str],
) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    """All that goes on at the same time; each fails alone, and is begun again."""
    works: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("planning", filler.keep_planning),
        ("watching the clock", filler.keep_watching_clock),
        ("scrubbing", scrubber.keep_scrubbing),
        ("news of scrubbing", lambda: _pass_news(scrubber, filler)),
        ("telling", lambda: _keep_telling(telling)),
    ]
    works += [(f"transfer {n}", filler.keep_fetching) for n in range(settings.transfers)]
    if settings.manifest_url:
        works.append(("pulling", lambda: keep_pulling(settings, session, filler, fault)))
    return works


async def _keep_at(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - a defect of one is not the others'
            _log.exception("fill: %s failed, and is begun again", name)
        else:
            return
        await asyncio.sleep(_RESTART_S)


async def _pass_news(scrubber: Scrubber, filler: Filler) -> None:
    while True:
        await scrubber.news.wait()
        scrubber.news.clear()
        filler.change()
        await asyncio.sleep(_RESTART_S)  # a comparison looks at every store


async def _keep_telling(telling: Telling) -> None:
    while True:
        telling.sample()
        flush_log()
        await asyncio.sleep(_BEAT_S)


def _state_folder(given: Given) -> Path:
    kept = find_state_folder(given.settings.appliance.state_directory, os.environ)
    folder = (kept or given.folder) / "fill"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _engine_url(settings: Settings, folder: Path) -> str:
    """That of the site, that of the appliance, or a file of our own."""
    own = f"sqlite://{quote(str((folder / 'queue.db').absolute()))}"
    return settings.fill.queue or settings.queue.engine or own


def _session(settings: Fill) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
        trust_env=False,
        headers={"User-Agent": "ocaserve-fill"},
    )


def _make_filler(
    given: Given,
    session: aiohttp.ClientSession,
    index: Index,
    manifests: Manifests,
    queues: Queues,
) -> Filler:
    settings = given.settings
    fill = settings.fill
    asking = FetchManner(
        session, RateCap(fill.rate_bits_per_s), read_authorization(fill), trust_of(fill),
        stall_s=fill.stall_s, min_bytes_per_s=fill.min_bytes_per_s,
    )  # fmt: skip
    means = Means(asking, SourceBook(), index, fill.lanes, find_boot(), Counter(), StoreThreads())
    peers = {peer.id: peer.url for peer in fill.peer if peer.id != settings.appliance.id}
    controls = [peer.control.rstrip("/") for peer in fill.peer if peer.id in peers and peer.control]
    site = Site(settings.appliance.id, peers, controls)
    stores = [Path(store.path) for store in settings.store]
    find_popularity = partial(
        read_copies_per_day, file_of(settings, given.folder), settings.serve.popularity_days * DAY_S
    )
    return Filler(fill, site, stores, means, manifests, queues, find_popularity)


def read_authorization(fill: Fill) -> dict[str, str]:
    """The field that shows the token; none where it cannot be read, which is logged."""
    if not fill.token_file:
        return {}
    try:
        token = read_token(fill.token_file)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        _log.error("fill: fill.token_file cannot be used, nothing is shown to sources: %s", said)
        return {}
    return {"Authorization": f"Bearer {token}"}


def trust_of(fill: Fill) -> ssl.SSLContext | None:
    """Whom to believe; None is the system's list."""
    if not fill.ca_file:
        return None
    with contextlib.suppress(OSError):
        return ssl.create_default_context(cafile=fill.ca_file)
    _log.error("fill: fill.ca_file cannot be used: no https source is believed")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def find_boot() -> str:
    """Which start of the machine this is."""
    try:
        return _BOOT_FILE.read_text().strip()
    except OSError:  # FreeBSD
        return str(int(psutil.boot_time()))
