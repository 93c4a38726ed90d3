"""An origin and appliances that are filled from it, on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.errors import LoadFailure

TOKEN = "bench-token-0123456789"  # noqa: S105 - of a process on loopback
_PATIENCE_S = 300.0
_LOOK_S = 0.05


class Origin(NamedTuple):
    """An nginx that writes down what it sends."""

    url: str
    log: Path

    def sent(self) -> int:
        """Bytes of bodies, ever."""
        return sum(map(int, self.log.read_text().split()))


class Appliance(NamedTuple):
    """One that runs. store: its only one."""

    process: subprocess.Popen[bytes]
    control: int
    store: Path

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """What the control address answers. Raises OSError, HTTPException."""
        connection = HTTPConnection("127.0.0.1", self.control, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status >= 400:
                raise OSError(answer.status, data[:200].decode("utf-8", "replace"))
            return json.loads(data) if data else None
        finally:
            connection.close()

    def is_whole(self) -> bool:
        """Whether all of the manifest is here."""
        found = self.ask("GET", "/v1/fill/status")
        wanted = found["wanted"]["objects"]
        return bool(wanted) and found["here"]["objects"] == wanted

    def children(self) -> list[psutil.Process]:
        """All of its processes but the first."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def read(self, port: int, key: str) -> None:
        """The whole object. Raises OSError, HTTPException."""
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", f"/{key}")
            connection.getresponse().read()
        finally:
            connection.close()

    def fill_cpu_s(self) -> float:
        """Processor time of the process that fills."""
        times = self.find_fill().cpu_times()
        return float(times.user + times.system)

    def find_fill(self) -> psutil.Process:
        """The process that fills."""
        for child in self.children():
            if child.name() == "oca-fill":
                return child
        raise LoadFailure("the process that fills is not there")


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process, until the block ends."""
    process = subprocess.Popen(list(command), **more)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def origin(folder: Path, scratch: Path) -> Iterator[Origin]:
    """Serves a folder."""
    port, log = free_port(), scratch / "sent.log"
    config = scratch / "nginx.conf"
    temporary = " ".join(
        f"{kind}_temp_path {scratch}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; master_process off; pid {scratch}/nginx.pid; error_log {scratch}/error.log;\n"
        "events {}\n"
        f"http {{ log_format sent '$body_bytes_sent'; access_log {log} sent; {temporary}\n"
        f"sendfile on; server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    with running(["nginx", "-c", str(config)], env={"PATH": path}):
        wait_until(lambda: _answers(port), "nginx answers")
        yield Origin(f"http://127.0.0.1:{port}", log)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def appliance(
    folder: Path,
    name: str,
    fill: str,
    peers: Sequence[tuple[str, int, int]],
    ports: tuple[int, int],
    serving: str = "",
) -> Iterator[Appliance]:
    """fill, serving: lines of the tables. peers: id, port, control port. ports: its own two."""
    serve, control = ports
    store, state = folder / name, folder / f"{name}-state"
    store.mkdir(exist_ok=True)
    state.mkdir()
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    others = "".join(
        f'[[fill.peer]]\nid = "{each}"\nurl = "http://127.0.0.1:{port}"\n'
        f'control = "http://127.0.0.1:{its_control}"\n'
        for each, port, its_control in peers
    )
    config = folder / f"{name}.toml"
    config.write_text(
        f'[serve]\nlisten = ["127.0.0.1:{serve}"]\nworkers = 1\naccess_log = "off"\n{serving}'
        f'[control]\nlisten = ["127.0.0.1:{control}"]\n'
        f'[control.tokens]\noperate = ["{TOKEN}"]\n'
        f'[appliance]\nid = "{name}"\nstate_directory = "{state}"\n'
        "[health]\nrise_s = 3600\n"
        f'[fill]\nwindow = ""\ntoken_file = "{token}"\n{fill}{others}'
        f'[[store]]\npath = "{store}"\n'
    )
    command = [sys.executable, "-m", "ocaserve", "serve", "-c", str(config)]
    with (folder / f"{name}.log").open("wb") as log, running(command, stderr=log) as process:
        made = Appliance(process, control, store)
        wait_until(lambda: _has_fill(made), f"{name} answers")
        yield made


def _has_fill(made: Appliance) -> bool:
    try:
        return made.ask("GET", "/v1/fill/status") is not None
    except (OSError, HTTPException):
        return False


def wait_until(holds: Any, what: str) -> None:
    """Raises LoadFailure."""
    give_up = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > give_up:
            raise LoadFailure(f"{what}: not in {_PATIENCE_S:.0f} s")
        time.sleep(_LOOK_S)
