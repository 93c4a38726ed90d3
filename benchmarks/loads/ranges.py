"""Ranges as fast as they are answered: all of them in the page cache, or most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from benchmarks import wrk
from benchmarks.cgroups import Limit, limited
from benchmarks.loads.base import CpuTime, Load, Outcome, Traits, cpu_of
from benchmarks.peers import Peer
from benchmarks.stage import MIB, Plan, Stage
from benchmarks.trace import uniform, zipf_beside_hot

_REQUESTS = 8192  # of a trace, replayed in a circle: half a gigabyte of 64 KiB ranges
_MIXED_REQUESTS = 65536  # more than are answered in a sample: nothing is asked twice by the circle
_HOT_OBJECTS = 2


def _outcome(report: wrk.WrkReport, cpu: CpuTime, range_bytes: int, connections: int) -> Outcome:
    errors = tuple(wrk.problems(report, range_bytes, connections))
    if not report.requests:
        return Outcome({}, errors)
    gigabytes = report.requests * range_bytes / 1e9
    figures = {
        "cpu_us_per_request": cpu.seconds * 1e6 / report.requests,
        "cpu_s_per_gb": cpu.seconds / gigabytes,
        "requests_per_s": report.requests / report.seconds,
        "gb_per_s": gigabytes / report.seconds,
        "p50_ms": report.p50_ms,
        "p99_ms": report.p99_ms,
        "max_ms": report.max_ms,
        "client_load": report.load,
    }
    if report.load:
        figures["client_limit_per_s"] = figures["requests_per_s"] / report.load
    return Outcome(figures, errors)


@dataclass(frozen=True)
class Hot(Load):
    """Random aligned ranges over the whole store, all of it in the page cache."""

    range_bytes: int
    connections: int

    is_tls: ClassVar[bool] = False
    traits = Traits(
        figures=(
            "cpu_us_per_request",
            "requests_per_s",
            "cpu_s_per_gb",
            "gb_per_s",
            "p50_ms",
            "p99_ms",
            "client_load",
        ),
        programs=("wrk",),
    )

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        server = stage.kept(peer, self.range_bytes, is_tls=self.is_tls)
        store = stage.store
        trace = stage.write_trace(
            uniform(store.keys, store.object_bytes, self.range_bytes, _REQUESTS, seed=turn)
        )
        with cpu_of(server) as cpu:
            report = wrk.run(
                server.port, self.connections, stage.plan.seconds, trace, is_tls=self.is_tls
            )
        return _outcome(report, cpu, self.range_bytes, self.connections)


class Replies(Hot):
    """The same, beside answers that are made for each request: all of `Peer.reply_bytes`."""

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        load = Hot(peer.reply_bytes or self.range_bytes, self.connections)
        return load.measure(stage, peer, turn)


class TlsHot(Hot):
    """The same over TLS 1.3 with AES-256-GCM."""

    is_tls = True
    traits = replace(
        Hot.traits,
        figures=(*Hot.traits.figures, "client_limit_per_s"),
        programs=("wrk", "openssl"),
    )


@dataclass(frozen=True)
class Mixed(Load):
    """Nine tenths for what all watch, one tenth over a catalogue larger than the page cache."""

    range_bytes: int
    connections: int
    cache_bytes: int = 256 * MIB

    traits = Traits(
        figures=("requests_per_s", "cpu_us_per_request", "p50_ms", "p99_ms", "max_ms"),
        programs=("wrk",),
        resource="memory",
        is_hot=False,
        is_long=True,
    )

    def seconds(self, plan: Plan) -> float:
        return plan.long_seconds + plan.settle_s

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        stage.store.cool()
        with stage.fresh(peer, self.range_bytes) as server:
            limit = Limit("memory", self.cache_bytes)
            with limited(server.pids(), limit):
                self._run(stage, server.port, int(stage.plan.settle_s), 1000 + turn)
                with cpu_of(server) as cpu:
                    report = self._run(stage, server.port, stage.plan.long_seconds, turn)
        return _outcome(report, cpu, self.range_bytes, self.connections)

    def _run(self, stage: Stage, port: int, seconds: int, seed: int) -> wrk.WrkReport:
        store = stage.store
        asks = zipf_beside_hot(
            store.keys, _HOT_OBJECTS, store.object_bytes, self.range_bytes, _MIXED_REQUESTS, seed
        )
        return wrk.run(port, self.connections, seconds, stage.write_trace(asks))
