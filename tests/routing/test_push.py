"""Reports that are pushed, as a control plane takes them or does not."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocaserve.fleet import pushed_documents
from ocaserve.fleet.pushed_documents import Copy
from ocaserve.fleet.tables import Tables
from ocaserve.routing.live import RouteService
from ocaserve.routing.pacing import Pacing
from ocaserve.routing.reporter import Reporter
from ocaserve.settings.report import ReportSettings
from tests.support.consumer import Consumer
from tests.support.control_app import ControlApp
from tests.support.exabgp_lines import PEER
from tests.support.waiting import until

PATIENCE_S = 20.0


class Receiver:
    """A control plane that answers as it is told to: one status each, then 204."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.consumer = Consumer()
        self.kinds: list[str] = []
        self.complete: list[bool] = []
        self.tokens: set[str | None] = set()
        self.tables: list[int] = []  # those told by their digest
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/reports", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        document = await request.json()
        self.tokens.add(request.headers.get("Authorization"))
        self.kinds.append(document["kind"])
        self.complete.append(document["complete"])
        usual = 409 if "table" in document else 204
        status = self.statuses.pop(0) if self.statuses else usual
        if "table" in document:
            self.tables.append(int(document["table"], 16))
        elif status == 204:
            self.consumer.take(document)
        return web.Response(status=status)

    async def until(self, prefix: str, held: bool = True) -> None:
        await until(lambda: (prefix in self.consumer.routes) is held)


def whole_report(service: RouteService) -> bytes:
    return b"".join(service.report()[1])


async def test_push(appliance: ControlApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole, then changes; what is not taken comes again; who lost it gets the whole."""
    monkeypatch.setattr("ocaserve.routing.pacing.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("ocaserve.routing.reporter.MIN_GAP_S", 0.01)
    token = tmp_path / "token"
    token.write_text("secret\n")
    receiver = Receiver()
    await receiver.server.start_server()
    receiver.statuses = [500, 503]
    url = str(receiver.server.make_url("/reports"))
    reporter = Reporter(appliance.service, ReportSettings(push_url=url, token_file=str(token)))
    running = asyncio.create_task(reporter.run())
    try:
        await receiver.until("11.0.0.0/8")
        assert receiver.kinds[:4] == ["report", "report", "report", "report"]
        document = pushed_documents.read_document(whole_report(appliance.service))
        copy, _ = pushed_documents.advance(Copy("oca-1"), document, Tables())
        assert receiver.tables == [copy.table.digest] * 3
        appliance.hear(appliance.exabgp.announce("12.0.0.0/8"))
        await receiver.until("12.0.0.0/8")
        assert receiver.kinds[-1] == "changes"
        receiver.statuses = [410]
        appliance.hear(appliance.exabgp.withdraw("12.0.0.0/8"))
        await receiver.until("12.0.0.0/8", held=False)
        assert receiver.kinds[-2:] == ["report", "report"]
        assert receiver.tokens == {"Bearer secret"}
        assert receiver.consumer.computed_digest() == receiver.consumer.digest
        assert appliance.service.last_contact is not None
    finally:
        running.cancel()
        await asyncio.wait([running])
        await receiver.server.close()


async def test_a_known_table_is_not_sent(
    appliance: ControlApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is enough for who knows it; changes go on from there."""
    monkeypatch.setattr("ocaserve.routing.reporter.MIN_GAP_S", 0.01)
    receiver = Receiver()
    await receiver.server.start_server()
    receiver.statuses = [204]
    receiver.consumer.take(msgspec.json.decode(whole_report(appliance.service)))
    url = str(receiver.server.make_url("/reports"))
    running = asyncio.create_task(Reporter(appliance.service, ReportSettings(push_url=url)).run())
    try:
        await until(lambda: receiver.kinds == ["report"])
        appliance.hear(appliance.exabgp.announce("12.0.0.0/8"))
        await until(lambda: len(receiver.kinds) > 1)
        assert receiver.kinds[:2] == ["report", "changes"]
        assert len(receiver.tables) == 1
    finally:
        running.cancel()
        await asyncio.wait([running])
        await receiver.server.close()


async def test_nothing_is_pushed_before_the_table_is_whole(
    appliance: ControlApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of a process that has just begun would take all clients away."""
    receiver = Receiver()
    await receiver.server.start_server()
    monkeypatch.setattr(RouteService, "expected", [PEER, "192.0.2.9"])
    url = str(receiver.server.make_url("/reports"))
    reporter = Reporter(appliance.service, ReportSettings(push_url=url))
    running = asyncio.create_task(reporter.run())
    exabgp, ninth = appliance.exabgp, "192.0.2.9"
    try:
        appliance.hear(exabgp.state("up", peer=ninth), exabgp.announce("12.0.0.0/8", peer=ninth))
        serial = appliance.service.commit()
        await until(lambda: bool(receiver.kinds) or appliance.service.commit() >= serial)
        for peer in (PEER, "192.0.2.2", ninth):
            appliance.hear(exabgp.end_of_rib(4, peer), exabgp.end_of_rib(6, peer))
        await receiver.until("12.0.0.0/8")
        assert (receiver.kinds[0], receiver.complete[0]) == ("report", True)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await receiver.server.close()


async def test_push_waits_no_longer_than_routes_are_kept(
    appliance: ControlApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that never comes up keeps nothing from being told for good."""
    settings = appliance.service.settings
    bgp = msgspec.structs.replace(settings.bgp, stale_s=0.05)
    appliance.service.settings = msgspec.structs.replace(settings, bgp=bgp)
    monkeypatch.setattr(RouteService, "expected", ["192.0.2.9"])
    await asyncio.wait_for(appliance.service.wait_until_complete(), PATIENCE_S)
    assert not appliance.service.heading().is_complete


def test_no_two_come_at_the_same_time() -> None:
    """Never later than the interval; after failures in the upper half of a pause that doubles."""
    chance = random.Random(1)
    pacings = [Pacing(30.0, chance.uniform) for _ in range(1_000)]
    waits = sorted(each.succeed() for each in pacings)
    assert 27.0 <= waits[0] < 27.2
    assert 29.8 < waits[-1] <= 30.0
    for longest in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        pauses = sorted(each.fail() for each in pacings)
        assert longest / 2 <= pauses[0] < longest * 0.51
        assert longest * 0.99 < pauses[-1] <= longest
    assert pacings[0].failures == 8
    assert pacings[0].succeed() > 20.0
    assert pacings[0].failures == 0
