"""What the scenarios share: the real program, started for as long as a block lasts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.filling import PIECE, Origin


class Serve(Protocol):
    """Serves the folders on a free port; `toml` holds settings beside the stores."""

    def __call__(
        self, *folders: Path, toml: str = "", workers: int = 2
    ) -> AbstractContextManager[Daemon]: ...


@pytest.fixture(scope="session")
def serve() -> Serve:
    return Daemon.serving


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the origin has: objects of every size between nothing and some pieces."""
    folder = tmp_path_factory.mktemp("origin")
    sizes = random.Random(1)
    for number in range(24):
        size = 0 if not number else sizes.randrange(20 * PIECE)
        write_object(folder, f"film/{number}.mp4", blob(size, seed=number))
    return folder


@pytest.fixture(scope="module")
def origin(master: Path) -> Iterator[Origin]:
    made = Origin(master)
    yield made
    made.close()
