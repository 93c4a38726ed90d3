"""Two folders of content, a catalogue over them, and engines with answerers of the tests'."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ocaserve.settings import Limits
from tests.support.catalogues import Bench, Make
from tests.support.engines import Host, HostFor, MakeAnswerer


@pytest.fixture
async def host_for() -> AsyncIterator[HostFor]:
    """Makes the engine of a worker; what it has begun ends with the test."""
    hosts: list[Host] = []

    def make(make_answerer: MakeAnswerer, limits: Limits | None = None) -> Host:
        hosts.append(Host(make_answerer, limits))
        return hosts[-1]

    yield make
    for host in hosts:
        await host.close()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    (first / "a.mp4").write_bytes(b"a" * 1000)
    (second / "b.mp4").write_bytes(b"b" * 1000)
    return first, second


@pytest.fixture
def make(folders: tuple[Path, Path]) -> Make:
    async def factory(**options: Any) -> Bench:
        return await Bench(*folders, **options).start()

    return factory
