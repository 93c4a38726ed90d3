"""Both engines, over real files and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ocaserve.bills.from_settings import open_vault
from ocaserve.bills.vault import Vault
from tests.support.postgresql import PostgresqlServer

_numbers = count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A server of our own, ended with the tests."""
    with PostgresqlServer.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def vault_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty one."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/ledger"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return f"{server.url}&schema=t{next(_numbers)}"


@pytest.fixture
def vault(vault_url: str) -> Iterator[Vault]:
    made = open_vault(vault_url)
    yield made
    made.close()
