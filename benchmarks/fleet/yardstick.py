"""What an answer takes here where there is nothing to decide: a process that says the same to all.

Answers of the control plane share the machine with thousands of appliances and whatever else runs
there. What the yardstick takes meanwhile is not theirs.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import numpy as np
import uvloop

from benchmarks.errors import LoadFailure
from benchmarks.fleet.asker import Asked, Asker
from benchmarks.processes import ROOT

_PAUSE_S = 0.02
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_BODY = b'{"client":{"ip":"192.0.2.1"},"objects":["film-000000.mp4"]}'


class Yardstick:
    """Asked all the while, as often as it answers and a pause allow."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._asked: list[Asked] = []

    def start(self) -> None:
        """Returns when it answers. Raises LoadFailure."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet.yardstick"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        port = self._process.stdout.readline().decode().strip()
        if not port:
            raise LoadFailure("the yardstick did not begin")
        self._address = f"127.0.0.1:{port}"

    async def keep_asking(self, asker: Asker) -> None:
        while True:
            self._asked.append(await asker.post(self._address, "/", _BODY))
            await asyncio.sleep(_PAUSE_S)

    def percentile(self, share: float, since: float, until: float) -> float:
        """Milliseconds of answers that were asked for within that time; 0 where there are none."""
        took = [each.took_s for each in self._asked if since <= each.at <= until]
        return float(np.percentile(took, share)) * 1000 if took else 0.0

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class _Same(asyncio.Protocol):
    """Whatever comes in one piece is a question."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)  # type: ignore[attr-defined]  # uvloop's is none by its class


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Same, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()  # until who asks is gone


if __name__ == "__main__":
    uvloop.run(_serve())
