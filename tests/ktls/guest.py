"""What is tried inside of the virtual machine; `ktls: all good` comes last."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocaserve.kernel_tls import why_not
from tests.support.certificates import Pair, make_pair
from tests.support.daemon import Daemon
from tests.support.s_client import SClient
from tests.support.system_calls import traced
from tests.support.tls_records import HANDSHAKE, KEY_UPDATE, RecordWire
from tests.support.tls_wire import TlsWire, client_context
from tests.support.wire import Address, Wire, request

SIZE = 3 << 20
MARK = b"this must never be on the wire. "
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; without a limit, or the capture has holes
_V12, _V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@contextmanager
def capture() -> Iterator[bytearray]:
    """All that goes over the loopback interface; filled while the block runs."""
    seen = bytearray()
    over = threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        sock.bind(("lo", 0))
        sock.settimeout(0.5)

        def listen() -> None:
            while True:
                try:
                    seen.extend(sock.recv(1 << 17))
                except TimeoutError:
                    if over.is_set():
                        return

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield seen
        finally:
            over.set()
            listener.join()


def show(what: str, good: object) -> None:
    print(f"ktls: {'good' if good else 'BAD '}  {what}", flush=True)
    if not good:
        sys.exit(1)


def address_of(running: Daemon) -> Address:
    host, _, port = running.addresses[-1].rpartition(":")
    return host, int(port)


def context_for(version: ssl.TLSVersion, cipher: str) -> ssl.SSLContext:
    context = client_context(version)
    if version is _V12:
        context.set_ciphers(cipher)
    return context


def try_cipher(
    running: Daemon, body: bytes, version: ssl.TLSVersion, cipher: str, *, in_kernel: bool
) -> None:
    before = running.counters()
    with capture() as wire_bytes, TlsWire(address_of(running), context_for(version, cipher)) as w:
        used = w.tls.cipher()
        assert used is not None
        whole = w.get("/movie.bin").body
        part = w.get("/movie.bin", [("Range", "bytes=1000-1500000")]).body
        small = w.get("/missing").status
    now = running.counters()
    name = f"{used[1]} {used[0]}"
    show(f"{name}: content equal", whole == body and part == body[1000:1_500_001])
    show(f"{name}: 404 on the same connection", small == 404)
    moved = {key: now[key] - before[key] for key in ("bytes_ktls", "bytes_copied")}
    by_kernel, by_copy = moved["bytes_ktls"], moved["bytes_copied"]
    count = len(whole) + len(part)
    show(f"{name}: {moved}", (by_kernel if in_kernel else by_copy) >= count)
    show(f"{name}: {len(wire_bytes):,} bytes captured, no plaintext",
         len(wire_bytes) > count and MARK[:16] not in wire_bytes)  # fmt: skip


def try_sendfile(running: Daemon, folder: Path) -> None:
    watched = traced(running.workers(), ["sendfile"], folder)
    with watched as calls, TlsWire(address_of(running)) as wire:
        wire.get("/movie.bin")
    sent = sum(call.result for call in calls if call.result > 0)
    show(f"sendfile on the TLS socket: {sent:,} bytes in {len(calls)} calls", sent == SIZE)


def try_cold(running: Daemon, folder: Path, file: Path) -> None:
    """Of a file on a file system that says nothing is in memory: a thread has the socket."""
    watched = traced(running.workers(), ["sendfile"], folder)
    with watched as calls, TlsWire(address_of(running)) as wire:
        same = wire.get(f"/{file.name}").body == file.read_bytes()
    show("cold: content equal", same)
    moved = [call for call in calls if call.result > 0]
    by_threads = all(call.thread not in running.workers() for call in moved)
    show(f"cold: {len(moved)} calls of sendfile, by threads", moved and by_threads)


def try_key_update(running: Daemon, body: bytes, log: Path, command: str) -> None:
    with SClient(address_of(running), log, "-tls1_3") as client:

        def get(*fields: tuple[str, str]) -> bytes:
            client.send(request("/movie.bin", fields))
            return client.read_exactly(client.read_head().length)

        before = get()
        client.order(command)
        after, last = get(), get(("Connection", "close"))
        show(f"key update {command}: content equal", before == after == last == body)
        show(f"key update {command}: the end is as ever", client.wait() == 0)
    answers = re.findall("<<< .* KeyUpdate$", log.read_text(), re.MULTILINE)
    print(f"ktls: key update {command}: {len(answers)} answers", flush=True)


def try_short_answers(running: Daemon, body: bytes) -> None:
    """Each begins and ends on the short way."""
    before = running.counters()["bytes_ktls"]
    with TlsWire(address_of(running)) as wire:
        parts = [
            wire.get("/movie.bin", [("Range", f"bytes={at}-{at + 999}")]).body
            == body[at : at + 1000]
            for at in range(0, 50_000, 1000)
        ]
    show("short answers: content equal", all(parts))
    show("short answers: by the kernel", running.counters()["bytes_ktls"] - before == 50_000)


def try_abuse(running: Daemon, body: bytes) -> None:
    """A flood of key updates, and half a message while an answer waits: each its own end."""
    address = address_of(running)
    before = running.counters()
    with RecordWire(address, 3) as wire:
        try:
            for _ in range(5000):
                wire.socket.sendall(wire.change_keys())
            show("flood of key updates: it is ended", False)
        except ConnectionError:
            show("flood of key updates: it is ended", True)
    with RecordWire(address, 3, receive_buffer=4096) as wire:
        wire.send(request("/movie.bin"))
        length = wire.read_head().length
        wire.send_record(HANDSHAKE, KEY_UPDATE[:4])
        show("half a message: the answer is whole", wire.read_exactly(length) == body)
    with TlsWire(address) as other:
        show("others are served", other.get("/movie.bin").body == body)
    now = running.counters()
    show("no defect was met", now["defects"] == before["defects"])
    show("the flood is counted", now["close_tls_error"] == before["close_tls_error"] + 1)


def try_all(store: Path, pair: Pair, folder: Path, body: bytes) -> None:
    toml = (
        '[serve]\nlisten = ["127.0.0.1:0"]\nsmall_object_bytes = 0\n'
        f'[tls]\nlisten = ["127.0.0.1:0"]\nktls = "require"\ncertificates = [{pair.toml}]\n'
    )
    cold = Path(shutil.which("busybox") or "busybox").resolve()  # on the host's file system
    with Daemon.serving(store, cold.parent, toml=toml, workers=1) as running:
        with capture() as seen, Wire(running.address) as plain:
            plain.get("/movie.bin")
        show("the capture sees plaintext where there is some", MARK[:16] in seen)
        try_cipher(running, body, _V13, "", in_kernel=True)
        try_cipher(running, body, _V12, "ECDHE-ECDSA-AES256-GCM-SHA384", in_kernel=True)
        try_cipher(running, body, _V12, "ECDHE-ECDSA-AES128-GCM-SHA256", in_kernel=True)
        try_cipher(running, body, _V12, "ECDHE-ECDSA-CHACHA20-POLY1305", in_kernel=False)
        try_sendfile(running, folder)
        try_cold(running, folder, cold)
        for command in "kK":
            try_key_update(running, body, folder / f"messages-{command}", command)
        try_short_answers(running, body)
        try_abuse(running, body)


def main() -> None:
    print(f"ktls: Linux {platform.release()}, Python {platform.python_version()}, "
          f"{ssl.OPENSSL_VERSION}", flush=True)  # fmt: skip
    show(f"the kernel can do TLS ({why_not()})", why_not() is None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "store"
        store.mkdir()
        body = (MARK * (SIZE // len(MARK)))[:SIZE]
        (store / "movie.bin").write_bytes(body)
        os.chdir(Path(__file__).parents[2])
        try_all(store, make_pair(folder, "a", "origin.example"), folder, body)
    print("ktls: all good", flush=True)


if __name__ == "__main__":
    main()
