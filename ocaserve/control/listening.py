"""The control process's sockets: TLS where it is wanted, and what comes in that is no HTTP."""

from __future__ import annotations

import asyncio
import logging
import ssl

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.log import server_logger

from ocaserve.settings import Control
from ocaserve.sockets import Listeners


async def listen(runner: web.AppRunner, listeners: Listeners, control: Control) -> None:
    """Answer on these sockets for as long as the runner lasts. Raises OSError."""
    server_logger.addFilter(WithoutDetails())
    tls = _keep_tls(control) if control.certificate else None
    for address, (sock,) in listeners.items():
        await web.SockSite(runner, sock, ssl_context=None if address.path else tls).start()


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
