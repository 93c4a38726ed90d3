"""The speed test and what stands behind it, on a real connection."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.protocol.admission import Admission
from ocaserve.protocol.speedtest import CONTENT_BYTES, make_stretch
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.counters import Count
from ocaserve.serving.engine import Engine
from ocaserve.serving.healthz import Healthz
from ocaserve.serving.object_gate import ObjectGate
from ocaserve.serving.replies import Inquiry, Replies, Reply
from ocaserve.serving.speed_test import SpeedTest, open_content
from tests.support.engines import HostFor


def other(inquiry: Inquiry) -> Reply:
    return Reply(200, b"", inquiry.target)


def make(engine: Engine) -> Answerer:
    library: Any = SimpleNamespace(
        tick=100, hold=lambda _: None, release=lambda _: None, read_from_disk=lambda *_: None
    )
    content = open_content(asyncio.get_running_loop(), engine.policy, library)
    gate = ObjectGate(Admission(has_speedtest=True), engine.clock, engine.counts)
    others = cast(Answerer, Replies(other, engine.clock))
    test = SpeedTest(content, gate, engine.policy, engine.clock, b"boundary", others)
    return Healthz(engine.stance, engine.policy, engine.clock, test)


async def test_content_goes_on_behind_its_stretch(host_for: HostFor) -> None:
    host = host_for(make)
    guest = await host.connect()
    stretch = make_stretch()
    end = len(stretch) + 9
    status, _, body = await guest.ask(f"GET /speedtest\nRange: bytes={end - 19}-{end}")
    assert (status, body) == (206, stretch[-10:] + stretch[:10])
    status, fields, _ = await guest.ask("HEAD /speedtest")
    assert (status, fields[b"content-length"]) == (200, b"%d" % CONTENT_BYTES)
    assert (await guest.ask("GET /speedtest/range/0-99"))[2] == stretch[:100]


async def test_upload_is_thrown_away(host_for: HostFor) -> None:
    host = host_for(make)
    guest = await host.connect()
    for _ in range(2):
        status, _, body = await guest.ask("POST /speedtest/range/0-99", b"x" * 300_000)
        assert (status, body) == (200, b"")
    assert host.count(Count.BYTES_UPLOADED) == 600_000
    assert (await guest.ask("POST /speedtest/range/0-99"))[0] == 200


@pytest.mark.parametrize(
    ("head", "status", "allow"),
    [
        ("OPTIONS /speedtest/range/0-9", 204, b"GET, HEAD, OPTIONS, POST"),
        ("DELETE /speedtest/range/0-9", 405, b"GET, HEAD, OPTIONS, POST"),
        ("POST /speedtest/range/0-9/x", 405, b"GET, HEAD, OPTIONS"),
    ],
)
async def test_methods(host_for: HostFor, head: str, status: int, allow: bytes) -> None:
    guest = await host_for(make).connect()
    got, fields, _ = await guest.ask(head)
    assert (got, fields[b"allow"]) == (status, allow)


async def test_others_answer_what_is_not_of_the_test(host_for: HostFor) -> None:
    guest = await host_for(make).connect()
    assert (await guest.ask("GET /movie.mp4"))[2] == b"/movie.mp4"
    assert (await guest.ask("POST /movie.mp4", b"abc"))[2] == b"/movie.mp4"
    assert (await guest.ask("GET /healthz"))[2] == b"serving\n"
