"""The appliance under trial: two stores, one of them on a disk that can fail; TLS, BGP, a log."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clients import TcpAddress, probe
from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.load import Ask
from tests.support.pages import make_cold
from tests.support.processes import children, count_descriptors, resident_memory, workers_of
from tests.support.routers import loopback
from tests.support.slow_store import SlowStore, slow_store

WORKERS = 2
_SIZES = {"list.m3u8": 900, "segment.m4s": 70_000, "film.mp4": 2 << 20}
OBJECTS = {
    f"{store}/{name}": blob(size, seed=number + 10 * len(store))
    for store in ("solid", "frail")
    for number, (name, size) in enumerate(_SIZES.items())
}
_FAILED_STORES = "ocaserve_stores_failed "
_SETTINGS = """\
[serve]
listen = ["127.0.0.1:0"]
workers = {workers}
access_log = "{log}"
reload_drain_s = 20
[tls]
listen = ["127.0.0.1:0"]
certificates = [{pair}]
[control]
listen = ["unix:{folder}/control"]
[bgp]
router_id = "192.0.2.10"
local_as = 65000
[[bgp.neighbor]]
address = "{router}"
local_address = "{local}"
peer_as = 65001
port = 1790
[[store]]
path = "{folder}/solid"
[[store]]
path = "{folder}/mount"
"""


class Journal:
    """What the appliance says, read as it comes; reading can be stopped, as by a dead terminal."""

    def __init__(self, folder: Path) -> None:
        self.fifo = folder / "stderr"
        os.mkfifo(self.fifo)
        self.reading = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.is_stopped = threading.Event()
        self._is_over = threading.Event()
        self._said = bytearray()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._is_over.wait(0.05):
            while not self.is_stopped.is_set() and select.select([self.reading], [], [], 0)[0]:
                data = os.read(self.reading, 65_536)
                if not data:
                    break
                self._said += data

    def lines(self) -> list[str]:
        return self._said.decode(errors="replace").splitlines()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()
        os.close(self.reading)


@dataclass(frozen=True)
class Size:
    """The most that one process of a sort has: descriptors, and bytes of memory."""

    descriptors: int
    memory: int


class Appliance:
    """The running program and what the faults lay hands on. Its files lie below `folder`."""

    def __init__(
        self, folder: Path, daemon: Daemon, frail: SlowStore, pair: Pair, journal: Journal
    ) -> None:
        self.folder, self.daemon, self.frail, self.pair = folder, daemon, frail, pair
        self.journal = journal
        self.logs = folder / "var" / "log"
        self.config = folder / "ocaserve.toml"
        self.plain, self.tls = (_as_tcp(text) for text in daemon.addresses)

    def workers(self) -> list[int]:
        return workers_of(self.daemon.pid)

    def exabgp(self) -> list[int]:
        """Its process, if it runs."""
        return [pid for pid in children(self.daemon.pid) if b"exabgp" in _command(pid)]

    def feeder(self) -> list[int]:
        return [child for pid in self.exabgp() for child in children(pid)]

    def make_frail_cold(self) -> None:
        """Have the frail store asked for what it holds, not memory."""
        for key in OBJECTS:
            if key.startswith("frail/"):
                make_cold(self.folder / "below" / key)
                with (self.folder / "mount" / key).open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def find_missing(self) -> str:
        """What is not as it should be; empty if all is well."""
        asks = [Ask(key, 0, data) for key, data in OBJECTS.items()] * WORKERS
        for address, tls in ((self.plain, False), (self.tls, True)):
            for failure in probe(address, tls, asks):
                return f"{failure.key}, {'TLS' if tls else 'plain'}: {failure.detail}"
        if len(self.workers()) < WORKERS:
            return f"{len(self.workers())} workers"
        if not self.exabgp():
            return "no ExaBGP"
        if not self.feeder():
            return "no feeder"
        try:
            answer = call(f"unix:{self.folder}/control", "GET", "/metrics")
        except OSError as error:
            return f"control: {error!r}"
        if answer.status != 200:
            return f"control: status {answer.status}"
        # A probe reaches one worker, and each holds a store for failed by itself.
        failed = next(line for line in answer.text.splitlines() if line.startswith(_FAILED_STORES))
        return "" if float(failed.removeprefix(_FAILED_STORES)) == 0 else failed

    def sizes(self) -> dict[str, Size]:
        """By sort of process."""
        sorts = {
            "supervisor": [self.daemon.pid], "worker": self.workers(),
            "control": [self.daemon.control()], "exabgp": self.exabgp(), "feeder": self.feeder(),
        }  # fmt: skip
        return {
            sort: Size(*map(max, zip(*sizes, strict=True)))
            for sort, pids in sorts.items()
            if (sizes := list(_sizes_of(pids)))
        }


def _sizes_of(pids: list[int]) -> Iterator[tuple[int, int]]:
    """Descriptors and memory of those that have not ended meanwhile."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            yield count_descriptors(pid), resident_memory(pid)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def _as_tcp(text: str) -> TcpAddress:
    host, _, port = text.rpartition(":")
    return host, int(port)


@contextmanager
def _small_disk(path: Path) -> Iterator[None]:
    """For the log, if root: a file system that is soon full."""
    path.mkdir()
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "chaos", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def running(folder: Path) -> Iterator[Appliance]:
    """Start it below an empty folder, for as long as the block lasts."""
    with ExitStack() as stack:
        for key, data in OBJECTS.items():
            write_object(folder / ("solid" if key.startswith("solid") else "below"), key, data)
        (folder / "mount").mkdir()
        frail = stack.enter_context(slow_store(folder / "below", folder / "mount"))
        stack.enter_context(_small_disk(folder / "var"))
        (folder / "var" / "log").mkdir()
        pair = make_pair(folder, "a", "a.example")
        (folder / "ocaserve.toml").write_text(
            _SETTINGS.format(
                folder=folder, workers=WORKERS, log=folder / "var" / "log" / "access.log",
                pair=pair.toml, router=loopback(), local=loopback(),
            )
        )  # fmt: skip
        journal = Journal(folder)
        stack.callback(journal.end)
        command = ["serve", "-c", str(folder / "ocaserve.toml")]
        daemon = Daemon.start(command, journal.fifo)
        stack.callback(daemon.stop)
        yield Appliance(folder, daemon, frail, pair, journal)
