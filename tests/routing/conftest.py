"""What several of the tests here stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.control_app import ControlApp
from tests.support.waiting import until


@pytest.fixture
async def appliance(tmp_path: Path) -> AsyncIterator[ControlApp]:
    made = ControlApp(tmp_path)
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
