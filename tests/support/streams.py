"""Streams of asyncio in the process of a test."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def close(writer: asyncio.StreamWriter) -> None:
    """Close, and wait until the socket is closed too.

    It is later where something is unsent, or where TLS waits for the other side to take its leave:
    a loop that ended meanwhile would leave it open.
    """
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
