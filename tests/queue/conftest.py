"""Both engines, over real files and a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ocaserve.queue import Bounds, Queues, open_queues
from tests.support.valkey import make_valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a Valkey of our own, ended with the tests."""
    with make_valkey() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(params=["sqlite", "valkey", "valkey-shards"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an engine."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/queue.db"
    server: str = request.getfixturevalue("valkey")
    return f"{server}?shards=3" if request.param == "valkey-shards" else server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A queue that no other test uses."""
    return f"t{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
async def queues(url: str) -> AsyncIterator[Queues]:
    engine = open_queues(url, Bounds(bytes=100_000, body=10_000))
    yield engine
    await engine.close()
