"""What the scenarios share: the real program, started for as long as a block lasts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.daemon import Daemon


class Serve(Protocol):
    """Serves the folders on a free port; `toml` holds settings beside the stores."""

    def __call__(
        self, *folders: Path, toml: str = "", workers: int = 2
    ) -> AbstractContextManager[Daemon]: ...


@pytest.fixture(scope="session")
def serve() -> Serve:
    return Daemon.serving
