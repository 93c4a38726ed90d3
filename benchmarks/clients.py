"""Who asks: wrk for load, and clients of our own where wrk cannot behave as needed."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.host import CLIENT_CORE, cpu_seconds
from benchmarks.peers import Running

_LUA = Path(__file__).parent / "ranges.lua"
_MSG_TRUNC = 0x20  # take bytes from the socket without copying them (tcp(7))


@dataclass(frozen=True)
class Sample:
    """One run against one peer. Times in seconds unless the name says otherwise."""

    peer: str
    requests: int
    seconds: float
    body_bytes: int
    cpu_s: float
    errors: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_s / max(1, self.requests) * 1e6

    @property
    def cpu_s_per_gb(self) -> float:
        return self.cpu_s / max(1, self.body_bytes) * 1e9


def parse_wrk(output: str) -> dict[str, float]:
    """The line of JSON that ranges.lua prints. Raises ValueError when there is none."""
    for line in output.splitlines():
        if line.startswith("JSON "):
            return dict(json.loads(line[5:]))
    raise ValueError(f"wrk said nothing that can be used: {output!r}")


def run_wrk(
    running: Running,
    *,
    range_bytes: int,
    connections: int,
    seconds: float,
    files: int,
    file_bytes: int,
) -> Sample:
    """Random aligned ranges, as many as go."""
    environment = {
        **os.environ,
        "RANGE_BYTES": str(range_bytes),
        "FILE_BYTES": str(file_bytes),
        "FILES": str(files),
    }
    command = [
        "taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{connections}",
        f"-d{max(1, round(seconds))}s", "-s", str(_LUA), running.peer.url,
    ]  # fmt: skip
    before = cpu_seconds(running.pid)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cpu_s = cpu_seconds(running.pid) - before
    said = parse_wrk(done.stdout)
    return Sample(
        running.peer.name,
        int(said["requests"]),
        said["seconds"],
        int(said["requests"]) * range_bytes,
        cpu_s,
        int(said["errors"]),
        {name: said[f"{name}_ms"] for name in ("p50", "p99", "max")},
    )


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """A client's connection."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def get(key: str, start: int, stop: int) -> bytes:
    return (
        f"GET /{key} HTTP/1.1\r\nHost: bench\r\nRange: bytes={start}-{stop - 1}\r\n\r\n"
    ).encode()


def run_paced(
    running: Running, *, clients: int, bits_per_s: int, seconds: float, files: int, file_bytes: int
) -> Sample:
    """Many clients that each take their rate and no more, from a socket buffer of a player's size.

    `extra`: the slowest client's share of its rate.
    """
    tick_s = 0.05
    share = int(bits_per_s / 8 * tick_s)
    socks = []
    for number in range(clients):
        sock = connect(running.peer.port, receive_buffer=256 * 1024)
        sock.sendall(get(f"{number % files}.mp4", 0, file_bytes))
        sock.setblocking(False)
        socks.append(sock)
    taken, owed = [0] * clients, [0] * clients
    time.sleep(1.0)  # until the first fill of all buffers is over
    before, begun = cpu_seconds(running.pid), time.monotonic()
    next_tick, total = begun, 0
    while time.monotonic() - begun < seconds:
        for number, sock in enumerate(socks):
            owed[number] += share
            try:
                count = sock.recv_into(_SINK, min(owed[number], len(_SINK)), _MSG_TRUNC)
            except BlockingIOError:
                continue
            owed[number] -= count
            taken[number] += count
        next_tick += tick_s
        time.sleep(max(0.0, next_tick - time.monotonic()))
    elapsed = time.monotonic() - begun
    cpu_s = cpu_seconds(running.pid) - before
    for sock in socks:
        sock.close()
    total = sum(taken)
    slowest = min(taken) / (bits_per_s / 8 * elapsed)
    return Sample(
        running.peer.name, clients, elapsed, total, cpu_s,
        extra={"slowest client": slowest, "offered": total / (clients * bits_per_s / 8 * elapsed)},
    )  # fmt: skip


_SINK = bytearray(4 << 20)


def count_calls(running: Running, call: str, seconds: float) -> int:
    """How often the server makes a system call in some seconds, by strace."""
    workers = [str(pid) for pid in _busiest(running.pid)]
    done = subprocess.run(
        ["timeout", "-s", "INT", str(seconds), "strace", "-f", "-c", "-e", f"trace={call}", "-p",
         ",".join(workers)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in done.stderr.splitlines():
        words = line.split()
        if words and words[-1] == call:
            return int(words[3])
    return 0


def _busiest(pid: int) -> list[int]:
    from benchmarks.host import process_tree

    return process_tree(pid)[-1:]


@contextmanager
def cold_streams(running: Running, keys: Sequence[str], object_bytes: int) -> Iterator[list[int]]:
    """Clients that stream objects that are not in memory; yields their bytes so far, by client."""
    stop = threading.Event()
    counts = [0] * len(keys)

    def stream(number: int) -> None:
        key = keys[number]
        while not stop.is_set():
            with connect(running.peer.port) as sock:
                sock.settimeout(1.0)
                sock.sendall(get(key, 0, object_bytes))
                while not stop.is_set():
                    try:
                        count = sock.recv_into(_SINK, len(_SINK), _MSG_TRUNC)
                    except TimeoutError:
                        continue
                    if not count:
                        break
                    counts[number] += count

    threads = [threading.Thread(target=stream, args=(n,), daemon=True) for n in range(len(keys))]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def run_hot(running: Running, key: str, seconds: float, think_s: float = 0.001) -> Sample:
    """One client that asks for 1 KiB again and again; its latencies are what is measured."""
    latencies: list[float] = []
    before, begun = cpu_seconds(running.pid), time.monotonic()
    request = get(key, 0, 1024)
    with connect(running.peer.port) as sock:
        while not latencies or time.monotonic() - begun < seconds:
            asked = time.perf_counter()
            sock.sendall(request)
            data = b""
            while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < 1024:
                data += sock.recv(65536)
            latencies.append((time.perf_counter() - asked) * 1e3)
            time.sleep(think_s)
    latencies.sort()
    return Sample(
        running.peer.name, len(latencies), time.monotonic() - begun, len(latencies) * 1024,
        cpu_seconds(running.pid) - before,
        latency_ms={
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100],
            "max": latencies[-1],
        },
    )  # fmt: skip


def hold_idle(port: int, count: int) -> list[socket.socket]:
    """Connections that have made one request and are kept."""
    socks = []
    for _ in range(count):
        sock = connect(port)
        sock.sendall(get("0.mp4", 0, 1))
        socks.append(sock)
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    for sock in socks:
        sock.recv(4096)
    return socks
