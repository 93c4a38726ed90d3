"""The control process's sockets: TLS where it is wanted, and what comes in that is no HTTP."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.log import server_logger

from ocaserve.control.endpoints import CONNECTIONS
from ocaserve.settings import Control
from ocaserve.sockets import Listeners

_BACKLOG = 128


@asynccontextmanager
async def listening(
    runner: web.AppRunner, listeners: Listeners, control: Control
) -> AsyncIterator[None]:
    """Answer on these sockets for as long as the block lasts."""
    server_logger.addFilter(WithoutDetails())
    loop = asyncio.get_running_loop()
    tls = _keep_tls(control) if control.certificate else None
    assert runner.server is not None
    open_connection = partial(runner.app[CONNECTIONS].open, runner.server)
    servers = [
        await loop.create_server(
            open_connection,
            sock=sock,
            ssl=(context := None if address.path else tls),
            ssl_handshake_timeout=control.head_s if context else None,
            backlog=_BACKLOG,
        )
        for address, (sock,) in listeners.items()
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()


def _keep_tls(control: Control) -> ssl.SSLContext:
    # Needed by some, and slow to import.
    from ocaserve.control.tls import RenewedTls

    tls = RenewedTls(control)
    tls.keep_renewing(asyncio.get_running_loop())
    return tls.front


class WithoutDetails(logging.Filter):
    """Of a head that it cannot read, aiohttp logs the bytes, which may be a token, and a traceback.

    A line is enough: its sender gets a 400.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg = "control: what came from %s is no HTTP"
            record.exc_info = None
        return True
