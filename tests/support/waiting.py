"""Waiting for what other processes do, when they cannot say that they have done it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

_LOOK_AGAIN_S = 0.05


def eventually(
    look: Callable[[], Seen | None],
    what: str,
    *,
    timeout_s: float = 15,
    every_s: float = _LOOK_AGAIN_S,
) -> Seen:
    """Return the first true value of `look`. Raises TimeoutError, which names `what`.

    every_s: between two looks; longer where a look takes long.
    """
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {timeout_s} s; last seen: {seen!r}")
        time.sleep(every_s)
    return seen


async def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Look again and again beside a running loop, for nobody says when. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(_LOOK_AGAIN_S)
