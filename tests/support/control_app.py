"""The control process's application in the process of a test."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from ocaserve.control.auth import Guard
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.state import Appliance, ControlState
from ocaserve.control.wellness import wellness_of
from ocaserve.control.wiring import build_app
from ocaserve.lifecycle import Phase
from ocaserve.link import Link
from ocaserve.metrics import CounterMap
from ocaserve.routing.live import RouteService
from ocaserve.settings import Settings, Tokens, settings_from_directories
from tests.support.exabgp_lines import Exabgp


def load(folder: Path) -> Settings:
    (folder / "film.mp4").write_bytes(b"x")
    return settings_from_directories([str(folder)])


class ControlApp:
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
