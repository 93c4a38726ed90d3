"""A slow disk beside a page that all want: does one viewer's miss delay the others' hits?"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cgroups import Limit, limited
from benchmarks.errors import LoadFailure
from benchmarks.host import disk_of
from benchmarks.loads.base import Load, Outcome, Traits
from benchmarks.peers import Peer
from benchmarks.processes import client
from benchmarks.results import percentile, with_those_not_asked
from benchmarks.server import Server
from benchmarks.stage import MIB, Stage

_PAUSE_S = 0.002


@dataclass(frozen=True)
class Cold(Load):
    """Streams of objects that are not in the page cache, beside one client of a hot object.

    The server may read `disk_bytes_per_s` from its disk: a hard disk's rate, shared by all streams.
    """

    streams: int = 8
    segment_bytes: int = MIB
    hot_range_bytes: int = 16 * 1024
    disk_bytes_per_s: int = 80 * MIB

    traits = Traits(
        figures=("p50_ms", "p99_ms", "max_ms", "cold_mb_per_s"),
        resource="io",
        is_hot=False,
        is_long=True,
    )

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        del turn
        store = stage.store
        disk = disk_of(store.folder)
        if disk is None:
            raise LoadFailure(f"{store.folder} lies on no disk that could be slowed down")
        store.cool()
        store.warm(store.keys[:1])
        with (
            store.locked(store.keys[:1]),
            stage.fresh(peer, self.hot_range_bytes) as server,
            limited(server.pids(), Limit("io", self.disk_bytes_per_s, disk)),
        ):
            return self._watch(stage, server)

    def _watch(self, stage: Stage, server: Server) -> Outcome:
        store, seconds = stage.store, stage.plan.long_seconds
        hot, *cold = store.keys
        same = {"port": server.port, "object_bytes": store.object_bytes, "seconds": seconds}
        with (
            client(
                "streams", stage.client_log, **same,
                keys=cold, segment_bytes=self.segment_bytes, clients=self.streams,
            ) as streams,
            client(
                "probe", stage.client_log, **same,
                key=hot, range_bytes=self.hot_range_bytes, pause_s=_PAUSE_S,
            ) as probe,
        ):  # fmt: skip
            streams.wait_for_begin()
            probe.wait_for_begin()
            streamed, probed = streams.findings(), probe.findings()
        latencies = with_those_not_asked(probed["latencies_s"], _PAUSE_S)
        if not latencies:
            raise LoadFailure(f"the hot client got no answer: {probed['failure']}")
        figures = {
            "p50_ms": percentile(latencies, 0.5) * 1e3,
            "p99_ms": percentile(latencies, 0.99) * 1e3,
            "max_ms": latencies[-1] * 1e3,
            "cold_mb_per_s": streamed["bytes"] / streamed["seconds"] / 1e6,
        }
        failures = [*streamed["failures"], probed["failure"]]
        return Outcome(figures, tuple(filter(None, failures)))
