"""The control plane: real processes of `ocaserve fleet serve`, and what they cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.errors import LoadFailure
from benchmarks.measure import cpu_seconds, is_same, process_tree, pss_kib
from benchmarks.processes import ROOT, last_words

_END_S = 20.0
_TOKEN = "bench-token-0123456789"  # noqa: S105 - of a process on loopback


class Cost(NamedTuple):
    """CPU seconds of all its processes since they began, and their memory in MiB."""

    cpu_s: float
    memory_mib: float


class ControlPlane:
    """One instance. It answers at the same addresses whenever it is started. workers: the processes
    that answer clients.
    """

    def __init__(
        self, folder: Path, ports: tuple[int, int], settings: str, state: str = ""
    ) -> None:
        self.operators, self.clients = (f"127.0.0.1:{port}" for port in ports)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fleet.toml").write_text(
            f'[fleet]\nlisten = ["{self.operators}"]\nclients = ["{self.clients}"]\n'
            f'state = "{state or f"sqlite://{folder}/fleet.db"}"\n{settings}\n'
            f'[fleet.tokens]\noperate = ["{_TOKEN}"]\n'
        )
        self.process: subprocess.Popen[bytes] | None = None
        self._cpu_before = 0.0
        self.workers: list[int] = []

    def start(self) -> None:
        """Returns when it answers. Raises LoadFailure."""
        pipe_in, pipe_out = os.pipe()
        log = self.folder / "fleet.log"
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ocaserve", "fleet", "serve",
                 "-c", str(self.folder / "fleet.toml"), "--ready-fd", str(pipe_out)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                pass_fds=(pipe_out,), start_new_session=True,
            )  # fmt: skip
        os.close(pipe_out)
        with os.fdopen(pipe_in) as ready:
            if not ready.readline():
                raise LoadFailure(f"fleet serve did not begin: {last_words(log)}")
        self.workers = [pid for pid in process_tree(self.process.pid) if _is_worker(pid)]

    def cost(self) -> Cost:
        if self.process is None or self.process.poll() is not None:
            return Cost(self._cpu_before, 0.0)
        pid = self.process.pid
        return Cost(self._cpu_before + cpu_seconds(pid), pss_kib(pid) / 1024)

    def kill(self) -> None:
        """As a power cut would, all of it."""
        if self.process is None:
            return
        self._cpu_before = self.cost().cpu_s
        for pid, times in process_tree(self.process.pid).items():
            if is_same(pid, times):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """As an operator would; the rest is killed."""
        if self.process is not None and self.process.poll() is None:
            self._cpu_before = self.cost().cpu_s
            self.process.terminate()
            try:
                self.process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What operators are answered. Raises OSError, HTTPException, LoadFailure."""
        text = self.ask_text(path, method, body)
        return json.loads(text) if text else None

    def ask_text(self, path: str, method: str = "GET", body: Any = None) -> str:
        """Likewise."""
        host, _, port = self.operators.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            fields = {"Content-Type": "application/json", "Authorization": f"Bearer {_TOKEN}"}
            connection.request(method, path, data, fields)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                raise LoadFailure(f"{method} {path}: {answer.status} {text[:300]!r}")
            return text.decode()
        finally:
            connection.close()

    def knows(self) -> tuple[int, bool]:
        """How many appliances, and whether it reaches what it shares."""
        try:
            known = self.ask("GET", "/v1/status")["appliances"]
            metrics = self.ask_text("/metrics")
        except (OSError, HTTPException, LoadFailure):
            return 0, False
        return known, "ocaserve_fleet_shared_up 1" in metrics

    def said(self) -> str:
        """Its log."""
        return (self.folder / "fleet.log").read_text(errors="replace")


def _is_worker(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("oca-worker")
    return False
