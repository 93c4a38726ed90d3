"""The control process's sockets: TLS where it is wanted, and what comes in that is no HTTP."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.log import server_logger

from ocaserve.control.routing import SILENT
from ocaserve.settings import Control
from ocaserve.sockets import Listeners

_BACKLOG = 128


@asynccontextmanager
async def listening(
    runner: web.AppRunner, listeners: Listeners, control: Control
) -> AsyncIterator[None]:
    """Answer on these sockets for as long as the block lasts. Raises OSError."""
    server_logger.addFilter(WithoutDetails())
    loop = asyncio.get_running_loop()
    tls = _keep_tls(control) if control.certificate else None
    door = Door(runner, control.head_s)
    servers = [
        await loop.create_server(
            door.open,
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


class Door:
    """Lets go of connections on which no request begins: aiohttp waits for the first one for ever.

    After that it closes what is idle, and a body is read only of who may send one.
    """

    def __init__(self, runner: web.AppRunner, head_s: float) -> None:
        assert runner.server is not None
        self._server = runner.server
        self._head_s = head_s
        self._loop = asyncio.get_running_loop()
        self._silent: set[web.RequestHandler] = runner.app[SILENT]

    def open(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        handler = self._server()
        self._silent.add(handler)
        self._loop.call_later(self._head_s, self._look, handler)
        return handler

    def _look(self, handler: web.RequestHandler) -> None:
        if handler in self._silent:
            self._silent.discard(handler)
            handler.force_close()


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
