"""Pieces for peers: what was verified may be passed on before its object is whole.

Clients never see them. A piece of an object that is whole comes from its file; one of an object on
its way, from where it is being written, once it has been verified.
"""

from __future__ import annotations

import asyncio
import os
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from ocaserve.fill.filler import Filler, ObjectUnderWay
from ocaserve.fill.manifest import Entry
from ocaserve.fill.pieces import PiecesDone
from ocaserve.fill.storing import part_of
from ocaserve.fill.surveying import is_as_known

_MOST_BYTES = 32 << 20  # of a piece: it is held in memory while it is sent


class Missing(Enum):
    """Why there is none."""

    ABSENT = 404
    PENDING = 425  # Too Early (RFC 8470): it is being fetched, from farther than who asks may


class Piece(NamedTuple):
    """Bytes [start, stop) of an object of `size` bytes."""

    data: bytes
    start: int
    stop: int
    size: int


async def find_piece(filler: Filler, sha256: str, number: int) -> Piece | Missing:
    """A verified piece of the object with this digest. Raises OSError of the store."""
    entry = filler.find_entry(sha256)
    if entry is None or entry.pieces is None or not 0 <= number < len(entry.pieces.sha256):
        return Missing.ABSENT
    if entry.pieces.size > _MOST_BYTES:
        return Missing.ABSENT
    doing = filler.doing.get(entry.id)
    if doing is not None:
        return await _from_part(filler, doing, number)
    return await _from_file(filler, entry, number)


async def _from_part(filler: Filler, doing: ObjectUnderWay, number: int) -> Piece | Missing:
    entry, store = doing.entry, Path(doing.store)
    if not doing.pieces.has(number):
        return Missing.PENDING if doing.may_ask_origin else Missing.ABSENT
    try:
        return await filler.means.threads.run(
            doing.store, _read, part_of(store, entry), entry, number
        )
    except FileNotFoundError:  # it has become visible meanwhile
        return await _from_file(filler, entry, number)


async def _from_file(filler: Filler, entry: Entry, number: int) -> Piece | Missing:
    for row in await asyncio.to_thread(filler.means.held.find_all, entry.key):
        if (row.sha256, row.size) == (entry.sha256, entry.size) and await filler.means.threads.run(
            row.store, is_as_known, row
        ):
            path = Path(row.store, row.key)
            return await filler.means.threads.run(row.store, _read, path, entry, number)
    return Missing.ABSENT


def _read(path: Path, entry: Entry, number: int) -> Piece:
    start, stop = PiecesDone(entry).span(number)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = os.pread(descriptor, stop - start, start)
    finally:
        os.close(descriptor)
    return Piece(data, start, stop, entry.size)
