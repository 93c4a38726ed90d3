"""What /proc tells of a process."""

from __future__ import annotations

import os
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that this one has started and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def children_named(pid: int, name: str) -> list[int]:
    """Those whose name begins so (proc_pid_comm(5))."""
    return [child for child in children(pid) if _name(child).startswith(name)]


def workers_of(pid: int) -> list[int]:
    """The workers of a supervisor, oldest first."""
    return children_named(pid, "oca-worker-")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except FileNotFoundError:  # it has ended meanwhile
        return ""


def descendants(pid: int) -> list[int]:
    """Children, and theirs."""
    return [known for child in children(pid) for known in (child, *descendants(child))]


def count_descriptors(pid: int) -> int:
    """Open descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_memory(pid: int) -> int:
    """Bytes of memory that are resident (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def client_ports(pid: int) -> set[int]:
    """The ports of the clients whose connections a process holds (proc(5), /proc/net/tcp)."""
    opened = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    remote = [row[2].rpartition(":")[2] for row in rows if f"socket:[{row[9]}]" in opened]
    return {int(port, 16) for port in remote} - {0}
