"""Reports, changes, events and lookups over HTTP, as a control plane and an operator see them."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import socket
from pathlib import Path
from typing import Any

import click.testing
import msgspec
import pytest
from aiohttp import ClientSession

from ocaserve.cli import main
from ocaserve.steering.objects import Holdings
from ocaserve.steering.report_shapes import Report, report_schema, schema_text
from tests.support.consumer import Consumer
from tests.support.control_app import ControlApp
from tests.support.exabgp_lines import PEER
from tests.support.waiting import until

PATIENCE_S = 20.0


def check(document: Any) -> None:
    """It is of the published shape, and nothing in it is left out there."""
    assert msgspec.to_builtins(msgspec.convert(document, Report)) == document


async def test_report(appliance: ControlApp) -> None:
    document = await appliance.get("/v1/report")
    check(document)
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


async def test_report_is_not_sent_again_to_who_has_it(appliance: ControlApp) -> None:
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


async def test_changes(appliance: ControlApp) -> None:
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
    check(changes)
    assert set(changes["routes"]) == {"12.0.0.0/8", "2a00::/32", "13.0.0.0/8"}
    assert changes["routes"]["2a00::/32"] == []
    consumer.take(changes)
    fresh = Consumer()
    fresh.take(await appliance.get("/v1/report"))
    assert consumer.table() == fresh.table()
    assert consumer.sections == fresh.sections
    assert consumer.computed_digest() == fresh.digest


async def test_objects(appliance: ControlApp) -> None:
    """Which of the manifest's are here: whole in a report, what came and went in changes."""
    assert "objects" not in await appliance.get("/v1/report")
    held = Holdings(manifest="v1", count=9, here=bytes([0b101, 0]))
    appliance.service.find_holdings = lambda: held
    consumer = Consumer()
    document = await appliance.get("/v1/report")
    check(document)
    consumer.take(document)
    assert document["objects"] == {"manifest": "v1", "count": 9, "here": "BQA="}
    held = Holdings(manifest="v1", count=9, here=bytes([0b100, 1]))
    query = f"?session={consumer.session}&after={consumer.serial}"
    changes = await appliance.get(f"/v1/report/changes{query}")
    check(changes)
    assert changes["objects"] == {"manifest": "v1", "count": 9, "came": [8], "went": [0]}
    consumer.take(changes)
    assert bytes(consumer.here) == held.here


async def test_waiting_for_changes_ends_with_the_first(appliance: ControlApp) -> None:
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
    appliance: ControlApp, session: str, after: int, why: str
) -> None:
    session = session or appliance.service.log.session
    problem = await appliance.get(f"/v1/report/changes?session={session}&after={after}", 410)
    assert why in problem["detail"]
    assert "/v1/report" in problem["detail"]


async def test_events(appliance: ControlApp) -> None:
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


async def test_lookup(appliance: ControlApp) -> None:
    found = await appliance.get("/v1/routes/lookup?at=11.2.3.4")
    assert found["match"]["prefix"] == "11.0.0.0/8"
    assert [route["peer"] for route in found["match"]["routes"]] == ["192.0.2.2", PEER]
    found = await appliance.get("/v1/routes/lookup?at=2a01::1")
    assert found["match"] is None
    assert found["covering"][0]["routes"][0]["reason"] == "default-route"
    problem = await appliance.get("/v1/routes/lookup?at=nonsense", 400)
    assert "nonsense" in problem["detail"]


async def test_exports(appliance: ControlApp) -> None:
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


async def test_schema_is_published(appliance: ControlApp) -> None:
    assert await appliance.get("/v1/schema/report") == report_schema()
    docs = Path(__file__).parent.parent.parent / "docs/report-schema.json"
    assert docs.read_text() == schema_text(), "make docs"


async def test_routes_and_metrics(appliance: ControlApp) -> None:
    assert len((await appliance.get("/v1/routes"))["routes"]) == 2
    (filtered,) = (await appliance.get("/v1/routes?filtered=true"))["routes"]
    assert filtered["prefix"] == "::/0"
    peers = (await appliance.get("/v1/routes/peers"))["peers"]
    assert peers[0]["families"]["ipv4"]["complete"] is True
    labels = {"peer": PEER, "family": "ipv6", "verdict": "default-route"}
    assert appliance.state.registry.get_sample_value("ocaserve_routes", labels) == 1
    (component,) = [each for each in appliance.state.components if each.name == "routes"]
    assert "2 sessions up" in component.observe(0.0).summary


async def test_recent(appliance: ControlApp) -> None:
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


async def test_commands(appliance: ControlApp) -> None:
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


async def test_report_beside_that_of_another_appliance(
    appliance: ControlApp, tmp_path: Path
) -> None:
    """The same prefixes by other routers are the same; what differs is told by either."""
    (tmp_path / "other").mkdir()
    other = ControlApp(tmp_path / "other")
    await other.server.start_server()
    told = [
        other.exabgp.announce("11.0.0.0/8", peer="198.51.100.1", path=[65001]),
        other.exabgp.announce("2a00::/32", peer="198.51.100.1"),
    ]
    other.hear(*told)
    control = ["--control", f"127.0.0.1:{appliance.server.port}"]
    words = ["report", "--diff", f"http://127.0.0.1:{other.server.port}/", *control]

    async def compare(*more: str) -> click.testing.Result:
        return await asyncio.to_thread(click.testing.CliRunner().invoke, main, [*words, *more])

    try:
        assert appliance.service.table.digest != other.service.table.digest
        done = await compare()
        assert (done.exit_code, done.output[:20]) == (0, "the same prefixes as"), done.output
        other.hear(other.exabgp.announce("13.0.0.0/8", peer="198.51.100.1"))
        appliance.hear(appliance.exabgp.announce("12.0.0.0/8"))
        done = await compare()
        assert done.exit_code == 1
        assert "1 only here:\n  12.0.0.0/8\n" in done.output
        found = json.loads((await compare("--json")).output)
        assert found == {
            "equal": False, "only_here": ["12.0.0.0/8"], "only_there": ["13.0.0.0/8"],
        }  # fmt: skip
    finally:
        await other.close()


async def test_long_work_is_done_between_other_work(
    appliance: ControlApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that goes is swept in slices, and what waits for the loop has its turn."""
    monkeypatch.setattr("ocaserve.routing.live._SLICE_S", 0.0)
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
