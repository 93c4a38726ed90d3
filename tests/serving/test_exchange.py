"""One request and its answer, by an answerer that takes its time or fails, on a real connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.protocol.connection_states import State
from ocaserve.protocol.messages import ByteRange, RequestRefused
from ocaserve.protocol.methods import check_request
from ocaserve.protocol.planning import plan_reply
from ocaserve.serving.answerer import PendingRequest, ShortWay, WantedBody, Way
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count
from ocaserve.serving.engine import Engine
from ocaserve.serving.source import Source
from ocaserve.settings import Limits
from tests.support.engines import Host, HostFor

Answer = Callable[[PendingRequest], None]


class Slow:
    """Answers as a test tells it to; `asked` has the requests."""

    def __init__(self, engine: Engine, answer: Answer) -> None:
        self.engine = engine
        self.asked: list[PendingRequest] = []
        self.forgotten = 0
        self._answer = answer

    def start(self, ready: Callable[[], None]) -> None:
        ready()

    def tick_once(self) -> None:
        pass

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        if pending.request.method != b"POST":
            check_request(pending.request)
        return WantedBody(1000, is_kept=False)

    def answer(self, pending: PendingRequest) -> None:
        self.asked.append(pending)
        self._answer(pending)

    def short_way(self, _: Way) -> ShortWay | None:
        return None

    def forget(self) -> None:
        self.forgotten += 1


def wait(pending: PendingRequest) -> None:
    pending.wait(_slow_of(pending).forget, CloseReason.STORE_STALLED)


def _slow_of(pending: PendingRequest) -> Slow:
    return cast(Slow, cast(Any, pending)._engine.answerer)


def begin(host_for: HostFor, answer: Answer, limits: Limits | None = None) -> tuple[Host, Slow]:
    host = host_for(lambda engine: Slow(engine, answer), limits)
    return host, cast(Slow, host.engine.answerer)


def reply(pending: PendingRequest, body: bytes = b"at last") -> None:
    pending.reply(plan_reply(pending.request, b"today", 200, b"", body))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def test_answer_comes_later(host_for: HostFor) -> None:
    host, slow = begin(host_for, wait)
    guest = await host.connect()
    guest.send("GET /a")
    guest.send("GET /b")
    await until(lambda: slow.asked)
    assert len(slow.asked) == 1, "the next waits for its turn"
    reply(slow.asked[0], b"first")
    assert (await guest.receive())[2] == b"first"
    await until(lambda: len(slow.asked) == 2)
    reply(slow.asked[1], b"second")
    assert (await guest.receive())[2] == b"second"
    assert slow.forgotten == 0


async def test_answer_that_does_not_come(host_for: HostFor) -> None:
    host, slow = begin(host_for, wait)
    guest = await host.connect()
    guest.send("GET /a")
    await until(lambda: slow.asked)
    guest.connection.expire(guest.connection.deadline)
    status, _, _ = await guest.receive()
    assert (status, slow.forgotten) == (503, 1)
    await guest.end()
    assert b'"GET /a HTTP/1.1" 503 ' in host.lines[0]


async def test_client_that_goes_is_waited_for_no_more(host_for: HostFor) -> None:
    host, slow = begin(host_for, wait, Limits(linger_s=0.5))
    guest = await host.connect()
    guest.send("GET /a")
    await until(lambda: slow.asked)
    await guest.leave()
    await until(lambda: guest.connection.is_half_closed)
    guest.connection.expire(guest.connection.deadline)
    assert (slow.forgotten, len(host.gone)) == (1, 1)
    assert host.count(CloseReason.CLIENT_GONE) == 1
    assert b'"GET /a HTTP/1.1" 499 0' in host.lines[0]


async def test_defect_of_the_answerer_ends_its_client_alone(host_for: HostFor) -> None:
    def fail(pending: PendingRequest) -> None:
        if pending.request.target == b"/bad":
            raise ZeroDivisionError
        reply(pending)

    host, _ = begin(host_for, fail)
    bad, good = await host.connect(), await host.connect()
    bad.send("GET /bad")
    assert await bad.end() == b""
    assert (await good.ask("GET /good"))[0] == 200
    assert host.count(CloseReason.INTERNAL) == host.count(Count.DEFECTS) == 1


async def test_refusal_that_is_raised(host_for: HostFor) -> None:
    def refuse(_: PendingRequest) -> None:
        raise RequestRefused(404, "none", close=False)

    host, _ = begin(host_for, refuse)
    guest = await host.connect()
    assert (await guest.ask("GET /a"))[0] == 404
    assert (await guest.ask("POST /a", b"body"))[0] == 404
    assert guest.connection.state is State.BETWEEN


async def test_body_that_is_thrown_away_is_counted(host_for: HostFor) -> None:
    host, slow = begin(host_for, reply)
    guest = await host.connect()
    assert (await guest.ask("POST /a", b"x" * 1000))[0] == 200
    assert (slow.asked[0].body, host.count(Count.BYTES_UPLOADED)) == (b"", 1000)


async def test_body_that_comes_too_slowly(host_for: HostFor) -> None:
    host, slow = begin(host_for, reply)
    guest = await host.connect()
    guest.send_raw(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    await until(lambda: guest.connection.state is State.READING_BODY)
    guest.connection.expire(guest.connection.deadline + 10_000)
    assert (await guest.receive())[0] == 408
    await guest.end()
    assert slow.asked == []
    await guest.leave()


async def test_client_that_waits_to_be_told_is_told(host_for: HostFor) -> None:
    host, _ = begin(host_for, reply)
    guest = await host.connect()
    guest.send_raw(
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (await guest.receive())[0] == 100
    guest.send_raw(b"abc")
    assert (await guest.receive())[0] == 200


@pytest.mark.parametrize("can_answer_anew", [True, False])
async def test_source_that_cannot_be_read(
    host_for: HostFor, tmp_path: Path, can_answer_anew: bool
) -> None:
    """Where nothing was sent, the answerer may try another."""
    failed: list[OSError] = []
    closed = os.open(tmp_path, os.O_RDONLY)
    os.close(closed)
    source: Any = SimpleNamespace(
        key=b"k", descriptor=closed, content=None, changed=False, sent=0,
        residency=SimpleNamespace(is_resident=lambda *_: True, confirm=lambda *_: None),
        store=SimpleNamespace(
            library=SimpleNamespace(tick=1), bytes_place=Count.ACCEPTED, is_local=True
        ),
        fail=failed.append,
    )  # fmt: skip

    def answer(pending: PendingRequest) -> None:
        plan = plan_reply(pending.request, b"today", 200, b"", b"")
        plan = plan._replace(segments=(ByteRange(0, 10),), length=10)
        again = (lambda: reply(pending)) if can_answer_anew else None
        pending.reply(plan, cast(Source, source), again)

    host, _ = begin(host_for, answer)
    guest = await host.connect()
    guest.send("GET /a")
    if can_answer_anew:
        assert (await guest.receive())[2] == b"at last"
    else:
        await guest.end()
        assert host.count(CloseReason.IO_ERROR) == 1
    assert len(failed) == 1
