"""Bodies go from the page cache to the socket: the system calls of a worker under load show it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from ocaserve.serving.sending import LinuxSender
from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.system_calls import SystemCall, traced
from tests.support.wire import Address, Wire

pytestmark = pytest.mark.scenario

SIZE = 32 << 20
RANGE_BYTES = 8 << 20
CLIENTS, RANGES = 4, 8
LEAST_AVERAGE = 256 << 10

# Every call that could bring content into the process, or send it from there.
WATCHED = (
    "sendfile", "sendto", "sendmsg", "write", "writev", "read", "pread64", "readv", "preadv",
    "preadv2", "splice", "tee", "vmsplice", "copy_file_range", "mmap", "mremap", "io_uring_enter",
    "io_submit",
)  # fmt: skip


def read_ranges(address: Address, whole: bytes, first: int) -> None:
    with Wire(address, timeout_s=60) as wire:
        for n in range(RANGES):
            start = (first + n) * RANGE_BYTES % (SIZE - RANGE_BYTES)
            part = whole[start : start + RANGE_BYTES]
            asked = ("Range", f"bytes={start}-{start + RANGE_BYTES - 1}")
            assert wire.get("/movie.mp4", [asked]).body == part


def load(address: Address, whole: bytes) -> None:
    """Several clients at once, each reading ranges."""
    clients = [
        threading.Thread(target=read_ranges, args=(address, whole, n)) for n in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def touches(call: SystemCall, path: Path) -> bool:
    return f"<{path}>" in call.arguments


@pytest.mark.timeout(90)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_bodies_go_by_sendfile_alone(serve: Serve, tmp_path: Path, loop: str) -> None:
    """No content is read, mapped or written by the worker, and each sendfile moves much."""
    whole = blob(SIZE, seed=41)
    path = write_object(tmp_path / "store", "movie.mp4", whole)
    with serve(path.parent, workers=1, toml=f'[serve]\nloop = "{loop}"\n') as running:
        with traced(running.workers(), WATCHED, tmp_path) as calls:
            load(running.address, whole)
        counters = running.counters()
    sent = [call for call in calls if call.name == "sendfile"]
    assert all(touches(call, path) for call in sent)
    moved = [call.result for call in sent if call.result > 0]
    assert sum(moved) == CLIENTS * RANGES * RANGE_BYTES
    assert sum(moved) / len(moved) >= LEAST_AVERAGE
    others = [call for call in calls if touches(call, path) and call.name != "sendfile"]
    assert all(call.name == "mmap" and "PROT_NONE" in call.arguments for call in others), others
    written = sum(call.result for call in calls if call.name in {"sendto", "sendmsg", "writev"})
    assert written < CLIENTS * RANGES * 1024  # heads
    assert counters["bytes_sendfile_hot"] + counters["bytes_sendfile_cold"] == sum(moved)
    assert counters["bytes_copied"] == 0


LARGE_BUFFER_BYTES = 8 << 20  # more than the kernel chooses by itself


def take(address: Address, *, pause_s: float) -> None:
    """Ask again and again for 8 MiB, and throw them away; pause after each 64 KiB."""
    buffer = bytearray(64 << 10)
    with Wire(address, timeout_s=60) as wire:
        for _ in range(1 if pause_s else 16):
            wire.send(b"GET /movie.mp4 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-8388607\r\n\r\n")
            left = RANGE_BYTES
            while left > 0:  # the head counts as well, and what is left of it is read by the next
                left -= wire.socket.recv_into(buffer)
                time.sleep(pause_s)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("size", "pace"),
    [
        pytest.param(LARGE_BUFFER_BYTES, "fast", id="fast_client"),
        pytest.param(LARGE_BUFFER_BYTES, "slow", id="slow_client"),
        pytest.param(0, "fast", id="switched_off"),
    ],
)
def test_fast_client_gets_a_large_buffer(
    serve: Serve, tmp_path: Path, size: int, pace: str
) -> None:
    """Once, if the kernel grants it; a slow one keeps the buffer that the kernel chose."""
    path = write_object(tmp_path / "store", "movie.mp4", blob(SIZE, seed=42))
    with (
        serve(path.parent, workers=1, toml=f"[serve]\nlarge_buffer_bytes = {size}\n") as running,
        traced(running.workers(), ["setsockopt"], tmp_path) as calls,
    ):
        take(running.address, pause_s=0 if pace == "fast" else 0.01)
    raised = [call for call in calls if "SO_SNDBUF" in call.arguments]
    if pace == "fast" and LinuxSender().grant_buffer(size):
        assert len(raised) == 1
        assert f"[{size // 2}]" in raised[0].arguments
    else:
        assert not raised
