"""Bodies of requests: read only of who may send one, and never more than is wanted of it.

aiohttp is told not to decompress: it would do so in the event loop, for anybody, without a bound.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import msgspec
from aiohttp import web

from ocaserve.control.problems import Problem

_IN_THE_LOOP_BYTES = 256 << 10  # put together or inflated within a millisecond; more in a thread
_GZIP = 31  # window bits of zlib for a gzip member


async def wait_with_continue(_: web.Request) -> None:
    """What `Expect: 100-continue` waits for is sent by `read_body`, to who may send a body."""


async def read_body(request: web.Request, most: int, timeout_s: float) -> bytes:
    """All of it, decompressed, `most` bytes in either form. Raises Problem."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise Problem(
            415, "the body must be plain or compressed by gzip", headers={"Accept-Encoding": "gzip"}
        )
    if (request.content_length or 0) > most:
        raise _too_large(most)
    if request.can_read_body and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    try:
        async with asyncio.timeout(timeout_s):
            data = await _read(request, most)
    except TimeoutError:
        raise Problem(408, f"the body was not there within {timeout_s:g} seconds") from None
    if coding == "identity" or not data:
        return data
    # Its end says how much it is (RFC 1952 section 2.3.1). Whoever lies there is found out below.
    if int.from_bytes(data[-4:], "little") <= _IN_THE_LOOP_BYTES:
        try:
            return inflate(data, min(most, _IN_THE_LOOP_BYTES))
        except Problem as problem:
            if problem.status != 413 or most <= _IN_THE_LOOP_BYTES:
                raise
    return await asyncio.to_thread(inflate, data, most)


async def _read(request: web.Request, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise _too_large(most)
    if size <= _IN_THE_LOOP_BYTES:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)  # it lets the loop run while it copies


def decode_body(data: bytes, kind: type[Any]) -> Any:
    """JSON as the type that an endpoint names; nothing at all is an object without members.

    Raises Problem.
    """
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise Problem(422, f"the body: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from error


def inflate(data: bytes, most: int) -> bytes:
    """One gzip member of at most so many bytes. Raises Problem."""
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise Problem(400, "the body is not gzip, as its Content-Encoding says") from error
    if len(plain) > most:
        raise _too_large(most)
    if not inflater.eof or inflater.unused_data:
        raise Problem(400, "the body must be one whole gzip member")
    return plain


def _too_large(most: int) -> Problem:
    return Problem(413, f"the body is larger than {most} bytes, which this call takes at the most")
