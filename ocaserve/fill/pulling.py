"""Pulling the manifest: again and again, at no cost while it has not changed."""

from __future__ import annotations

import asyncio
import logging
import zlib

import aiohttp

from ocaserve.fill.filler import Filler
from ocaserve.fill.manifest import ManifestError, read_manifest
from ocaserve.settings.fill import Fill, read_token

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 30
_TIMEOUT_S = 600.0
_RETRY_S = 15.0


class PullError(Exception):
    """The manifest could not be had; the text says why."""


async def keep_pulling(
    settings: Fill, session: aiohttp.ClientSession, filler: Filler, fault: list[str]
) -> None:
    """fault: gets what is wrong now, one line or none."""
    while True:
        try:
            await _pull(settings, session, filler)
            said = ""
        except (PullError, aiohttp.ClientError, TimeoutError, OSError) as error:
            said = f"{settings.manifest_url}: {str(error) or type(error).__name__}"[:1_000]
        if said and fault != [said]:  # once while it lasts
            _log.warning("fill: the manifest: %s", said)
        fault[:] = [said] if said else []
        wait_s = settings.manifest_interval_s
        await asyncio.sleep(min(wait_s, _RETRY_S) if said else wait_s)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 20):
        data += chunk
        if len(data) > _MOST_BYTES:
            raise PullError(f"more than {_MOST_BYTES} bytes")
    return bytes(data)


def _own_authorization(settings: Fill) -> str:
    """Raises PullError and OSError."""
    try:
        return f"Bearer {read_token(settings.manifest_token_file)}"
    except ValueError as error:
        raise PullError(f"fill.manifest_token_file: {error}") from None


def _unpack(data: bytes) -> bytes:
    """The session leaves bodies as they come, since objects are fetched so."""
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacking.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise PullError(f"not gzip: {error}") from None
    if not unpacking.eof:
        raise PullError(f"more than {_MOST_BYTES} bytes, or cut short")
    return unpacked


async def _pull(settings: Fill, session: aiohttp.ClientSession, filler: Filler) -> None:
    manifests, asking = filler.manifests, filler.means.asking
    headers = {**asking.headers, "Accept-Encoding": "gzip"}
    if settings.manifest_token_file:
        headers["Authorization"] = await asyncio.to_thread(_own_authorization, settings)
    if manifests.etag:
        headers["If-None-Match"] = manifests.etag
    async with (
        asyncio.timeout(_TIMEOUT_S),
        session.get(
            settings.manifest_url, headers=headers, ssl=asking.tls or True, max_redirects=4
        ) as response,
    ):
        if response.status == 304:
            return
        if response.status != 200:
            raise PullError(f"status {response.status}")
        data = await _read(response)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            data = await asyncio.to_thread(_unpack, data)
        etag = response.headers.get("ETag", "")
    if await asyncio.to_thread(manifests.is_the_same, data):
        manifests.etag = etag
        return
    try:
        manifest = await asyncio.to_thread(read_manifest, data)
    except ManifestError as error:
        raise PullError("; ".join(error.faults[:5])) from None
    await asyncio.to_thread(manifests.take, data, manifest, etag)
    _log.info("fill: manifest %s with %d objects", manifest.version, len(manifest.objects))
    filler.change()
