"""Where loads meet servers: the store, the ports, the cores, and how long everything takes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import Pair, make_pair
from benchmarks.peers import Peer
from benchmarks.processes import Cores
from benchmarks.server import Server, serving
from benchmarks.store import Store
from benchmarks.trace import Ask, render

MIB = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """How much is measured. `rounds` are of the servers a bar compares; the others get fewer.

    A long load has `rounds_of_long` at the most.
    """

    name: str
    rounds: int
    rounds_of_others: int
    rounds_of_long: int
    seconds: int
    long_seconds: int
    settle_s: float
    paced_clients: int
    idle_clients: int
    objects: int
    object_bytes: int = 32 * MIB

    @property
    def disk_bytes(self) -> int:
        """What the store takes, and the logs of the busiest scenario (200 bytes a line)."""
        return self.objects * self.object_bytes + 2048 * MIB


FULL = Plan("full", 5, 2, 3, 2, 8, 4.0, 800, 10_000, 32)
QUICK = Plan("quick", 2, 0, 1, 1, 4, 2.0, 400, 2_000, 32)


class Stage:
    """Given to each load. Servers that are kept run until the scenario ends."""

    def __init__(
        self, plan: Plan, store: Store, scratch: Path, cores: Cores, base_port: int
    ) -> None:
        self.plan = plan
        self.store = store
        self._scratch = scratch
        self._cores = cores
        self._base_port = base_port
        self._pair: Pair | None = None
        self._kept: dict[str, Server] = {}
        self._stack = ExitStack()
        self.notes: list[str] = []
        """What a reader has to know of this run, in sentences."""
        self.processes: dict[str, int] = {}
        """How many processes each server had."""

    @property
    def client_log(self) -> Path:
        """For what clients say beside their findings."""
        return self._scratch / "clients.log"

    def fresh(
        self, peer: Peer, range_bytes: int, *, is_tls: bool = False
    ) -> AbstractContextManager[Server]:
        """A server of the caller's own."""
        if is_tls and self._pair is None:
            self._pair = make_pair(self._scratch)
        return serving(
            peer, self.store, self._base_port, range_bytes, self._cores.server, self._scratch,
            self._pair if is_tls else None,
        )  # fmt: skip

    def kept(self, peer: Peer, range_bytes: int, *, is_tls: bool = False) -> Server:
        """The server of this scenario; started and touched when it is first asked for."""
        if peer.name not in self._kept:
            server = self._stack.enter_context(self.fresh(peer, range_bytes, is_tls=is_tls))
            server.touch(self.store, range_bytes)
            self._kept[peer.name] = server
        return self._kept[peer.name]

    def end_scenario(self) -> None:
        """End the servers that were kept."""
        for name, server in self._kept.items():
            self.processes[name] = len(server.pids())
        self._kept.clear()
        self._stack.close()

    def note(self, sentence: str | None) -> None:
        """Have it said on the page, once; None says nothing."""
        if sentence is not None and sentence not in self.notes:
            self.notes.append(sentence)

    def write_trace(self, asks: Iterable[Ask]) -> Path:
        """Requests, for clients that replay them."""
        path = self._scratch / "trace"
        path.write_text(render(asks))
        return path
