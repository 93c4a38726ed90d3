"""A server's life beside the requests: starting, waiting, being reloaded."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from benchmarks import wrk
from benchmarks.errors import LoadFailure
from benchmarks.loads.base import Load, Outcome, Traits
from benchmarks.peers import Peer
from benchmarks.processes import client, running
from benchmarks.stage import Plan, Stage
from benchmarks.trace import uniform

_SPARE_DESCRIPTORS = 200  # log, event loop, objects
_REQUESTS = 8192
_RELOADS = 2
_LATE_S = 20


@dataclass(frozen=True)
class Start(Load):
    """A program that is started again and again."""

    range_bytes: int = 1024
    traits = Traits(
        figures=("startup_ms",),
    )

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        del turn
        with stage.fresh(peer, self.range_bytes) as server:
            return Outcome({"startup_ms": server.startup_s * 1e3})


@dataclass(frozen=True)
class Idle(Load):
    """Memory of connections that were answered once and now say nothing."""

    range_bytes: int = 1024
    traits = Traits(
        figures=("kib_per_connection",),
        is_long=True,
    )

    def descriptors(self, plan: Plan) -> int:
        return plan.idle_clients + _SPARE_DESCRIPTORS

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        del turn
        clients = stage.plan.idle_clients
        with stage.fresh(peer, self.range_bytes) as server:
            server.touch(stage.store, self.range_bytes)
            before = server.memory_kib()
            with client(
                "idle", stage.client_log,
                port=server.port, clients=clients,
                key=stage.store.keys[0], range_bytes=self.range_bytes,
            ) as viewers:  # fmt: skip
                viewers.wait_for_begin()
                grown = server.memory_kib() - before
                failures = viewers.findings()["failures"]
        errors = (f"{failures} of {clients} were not answered",) if failures else ()
        return Outcome({"kib_per_connection": grown / clients}, errors)


@dataclass(frozen=True)
class Reload(Load):
    """The configuration is read anew, workers are replaced, and the requests go on."""

    range_bytes: int
    connections: int

    traits = Traits(
        figures=("failed", "p50_ms", "p99_ms", "max_ms", "requests_per_s"),
        programs=("wrk",),
        is_long=True,
    )

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        store, seconds = stage.store, stage.plan.long_seconds
        asks = uniform(store.keys, store.object_bytes, self.range_bytes, _REQUESTS, seed=turn)
        trace = stage.write_trace(asks)
        with stage.fresh(peer, self.range_bytes) as server:
            command = wrk.command(server.port, self.connections, seconds, trace)
            with running(command, stage.client_log, stdout=subprocess.PIPE) as generator:
                for _ in range(_RELOADS):
                    time.sleep(seconds / (_RELOADS + 1))
                    server.reload()
                report = wrk.parse(_output_of(generator))
        if not report.requests:
            raise LoadFailure("no request was answered")
        figures = {
            "failed": sum(report.errors.values()),
            "p50_ms": report.p50_ms,
            "p99_ms": report.p99_ms,
            "max_ms": report.max_ms,
            "requests_per_s": report.requests / report.seconds,
        }
        return Outcome(figures)


def _output_of(generator: subprocess.Popen[str]) -> str:
    try:
        return generator.communicate(timeout=_LATE_S)[0]
    except subprocess.TimeoutExpired as error:
        raise LoadFailure(f"wrk did not end {_LATE_S} s after its time") from error
