"""Many viewers on lines that are slower than the server: each gets its rate, at what cost?"""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loads.base import Load, Outcome, Traits, cpu_of
from benchmarks.peers import Peer
from benchmarks.processes import ClientProgram, client, last_words, running
from benchmarks.server import Server
from benchmarks.stage import Plan, Stage
from benchmarks.trace import uniform

_REQUESTS = 8192
_TRACED_S = 4.0  # longer than a client takes for a range
_BUSY = 0.9  # of their core: beyond it the clients themselves may be what is late
_SENDFILE = re.compile(r"sendfile.*\) += (-?\d+)")


def parse_kib_per_call(text: str) -> float | None:
    """The mean of what the sendfile calls in an strace log took; one that took nothing counts too.

    None if there is no such call.
    """
    results = [max(0, int(result)) for result in _SENDFILE.findall(text)]
    return sum(results) / len(results) / 1024 if results else None


@dataclass(frozen=True)
class Paced(Load):
    """Each client takes ranges one after the other, at its own rate and no faster."""

    range_bytes: int
    bits_per_s: float

    traits = Traits(
        figures=("cpu_s_per_gb", "kib_per_call", "slowest_share", "gb_per_s", "client_load"),
        programs=("strace",),
        is_long=True,
    )

    def seconds(self, plan: Plan) -> float:
        return plan.long_seconds + plan.settle_s

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        server = stage.kept(peer, self.range_bytes)
        plan = stage.plan
        with self._audience(stage, server, plan.settle_s, plan.long_seconds, turn) as audience:
            audience.wait_for_begin()
            with cpu_of(server) as cpu:
                found = audience.findings()
        figures = {
            "cpu_s_per_gb": cpu.seconds / (found["bytes"] / 1e9),
            "gb_per_s": found["bytes"] / found["seconds"] / 1e9,
            "slowest_share": found["slowest_share"],
            "client_load": found["client_load"],
        }
        if turn == 0:
            figures |= self._trace_calls(stage, server)
        return Outcome(figures, self._errors(found["failures"], found["client_load"]))

    def _audience(
        self, stage: Stage, server: Server, settle_s: float, seconds: float, turn: int
    ) -> AbstractContextManager[ClientProgram]:
        store = stage.store
        asks = uniform(store.keys, store.object_bytes, self.range_bytes, _REQUESTS, seed=turn)
        return client(
            "paced",
            stage.client_log,
            port=server.port,
            clients=stage.plan.paced_clients,
            bits_per_s=self.bits_per_s,
            trace=str(stage.write_trace(asks)),
            settle_s=settle_s,
            seconds=seconds,
        )

    def _trace_calls(self, stage: Stage, server: Server) -> dict[str, float]:
        """A separate, short sample: tracing makes each call dearer."""
        settle_s = stage.plan.settle_s / 2
        with self._audience(stage, server, settle_s, _TRACED_S, 0) as audience:
            audience.wait_for_begin()
            mean = parse_kib_per_call(_traced(server, stage.client_log.with_name("calls")))
        return {} if mean is None else {"kib_per_call": mean}

    @staticmethod
    def _errors(failures: int, client_load: float) -> tuple[str, ...]:
        found = []
        if failures:
            found.append(f"{failures} clients lost their connection")
        if client_load > _BUSY:
            found.append(f"the clients' core was busy for {client_load:.0%} of the time")
        return tuple(found)


def _traced(server: Server, output: Path) -> str:
    """What strace wrote of the server's sendfile calls, while the clients went on."""
    attach = [word for pid in server.pids() for word in ("-p", str(pid))]
    command = ["strace", "-f", "-e", "trace=sendfile", "-o", str(output), *attach]
    log = output.with_suffix(".log")
    with running(command, log) as tracer:
        time.sleep(_TRACED_S)
        if tracer.poll() is not None:
            return f"{last_words(log)}\n"
    return output.read_text()
