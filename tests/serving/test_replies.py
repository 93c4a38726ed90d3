"""An answerer made of one function, behind the real engine: GET, and POST with a body."""

from __future__ import annotations

import hashlib

import pytest

from ocaserve.protocol.messages import RequestRefused
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count
from ocaserve.serving.engine import Engine
from ocaserve.serving.healthz import Healthz
from ocaserve.serving.incoming import Bodies
from ocaserve.serving.replies import MOST_BODY_BYTES, Inquiry, Replies, Reply
from ocaserve.serving.stance import Duty
from tests.support.engines import HostFor, MakeAnswerer

JSON = b"Content-Type: application/json\r\n"
LONG = b"x" * (5 << 20)


def decide(inquiry: Inquiry) -> Reply | None:
    """A little of everything."""
    if inquiry.target == b"/refused":
        raise RequestRefused(403, "not_you", close=False)
    if inquiry.target == b"/long":
        return Reply(200, JSON, LONG)
    if inquiry.target == b"/taken":
        return Reply(204, b"X-Bytes: %d\r\n" % len(inquiry.body), b"")
    if inquiry.target == b"/busy":
        return Reply(429, JSON, b"later")
    if inquiry.target.rstrip(b"?") != b"/v1/steer":
        return None
    if inquiry.method == b"POST":
        return Reply(200, JSON, hashlib.sha256(inquiry.body).hexdigest().encode())
    return Reply(200, JSON, b'{"to": "%b"}' % inquiry.address)


def alone(engine: Engine) -> Answerer:
    """As of a control plane."""
    return Replies(decide, engine.clock)


def behind_healthz(engine: Engine) -> Answerer:
    return Healthz(engine.stance, engine.policy, engine.clock, alone(engine))


@pytest.fixture(params=[alone, behind_healthz])
def make(request: pytest.FixtureRequest) -> MakeAnswerer:
    made: MakeAnswerer = request.param
    return made


async def test_first_request_and_plain_ones_after_it_get_the_same(
    host_for: HostFor, make: MakeAnswerer
) -> None:
    """The first goes the long way, since nothing of its head is known; the others the short."""
    host = host_for(make)
    guest = await host.connect()
    got = [await guest.ask("GET /v1/steer") for _ in range(3)]
    assert got[0][0] == 200
    assert got[0][2] == b'{"to": "192.0.2.1"}'
    assert got[0][1][b"content-type"] == b"application/json"
    assert got[0] == got[1] == got[2]
    assert host.count(Count.REQUESTS) == host.count(Count.RESPONSES_2XX) == 3
    assert host.count(Count.BYTES_COPIED) == 3 * len(got[0][2])
    assert sum(host.tallies.take().values()) == 3 * len(got[0][2])
    assert len(set(host.lines)) == 1
    assert len(host.lines) == 3


@pytest.mark.parametrize("size", [1, 70_000, MOST_BODY_BYTES])
async def test_body_is_given_whole(host_for: HostFor, make: MakeAnswerer, size: int) -> None:
    guest = await host_for(make).connect()
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    for _ in range(2):
        status, _, answer = await guest.ask("POST /v1/steer", body)
        assert (status, answer) == (200, hashlib.sha256(body).hexdigest().encode())
    assert (await guest.ask("GET /v1/steer"))[0] == 200


async def test_bodies_that_come_with_their_heads_are_counted_as_others_are(
    host_for: HostFor,
    make: MakeAnswerer,
) -> None:
    """The first goes the long way; the others, of which one is for a new target, the short."""
    host = host_for(make)
    guest = await host.connect()
    for number in range(4):
        body = b"abc%d" % number
        asked = f"POST /v1/steer{'?' * (number == 3)}"
        status, _, answer = await guest.ask(asked, body)
        assert (status, answer) == (200, hashlib.sha256(body).hexdigest().encode())
    assert host.count(Count.REQUESTS) == host.count(Count.RESPONSES_2XX) == len(host.lines) == 4
    assert host.count(Count.BYTES_UPLOADED) == 16
    assert host.count(Count.BYTES_COPIED) == sum(host.tallies.take().values()) == 4 * 64
    assert all(b'"POST /v1/steer' in line and b" 200 64 " in line for line in host.lines)
    assert host.engine.bodies.bytes == 0


async def test_answer_without_content_has_no_length(host_for: HostFor, make: MakeAnswerer) -> None:
    guest = await host_for(make).connect()
    for _ in range(3):
        status, fields, _ = await guest.ask("POST /taken", b"abc")
        assert (status, fields[b"x-bytes"]) == (204, b"3")
        assert b"content-length" not in fields
    assert (await guest.ask("GET /v1/steer"))[0] == 200


async def test_what_is_behind_a_body_is_the_next_request(
    host_for: HostFor, make: MakeAnswerer
) -> None:
    guest = await host_for(make).connect()
    guest.send_raw(
        b"POST /v1/steer HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        b"GET /v1/steer HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert (await guest.receive())[2] == hashlib.sha256(b"abc").hexdigest().encode()
    assert (await guest.receive())[2] == b'{"to": "192.0.2.1"}'


async def test_post_without_a_body_is_asked_at_once(host_for: HostFor, make: MakeAnswerer) -> None:
    guest = await host_for(make).connect()
    assert (await guest.ask("POST /v1/steer"))[2] == hashlib.sha256().hexdigest().encode()


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        pytest.param("POST /v1/steer", b"x" * (MOST_BODY_BYTES + 1), 413, id="too_long"),
        pytest.param("POST /v1/steer\nTransfer-Encoding: chunked", b"", 411, id="chunked"),
        pytest.param("GET /v1/steer", b"x", 400, id="where_none_belongs"),
    ],
)
async def test_body_that_is_not_wanted_ends_the_connection(
    host_for: HostFor, make: MakeAnswerer, head: str, body: bytes, status: int
) -> None:
    host = host_for(make)
    guest = await host.connect()
    assert (await guest.ask("GET /v1/steer"))[0] == 200
    host.engine.parser.parse(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n")
    guest.send(head, body)
    assert (await guest.receive())[0] == status
    await guest.end()
    await guest.leave()
    assert host.count(Count.BYTES_UPLOADED) == 0


async def test_bodies_have_a_bound_together(host_for: HostFor, make: MakeAnswerer) -> None:
    host = host_for(make)
    host.engine.bodies = Bodies(100)
    slow, other = await host.connect(), await host.connect()
    slow.send_raw(b"POST /v1/steer HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n")
    assert (await other.ask("POST /v1/steer", b"x" * 40))[0] == 200
    assert (await other.ask("POST /v1/steer", b"x" * 41))[0] == 503
    slow.send_raw(b"y" * 60)
    assert (await slow.receive())[0] == 200
    assert host.engine.bodies.bytes == 0


async def test_client_that_leaves_in_its_body_gives_its_room_back(
    host_for: HostFor, make: MakeAnswerer
) -> None:
    host = host_for(make)
    guest = await host.connect()
    guest.send_raw(b"POST /v1/steer HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\nabc")
    other = await host.connect()
    assert (await other.ask("GET /v1/steer"))[0] == 200
    assert host.engine.bodies.bytes == 60
    await guest.leave()
    await guest.end()
    while not host.gone:
        await other.ask("GET /v1/steer")
    assert host.engine.bodies.bytes == 0
    assert host.count(CloseReason.CLIENT_GONE) == 1


@pytest.mark.parametrize(("target", "status"), [("/other", 404), ("/refused", 403), ("/busy", 429)])
async def test_errors_keep_the_connection(
    host_for: HostFor, make: MakeAnswerer, target: str, status: int
) -> None:
    host = host_for(make)
    guest = await host.connect()
    for _ in range(3):
        assert (await guest.ask(f"GET {target}"))[0] == status
    assert host.count(Count.REQUESTS) == host.count(Count.RESPONSES_4XX) == len(host.lines) == 3
    assert f'"GET {target} HTTP/1.1" {status} '.encode() in host.lines[-1]


async def test_head_tells_the_length_alone(host_for: HostFor, make: MakeAnswerer) -> None:
    guest = await host_for(make).connect()
    status, fields, body = await guest.ask("HEAD /v1/steer")
    assert (status, fields[b"content-length"], body) == (200, b"19", b"")
    assert (await guest.ask("GET /v1/steer"))[0] == 200


async def test_answer_that_the_socket_does_not_take_at_once(
    host_for: HostFor, make: MakeAnswerer
) -> None:
    host = host_for(make)
    guest = await host.connect()
    for _ in range(2):
        assert (await guest.ask("GET /long"))[2] == LONG
    assert host.count(Count.BYTES_COPIED) == 2 * len(LONG)
    assert host.count(Count.REQUESTS) == len(host.lines) == 2


async def test_health_is_told_first_and_a_drain_turns_others_away(host_for: HostFor) -> None:
    host = host_for(behind_healthz)
    guest = await host.connect()
    assert (await guest.ask("GET /v1/steer"))[0] == 200
    assert (await guest.ask("GET /healthz"))[2] == b"serving\n"
    host.engine.stance.duty = Duty(b"drained", is_fit=False, turns_away=True)
    assert (await guest.ask("GET /healthz"))[::2] == (503, b"drained\n")
    assert (await guest.ask("GET /v1/steer"))[0] == 503
    await guest.end()
    await guest.leave()
    other = await host.connect()
    assert (await other.ask("POST /v1/steer", b"abc"))[0] == 503
    assert host.count(Count.BYTES_UPLOADED) == 0
