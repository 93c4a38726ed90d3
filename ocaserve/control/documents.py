"""Long answers: made once, held once, compressed, for all who read them at the same time.

A report of 400,000 routes is 20 MB of text and 2 MB of gzip. It is made piece by piece in a thread,
for the first who asks; who asks meanwhile for the same reads the same pieces. A reader who takes no
gzip gets each piece inflated when its turn comes, so a slow one holds up 64 KiB and not a copy.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from typing import Any

from aiohttp import web
from aiohttp.helpers import ETAG_ANY

from ocaserve.control.problems import Problem

MOST_DOCUMENTS = 16  # at the same time
MOST_VERSIONS = 4  # of one kind: slow readers must not have each its own version of a report
MOST_IN_MAKING = 4  # each holds a copy of the table until it is made
_PIECE_BYTES = 64 << 10  # made, and written, at a time
_GZIP = 31  # window bits of zlib for a gzip member
_LEVEL = 4


class Document:
    """One of them. `about`: what its maker knows of it, for the head of the answer.

    It is made to its end however slowly it is read: what it is made of, a copy of the table, is
    larger than itself.
    """

    def __init__(self, about: Any, pieces: Iterator[bytes]) -> None:
        self.about = about
        self.readers = 0
        self._pieces: list[bytes] = []
        self._more = asyncio.Event()
        self._making = asyncio.create_task(self._make(pieces))

    async def _make(self, pieces: Iterator[bytes]) -> None:
        try:
            while piece := await asyncio.to_thread(_gather, pieces):
                self._pieces.append(piece)
                self._tell()
        finally:
            self._tell()

    def _tell(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be made."""
        return self._making.done()

    async def read(self) -> AsyncIterator[bytes]:
        """Its gzip, from the beginning, as it is made. Raises what making it has."""
        place = 0
        while True:
            while place < len(self._pieces):
                yield self._pieces[place]
                place += 1
            if self._making.done():
                await self._making
                return
            await self._more.wait()

    def give_up(self) -> None:
        """Make no more of it."""
        self._making.cancel()


class Documents:
    """Those that are being read now, by what they are."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, Hashable], Document] = {}

    def find(
        self, kind: str, version: Hashable, make: Callable[[], tuple[Any, Iterator[bytes]]]
    ) -> Document:
        """The document of a kind and version: one that is being read, or a new one.

        make: what is to be known of it, and its plain text in pieces, to be made in a thread. Where
        too many versions of a kind are read, the latest of those has to do. Raises Problem.
        """
        if document := self._open.get((kind, version)):
            return document
        like = [document for (its, _), document in self._open.items() if its == kind]
        if len(like) >= MOST_VERSIONS:
            return like[-1]
        making = sum(not document.is_whole for document in self._open.values())
        if making >= MOST_IN_MAKING or len(self._open) >= MOST_DOCUMENTS:
            if like:
                return like[-1]
            raise Problem(
                503, f"{len(self._open)} other documents are read", headers={"Retry-After": "5"}
            )
        about, pieces = make()
        document = self._open[kind, version] = Document(about, _compress(pieces))
        return document

    def forget(self, document: Document) -> None:
        """Nobody reads it any more."""
        assert not document.readers, "they would wait for pieces that nobody makes"
        document.give_up()
        self._open = {key: each for key, each in self._open.items() if each is not document}


async def send_document(
    request: web.Request,
    documents: Documents,
    document: Document,
    media: str,
    *,
    tag: str = "",
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with it; 304 where the client has it. tag: its entity-tag, none if it is empty."""
    is_gzip = accepts_gzip(request.headers.get("Accept-Encoding"))
    document.readers += 1
    try:
        response = web.StreamResponse(headers={**(headers or {}), "Vary": "Accept-Encoding"})
        response.headers["Cache-Control"] = "no-cache" if tag else "no-store"
        if tag:
            response.headers["ETag"] = f'"{tag}-gzip"' if is_gzip else f'"{tag}"'
        if tag and _has_it(request, tag):
            response.set_status(304)
            await response.prepare(request)
            return response
        response.headers["Content-Type"] = media
        if is_gzip:
            response.headers["Content-Encoding"] = "gzip"
        await response.prepare(request)
        if request.method != "HEAD":
            pieces = document.read()
            async for piece in pieces if is_gzip else _inflate(pieces):
                await response.write(piece)
        return response
    finally:
        document.readers -= 1
        if not document.readers:
            documents.forget(document)


def _has_it(request: web.Request, tag: str) -> bool:
    """If-None-Match, for either coding: they are the same document (RFC 9110 section 13.1.2)."""
    known = {tag, f"{tag}-gzip", ETAG_ANY}
    return any(etag.value in known for etag in request.if_none_match or ())


def accepts_gzip(field: str | None) -> bool:
    """Whether Accept-Encoding allows gzip: RFC 9110 section 12.5.3.

    aiohttp's own compression takes any mention for a yes, a `gzip;q=0` too.
    """
    weights: dict[str, float] = {}
    for element in (field or "").lower().split(","):
        coding, _, parameter = element.partition(";")
        name, _, weight = parameter.partition("=")
        weights[coding.strip()] = _weight(weight) if name.strip() == "q" else 1.0
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # not understood: not asked for
        return 0.0


def _compress(pieces: Iterator[bytes]) -> Iterator[bytes]:
    gzip = zlib.compressobj(_LEVEL, wbits=_GZIP)
    for piece in pieces:
        if out := gzip.compress(piece):
            yield out
    yield gzip.flush()


def _gather(pieces: Iterator[bytes]) -> bytes:
    """Pieces worth a write; empty at the end."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            break
    return b"".join(gathered)


async def _inflate(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(_GZIP)
    async for piece in pieces:
        left = piece
        while left:
            plain = inflater.decompress(left, _PIECE_BYTES)
            left = inflater.unconsumed_tail
            if plain:
                yield plain
