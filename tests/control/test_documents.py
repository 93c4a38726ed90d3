"""Long answers: made once for all who read them, and held once."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from ocaserve.control.documents import (
    MOST_DOCUMENTS,
    MOST_IN_MAKING,
    MOST_VERSIONS,
    Document,
    Documents,
    accepts_gzip,
    send_document,
)
from ocaserve.control.problems import Problem
from tests.support.waiting import until

PIECES = [bytes([65 + place % 26]) * 30_000 for place in range(40)]
PLAIN = b"".join(PIECES)


class Maker:
    """Makes a document, and counts how often, and how far it has got."""

    def __init__(self) -> None:
        self.times = self.pieces = 0

    def __call__(self) -> tuple[str, Iterator[bytes]]:
        self.times += 1
        return "about it", self._make()

    def _make(self) -> Iterator[bytes]:
        for piece in PIECES:
            self.pieces += 1
            yield piece


async def read(document: Document) -> bytes:
    return gzip.decompress(b"".join([piece async for piece in document.read()]))


async def test_made_once_for_all() -> None:
    documents, maker = Documents(), Maker()
    found = [documents.find("report", 7, maker) for _ in range(100)]
    assert all(each is found[0] for each in found)
    assert set(await asyncio.gather(*map(read, found))) == {PLAIN}
    assert (maker.times, maker.pieces) == (1, len(PIECES))


async def made(document: Document) -> Document:
    await read(document)
    return document


async def test_slow_readers_hold_few_versions() -> None:
    """Readers of each a version of its own get the latest that is there; other kinds find room."""
    documents, maker = Documents(), Maker()
    held = {await made(documents.find("report", serial, maker)) for serial in range(50)}
    assert (len(held), maker.times) == (MOST_VERSIONS, MOST_VERSIONS)
    for place in range(MOST_DOCUMENTS - MOST_VERSIONS):
        await made(documents.find(f"kind {place}", 0, maker))
    with pytest.raises(Problem) as refused:
        documents.find("another", 0, maker)
    assert refused.value.status == 503
    for document in held:
        documents.forget(document)
    assert documents.find("report", 1000, maker) not in held


async def test_few_are_made_at_a_time() -> None:
    """Each holds a copy of the table while it is made, and is made though nobody reads on."""
    documents, maker = Documents(), Maker()
    begun = [documents.find(f"kind {place}", 0, maker) for place in range(MOST_IN_MAKING)]
    with pytest.raises(Problem):
        documents.find("another", 0, maker)
    assert documents.find("kind 0", 1, maker) is begun[0]
    await until(lambda: all(document.is_whole for document in begun))
    documents.find("another", 0, maker)


async def test_defect_of_the_maker() -> None:
    """It ends the answer, for all who read it."""

    def fail() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise ZeroDivisionError

    document = Documents().find("bad", 0, lambda: (None, fail()))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await read(document)


@pytest.mark.parametrize(
    ("field", "takes"),
    [
        (None, False), ("", False), ("gzip", True), ("GZIP", True), ("x-gzip", True),
        ("gzip;q=0", False), ("gzip; q=0.0", False), ("gzip;q=0.001", True), ("*", True),
        ("*;q=0", False), ("gzip;q=0, *", False), ("br, gzip;q=0.5", True), ("identity", False),
        ("gzipped", False), ("gzip;q=yes", False), ("br;q=1,*;q=0", False), (",;,q=,;q=1", False),
    ],
)  # fmt: skip
def test_accept_encoding(field: str | None, takes: bool) -> None:
    assert accepts_gzip(field) is takes


async def test_over_http() -> None:
    """Plain or compressed, whole, with its tag; 304 for who has it in either form."""
    documents, maker = Documents(), Maker()

    async def show(request: web.Request) -> web.StreamResponse:
        document = documents.find("report", 7, maker)
        return await send_document(request, documents, document, "text/plain", tag="seven")

    app = web.Application()
    app.router.add_get("/", show)
    async with TestServer(app) as server, ClientSession(auto_decompress=False) as client:
        for field, tag, coding in (("gzip", '"seven-gzip"', "gzip"), ("gzip;q=0", '"seven"', "")):
            headers = {"Accept-Encoding": field}
            async with client.get(server.make_url("/"), headers=headers) as answer:
                body = await answer.read()
                assert answer.headers.get("Content-Encoding", "") == coding
                assert (gzip.decompress(body) if coding else body) == PLAIN
                assert answer.headers["ETag"] == tag
                assert answer.headers["Vary"] == "Accept-Encoding"
            for known in (tag, "W/" + tag, '"x", "seven-gzip"', "*"):
                conditional = {**headers, "If-None-Match": known}
                async with client.get(server.make_url("/"), headers=conditional) as answer:
                    assert (answer.status, await answer.read()) == (304, b"")
            async with client.head(server.make_url("/"), headers=headers) as answer:
                assert (answer.status, await answer.read()) == (200, b"")
    assert maker.times >= 2  # nobody read the first when the next was asked for
    assert documents.find("report", 8, maker).readers == 0
