"""A file server as aiohttp offers it: FileResponse, on uvloop, with its access log in a file.

Arguments: PORT STORE LOG.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import uvloop
from aiohttp import web


def make_application(store: Path) -> web.Application:
    """Serve the objects of a store by name."""

    async def serve_object(request: web.Request) -> web.FileResponse:
        return web.FileResponse(store / request.match_info["key"])

    application = web.Application()
    application.router.add_get("/{key:[a-z0-9.]+}", serve_object)
    return application


def main(port: int, store: Path, log: Path) -> None:
    """Serve until terminated."""
    access = logging.getLogger("aiohttp.access")
    access.setLevel(logging.INFO)
    access.addHandler(logging.FileHandler(log))
    web.run_app(
        make_application(store),
        host="127.0.0.1",
        port=port,
        access_log=access,
        backlog=4096,
        loop=uvloop.new_event_loop(),
        print=None,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
