"""A policy in canary whose clients get slow servers: what they tell has it rolled back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.fleet.documents import ModelAppliance
from benchmarks.fleet.lines import Line
from benchmarks.fleet.stage import Stage

SHARE = 0.1
ROLLED_BACK_S = 60.0
_LEAVING, _LEAVING_SLOW = 0.02, 0.3
"""Of the clients of a server, the part that goes on elsewhere."""
_WAIT_S = 180.0
_HARMLESS = """
def admit(client, server):
    return True
"""
_SLOW = """
load("@testing", "client", "equal", "server")

def admit(client, server):
    return server.id < "{first}"

def test_those_that_are_slow():
    equal(admit(client(), server(id = "oca-00000")), True)
    equal(admit(client(), server(id = "{first}")), False)
"""


async def try_a_slow_canary(stage: Stage) -> list[Line]:
    """One of each site's appliances is slow. A canary that changes nothing is left alone; one that
    sends its clients to the slow ones alone is rolled back, and nobody is left without an answer.
    """
    sites = len(stage.world.sites)
    clients, plane = stage.clients, stage.planes[0]

    def leaving(each: ModelAppliance) -> float:
        return _LEAVING_SLOW if each.number < sites else _LEAVING

    clients.leaving = leaving
    begun = time.monotonic()
    try:
        harmless = await _begin_canary(stage, _HARMLESS)
        await stage.intervals(4)
        found = await _look_at(stage, harmless)
        is_left_alone = found["state"] == "canary"
        await asyncio.to_thread(plane.ask, "POST", f"/v1/policies/{harmless}/rollback", {})
        asked_at, told = time.monotonic(), clients.told
        slow = await _begin_canary(stage, _SLOW.format(first=f"oca-{sites:05}"))
        canary_at = time.monotonic()
        while (found := await _look_at(stage, slow))["state"] == "canary":
            if time.monotonic() - canary_at > _WAIT_S:
                break
            await asyncio.sleep(0.25)
        back_s = time.monotonic() - canary_at
        told = clients.told - told
        await stage.intervals(1)
    finally:
        clients.leaving = None
    failed = clients.percentiles(begun, time.monotonic())["failed"]
    by_measure = found["state"] == "rolled back" and "sessions leave a server" in found["why"]
    return [
        Line("a canary that changes nothing was left alone", is_left_alone, 1, "", is_least=True),
        Line("from a draft to the canary", canary_at - asked_at, None, "s"),
        Line("the slow canary was rolled back by measure", by_measure, 1, "", is_least=True),
        Line("after it began", back_s, ROLLED_BACK_S, "s"),
        Line("sessions that were told of meanwhile", told, None),
        Line("sessions that were not taken", clients.untold, 0),
        Line("questions that failed", failed, 0),
    ]


async def _begin_canary(stage: Stage, text: str) -> int:
    """Through all steps before. Returns the number of the release."""
    plane = stage.planes[0]
    body = {"policies": [{"name": "trial", "files": {"trial.star": text}}], "by": "bench"}
    release = (await asyncio.to_thread(plane.ask, "POST", "/v1/policies", body))["release"]
    for step, more in (("check", {}), ("shadow", {}), ("canary", {"share": SHARE})):
        path = f"/v1/policies/{release}/{step}"
        await asyncio.to_thread(plane.ask, "POST", path, {"by": "bench", **more})
    return int(release)


async def _look_at(stage: Stage, release: int) -> Any:
    """A release, as operators see it."""
    found = await asyncio.to_thread(stage.planes[0].ask, "GET", f"/v1/policies/{release}")
    return found["release"]
