"""What is answered over HTTP, and to whom."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from ocaserve.fleet.app import build_operators
from ocaserve.fleet.client_worker import make_desk
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.decision_notes import NoteTaker
from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.picture_files import Gallery
from ocaserve.fleet.policy_storing import SharedPolicies
from ocaserve.fleet.publishing import Publisher
from ocaserve.fleet.shared_state import SharedState
from ocaserve.fleet.verdicts import parse_client
from ocaserve.serving.engine import Engine
from ocaserve.serving.replies import Replies, Unhurried
from ocaserve.settings.fleet import Fleet, FleetTokens
from ocaserve.settings.fleet_members import FleetAppliance, FleetSite
from tests.support.engines import Host
from tests.support.fleet import Answer, packed, report
from tests.support.waiting import until

STEER = "a-token-for-those-who-steer"
WIDE, NARROW = {"11.0.0.0/8": (1, 0)}, {"11.1.0.0/16": (3, 0)}


class Door:
    """Where clients ask: the engine of a worker, in this process, behind sockets."""

    def __init__(self, state: FleetState, tokens: FleetTokens) -> None:
        self._state = state
        self._sheet = GrantSheet(1)
        notes = NoteTaker(state.settings, None)
        self.decider = Decider(state.settings, self._sheet.row(0), notes)
        self.desk = make_desk(self.decider, tokens)
        self._stack = AsyncExitStack()

    def _answer(self, engine: Engine) -> Replies:
        return Replies(
            self.desk.answer,
            engine.clock,
            most_body_bytes=self.desk.body_bytes,
            unhurried=Unhurried(engine.loop, self.desk.answer_later),
        )

    async def __aenter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._publisher = Publisher(self._state, folder, self._sheet)
        self._publisher.shares.rows = (0,)
        self._gallery = Gallery(folder)
        self._host = Host(self._answer)
        self._stack.push_async_callback(self._host.close)
        self._stack.push_async_callback(self.desk.originals.close)
        programs = asyncio.create_task(self.decider.policing.desk.keep_running())
        self._stack.push_async_callback(asyncio.wait, [programs])
        self._stack.callback(programs.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def look(self) -> None:
        """Workers see what the control process knows, and it reads what they have noted."""
        notes = self.decider.take_notes()
        if notes is not None:
            self._state.note(notes)
        if self._state.unpictured.is_set() or not self.decider.servers:
            self._state.unpictured.clear()
            self._publisher.draw()()
            self._publisher.shares.settle(time.monotonic())
            self.decider.show(*self._gallery.look())
            if not self.decider.follows_policies:
                await self._follow_policies()
        self._publisher.shares.settle(time.monotonic())
        self.decider.look_again()

    async def _follow_policies(self) -> None:
        """Once their processes are there."""
        now, desk = self._state.in_force, self.decider.policing.desk
        await self.decider.follow_policies()
        for runner, used in ((desk.in_force, now.live), (desk.on_trial, now.canary)):
            if used:
                await runner.be_up(20)

    async def ask(self, method: str, path: str, data: bytes, fields: dict[str, str]) -> Answer:
        await self.look()
        guest = await self._host.connect(b"127.0.0.1")
        lines = "".join(f"\n{name}: {value}" for name, value in fields.items())
        guest.send(f"{method} {path}{lines}", data, "127.0.0.1")
        status, given, body = await guest.receive(has_body=method != "HEAD")
        await guest.leave()
        await self.look()
        headers = {name.decode(): value.decode() for name, value in given.items()}
        is_json = "json" in headers.get("content-type", "")
        return Answer(status, headers, msgspec.json.decode(body) if is_json else body)


class FleetApp:
    """Both sides, on sockets of their own. url: of the server that it shares with others."""

    def __init__(self, settings: Fleet, tokens: FleetTokens, url: str = "") -> None:
        self.state = FleetState(settings)
        self.shared = SharedState(url, self.state) if url else None
        self.clients = Door(self.state, tokens)
        policies = SharedPolicies(url) if url else None
        self.operators = TestServer(
            build_operators(self.state, tokens, shared=self.shared, policies=policies)
        )

    async def call(
        self, server: TestServer | Door, method: str, path: str, body: Any = None, **headers: str
    ) -> Answer:
        is_plain = body is None or isinstance(body, bytes | io.BytesIO)
        data = body if is_plain else msgspec.json.encode(body)
        given = {"Content-Type": "application/json", **headers}
        if isinstance(server, Door):
            plain = data.read() if isinstance(data, io.BytesIO) else data or b""
            return await server.ask(method, path, plain, given)
        async with (
            ClientSession() as client,
            client.request(
                method, server.make_url(path), data=data, headers=given, allow_redirects=False
            ) as response,
        ):
            fields = {name.lower(): value for name, value in response.headers.items()}
            is_json = "json" in response.content_type
            read = await (response.json(content_type=None) if is_json else response.read())
            return Answer(response.status, fields, read)

    async def steer(self, body: Any, **headers: str) -> Answer:
        return await self.call(self.clients, "POST", "/v1/steer", body, **headers)

    async def serve(self, ip: str, *objects: str) -> Any:
        answer = await self.steer({"client": {"ip": ip}, "objects": list(objects) or ["film.mp4"]})
        assert answer.status == 200, answer.body
        return answer.body

    async def look(self, path: str, status: int = 200) -> Any:
        answer = await self.call(self.operators, "GET", path)
        assert answer.status == status, answer.body
        return answer.body

    async def tell(self, document: Any, **headers: str) -> int:
        return (await self.call(self.operators, "POST", "/v1/reports", document, **headers)).status

    async def know(self, **networks: dict[str, tuple[int, int]]) -> None:
        """Each appliance has told of its networks, and answers are made of them."""
        for name, told in networks.items():
            assert await self.tell(report(name, told, site="")) == 204
        tables = {name: self.state.members[name].copy.table for name in self.state.members}
        await until(lambda: self.state.atlas.tables == tables)


SETTINGS = Fleet(
    site=[FleetSite(id="one"), FleetSite(id="two", kind="exchange")],
    appliance=[
        FleetAppliance(id=name, site=site, urls=[f"https://{name}.example.net/"])
        for name, site in (("a", "one"), ("b", "one"), ("z", "two"))
    ],
)


async def run(settings: Fleet, tokens: FleetTokens, url: str = "") -> AsyncIterator[FleetApp]:
    app = FleetApp(settings, tokens, url)
    await app.operators.start_server(auto_decompress=False)
    try:
        async with app.clients:
            yield app
    finally:
        await app.operators.close()
        if app.shared is not None:
            await app.shared.close()


@pytest.fixture
async def app() -> AsyncIterator[FleetApp]:
    async for each in run(SETTINGS, FleetTokens()):
        yield each


@pytest.fixture
async def guarded() -> AsyncIterator[FleetApp]:
    async for each in run(SETTINGS, FleetTokens(steer=[STEER])):
        yield each


async def test_steer(app: FleetApp) -> None:
    """The URLs of each object by rank; the same answer to who asks the same again."""
    await app.know(a=WIDE, b=WIDE, z=WIDE)
    found = await app.serve("11.1.1.1", "film.mp4", "/a b.ts")
    assert [each["rank"] for each in found["servers"]] == [1, 2, 3]
    assert found["servers"][2] == {"id": "z", "rank": 3, "site": "two", "kind": "exchange"}
    urls = found["objects"]["/a b.ts"]
    assert urls[2] == "https://z.example.net/a%20b.ts"
    assert len(set(urls)) == 3
    while (again := await app.serve("11.1.1.9", "film.mp4", "/a b.ts"))["expires"] != found[
        "expires"
    ]:
        found = again  # another minute has begun
    assert again == found
    assert (await app.serve("::ffff:11.1.1.1"))["servers"]


async def test_appliances_say_where_they_are() -> None:
    """Where no setting does: their URL, their place, the kind of their site."""
    async for app in run(Fleet(), FleetTokens()):
        place = {"urls": ["http://127.0.0.1:8080"], "location": [50.1, 8.7], "site_kind": "pni"}
        assert await app.tell(report("new", WIDE, site="lab") | {"place": place}) == 204
        assert await app.tell(report("mute", WIDE, site="lab")) == 204
        await app.know()
        found = await app.serve("11.1.1.1")
        assert found["objects"] == {"film.mp4": ["http://127.0.0.1:8080/film.mp4"]}
        assert found["servers"] == [{"id": "new", "rank": 1, "site": "lab", "kind": "pni"}]
        assert found["skipped"][0]["reason"].startswith("no address")


async def test_settings_come_before_what_appliances_say(app: FleetApp) -> None:
    place = {"urls": ["http://elsewhere"], "site_kind": "pni"}
    assert await app.tell(report("a", WIDE, site="other") | {"place": place}) == 204
    await app.know()
    found = await app.serve("11.1.1.1")
    assert found["objects"] == {"film.mp4": ["https://a.example.net/film.mp4"]}
    assert found["servers"][0]["site"] == "one"


async def test_who_is_not_heard_is_not_served(app: FleetApp) -> None:
    await app.know(a=WIDE)
    assert (await app.serve("12.1.1.1"))["objects"] == {"film.mp4": []}
    assert (await app.call(app.clients, "GET", "/r/film.mp4?ip=12.1.1.1")).status == 404
    assert app.state.journal.outcomes == {"uncovered": 2}


async def test_clients_near_each_other_are_ranked_once(app: FleetApp) -> None:
    await app.know(a=WIDE, b=WIDE, z=WIDE)
    for location in ([50.11, 8.68], [50.08, 8.72]):
        asked = {"client": {"ip": "11.1.1.1", "location": location}, "objects": ["x"]}
        assert (await app.steer(asked)).status == 200
    assert len(app.clients.decider.rankings) == 1


async def test_rankings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they hold, whoever tells of however many places."""
    monkeypatch.setattr("ocaserve.fleet.ranking.RANKINGS_BYTES", 20_000)
    async for app in run(SETTINGS, FleetTokens()):
        await app.know(a=WIDE, b=WIDE, z=WIDE)
        client = parse_client("11.1.1.1")
        for degrees in range(90):
            ranking = app.state.rank(*client.address, (degrees, 0.0))
            assert [each.server.id for group in ranking.groups for each in group] == ["a", "b", "z"]
            assert 0 < len(app.state.rankings) < 20


async def test_redirect(app: FleetApp) -> None:
    """RFC 6249: the others are duplicates."""
    await app.know(a=WIDE, b=WIDE, z=WIDE)
    answer = await app.call(app.clients, "GET", "/r/folder/a%20b.mp4?ip=11.1.1.1")
    assert answer.status == 307
    urls = [answer.headers["location"], *answer.headers["link"].split(", ")]
    assert urls[2] == "<https://z.example.net/folder/a%20b.mp4>; rel=duplicate; pri=3"
    assert len({url.strip("<").partition(".")[0] for url in urls}) == 3
    assert (await app.call(app.clients, "GET", "/r/a//b?ip=11.1.1.1")).status == 404


async def test_a_worker_that_knows_nothing_yet_does_not_say_nobody(app: FleetApp) -> None:
    """Players that play already stay where they are."""
    await app.know(a=WIDE)
    await app.clients.look()
    app.clients.decider.is_informed = False
    for method, path, body in (
        ("POST", "/v1/steer", {"client": {"ip": "11.1.1.1"}, "objects": ["film.mp4"]}),
        ("GET", "/r/film.mp4?ip=11.1.1.1", None),
        ("GET", "/play/folder/film.m3u8?ip=11.1.1.1", None),
    ):
        answer = await app.call(app.clients, method, path, body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    path = "/v1/steering/hls/ab/folder/film.m3u8?_HLS_pathway=ab"
    assert (await app.call(app.clients, "GET", path)).status == 200
    await app.know(b=WIDE)
    assert (await app.serve("11.1.1.1"))["objects"]["film.mp4"]


async def test_nobody_can_take_it(app: FleetApp) -> None:
    """503 where somebody is meant for the client; and health says so."""
    drained = {"state": "draining", "takes_traffic": False, "reasons": ["fans"]}
    await app.know(a=WIDE)
    assert (await app.look("/healthz"))["state"] == "serving"
    await app.tell(report("a", {}, site="", serial=2, after=1, health=drained))
    answer = await app.call(app.clients, "GET", "/r/film.mp4?ip=11.1.1.1")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    await app.look("/healthz", 503)
    (row,) = (await app.look("/v1/appliances"))["appliances"]
    assert (row["takes_clients"], row["fault"]) == (False, "draining: fans")


async def test_full_before_the_next_report(app: FleetApp) -> None:
    """What was given counts: a crowd is spread before reports show it."""
    little = {"total_bits_per_s": 10e6, "free_bits_per_s": 10e6}
    assert await app.tell(report("a", WIDE, site="", capacity=little)) == 204
    await app.know(z=NARROW | {"11.0.0.0/8": (9, 0)})
    first = [(await app.serve(f"11.2.{n}.1"))["servers"][0]["id"] for n in range(4)]
    assert first == ["a", "a", "z", "z"]
    (skipped,) = (await app.serve("11.2.9.1"))["skipped"]
    assert skipped["server"] == "a"
    assert skipped["reason"].startswith("full")


async def test_who_asks_again_takes_no_more(app: FleetApp) -> None:
    """Anybody can ask for a redirect, again and for anything; another network counts by itself."""
    await app.know(a=WIDE)

    async def granted(*paths: str) -> float:
        for path in paths:
            assert (await app.call(app.clients, "GET", path)).status == 307
        return app.state.granted("a", time.monotonic()) / app.state.settings.client_bits_per_s

    many = [f"/r/absent-{number}?ip=11.2.3.{number}" for number in range(20)]
    assert await granted(*many) <= 2  # another minute may begin meanwhile
    before = await granted()
    assert await granted("/r/film.mp4?ip=11.9.9.9") == before + 1


async def test_explain_names_the_thief(app: FleetApp) -> None:
    """A more specific route at another site, which would be no one's choice otherwise."""
    await app.know(a=WIDE, z=NARROW)
    found = await app.look("/v1/explain?ip=11.1.1.1&key=film.mp4")
    assert [(each["server"], each["chosen"]) for each in found["candidates"]] == [
        ("z", 1),
        ("a", 2),
    ]
    assert "/8 against /16" in found["candidates"][1]["why"]
    assert any("more specific 11.1.0.0/16 at site 'two'" in each for each in found["because"])
    found = await app.look("/v1/explain?ip=12.1.1.1")
    assert found["because"] == ["no appliance hears a network that covers 12.1.1.1"]


async def test_explain_names_what_communities_say(app: FleetApp) -> None:
    for name, marks in (("a", {"backup": True}), ("b", {"weight": 0.5}), ("z", {})):
        document = report(name, WIDE, site="")
        document["attributes"] = {"101": {"as_path": [1], **marks}}
        assert await app.tell(document) == 204
    await until(lambda: len(app.state.atlas.tables) == 3 and len(app.state.atlas) == 1)
    found = await app.look("/v1/explain?ip=11.1.1.1&key=film.mp4")
    shown = {each["server"]: each for each in found["candidates"]}
    assert {name: (each["backup"], each["weight"]) for name, each in shown.items()} == {
        "a": (True, 1.0), "b": (False, 0.5), "z": (False, 1.0),
    }  # fmt: skip
    assert shown["a"]["why"] == "its communities make its route a backup"
    assert "AS path 1, MED 0, weight 0.5" in found["because"][0]


async def test_a_site_that_does_not_hear_the_same(app: FleetApp) -> None:
    await app.know(a=WIDE, b=WIDE, z=WIDE)
    assert all(each["hears_the_same"] for each in (await app.look("/v1/sites"))["sites"])
    await app.know(b=WIDE | {"2001:db8::/32": (1, 0)})
    sites = (await app.look("/v1/sites"))["sites"]
    assert [(each["id"], each["hears_the_same"]) for each in sites] == [
        ("one", False),
        ("two", True),
    ]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "JSON"),
        ({}, 422, "client"),
        ({"client": {"ip": "11.1.1.1"}, "objects": []}, 422, "objects"),
        ({"client": {"ip": "11.1.1.1"}, "objects": ["x"] * 2_001}, 422, "objects"),
        ({"client": {"ip": "11.1.1"}, "objects": ["x"]}, 422, "'11.1.1'"),
        ({"client": {"ip": "11.1.1.1/8"}, "objects": ["x"]}, 422, "'11.1.1.1/8'"),
        ({"client": {"ip": "11.1.1.1/32"}, "objects": ["x"]}, 422, "'11.1.1.1/32'"),
        ({"client": {"ip": "fe80::1%eth0"}, "objects": ["x"]}, 422, "fe80"),
        ({"client": {"ip": "0x0b.1.1.1"}, "objects": ["x"]}, 422, "0x0b"),
        ({"client": {"ip": "11.1.1.1", "location": [91, 0]}, "objects": ["x"]}, 422, "location"),
        ({"client": {"ip": "11.1.1.1"}, "objects": ["ok", "../x"]}, 422, "objects[1]"),
        ({"client": {"ip": "11.1.1.1"}, "objects": ["x"], "n": 1}, 422, "n"),
    ],
)
async def test_what_is_wrong_is_named(app: FleetApp, body: Any, status: int, says: str) -> None:
    answer = await app.steer(body)
    assert answer.status == status
    assert says in answer.body["detail"] + "".join(answer.body.get("faults", []))


async def test_a_million_objects(app: FleetApp) -> None:
    """They are not even read to their end."""
    objects = b",".join([b'"film.mp4"'] * 1_000_000)
    body = b'{"client": {"ip": "11.1.1.1"}, "objects": [' + objects + b"]}"
    answer = await app.steer(io.BytesIO(body))
    assert answer.status == 413


async def test_who_may_steer(guarded: FleetApp) -> None:
    """With a token for it, nobody without; a redirect of one's own is for anybody."""
    asked = {"client": {"ip": "11.1.1.1"}, "objects": ["x"]}
    assert (await guarded.steer(asked)).status == 401
    assert (await guarded.steer(asked, Authorization=f"Bearer {STEER}")).status == 200
    other = await guarded.call(guarded.clients, "GET", "/r/x?ip=11.1.1.1")
    assert other.status == 401
    assert (await guarded.call(guarded.clients, "GET", "/r/x")).status == 404
    assert (await guarded.steer(asked, Origin="https://evil.example")).status == 403


async def test_unknown_appliances(app: FleetApp) -> None:
    """Those that are listed, and no others; and no page of another site in their name."""
    assert await app.tell(report("other", WIDE)) == 403
    assert await app.tell(report("a", WIDE), Origin="https://evil.example") == 401
    assert await app.tell(packed(report("a", WIDE)), **{"Content-Encoding": "gzip"}) == 204
    assert await app.tell(b"x" * 100, **{"Content-Encoding": "gzip"}) == 400
    assert set(app.state.members) == {"a"}


async def test_a_large_report(app: FleetApp) -> None:
    """It is read in a thread, and gone on from as any other."""
    many = {f"11.{n >> 8}.{n & 255}.0/24": (1, 0) for n in range(8_000)}
    assert await app.tell(report("a", many, site="")) == 204
    assert len(app.state.members["a"].copy.table) == 8_000
    await app.know(z=WIDE)
    assert (await app.serve("11.5.5.5"))["servers"][0]["id"] == "a"


async def test_metrics_and_document(app: FleetApp) -> None:
    await app.know(a=WIDE)
    await app.serve("11.1.1.1")
    text = (await app.look("/metrics")).decode()
    assert 'ocaserve_fleet_documents_total{outcome="taken"} 1.0' in text
    assert 'ocaserve_fleet_decisions_total{result="served"} 1.0' in text
    paths = (await app.look("/v1/openapi.json"))["paths"]
    assert "/v1/reports" in paths
    answer = await app.call(app.clients, "GET", "/v1/openapi.json")
    assert "/v1/steer" in answer.body["paths"]


async def test_audit_over_http() -> None:
    """The appliance that lacks something is named, with what."""
    async for app in run(SETTINGS, FleetTokens()):
        await app.know(a={**WIDE, **NARROW}, b=WIDE, z=NARROW)
        found = (await app.look("/v1/audit"))["lacks"]
        assert found == [
            {
                "site": "one", "appliance": "b", "what": "IPv4 networks", "lacks": 1, "of": 2,
                "examples": ["11.1.0.0/16"],
            }
        ]  # fmt: skip
