"""What holds for all tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No test asserts a time, so no property has a deadline; and a run that failed can be repeated.
settings.register_profile("ocaserve", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ocaserve")


def pytest_collection_finish() -> None:
    """What exists now lives as long as the tests: no collection need look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _leave_nothing_open() -> Iterator[None]:
    """What a file has left open is found at its end, not by a collection in a later file."""
    yield
    gc.collect()
