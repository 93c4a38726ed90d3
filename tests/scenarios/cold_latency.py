"""How long a client waits whose bytes are in memory, while others read from a slow disk.

`python -m tests.scenarios.cold_latency` measures the appliance, and beside it a server that calls
sendfile on its event loop, each with one worker, four cold streams and one hot client: on a file
system whose every read takes 0.2 s, and on a block device throttled to 4 MiB a second (needs root).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.pages import make_cold
from tests.support.slow_disk import slow_disk, why_no_slow_disk
from tests.support.slow_store import READ_DELAY_S, Rule, slow_store
from tests.support.wire import Address, Wire

STREAMS = 4
COLD_BYTES = 48 << 20
MEASURE_S = 5.0
THINK_S = 0.002  # between two hot requests, so that the client is not what is measured

Server = Callable[[Path], AbstractContextManager[tuple[Address, int]]]
Disk = Callable[[Path], AbstractContextManager[tuple[Path, Callable[[int], None]]]]


@contextmanager
def appliance(folder: Path) -> Iterator[tuple[Address, int]]:
    """Our server: its address and process."""
    with Daemon.serving(folder, workers=1) as running:
        yield running.address, running.pid


@contextmanager
def inline_server(folder: Path) -> Iterator[tuple[Address, int]]:
    """The contrast."""
    command = [sys.executable, "-m", "tests.support.inline_server", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield ("127.0.0.1", int(process.stdout.readline())), process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def fuse_disk(folder: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A store whose reads of cold objects take 0.2 s each."""
    write_store(folder / "below")
    (folder / "mount").mkdir()
    with slow_store(folder / "below", folder / "mount") as store:
        store.set_rules(Rule("read", "cold*", delay_s=READ_DELAY_S))
        yield store.path, lambda _: None


@contextmanager
def throttled_disk(folder: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A store on a throttled block device."""
    with slow_disk(folder, size_bytes=256 << 20, read_bytes_per_s=4 << 20) as disk:
        write_store(disk.path)
        for path in disk.path.glob("cold*"):
            make_cold(path)
        yield disk.path, disk.throttle


def write_store(folder: Path) -> None:
    write_object(folder, "hot.mp4", blob(1024))
    for n in range(STREAMS):
        write_object(folder, f"cold{n}.mp4", blob(COLD_BYTES, seed=n))


def _read_cold(wire: Wire, number: int) -> None:
    with contextlib.suppress(OSError):  # it is cut when the measurement is over
        wire.get(f"/cold{number}.mp4")


def _measure_hot(address: Address) -> list[float]:
    """Latencies of the hot client, in milliseconds."""
    latencies: list[float] = []
    with Wire(address, timeout_s=60) as wire:
        end = time.perf_counter() + MEASURE_S
        while (began := time.perf_counter()) < end:
            assert wire.get("/hot.mp4").status == 200
            latencies.append((time.perf_counter() - began) * 1000)
            time.sleep(THINK_S)
    return latencies


def measure(address: Address) -> list[float]:
    """Latencies of a hot client beside four cold ones, sorted, in milliseconds."""
    with Wire(address) as wire:
        wire.get("/hot.mp4")
    wires = [Wire(address, timeout_s=60) for _ in range(STREAMS)]
    cold = [
        threading.Thread(target=_read_cold, args=pair)
        for pair in zip(wires, range(STREAMS), strict=True)
    ]
    for thread in cold:
        thread.start()
    try:
        return sorted(_measure_hot(address))
    finally:
        for wire in wires:
            wire.socket.shutdown(2)
        for thread in cold:
            thread.join()


def report(disk: Disk, server: Server) -> None:
    """Measure one server on one disk, and print a line."""
    with (
        tempfile.TemporaryDirectory() as folder,
        disk(Path(folder)) as (path, throttle),
        server(path) as (address, pid),
    ):
        throttle(pid)
        found = measure(address)
    p50, p95 = found[len(found) // 2], found[len(found) * 95 // 100]
    name = f"{disk.__name__:15} {server.__name__:14}"
    print(f"{name} {len(found):9} {p50:9.2f} {p95:9.2f} {found[-1]:9.2f}", flush=True)


def main() -> None:
    """Measure all and print a table."""
    print("disk            server         requests    p50 ms    p95 ms    max ms")
    missing = why_no_slow_disk()
    disks: list[Disk] = [fuse_disk] if missing else [fuse_disk, throttled_disk]
    for disk in disks:
        for server in (appliance, inline_server):
            report(disk, server)
    if missing:
        print(f"not measured: throttled_disk, because {missing}")


if __name__ == "__main__":
    main()
