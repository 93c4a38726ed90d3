"""What is asked of the servers. Each scenario yields one sample for each peer in each round."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.clients import (
    Sample,
    cold_streams,
    count_calls,
    hold_idle,
    run_hot,
    run_paced,
    run_wrk,
)
from benchmarks.host import resident_bytes
from benchmarks.peers import AIOHTTP, BARE, NGINX, NGINX_THREADS, OCASERVE, Peer, Running, serving
from benchmarks.report import Bar, Result
from tests.support.slow_disk import slow_disk, why_no_slow_disk

FILES = 32
FILE_BYTES = 32 << 20
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Setting:
    """Where the content lies, and how long to measure."""

    content: Path
    scratch: Path
    rounds: int
    seconds: float


Progress = Callable[[str], None]

_LOAD_COLUMNS = (
    ("requests/s", lambda s: s.requests_per_s, ",.0f"),
    ("CPU us/request", lambda s: s.cpu_us_per_request, ",.1f"),
    ("CPU s/GB", lambda s: s.cpu_s_per_gb, ".3f"),
    ("p50 ms", lambda s: s.latency_ms["p50"], ".2f"),
    ("p99 ms", lambda s: s.latency_ms["p99"], ".2f"),
)


def _cpu(peer: Peer, limit: float) -> Bar:
    return Bar(peer.name, "CPU per request", lambda s: s.cpu_us_per_request, limit, at_most=True)


def _rate(peer: Peer, limit: float) -> Bar:
    return Bar(peer.name, "requests per second", lambda s: s.requests_per_s, limit, at_most=False)


@dataclass(frozen=True)
class Load:
    """wrk with ranges of one size over a number of connections."""

    name: str
    range_bytes: int
    connections: int
    peers: tuple[Peer, ...]
    bars: tuple[Bar, ...]

    def run(self, setting: Setting, progress: Progress) -> Result:
        samples = []
        with contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(serving(peer, setting.content, setting.scratch))
                for peer in self.peers
            ]
            for one in running:
                self._measure(one, 1.0)  # connections, caches and sockets warm up
            for number in range(setting.rounds):
                for one in running:
                    progress(f"{self.name}, round {number + 1}, {one.peer.name}")
                    samples.append(self._measure(one, setting.seconds))
        title = f"{_size(self.range_bytes)} ranges, {self.connections:,} connections"
        plotted = self.range_bytes if self.connections == 16 else 0
        return Result(self.name, title, _LOAD_COLUMNS, self.bars, tuple(samples), plotted)

    def _measure(self, running: Running, seconds: float) -> Sample:
        return run_wrk(
            running, range_bytes=self.range_bytes, connections=self.connections, seconds=seconds,
            files=FILES, file_bytes=FILE_BYTES,
        )  # fmt: skip


@dataclass(frozen=True)
class Paced:
    """Many clients that each take 10 Mb/s."""

    name: str = "paced"
    clients: int = 800
    bits_per_s: int = 10_000_000

    def run(self, setting: Setting, progress: Progress) -> Result:
        samples = []
        for number in range(max(1, setting.rounds // 2)):
            for peer in (OCASERVE, NGINX):
                progress(f"{self.name}, round {number + 1}, {peer.name}")
                with serving(peer, setting.content, setting.scratch) as running:
                    samples.append(self._measure(running, setting.seconds * 3))
        columns = (
            ("CPU s/GB", lambda s: s.cpu_s_per_gb, ".3f"),
            ("Gb/s", lambda s: s.body_bytes * 8e-9 / s.seconds, ".2f"),
            ("slowest client, of its rate", lambda s: s.extra["slowest client"], ".2f"),
            ("KiB/sendfile", lambda s: s.extra["bytes per call"] / KIB, ",.0f"),
        )
        bars = (
            Bar(NGINX.name, "CPU per GB", lambda s: s.cpu_s_per_gb, 1.0, at_most=True),
            Bar(
                NGINX.name,
                "slowest client",
                lambda s: s.extra["slowest client"],
                0.99,
                at_most=False,
            ),
        )
        title = f"{self.clients} clients of {self.bits_per_s // 1_000_000} Mb/s"
        return Result(self.name, title, columns, bars, tuple(samples))

    def _measure(self, running: Running, seconds: float) -> Sample:
        def paced(length: float) -> Sample:
            return run_paced(
                running, clients=self.clients, bits_per_s=self.bits_per_s, seconds=length,
                files=FILES, file_bytes=FILE_BYTES,
            )  # fmt: skip

        sample = paced(seconds)
        calls: list[int] = []
        counting = threading.Timer(1.5, lambda: calls.append(count_calls(running, "sendfile", 2)))
        counting.start()
        traced = paced(4)
        counting.join()
        rate = traced.body_bytes / traced.seconds
        return replace(
            sample, extra={**sample.extra, "bytes per call": rate * 2 / max(1, calls[0])}
        )


@dataclass(frozen=True)
class ColdBesideHot:
    """A client whose bytes are in memory, beside eight that wait for a slow disk."""

    name: str = "cold"
    streams: int = 8
    object_bytes: int = 48 * MIB
    disk_bytes_per_s: int = 40 * MIB

    def run(self, setting: Setting, progress: Progress) -> Result:
        reason = why_no_slow_disk()
        if reason is not None:
            return Result(self.name, f"Cold beside hot: not measured, {reason}", (), (), ())
        samples = []
        for number in range(max(1, setting.rounds // 2)):
            for peer in (OCASERVE, NGINX_THREADS, NGINX):
                progress(f"{self.name}, round {number + 1}, {peer.name}")
                samples.append(self._measure(peer, setting))
        columns = (
            ("hot p50 ms", lambda s: s.latency_ms["p50"], ".2f"),
            ("hot p99 ms", lambda s: s.latency_ms["p99"], ".2f"),
            ("hot max ms", lambda s: s.latency_ms["max"], ",.0f"),
            ("cold MB/s", lambda s: s.extra["cold"] / 1e6, ".1f"),
        )
        bars = (
            Bar(NGINX_THREADS.name, "hot p99", lambda s: s.latency_ms["p99"], 1.0, at_most=True),
            Bar(
                NGINX_THREADS.name, "cold throughput", lambda s: s.extra["cold"], 1.0, at_most=False
            ),
        )
        title = f"{self.streams} cold streams from a disk of {self.disk_bytes_per_s // MIB} MiB/s"
        return Result(self.name, title, columns, bars, tuple(samples))

    def _measure(self, peer: Peer, setting: Setting) -> Sample:
        folder = setting.scratch / "slow"
        folder.mkdir(exist_ok=True)
        size = self.streams * self.object_bytes + 64 * MIB
        with slow_disk(folder, size_bytes=size, read_bytes_per_s=self.disk_bytes_per_s) as disk:
            content = disk.path / "content"
            content.mkdir()
            keys = [f"{number}.mp4" for number in range(self.streams)]
            for key in keys:
                _write(content / key, self.object_bytes)
            _write(content / "hot.mp4", MIB)
            with serving(peer, content, setting.scratch) as running:
                disk.throttle(running.pid)
                run_hot(running, "hot.mp4", 0.5)
                for key in keys:
                    _drop(content / key)
                with cold_streams(running, keys, self.object_bytes) as counts:
                    time.sleep(0.5)
                    before = sum(counts)
                    sample = run_hot(running, "hot.mp4", setting.seconds * 1.5)
                    cold = (sum(counts) - before) / sample.seconds
            time.sleep(0.2)
        return replace(sample, extra={"cold": cold})


@dataclass(frozen=True)
class Idle:
    """Connections that are kept and ask for nothing."""

    name: str = "idle"
    connections: int = 10_000

    def run(self, setting: Setting, progress: Progress) -> Result:
        samples = []
        for peer in (OCASERVE, NGINX):
            progress(f"{self.name}, {peer.name}")
            with serving(peer, setting.content, setting.scratch) as running:
                before = resident_bytes(running.pid)
                socks = hold_idle(peer.port, self.connections)
                each = (resident_bytes(running.pid) - before) / self.connections
                for sock in socks:
                    sock.close()
            samples.append(Sample(peer.name, 1, 1.0, 0, 0.0, extra={"bytes": each}))
        columns = (("bytes per connection", lambda s: s.extra["bytes"], ",.0f"),)
        title = f"{self.connections:,} idle connections: memory of the server's processes"
        return Result(self.name, title, columns, (), tuple(samples))


@dataclass(frozen=True)
class StartUp:
    """From the start of the program to its first answer."""

    name: str = "start"

    def run(self, setting: Setting, progress: Progress) -> Result:
        samples = []
        for _ in range(setting.rounds):
            for peer in (OCASERVE, NGINX):
                progress(f"{self.name}, {peer.name}")
                begun = time.monotonic()
                with serving(peer, setting.content, setting.scratch) as running:
                    run_hot(running, "0.mp4", 0.0)
                    elapsed = time.monotonic() - begun
                samples.append(Sample(peer.name, 1, elapsed, 0, 0.0))
        columns = (("ms to the first answer", lambda s: s.seconds * 1e3, ",.0f"),)
        return Result(self.name, "Start-up", columns, (), tuple(samples))


@dataclass(frozen=True)
class Reload:
    """HUP while clients ask: what they notice."""

    name: str = "reload"

    def run(self, setting: Setting, progress: Progress) -> Result:
        samples = []
        for peer in (OCASERVE, NGINX):
            progress(f"{self.name}, {peer.name}")
            with serving(peer, setting.content, setting.scratch) as running:
                stop = threading.Event()
                hupping = threading.Thread(target=_hup, args=(running.pid, stop))
                hupping.start()
                samples.append(
                    run_wrk(
                        running, range_bytes=64 * KIB, connections=16, seconds=setting.seconds * 2,
                        files=FILES, file_bytes=FILE_BYTES,
                    )
                )  # fmt: skip
                stop.set()
                hupping.join()
        columns = (
            *_LOAD_COLUMNS[:1],
            *_LOAD_COLUMNS[3:],
            ("max ms", lambda s: s.latency_ms["max"], ",.0f"),
        )
        return Result(
            self.name, "A reload each half second, under load", columns, (), tuple(samples)
        )


def _hup(pid: int, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        os.kill(pid, signal.SIGHUP)


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def _drop(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // KIB} KiB"


@contextlib.contextmanager
def content(folder: Path) -> Iterator[list[Path]]:
    """The objects that are asked for; random, so that nothing can compress them."""
    folder.mkdir()
    paths = [folder / f"{number}.mp4" for number in range(FILES)]
    for path in paths:
        _write(path, FILE_BYTES)
    yield paths


def _at_16(range_bytes: int, cpu: float, rate: float) -> Load:
    peers = [OCASERVE, NGINX, NGINX_THREADS, BARE]
    bars = [_cpu(NGINX, cpu), _rate(NGINX, rate)]
    if range_bytes == 64 * KIB:
        peers.append(AIOHTTP)
        bars += [_cpu(AIOHTTP, 0.1), _rate(AIOHTTP, 5.0)]
    return Load(_size(range_bytes), range_bytes, 16, tuple(peers), tuple(bars))


Scenario = Load | Paced | ColdBesideHot | Idle | StartUp | Reload

SCENARIOS: Sequence[Scenario] = (
    _at_16(1 * KIB, 1.35, 0.80),
    _at_16(16 * KIB, 1.15, 0.90),
    _at_16(64 * KIB, 1.00, 1.00),
    _at_16(256 * KIB, 1.00, 1.00),
    _at_16(1 * MIB, 1.00, 1.00),
    _at_16(8 * MIB, 1.00, 1.00),
    Load("64 KiB at 256", 64 * KIB, 256, (OCASERVE, NGINX), (_cpu(NGINX, 1.0), _rate(NGINX, 1.0))),
    Load(
        "64 KiB at 2,048", 64 * KIB, 2048, (OCASERVE, NGINX), (_cpu(NGINX, 1.0), _rate(NGINX, 1.0))
    ),
    Paced(),
    ColdBesideHot(),
    Idle(),
    StartUp(),
    Reload(),
)
