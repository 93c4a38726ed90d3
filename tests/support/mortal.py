"""Appliances that are killed whole, and come back at the same address."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.support.daemon import Daemon
from tests.support.processes import descendants


class Mortal:
    """An appliance of one worker on a port of its own. Its methods wait until it is done."""

    def __init__(self, content: Path, scratch: Path, toml: str) -> None:
        self.port = _free_port()
        self._scratch = scratch
        self._config = scratch / "ocaserve.toml"
        self._config.write_text(f'{toml}\n[[store]]\npath = "{content}"\n')
        self._daemon: Daemon | None = None

    @classmethod
    @contextmanager
    def serving(cls, content: Path, scratch: Path, toml: str = "") -> Iterator[Self]:
        """One that serves a folder until the block ends. scratch: a folder for itself."""
        scratch.mkdir()
        made = cls(content, scratch, toml)
        made.start()
        try:
            yield made
        finally:
            made.kill()

    def start(self) -> None:
        """Begin, or begin again."""
        command = ["serve", "-c", str(self._config), "--workers", "1"]
        command += ["--listen", f"127.0.0.1:{self.port}"]
        command += ["--control", f"unix:{self._scratch}/control"]
        self._daemon = Daemon.start(command, self._scratch / "log")

    def kill(self) -> None:
        """With all its processes, at once (SIGKILL)."""
        if self._daemon is None:
            return
        pids = [self._daemon.pid, *descendants(self._daemon.pid)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._daemon.process.wait()
        self._daemon.stop()
        self._daemon = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
