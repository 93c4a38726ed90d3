"""A peer: aiohttp's FileResponse on uvloop, with its access log on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import uvloop
from aiohttp import web


def main(content: str, port: str, scratch: str) -> None:
    logging.basicConfig(filename=Path(scratch, "access.log"), level=logging.INFO)
    folder = Path(content)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(folder / request.match_info["key"])

    app = web.Application()
    app.router.add_get("/{key}", answer)
    web.run_app(app, host="127.0.0.1", port=int(port), loop=uvloop.new_event_loop(), print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
