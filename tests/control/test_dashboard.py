"""One snapshot for all who look: it is made once a second, however many there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from ocaserve.control import snapshots as making
from ocaserve.control.snapshots import Snapshots

VIEWERS = 100


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What snapshots were made of, in the order in which they were made."""
    made: list[Any] = []

    def describe(_: web.Application, ledger: Any) -> dict[str, Any]:
        made.append(ledger)
        return {"made": len(made)}

    monkeypatch.setattr(making, "describe_dashboard", describe)
    return made


async def test_all_share_one(described: list[Any]) -> None:
    """A hundred wait, and all see the same bytes, made once."""
    snapshots, app = Snapshots(), web.Application()
    seen: list[bytes] = []

    async def look() -> None:
        await snapshots.wait()
        seen.append(snapshots.latest)

    async with asyncio.TaskGroup() as group:
        for _ in range(VIEWERS):
            group.create_task(look())
        await asyncio.sleep(0)
        await snapshots.renew(app)
    assert len(described) == 1
    assert len(seen) == VIEWERS
    assert all(each is snapshots.latest for each in seen)
    assert snapshots.latest == b'data: {"made":1}\n\n'


async def test_young_one_is_kept(described: list[Any]) -> None:
    """Who comes in between gets the latest; nothing is made for them."""
    snapshots, app = Snapshots(), web.Application()
    for _ in range(VIEWERS):
        await snapshots.renew(app)
    assert len(described) == 1


async def test_without_a_ledger(described: list[Any]) -> None:
    """Where none is kept, none is shown."""
    await Snapshots().renew(web.Application())
    assert described == [None]
