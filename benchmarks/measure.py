"""What a server costs: CPU seconds and memory of its whole process tree, from /proc (proc(5)).

The tree counts whole: supervisors, helpers, threads, and children that have ended (their time is
with the parent that waited for them). A living process is read from its CPU clock, in nanoseconds;
only children that have ended are known in ticks of 10 ms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROCESS_CLOCK = 2  # CPUCLOCK_SCHED; with the number it is what clock_getcpuclockid(3) makes
_GONE = (FileNotFoundError, ProcessLookupError)


class ProcessTimes(NamedTuple):
    """From one stat file. `ticks_of_children`: CPU time of those it has waited for."""

    state: str
    parent: int
    ticks_of_children: int
    started: int


def parse_stat(text: str) -> ProcessTimes:
    """Read /proc/PID/stat. The name, in parentheses, may hold spaces and parentheses itself."""
    fields = text.rpartition(")")[2].split()
    return ProcessTimes(fields[0], int(fields[1]), sum(map(int, fields[13:15])), int(fields[19]))


def parse_pss_kib(text: str) -> int:
    """Read /proc/PID/smaps_rollup: the proportional set size, where a page shared by n counts 1/n.

    Raises ValueError if it holds none.
    """
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("no Pss: line in smaps_rollup")


def _all_processes() -> dict[int, ProcessTimes]:
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except _GONE:
                continue
    return found


def _descend(root: int, processes: Mapping[int, ProcessTimes]) -> Iterator[int]:
    yield root
    for pid, times in processes.items():
        if times.parent == root:
            yield from _descend(pid, processes)


def process_tree(root: int) -> dict[int, ProcessTimes]:
    """The process and all that descend from it, parents first; empty if it is gone."""
    processes = _all_processes()
    if root not in processes:
        return {}
    return {pid: processes[pid] for pid in _descend(root, processes)}


def cpu_seconds(root: int) -> float:
    """CPU time, user and system, used by the tree until now."""
    return sum(
        own_cpu_seconds(pid) + times.ticks_of_children / _TICKS_PER_S
        for pid, times in process_tree(root).items()
    )


def own_cpu_seconds(pid: int) -> float:
    """Of all threads of a process, those that have ended too; 0 for one that is gone."""
    try:
        return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError:
        return 0.0


def pss_kib(root: int) -> int:
    """Memory of the tree, shared pages divided among those who share them."""
    total = 0
    for pid in process_tree(root):
        with suppress(*_GONE):  # since it was found
            total += parse_pss_kib((_PROC / str(pid) / "smaps_rollup").read_text())
    return total


def is_same(pid: int, times: ProcessTimes) -> bool:
    """Whether the process lives, and its number is still its own."""
    try:
        now = parse_stat((_PROC / str(pid) / "stat").read_text())
    except _GONE:
        return False
    return now.started == times.started and now.state != "Z"
