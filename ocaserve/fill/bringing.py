"""Bringing one object: pieces from the sources that are best now, verified, published at once.

A piece counts when it is whole and, where the manifest has its digest, right; what counts is known
over a crash. The whole is verified before anybody can see it. Hashing and writing are done by
threads of the store, which the interpreter lets run beside the loop.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from ocaserve.fill.fetching import FetchManner, Wanted, fetch
from ocaserve.fill.index import Index, Progress, Row
from ocaserve.fill.manifest import Entry, Source
from ocaserve.fill.pieces import PiecesDone
from ocaserve.fill.sources import SourceBook
from ocaserve.fill.storing import Partial, digest_of, publish
from ocaserve.fill.threads import StoreThreads
from ocaserve.origins import Fault, SourceError

_PENDING_S = 0.5  # until a peer is asked again for what is on its way there
_PATIENCE_S = 60.0  # for one piece


class NoSourceError(Exception):
    """Nobody who may be asked can be. back: when one may be again, of the clock; or None."""

    def __init__(self, text: str, back: float | None) -> None:
        super().__init__(text)
        self.back = back


class WrongDigestError(Exception):
    """All pieces came, and the whole is not what the manifest says."""


class NotNowError(Exception):
    """Nothing more is to be fetched for the time being; the text says why."""


class Means(NamedTuple):
    """What bringing needs. lanes: pieces of one object at a time. boot: see `Progress`.

    received: bytes by tier, counted. why_not: asked before each piece; why it is not to be fetched
    now, or nothing.
    """

    asking: FetchManner
    book: SourceBook
    held: Index
    lanes: int
    boot: str
    received: Counter[str]
    threads: StoreThreads
    clock: Callable[[], float] = time.monotonic
    why_not: Callable[[], str] = str


class Order(NamedTuple):
    """What is to be brought, and where to. most_tier: the farthest source that may be asked.

    told: gets the pieces, which fill as they come. sharing: where peers give pieces that they have
    verified of an object that is not whole there yet: a URL, behind which a piece's number is put.
    """

    entry: Entry
    store: Path
    store_name: str
    most_tier: str
    told: Callable[[PiecesDone], None] = lambda _: None
    sharing: Sequence[str] = ()


async def bring(means: Means, order: Order) -> None:
    """Fetch, verify and publish. What was fetched is kept where it cannot be finished.

    Raises NoSourceError, NotNowError, WrongDigestError (all is thrown away), OSError of the store.
    """
    threads, store = means.threads, order.store_name
    partial = await threads.run(store, Partial, order.store, order.entry)
    try:
        pieces = await threads.run(store, _recall, means, order, partial)
        order.told(pieces)
        await _fetch_missing(means, order, partial, pieces)
        await threads.run(store, _verify, means, order, partial)
        await threads.run(store, _publish, means, order, partial)
    finally:
        # Whoever is cancelled must not wait for a disk that hangs.
        await asyncio.shield(threads.run(store, partial.close))


def _recall(means: Means, order: Order, partial: Partial) -> PiecesDone:
    """What is there from an earlier run."""
    entry, index = order.entry, means.held
    known = index.progress(entry.id)
    fresh = PiecesDone(entry)
    is_same = known is not None and (known.store, known.size, known.piece_size) == (
        order.store_name, entry.size, fresh.size,
    )  # fmt: skip
    if known is None or not is_same or partial.is_new:
        index.begin(_progress(means, order, fresh))
        return fresh
    pieces = PiecesDone(entry, known.done)
    if known.boot != means.boot:
        pieces = _verify_pieces(entry, pieces, partial)
        index.begin(_progress(means, order, pieces))
    return pieces


def _progress(means: Means, order: Order, pieces: PiecesDone) -> Progress:
    return Progress(
        id=order.entry.id, key=order.entry.key, store=order.store_name, size=order.entry.size,
        piece_size=pieces.size, done=pieces.bitmap(), since=time.time(), boot=means.boot,
    )  # fmt: skip


def _verify_pieces(entry: Entry, before: PiecesDone, partial: Partial) -> PiecesDone:
    """After a restart of the machine: those that really are on the disk."""
    pieces = PiecesDone(entry)
    for number in range(pieces.count):
        digest = pieces.digest(number)
        start, stop = pieces.span(number)
        if digest and before.has(number):
            data = os.pread(partial.descriptor, stop - start, start)
            if hashlib.sha256(data).hexdigest() == digest:
                pieces.add(number)
    return pieces


async def _fetch_missing(means: Means, order: Order, partial: Partial, pieces: PiecesDone) -> None:
    numbers = iter(list(pieces.missing()))
    lane = _Lane(means, order, partial, pieces, numbers, {})
    lanes = [asyncio.ensure_future(lane.run()) for _ in range(means.lanes)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for each in lanes:
            each.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


class _Lane:
    """Fetches pieces one after the other; several share their numbers."""

    def __init__(
        self,
        means: Means,
        order: Order,
        partial: Partial,
        pieces: PiecesDone,
        numbers: Iterator[int],
        validators: dict[str, str],
    ) -> None:
        self._means = means
        self._order = order
        self._partial = partial
        self._pieces = pieces
        self._numbers = numbers
        self._validators = validators
        self._without: set[str] = set()

    async def run(self) -> None:
        means, order = self._means, self._order
        for number in self._numbers:
            if why := means.why_not():
                raise NotNowError(why)
            await self._fetch_piece(number)
            self._pieces.add(number)
            await means.threads.run(
                order.store_name, means.held.advance, order.entry.id, self._pieces.bitmap()
            )

    async def _fetch_piece(self, number: int) -> None:
        """From the first source that gives it right. Raises NoSourceError."""
        means, entry = self._means, self._order.entry
        sources = [*self._sharing(number), *entry.sources]
        tried: set[str] = set()
        pending_since: float | None = None
        while True:
            chosen = means.book.choose(sources, self._order.most_tier, means.clock())
            source = next((each for each in chosen if each.url not in tried), None)
            if source is None and self._may_wait(pending_since):
                await asyncio.sleep(_PENDING_S)
                tried.clear()
                continue
            if source is None:
                back = means.book.next_return(entry.sources, means.clock())
                raise NoSourceError(self._why_none(), back)
            tried.add(source.url)
            try:
                await self._fetch_from(source, number)
            except SourceError as error:
                means.book.strike(source.url, error.fault, str(error), means.clock())
                if error.fault is Fault.ABSENT:
                    self._without.add(source.url.rpartition("/")[0])
                if error.fault is Fault.PENDING and pending_since is None:
                    pending_since = means.clock()
                if error.fault is Fault.CHANGED:
                    self._validators.pop(source.url, None)
            else:
                means.book.praise(source.url)
                return

    def _sharing(self, number: int) -> list[Source]:
        """Peers that may have a piece before its object; only what can be verified is taken so."""
        if self._pieces.digest(number) is None:
            return []
        is_far = self._order.most_tier != "peer"  # who may go farther asks those that have some
        return [
            Source(tier="peer", url=f"{base}/{number}")
            for base in self._order.sharing
            if not (is_far and base in self._without)
        ]

    def _may_wait(self, pending_since: float | None) -> bool:
        """Whether a peer will have it in a moment. One that never does is not waited for."""
        return pending_since is not None and self._means.clock() < pending_since + _PATIENCE_S

    def _why_none(self) -> str:
        records = dict(self._means.book.dropped(self._means.clock()))
        said = [f"{origin}: {record.last}" for origin, record in records.items()]
        allowed = f"no source up to {self._order.most_tier} can be asked now"
        return "; ".join([allowed, *said[:3]])

    async def _fetch_from(self, source: Source, number: int) -> None:
        start, stop = self._pieces.span(number)
        digest: Any = hashlib.sha256() if self._pieces.digest(number) else None
        offset = start
        wanted = Wanted(start, stop, self._order.entry.size)
        async with aclosing(
            fetch(self._means.asking, source.url, wanted, self._validators)
        ) as chunks:
            async for chunk in chunks:
                await self._means.threads.run(
                    self._order.store_name, self._take, digest, offset, chunk
                )
                offset += len(chunk)
                self._means.received[source.tier] += len(chunk)
        if digest is not None and digest.hexdigest() != self._pieces.digest(number):
            raise SourceError(Fault.DIGEST, f"piece {number} of {self._order.entry.key}")

    def _take(self, digest: Any, offset: int, chunk: bytes) -> None:
        if digest is not None:
            digest.update(chunk)
        self._partial.write(offset, chunk)


def _verify(means: Means, order: Order, partial: Partial) -> None:
    """Before anybody can see it. What is wrong as a whole is thrown away as a whole."""
    entry = order.entry
    if digest_of(partial.descriptor, entry.size) == entry.sha256:
        return
    whole = _all_pieces(entry)
    left = _verify_pieces(entry, whole, partial)
    if entry.pieces is not None and not left.is_whole:  # each was right when it came
        means.held.begin(_progress(means, order, left))
        lost = entry.size - left.bytes_done
        raise OSError(errno.EIO, f"{lost} bytes are not what was written", str(partial.path))
    partial.discard()
    means.held.end(entry.id)
    if entry.pieces is None:  # any of them may have lied: it is not known who
        for source in entry.sources:
            means.book.strike(source.url, Fault.DIGEST, entry.key, means.clock())
    raise WrongDigestError(f"{entry.key}: what came is not {entry.sha256}")


def _all_pieces(entry: Entry) -> PiecesDone:
    pieces = PiecesDone(entry)
    for number in range(pieces.count):
        pieces.add(number)
    return pieces


def _publish(means: Means, order: Order, partial: Partial) -> None:
    entry = order.entry
    found = publish(order.store, partial, entry)
    now = time.time()
    row = Row(
        key=entry.key, store=order.store_name, size=entry.size, seen_ns=found.st_mtime_ns,
        sha256=entry.sha256, is_ours=True, since=now, verified=now,
    )  # fmt: skip
    means.held.hold([row])
    means.held.end(entry.id)
