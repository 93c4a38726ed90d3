"""Origins that serve one body by ranges, and what bringing needs."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ocaserve.fill.bringing import Means
from ocaserve.fill.fetching import FetchManner
from ocaserve.fill.index import Index
from ocaserve.fill.manifest import Entry, Pieces, Source
from ocaserve.fill.rate import RateCap
from ocaserve.fill.sources import SourceBook
from ocaserve.fill.threads import StoreThreads

PIECE = 64 << 10
BODY = os.urandom(10 * PIECE + 123)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(*urls: str, key: str = "film/1.mp4", has_pieces: bool = True, **more: Any) -> Entry:
    """Of BODY."""
    parts = [digest(BODY[start : start + PIECE]) for start in range(0, len(BODY), PIECE)]
    known: dict[str, Any] = {
        "sha256": digest(BODY),
        "pieces": Pieces(size=PIECE, sha256=parts) if has_pieces else None,
        "sources": [Source(tier="origin", url=url) for url in urls],
    }
    return Entry(key=key, size=len(BODY), **{**known, **more})


class Origin:
    """Serves BODY by ranges; `spoil` may change a part, or raise."""

    def __init__(self) -> None:
        self.sent = 0
        self.asked: list[str] = []
        self.spoil: Callable[[int, bytes], bytes] = lambda _, data: data
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers["Range"]
        self.asked.append(asked)
        found = re.match(r"bytes=(\d+)-(\d+)", asked)
        assert found
        start, stop = int(found[1]), int(found[2]) + 1
        data = self.spoil(start, BODY[start:stop])
        self.sent += len(data)
        fields = {"Content-Range": f"bytes {start}-{stop - 1}/{len(BODY)}", "ETag": '"1"'}
        return web.Response(status=206, body=data, headers=fields)


@pytest.fixture
async def origins() -> AsyncIterator[list[Origin]]:
    """Two of them."""
    runners, made = [], []
    for _ in range(2):
        origin = Origin()
        app = web.Application()
        app.router.add_get("/{tail:.*}", origin.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin.url = f"http://127.0.0.1:{runner.addresses[0][1]}/film"
        runners.append(runner)
        made.append(origin)
    yield made
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty one."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
async def means(tmp_path: Path) -> AsyncIterator[Means]:
    """With an index of its own."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        asking = FetchManner(session, RateCap(0), {}, None, stall_s=5.0)
        index = Index(tmp_path / "fill.db")
        threads = StoreThreads()
        yield Means(asking, SourceBook(), index, 2, "boot-1", Counter(), threads)
        threads.close()
        index.close()
