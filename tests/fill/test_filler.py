"""Filling as a whole, with a real queue: what happens between plan, queue and stores."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocaserve.fill.bringing import Means
from ocaserve.fill.filler import Filler, Site
from ocaserve.fill.manifest import Entry, Manifest
from ocaserve.fill.manifests import Manifests
from ocaserve.queue import Message, Queues, encode_body, open_queues
from ocaserve.queue.states import MessageState
from ocaserve.settings.fill import Fill
from tests.fill.conftest import BODY, Origin, digest, entry

QUEUE = "fill.oca-1"


@pytest.fixture
async def queues(tmp_path: Path) -> AsyncIterator[Queues]:
    made = open_queues(f"sqlite://{tmp_path}/queue.db")
    yield made
    await made.close()


@pytest.fixture
def make(tmp_path: Path, store: Path, means: Means, queues: Queues) -> Callable[..., Filler]:
    """A filler of these objects, or without a manifest."""

    def make(*entries: Entry, stores: list[Path] | None = None, **settings: Any) -> Filler:
        manifests = Manifests(tmp_path / "manifests")
        if entries:
            made = Manifest(version="1", objects=list(entries))
            manifests.take(msgspec.json.encode(made), made)
        fill = Fill(**{"window": "", "plan_s": 3_600.0, **settings})
        return Filler(fill, Site("oca-1", {}), stores or [store], means, manifests, queues)

    return make


@asynccontextmanager
async def running(filler: Filler) -> AsyncIterator[None]:
    works = (filler.keep_planning, filler.keep_fetching, filler.keep_watching_clock)
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Any], about: str) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, about
        await asyncio.sleep(0.02)


async def drained(queues: Queues) -> None:
    """Nothing is in the queue any more."""
    for _ in range(1_000):
        sizes = await queues.sizes(QUEUE)
        if not sizes.ready + sizes.held + sizes.delayed:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(sizes)


async def test_no_manifest_is_no_empty_one(make: Callable[..., Filler], store: Path) -> None:
    """Fill that is exclusive removes what is not wanted, once it knows what is."""
    (store / "film").mkdir()
    (store / "film/old.mp4").write_bytes(b"old")
    filler = make(exclusive=True)
    async with running(filler):
        await asyncio.sleep(0.3)
    assert (store / "film/old.mp4").exists()
    filler = make(entry("http://127.0.0.1:9/none"), exclusive=True)
    async with running(filler):
        await until(lambda: not (store / "film/old.mp4").exists(), "it is removed")


async def test_what_cannot_be_removed_holds_up_nothing(
    make: Callable[..., Filler], store: Path, origins: list[Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "old").write_bytes(b"old")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "old":
            raise OSError(errno.EPERM, "not allowed")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    filler = make(entry(origins[0].url), exclusive=True)
    async with running(filler):
        await until(lambda: (store / "film/1.mp4").exists(), "it is brought all the same")
    assert "old cannot be removed" in filler.setbacks.last


async def test_full_disk(
    make: Callable[..., Filler],
    tmp_path: Path,
    origins: list[Origin],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another store takes what one has no room for after all."""
    stores = [tmp_path / "d1", tmp_path / "d2"]
    for each in stores:
        each.mkdir()
    refused: list[str] = []
    take = os.posix_fallocate

    def full(descriptor: int, start: int, size: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not refused or path.startswith(refused[0]):
            refused.append(path[: path.index("/.fill")])
            raise OSError(errno.ENOSPC, "No space left on device")
        take(descriptor, start, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    filler = make(entry(origins[0].url), stores=stores)
    async with running(filler):
        await until(lambda: filler.compared.faults, "the store is said to be full")
        assert list(filler.compared.faults.values()) == ["No space left on device"]
        await filler.retry()
        await until(lambda: filler.published["objects"], "it is in the other one")
    [taken] = [each for each in stores if str(each) != refused[0]]
    assert (taken / "film/1.mp4").read_bytes() == BODY


async def test_published_is_not_fetched_again(
    make: Callable[..., Filler], queues: Queues, origins: list[Origin]
) -> None:
    """A message that an older plan has left is no reason."""
    wanted = entry(origins[0].url)
    filler = make(wanted)
    async with running(filler):
        await until(lambda: filler.published["objects"], "it is here")
        sent = origins[0].sent
        filler._stores_by_key[wanted.key] = str(filler.compared.states[0].name)
        body = encode_body({"key": wanted.key, "since": 0.0})
        await queues.ensure(QUEUE, [Message(id=wanted.id, body=body)])
        await drained(queues)
    assert origins[0].sent == sent == len(BODY)


async def test_what_a_killed_process_held(
    make: Callable[..., Filler], queues: Queues, origins: list[Origin]
) -> None:
    """Is taken up at once, and not when its time is over."""
    wanted = entry(origins[0].url)
    body = encode_body({"key": wanted.key, "since": 0.0})
    await queues.push(QUEUE, [Message(id=wanted.id, body=body)])
    assert await queues.pop(QUEUE, 1, hold_s=3_600)
    filler = make(wanted)
    async with running(filler):
        await until(lambda: filler.published["objects"], "it is here")


async def test_foreign_messages(
    make: Callable[..., Filler], queues: Queues, origins: list[Origin]
) -> None:
    """What is no wish of ours is let go of."""
    wanted = entry(origins[0].url)
    await queues.push(QUEUE, [Message(id=wanted.id, body=encode_body(["what"]))])
    await queues.push(QUEUE, [Message(id="other", body=encode_body(None))])
    filler = make(wanted)
    async with running(filler):
        await drained(queues)
        filler.change()
        await until(lambda: filler.published["objects"], "it is wished for again")


async def test_left_over(
    make: Callable[..., Filler], store: Path, means: Means, origins: list[Origin]
) -> None:
    """What was begun of an object that nobody wants any more takes no room."""
    (store / ".fill").mkdir()
    for name in ("ff" * 16, "ee" * 16):
        (store / ".fill" / f"{name}.part").write_bytes(b"x" * 1000)
    filler = make(entry(origins[0].url))
    async with running(filler):
        await until(lambda: filler.published["objects"], "it is here")
        filler.change()
        await until(lambda: not list((store / ".fill").glob("*.part")), "they are gone")


async def test_clock_that_is_set(
    make: Callable[..., Filler],
    queues: Queues,
    origins: list[Origin],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What waits by a clock that jumped back is tried at once."""
    wanted = entry(origins[0].url, key="film/late.mp4")
    filler = make(wanted)
    body = encode_body({"key": wanted.key, "since": 0.0})
    await queues.push(QUEUE, [Message(id=wanted.id, body=body, delay_s=3_000)])
    real = time.time
    async with running(filler):
        await until(lambda: filler.planned_at, "there is a plan")
        assert len(await queues.peek(QUEUE, MessageState.DELAYED, 5)) == 1
        monkeypatch.setattr(time, "time", lambda: real() - 3_600)
        await until(lambda: filler.published["objects"], "it is here")


async def test_due_soon(make: Callable[..., Filler], origins: list[Origin]) -> None:
    """What may not be fetched yet is when it may, not with the next comparison."""
    filler = make(entry(origins[0].url, not_before=time.time() + 1.0))
    async with running(filler):
        await until(lambda: filler.compared.sums.waiting, "it waits")
        assert filler.compared.sums.blocked == ""
        await until(lambda: filler.published["objects"], "it is here")


async def test_sources_that_cannot_give_it(
    make: Callable[..., Filler], origins: list[Origin]
) -> None:
    """Status says why it waits."""
    filler = make(
        entry(origins[0].url, key="a"), entry("http://127.0.0.1:9/b", key="b", sha256=digest(b""))
    )
    async with running(filler):
        await until(lambda: filler.setbacks.postponed(), "it was tried")
        [waiting] = filler.setbacks.postponed()
        assert (waiting.objects, waiting.bytes) == (1, len(BODY))
        assert "unreachable" in waiting.why
