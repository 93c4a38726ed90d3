"""wrk as the load generator: its command, and what `clients/ranges.lua` reports at its end."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.errors import LoadFailure
from benchmarks.processes import ROOT

_SCRIPT = "benchmarks/clients/ranges.lua"
_MOST_HEAD_BYTES = 2_000
_LATE_S = 20


@dataclass(frozen=True)
class WrkReport:
    """Of one run. `received`: bytes, heads included, of answers cut by the end as well.

    load: the share of its core that wrk itself was busy for.
    """

    requests: int
    seconds: float
    received: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: Mapping[str, int]
    load: float = 0.0


def command(
    port: int | str, connections: int, seconds: int, trace: Path | str, *, is_tls: bool = False
) -> list[str]:
    """One thread; an answer may take long beside a slow disk, and is late after 10 s.

    Port and trace may be names, for a command that is only shown.
    """
    return [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", _SCRIPT,
        f"{'https' if is_tls else 'http'}://127.0.0.1:{port}/", "--", str(trace),
    ]  # fmt: skip


def parse(output: str) -> WrkReport:
    """Read what wrk printed. Raises LoadFailure if the script's line is missing."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadFailure(f"wrk reported nothing: {output.strip()[-200:]!r}")
    said = json.loads(lines[-1])
    return WrkReport(
        requests=said["requests"],
        seconds=said["duration_us"] / 1e6,
        received=said["bytes"],
        p50_ms=said["p50_us"] / 1e3,
        p99_ms=said["p99_us"] / 1e3,
        max_ms=said["max_us"] / 1e3,
        errors={kind: count for kind, count in said["errors"].items() if count},
    )


def problems(report: WrkReport, range_bytes: int, connections: int) -> list[str]:
    """What makes a run worthless: errors, nothing done, answers of another length than asked."""
    found = [f"wrk counted {count} {kind} errors" for kind, count in report.errors.items()]
    if not report.requests:
        return [*found, "no request was answered"]
    least = report.requests * range_bytes
    most = (report.requests + connections) * (range_bytes + _MOST_HEAD_BYTES)
    if not least <= report.received <= most:
        mean = report.received // report.requests
        found.append(f"answers of {mean} bytes, for ranges of {range_bytes}")
    return found


def run(
    port: int, connections: int, seconds: int, trace: Path, *, is_tls: bool = False
) -> WrkReport:
    """Replay a trace against a server. Raises LoadFailure if wrk fails."""
    start, used = time.monotonic(), cpu_of_children()
    try:
        done = subprocess.run(
            command(port, connections, seconds, trace, is_tls=is_tls),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds + _LATE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailure(f"wrk did not end {_LATE_S} s after its time") from error
    if done.returncode:
        raise LoadFailure(f"wrk failed: {(done.stderr or done.stdout).strip()[-200:]}")
    load = (cpu_of_children() - used) / (time.monotonic() - start)
    return replace(parse(done.stdout), load=load)


def cpu_of_children() -> float:
    """CPU seconds of the programs that were waited for; servers are not among them yet."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
