"""Clients that come and go: what a TLS handshake costs, for a new session and for a resumed one."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.errors import LoadFailure
from benchmarks.loads.base import Load, Outcome, Traits, cpu_of
from benchmarks.peers import Peer
from benchmarks.processes import running
from benchmarks.stage import Plan, Stage
from benchmarks.wrk import cpu_of_children

_CLIENTS = 8
_RANGE_BYTES = 1024  # of the objects that are touched
_KEY = "small.txt"  # what resuming clients ask for: tickets come with the first answer
_LATE_S = 20
_COUNT = re.compile(r"^(\d+) connections in \d+ real seconds", re.MULTILINE)
_MARKS = re.compile(r"^[r*]{2,}", re.MULTILINE)  # one for each connection; r: resumed


def parse_s_time(text: str, *, is_resumed: bool) -> int:
    """How many connections there were. Raises LoadFailure if they were not of the kind wanted."""
    *_, last = _COUNT.findall(text) or [None]
    marks = "".join(_MARKS.findall(text))
    if last is None or not marks:
        raise LoadFailure(f"openssl s_time: {text.strip()[-200:]!r}")
    others = len(marks) - marks.count("r" if is_resumed else "*")
    if others:
        raise LoadFailure(f"{others} of {len(marks)} sessions were not as wanted")
    return int(last)


@dataclass(frozen=True)
class Handshakes(Load):
    """As many as eight clients can make, one after the other each."""

    is_resumed: bool = False

    traits = Traits(
        figures=("cpu_us_per_handshake", "handshakes_per_s", "client_load"),
        programs=("openssl",),
    )

    def seconds(self, plan: Plan) -> float:
        return plan.seconds + 0.5  # it ends with a second of the clock

    @contextmanager
    def prepared(self, stage: Stage) -> Iterator[None]:
        small = stage.store.folder / _KEY
        small.write_text("Once upon a time.\n")
        try:
            with super().prepared(stage):
                yield
        finally:
            small.unlink()

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        del turn
        server = stage.kept(peer, _RANGE_BYTES, is_tls=True)
        command = self._command(server.port, stage.plan.seconds)
        start, used = time.monotonic(), cpu_of_children()
        with ExitStack() as clients, cpu_of(server) as cpu:
            ways = {"stdout": subprocess.PIPE}
            started = [
                clients.enter_context(running(command, stage.client_log, **ways))
                for _ in range(_CLIENTS)
            ]
            said = [_output_of(client) for client in started]
        seconds = time.monotonic() - start
        count = sum(parse_s_time(text, is_resumed=self.is_resumed) for text in said)
        figures = {
            "cpu_us_per_handshake": cpu.seconds * 1e6 / count,
            "handshakes_per_s": count / seconds,
            "client_load": (cpu_of_children() - used) / seconds,
        }
        return Outcome(figures)

    def _command(self, port: int, seconds: int) -> list[str]:
        words = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-time", str(seconds)]
        kind = ["-reuse", "-www", f"/{_KEY}"] if self.is_resumed else ["-new"]
        return [*words, "-tls1_3", *kind]


def _output_of(client: subprocess.Popen[str]) -> str:
    try:
        return client.communicate(timeout=_LATE_S)[0]
    except subprocess.TimeoutExpired as error:
        raise LoadFailure(f"openssl s_time did not end {_LATE_S} s after its time") from error
