"""Who answers. Each peer is started with one worker on the server's core, and with its access log."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from benchmarks.host import SERVER_CORE, process_tree

_HERE = Path(__file__).parent
_START_S = 20.0


@dataclass(frozen=True)
class Peer:
    """A server to measure. `template`: its configuration, if it has one; `port`: where it listens."""

    name: str
    port: int
    command: tuple[str, ...]
    template: str = ""
    extra: Mapping[str, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


_PYTHON = (sys.executable, "-m")
OCASERVE = Peer(
    "ocaserve", 18480, (*_PYTHON, "ocaserve", "serve", "-c", "$config"), "ocaserve.toml.template"
)
NGINX = Peer("nginx", 18481, ("nginx", "-c", "$config"), "nginx.conf.template", {"aio": ""})
NGINX_THREADS = Peer(
    "nginx, aio threads", 18482, ("nginx", "-c", "$config"), "nginx.conf.template",
    {"aio": "aio threads;"},
)  # fmt: skip
AIOHTTP = Peer(
    "aiohttp FileResponse", 18483,
    (*_PYTHON, "benchmarks.peers.aiohttp_server", "$content", "$port", "$scratch"),
)  # fmt: skip
BARE = Peer(
    "bare sendfile", 18484, (*_PYTHON, "benchmarks.peers.bare_server", "$content", "$port"),
)  # fmt: skip
ALL = (OCASERVE, NGINX, NGINX_THREADS, AIOHTTP, BARE)


@dataclass
class Running:
    """A peer that answers."""

    peer: Peer
    pid: int


@contextmanager
def serving(
    peer: Peer, content: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Start a peer over `content`, wait until it answers, end it and all its processes."""
    scratch = folder / peer.name.replace(" ", "-").replace(",", "")
    scratch.mkdir(exist_ok=True)
    values = {
        "port": str(peer.port),
        "content": str(content),
        "scratch": str(scratch),
        "config": str(scratch / "config"),
        "user": "user root;" if os.geteuid() == 0 else "",
        **(peer.extra or {}),
    }
    if peer.template:
        text = (_HERE / peer.template).read_text()
        Path(values["config"]).write_text(Template(text).substitute(values))
    command = [Template(word).substitute(values) for word in peer.command]
    with (scratch / "output").open("ab") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin", **(environment or {})},
        )
    try:
        _await_answer(peer, process, scratch)
        yield Running(peer, process.pid)
    finally:
        _end(process)


def _await_answer(peer: Peer, process: subprocess.Popen[bytes], scratch: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", peer.port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{peer.name} does not answer: {(scratch / 'output').read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; make all of it, if it does not."""
    tree = process_tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        for pid in tree:
            os.kill(pid, signal.SIGKILL)
        process.wait()
