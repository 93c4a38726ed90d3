"""What the scenarios of fill share: an origin, manifests, and appliances that are filled."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.control_client import Answer, call
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

TOKEN = "operate-token-0123456789"
PIECE = 64 << 10


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that went away was killed by the test."""


class Origin:
    """Serves a folder by ranges, and counts what it sends."""

    def __init__(self, folder: Path) -> None:
        self.sent = 0
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                data = (folder / self.path.lstrip("/")).read_bytes()
                found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                assert found
                start, stop = int(found[1]), int(found[2]) + 1
                origin.sent += stop - start
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
                self.send_header("Content-Length", str(stop - start))
                self.end_headers()
                self.wfile.write(data[start:stop])

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def make_manifest(content: Path, *urls: str) -> dict[str, Any]:
    """By the command that operators have."""
    sources = [word for url in urls for word in ("--source", url)]
    done = subprocess.run(
        [sys.executable, "-m", "ocaserve", "fill", "manifest", str(content),
         "--piece-bytes", str(PIECE), "--version", "v1", *sources],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def settings(folder: Path, name: str, **fill: Any) -> str:
    (folder / "state").mkdir(parents=True, exist_ok=True)
    rows = {"window": "", "plan_s": 1.0, **fill}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in rows.items())
    return (
        f'[control]\nlisten = ["127.0.0.1:0"]\n[control.tokens]\noperate = ["{TOKEN}"]\n'
        f'[appliance]\nid = "{name}"\nstate_directory = "{folder}/state"\n'
        f"[health]\nrise_s = 3600\nfall_s = 0\n[fill]\n{lines}\n"
    )


def ask(daemon: Daemon, method: str, path: str, body: object = None) -> Answer:
    return call(daemon.control_addresses[0], method, f"/v1/fill{path}", body, token=TOKEN)


def put(daemon: Daemon, manifest: object) -> None:
    eventually(lambda: ask(daemon, "GET", "/status").status == 200, "fill answers")
    answer = ask(daemon, "PUT", "/manifest", manifest)
    assert answer.status == 200, answer.text


def is_whole(daemon: Daemon) -> bool:
    answer = ask(daemon, "GET", "/status")
    if answer.status != 200:
        return False
    found = answer.json
    return (
        bool(found["wanted"]["objects"]) and found["here"]["objects"] == found["wanted"]["objects"]
    )


def assert_same(content: Path, store: Path) -> None:
    """Every object, its bytes and its time; and nothing else is visible."""
    ours = {str(f.relative_to(content)) for f in content.rglob("*") if f.is_file()}
    theirs = {
        str(f.relative_to(store))
        for f in store.rglob("*")
        if f.is_file() and not any(part.startswith(".") for part in f.relative_to(store).parts)
    }
    assert theirs == ours
    for key in ours:
        assert (store / key).read_bytes() == (content / key).read_bytes(), key
        assert (store / key).stat().st_mtime_ns == (content / key).stat().st_mtime_ns


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
