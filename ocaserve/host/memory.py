"""How much memory there is for a process, and how much of that may be locked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# Of memory.high, too: whoever has more that cannot be reclaimed is throttled for good.
_UNIFIED = ("sys/fs/cgroup", ("memory.max", "memory.high"))  # cgroups(7), version 2
_BY_KIND = ("sys/fs/cgroup/memory", ("memory.limit_in_bytes",))  # version 1


def lockable_bytes(*there_are: int | None) -> int | None:
    """Half of the least of these, for workers and all else need memory too; None without any."""
    known = [number for number in there_are if number is not None]
    return min(known) // 2 if known else None


def find_group_limit(process: str = "self", root: Path = Path("/")) -> int | None:
    """The least that a control group of the process, or one above, lets it have; None for any.

    process: its id. root: above /proc and /sys.
    """
    try:
        lines = (root / "proc" / process / "cgroup").read_text().splitlines()
    except OSError:  # there are none, as on FreeBSD
        return None
    return min((limit for line in lines for limit in _limits(line, root)), default=None)


def _limits(line: str, root: Path) -> Iterator[int]:
    _, kinds, path = line.split(":", 2)
    if kinds and "memory" not in kinds.split(","):
        return
    top, names = _BY_KIND if kinds else _UNIFIED
    folder = root / top / path.lstrip("/")
    for group in (folder, *folder.parents):
        for name in names:
            try:
                text = (group / name).read_text().strip()
            except OSError:  # the top has no limit; in a container the path may be another's
                continue
            if text.isdigit():  # or "max"
                yield int(text)
        if group == root / top:
            return
