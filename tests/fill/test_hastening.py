"""Peers hear that what they wait for can be had, whatever they are doing at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocaserve.fill.hastening import Hastener
from ocaserve.queue import Message, Queues, encode_body, open_queues

LATE = 3_000.0  # seconds: nobody waits for that


@pytest.fixture
async def queues(tmp_path: Path) -> AsyncIterator[Queues]:
    made = open_queues(f"sqlite://{tmp_path}/queue.db")
    yield made
    await made.close()


def wish(delay_s: float = 0.0) -> Message:
    return Message(id="film", body=encode_body(None), delay_s=delay_s)


async def test_what_waits_is_due(queues: Queues) -> None:
    """Of every peer that has it in its queue; the others are left alone."""
    await queues.push("fill.b", [wish(LATE)])
    await queues.push("fill.c", [wish(LATE)])
    Hastener(queues, ["b", "c", "d"]).tell_all("film")
    for peer in ("b", "c"):
        assert await queues.pop(f"fill.{peer}", 1, wait_s=10)


async def test_peer_that_asks_at_this_moment(queues: Queues) -> None:
    """However long its attempt takes: it is told once it has given the message back."""
    await queues.push("fill.b", [wish()])
    [held] = await queues.pop("fill.b", 1)
    hastener = Hastener(queues, ["b"], again_s=0.01)
    hastener.tell_all("film")
    hastener.tell_all("film")  # who has begun to tell goes on
    await asyncio.sleep(0.1)
    await queues.release("fill.b", held.receipt, delay_s=LATE)
    assert await queues.pop("fill.b", 1, wait_s=10)
