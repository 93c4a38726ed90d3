"""Reports, changes, events and lookups over HTTP, as a control plane and an operator see them."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from ocaserve.cli import main
from ocaserve.control.app import build_app
from ocaserve.control.auth import Guard
from ocaserve.control.handlers.routes import SERVICE
from ocaserve.control.link import Link
from ocaserve.control.state import Appliance, ControlState
from ocaserve.control.wellness import wellness_of
from ocaserve.lifecycle import Phase
from ocaserve.metrics import CounterMap
from ocaserve.settings import Settings, Tokens, settings_from_directories
from ocaserve.settings.report import Report
from ocaserve.steering.report_schema import REPORT_SCHEMA, schema_text
from ocaserve.steering.reporter import Reporter
from ocaserve.steering.service import RouteService
from tests.support.consumer import Consumer
from tests.support.exabgp_lines import PEER, Exabgp

PATIENCE_S = 20.0


def load(folder: Path) -> Settings:
    (folder / "film.mp4").write_bytes(b"x")
    return settings_from_directories([str(folder)])


class Appliance_:  # noqa: N801 - beside the record of that name
    """The control process's application, without the processes around it."""

    def __init__(self, folder: Path) -> None:
        ours, self._theirs = socket.socketpair()
        self.state = ControlState(
            load(folder), CounterMap(["requests"], [], 1), Link(ours), folder, Guard(Tokens(), "")
        )
        self.state.appliance = Appliance(phase=Phase.SERVING)
        self.server = TestServer(build_app(self.state))
        self.exabgp = Exabgp()
        self._ours = ours

    @property
    def service(self) -> RouteService:
        return self.server.app[SERVICE]

    def has_settled(self) -> bool:
        """Whether all has been looked at once, so that a report changes by routes alone."""
        wellness = wellness_of(self.server.app)
        return bool(wellness.health.findings) and wellness.stores()[0].total is not None

    def hear(self, *lines: bytes) -> None:
        for line in lines:
            self.service.apply(line)

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        async with (
            ClientSession() as client,
            client.get(self.server.make_url(path), headers=headers) as response,
        ):
            assert response.status == status, await response.text()
            return await response.json(content_type=None)

    async def close(self) -> None:
        await self.server.close()
        self._ours.close()
        self._theirs.close()


@pytest.fixture
async def appliance(tmp_path: Path) -> AsyncIterator[Appliance_]:
    made = Appliance_(tmp_path)
    await made.server.start_server()
    made.hear(
        made.exabgp.state("up"),
        made.exabgp.announce("11.0.0.0/8", path=[65001, 64500], med=5),
        made.exabgp.announce("11.0.0.0/8", peer="192.0.2.2", path=[65001]),
        made.exabgp.announce("2a00::/32", "::/0"),
        made.exabgp.end_of_rib(4),
        made.exabgp.end_of_rib(6),
    )
    await until(made.has_settled)
    yield made
    await made.close()


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again, for nobody says when."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)


def check(document: Any, schema: dict[str, Any], where: str = "$") -> None:
    """As much of JSON Schema as the report's schema uses."""
    if "anyOf" in schema:
        assert any(_fits(document, each) for each in schema["anyOf"]), where
        return
    if "enum" in schema:
        assert document in schema["enum"], where
    if "const" in schema:
        assert document == schema["const"], where
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    types |= {"integer": int, "number": (int, float)}  # type: ignore[dict-item]
    if "type" in schema:
        assert isinstance(document, types[schema["type"]]), where
    if isinstance(document, dict):
        assert set(schema.get("required", ())) <= set(document), where
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name, value in document.items():
            assert name in properties or more is not False, f"{where}.{name}"
            check(value, properties.get(name, more or {}), f"{where}.{name}")
    if isinstance(document, list):
        for place, value in enumerate(document):
            check(value, schema.get("items", {}), f"{where}[{place}]")


def _fits(document: Any, schema: dict[str, Any]) -> bool:
    try:
        check(document, schema)
    except AssertionError:
        return False
    return True


async def test_report(appliance: Appliance_) -> None:
    document = await appliance.get("/v1/report")
    check(document, REPORT_SCHEMA)
    consumer = Consumer()
    consumer.take(document)
    assert set(consumer.routes) == {"11.0.0.0/8", "2a00::/32"}
    best, rival = consumer.table()["11.0.0.0/8"]
    assert best["attributes"]["as_path"] == [65001]
    assert rival["attributes"]["med"] == 5
    assert consumer.computed_digest() == document["digest"]
    assert document["totals"]["filtered"] == {"default-route": 1}
    assert document["health"]["takes_traffic"] is True
    assert document["health"]["level"] in ("ok", "warning", "error")
    assert document["capacity"]["serving_workers"] == 0
    assert document["content"]["stores"] == 1


async def test_report_is_not_sent_again_to_who_has_it(appliance: Appliance_) -> None:
    url = appliance.server.make_url("/v1/report")
    async with ClientSession(auto_decompress=False) as client:
        async with client.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            tag, body = response.headers["ETag"], await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
            assert json.loads(gzip.decompress(body))["kind"] == "report"
        async with client.get(url, headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with client.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            assert await response.read() == body, "a strong tag: the same bytes"
        async with client.head(url) as response:
            assert (response.status, await response.read()) == (200, b"")
        appliance.hear(appliance.exabgp.withdraw("11.0.0.0/8"))
        async with client.get(url, headers={"If-None-Match": tag}) as response:
            assert response.status == 200
            assert response.headers["ETag"] != tag


async def test_changes(appliance: Appliance_) -> None:
    consumer = Consumer()
    consumer.take(await appliance.get("/v1/report"))
    appliance.hear(
        appliance.exabgp.announce("12.0.0.0/8"),
        appliance.exabgp.withdraw("2a00::/32"),
        appliance.exabgp.announce("13.0.0.0/8"),
        appliance.exabgp.withdraw("13.0.0.0/8"),
    )
    query = f"?session={consumer.session}&after={consumer.serial}"
    changes = await appliance.get(f"/v1/report/changes{query}")
    check(changes, REPORT_SCHEMA)
    assert set(changes["routes"]) == {"12.0.0.0/8", "2a00::/32", "13.0.0.0/8"}
    assert changes["routes"]["2a00::/32"] == []
    consumer.take(changes)
    fresh = Consumer()
    fresh.take(await appliance.get("/v1/report"))
    assert consumer.table() == fresh.table()
    assert consumer.sections == fresh.sections
    assert consumer.computed_digest() == fresh.digest


async def test_waiting_for_changes_ends_with_the_first(appliance: Appliance_) -> None:
    await asyncio.sleep(0)
    report = await appliance.get("/v1/report")
    query = f"?session={report['session']}&after={report['serial']}&wait=60"
    waiting = asyncio.create_task(appliance.get(f"/v1/report/changes{query}"))
    await until(lambda: appliance.service._news is not None)
    appliance.hear(appliance.exabgp.announce("12.0.0.0/8"))
    changes = await asyncio.wait_for(waiting, PATIENCE_S)
    assert "12.0.0.0/8" in changes["routes"]


@pytest.mark.parametrize(
    ("session", "after", "why"),
    [("other", 0, "another"), ("", 10**6, "has not been")],
    ids=["session", "future"],
)
async def test_changes_that_cannot_be_told(
    appliance: Appliance_, session: str, after: int, why: str
) -> None:
    session = session or appliance.service.log.session
    problem = await appliance.get(f"/v1/report/changes?session={session}&after={after}", 410)
    assert why in problem["detail"]
    assert "/v1/report" in problem["detail"]


async def test_events(appliance: Appliance_) -> None:
    """A consumer that follows the events has the table."""
    consumer = Consumer()
    consumer.take(await appliance.get("/v1/report"))
    url = appliance.server.make_url("/v1/report/events")
    headers = {"Last-Event-ID": f"{consumer.session}/{consumer.serial}"}
    async with ClientSession() as client, client.get(url, headers=headers) as response:
        assert (await _next_event(response.content))["event"] == "hello"
        appliance.hear(appliance.exabgp.announce("12.0.0.0/8"))
        while "12.0.0.0/8" not in consumer.routes:
            event = await asyncio.wait_for(_next_event(response.content), PATIENCE_S)
            assert event["event"] == "changes"
            consumer.take(json.loads(event["data"]))
            assert event["id"] == f"{consumer.session}/{consumer.serial}"
    assert consumer.computed_digest() == consumer.digest
    headers = {"Last-Event-ID": "another/7"}
    async with ClientSession() as client, client.get(url, headers=headers) as response:
        await _next_event(response.content)
        assert (await _next_event(response.content))["event"] == "reset"


async def _next_event(stream: Any) -> dict[str, str]:
    event: dict[str, str] = {}
    while (line := (await stream.readline()).decode().rstrip("\n")) or not event:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
    return event


async def test_lookup(appliance: Appliance_) -> None:
    found = await appliance.get("/v1/routes/lookup?at=11.2.3.4")
    assert found["match"]["prefix"] == "11.0.0.0/8"
    assert [route["peer"] for route in found["match"]["routes"]] == ["192.0.2.2", PEER]
    found = await appliance.get("/v1/routes/lookup?at=2a01::1")
    assert found["match"] is None
    assert found["covering"][0]["routes"][0]["reason"] == "default-route"
    problem = await appliance.get("/v1/routes/lookup?at=nonsense", 400)
    assert "nonsense" in problem["detail"]


@pytest.mark.parametrize(
    ("query", "is_steered", "because"),
    [
        pytest.param("ip=11.0.0.1", True, "its path is longer (2 against 1)", id="rival"),
        pytest.param("ip=2a01::1", False, "::/0 from 192.0.2.1 is not used", id="filtered"),
        pytest.param("ip=11.0.0.1&object=film.mp4", True, "has the object", id="content"),
        pytest.param("ip=11.0.0.1&object=../etc", False, "does not have", id="no_content"),
    ],
)
async def test_explain(appliance: Appliance_, query: str, is_steered: bool, because: str) -> None:
    found = await appliance.get(f"/v1/explain?{query}")
    assert found["steered_here"] is is_steered
    assert any(because in reason for reason in found["because"]), found["because"]


async def test_explain_while_not_serving(appliance: Appliance_) -> None:
    appliance.state.appliance = Appliance(phase=Phase.STARTING)
    found = await appliance.get("/v1/explain?ip=11.0.0.1")
    assert not found["steered_here"]
    assert "the appliance is starting" in found["because"]


async def test_exports(appliance: Appliance_) -> None:
    url = appliance.server.make_url("/v1/routes.csv")
    async with ClientSession() as client, client.get(url) as response:
        rows = list(csv.DictReader(io.StringIO(await response.text())))
    assert [(row["prefix"], row["peer"], row["best"]) for row in rows] == [
        ("11.0.0.0/8", "192.0.2.2", "yes"), ("11.0.0.0/8", PEER, "no"), ("2a00::/32", PEER, "yes"),
    ]  # fmt: skip
    zones = await appliance.get("/v1/routes/dczf")
    (zone,) = zones["deepCoverageZones"].values()
    assert (zone["network"], zone["network6"]) == (["11.0.0.0/8"], ["2a00::/32"])
    assert zone["caches"] == [appliance.state.settings.appliance.id]


async def test_schema_is_published(appliance: Appliance_) -> None:
    assert await appliance.get("/v1/schema/report") == REPORT_SCHEMA
    docs = Path(__file__).parent.parent.parent / "docs/report-schema.json"
    assert docs.read_text() == schema_text(), "make docs"


async def test_routes_and_metrics(appliance: Appliance_) -> None:
    assert len((await appliance.get("/v1/routes"))["routes"]) == 2
    (filtered,) = (await appliance.get("/v1/routes?filtered=true"))["routes"]
    assert filtered["prefix"] == "::/0"
    peers = (await appliance.get("/v1/routes/peers"))["peers"]
    assert peers[0]["families"]["ipv4"]["complete"] is True
    labels = {"peer": PEER, "family": "ipv6", "verdict": "default-route"}
    assert appliance.state.registry.get_sample_value("ocaserve_routes", labels) == 1
    (component,) = [each for each in appliance.state.components if each.name == "routes"]
    assert "2 sessions up" in component.observe(0.0).summary


async def test_recent(appliance: Appliance_) -> None:
    """Each prefix once, as it is now, with the time at which it became so."""
    appliance.hear(appliance.exabgp.announce("12.0.0.0/8", "13.0.0.0/8"))
    appliance.service.commit()
    appliance.hear(appliance.exabgp.withdraw("12.0.0.0/8"))
    found = await appliance.get("/v1/routes/recent?limit=3")
    first, second, third = found["changes"]
    assert (first["prefix"], first["routes"]) == ("12.0.0.0/8", [])
    assert first["serial"] == found["serial"] == second["serial"] + 1
    assert first["at"] >= second["at"] > 1e9
    assert (second["prefix"], second["routes"][0]["peer"]) == ("13.0.0.0/8", PEER)
    assert third["prefix"] in {"11.0.0.0/8", "2a00::/32"}
    await appliance.get("/v1/routes/recent?limit=0", 400)


async def test_commands(appliance: Appliance_) -> None:
    """They print what the API says; the exit status is the answer."""
    where = ["--control", f"127.0.0.1:{appliance.server.port}"]
    runner = click.testing.CliRunner()

    async def run(*words: str) -> click.testing.Result:
        return await asyncio.to_thread(runner.invoke, main, [*words, *where])

    done = await run("routes")
    assert done.exit_code == 0, done.output
    assert "11.0.0.0/8" in done.output
    assert "1 not used: default-route" in done.output
    assert "default-route" in (await run("routes", "--filtered")).output
    assert "AS65001: up" in (await run("routes", "--peers")).output
    assert (await run("routes", "--lookup", "99.0.0.1")).exit_code == 1
    assert json.loads((await run("routes", "--lookup", "11.0.0.1", "--json")).output)["match"]
    assert "3 routes accepted, 3 sets of attributes" in (await run("report")).output
    assert "11.0.0.0/8,192.0.2.2,," in (await run("routes", "--csv")).output
    assert "default-route" in (await run("routes", "--csv", "--filtered")).output
    assert (await run("routes", "--csv", "--peers")).exit_code == 2
    serial = appliance.service.commit()
    appliance.hear(appliance.exabgp.withdraw("2a00::/32"))
    assert "2a00::/32: gone" in (await run("report", "--changes-after", str(serial))).output
    assert json.loads((await run("report", "--json")).output)["kind"] == "report"
    assert (await run("explain", "11.0.0.1", "film.mp4")).exit_code == 0
    done = await run("explain", "99.0.0.1")
    assert done.exit_code == 1
    assert "not steered here" in done.output


def test_command_without_an_appliance() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{closed.getsockname()[1]}"
        done = click.testing.CliRunner().invoke(main, ["routes", "--control", where])
    assert done.exit_code == 1
    assert "is the appliance running?" in done.output


# -- push ----------------------------------------------------------------------------------------


class Receiver:
    """A control plane that answers as it is told to: one status each, then 204."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.consumer = Consumer()
        self.kinds: list[str] = []
        self.tokens: set[str | None] = set()
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/reports", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        document = await request.json()
        self.tokens.add(request.headers.get("Authorization"))
        self.kinds.append(document["kind"])
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            self.consumer.take(document)
        return web.Response(status=status)

    async def until(self, prefix: str, held: bool = True) -> None:
        await until(lambda: (prefix in self.consumer.routes) is held)


async def test_push(appliance: Appliance_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole, then changes; what is not taken comes again; who lost it gets the whole."""
    monkeypatch.setattr("ocaserve.steering.reporter.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("ocaserve.steering.reporter.MIN_GAP_S", 0.01)
    token = tmp_path / "token"
    token.write_text("secret\n")
    receiver = Receiver()
    await receiver.server.start_server()
    receiver.statuses = [500, 503]
    url = str(receiver.server.make_url("/reports"))
    reporter = Reporter(appliance.service, Report(push_url=url, token_file=str(token)))
    running = asyncio.create_task(reporter.run())
    try:
        await receiver.until("11.0.0.0/8")
        assert receiver.kinds[:3] == ["report", "report", "report"]
        appliance.hear(appliance.exabgp.announce("12.0.0.0/8"))
        await receiver.until("12.0.0.0/8")
        assert receiver.kinds[-1] == "changes"
        receiver.statuses = [410]
        appliance.hear(appliance.exabgp.withdraw("12.0.0.0/8"))
        await receiver.until("12.0.0.0/8", held=False)
        assert "report" in receiver.kinds[3:]
        assert receiver.tokens == {"Bearer secret"}
        assert receiver.consumer.computed_digest() == receiver.consumer.digest
        assert appliance.service.last_contact is not None
    finally:
        running.cancel()
        await asyncio.wait([running])
        await receiver.server.close()


async def test_long_work_is_done_between_other_work(
    appliance: Appliance_, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that goes is swept in slices, and what waits for the loop has its turn."""
    monkeypatch.setattr("ocaserve.steering.service._SLICE_S", 0.0)
    many = [f"20.{a}.{b}.0/24" for a in range(40) for b in range(256)]
    for start in range(0, len(many), 256):
        appliance.hear(appliance.exabgp.announce(*many[start : start + 256]))
    appliance.hear(appliance.exabgp.state("down", "notification received (6,2)"))
    assert appliance.service.table.has_work
    turns = 0
    async with asyncio.timeout(PATIENCE_S):
        while appliance.service.table.has_work:
            turns += 1
            await asyncio.sleep(0)
    assert turns > 1
    report = await appliance.get("/v1/report")
    assert set(report["routes"]) == {"11.0.0.0/8"}
