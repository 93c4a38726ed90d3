"""Pieces from peers that have no whole object yet: waited for, verified, and only from those."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from ocaserve.fill import bringing
from ocaserve.fill.bringing import Means, NoSourceError, Order, bring
from tests.fill.conftest import BODY, Origin, entry


def order(store: Path, peer: Origin) -> Order:
    return Order(entry(), store, "d1", "peer", sharing=[f"{peer.url}/pieces"])


async def test_on_its_way_there(store: Path, means: Means, origins: list[Origin]) -> None:
    """What a peer does not have yet is asked for again; that is no fault of it."""
    early: set[int] = set()

    def late(start: int, data: bytes) -> bytes:
        if start not in early and len(early) < 3:
            early.add(start)
            raise _early()
        return data

    origins[0].spoil = late
    await bring(means, order(store, origins[0]))
    assert (store / "film/1.mp4").read_bytes() == BODY
    assert len(early) == 3
    assert not means.book.faults
    assert means.received == {"peer": len(BODY)}


def _early() -> web.HTTPException:
    answer = web.HTTPTooManyRequests()
    answer.set_status(425)
    return answer


async def test_never_there(
    store: Path, means: Means, origins: list[Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for without end."""

    def never(*_: object) -> bytes:
        raise _early()

    monkeypatch.setattr(bringing, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(bringing, "_PENDING_S", 0.05)
    origins[0].spoil = never
    with pytest.raises(NoSourceError):
        await bring(means, order(store, origins[0]))


async def test_wrong_piece(store: Path, means: Means, origins: list[Origin]) -> None:
    """Each is verified by who takes it."""
    origins[0].spoil = lambda _, data: b"x" + data[1:]
    with pytest.raises(NoSourceError):
        await bring(means, order(store, origins[0]))
    assert means.book.is_dropped(origins[0].url, means.clock())


async def test_without_digests(store: Path, means: Means, origins: list[Origin]) -> None:
    """Nothing is taken so that cannot be verified."""
    wanted = order(store, origins[0])._replace(entry=entry(has_pieces=False))
    with pytest.raises(NoSourceError):
        await bring(means, wanted)
    assert origins[0].asked == []
