"""A hot client beside other work: how long it waits, and what of its file stays in memory."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.errors import LoadFailure
from ocaserve.serving.residency import WINDOW_BYTES, Residency

_PART = 64 * 1024
_PER_S = 200  # far below what the worker can do: what is measured is waiting


class HotClient:
    """Asks for parts of a hot object, at a steady pace, until `stop`."""

    def __init__(self, port: int, key: str, size: int) -> None:
        self._waits: dict[str, list[float]] = {}
        self._kind = ""
        self._request = f"GET /{key} HTTP/1.1\r\nHost: bench\r\nRange: bytes="
        self._size = size
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._is_over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="hot")
        self._thread.start()

    def _run(self) -> None:
        chance = random.Random(1)  # noqa: S311 - places
        due = time.perf_counter()
        try:
            while not self._is_over.is_set():
                due += 1 / _PER_S
                if (left := due - time.perf_counter()) > 0:
                    time.sleep(left)
                begun = time.perf_counter()
                self._ask(chance.randrange(self._size - _PART))
                self._waits.setdefault(self._kind, []).append(time.perf_counter() - begun)
        except (OSError, LoadFailure) as error:
            self._fault = error

    def _ask(self, start: int) -> None:
        self._socket.sendall(f"{self._request}{start}-{start + _PART - 1}\r\n\r\n".encode())
        head, left = b"", _PART
        while b"\r\n\r\n" not in head:
            if not (data := self._socket.recv(1 << 16)):
                raise LoadFailure("the appliance has hung up")
            head += data
        head, _, body = head.partition(b"\r\n\r\n")
        if b" 206 " not in head.partition(b"\r\n")[0]:
            raise LoadFailure(f"the hot object: {head[:80]!r}")
        left -= len(body)
        while left:
            if not (data := self._socket.recv(left)):
                raise LoadFailure("the appliance has hung up")
            left -= len(data)

    def note_as(self, kind: str) -> None:
        """What is measured from now on is of this kind."""
        self._kind = kind

    def p99(self, kind: str) -> float:
        """Of a kind, in milliseconds."""
        waits = sorted(self._waits[kind])
        return 1000 * waits[int(0.99 * len(waits))]

    def stop(self) -> None:
        """Raises LoadFailure."""
        self._is_over.set()
        self._thread.join()
        self._socket.close()
        if self._fault is not None:
            raise LoadFailure(f"the hot client: {self._fault}") from self._fault


@contextmanager
def scanning(port: int, keys: list[str]) -> Iterator[None]:
    """Read objects one after the other, each whole, as long as the block lasts."""
    is_over = threading.Event()

    def scan() -> None:
        while not is_over.is_set():
            for key in keys:
                with socket.create_connection(("127.0.0.1", port), 30) as sock:
                    sock.sendall(
                        f"GET /{key} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
                    )
                    while not is_over.is_set() and sock.recv(1 << 20):
                        pass
                if is_over.is_set():
                    return

    thread = threading.Thread(target=scan, name="scan")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def share_in_memory(file: Path) -> float:
    """Of a file's windows of 1 MiB, the share that is wholly in memory."""
    size = file.stat().st_size
    descriptor = os.open(file, os.O_RDONLY)
    try:
        residency = Residency(descriptor, size)
        windows = [
            residency.is_resident(start, min(start + WINDOW_BYTES, size), 1_000)
            for start in range(0, size, WINDOW_BYTES)
        ]
        residency.close()
    finally:
        os.close(descriptor)
    return sum(windows) / len(windows)


def forget_pages(file: Path) -> None:
    """Let it be read from the disk again."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
