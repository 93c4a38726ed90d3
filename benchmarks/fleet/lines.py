"""What must be so once a scenario was played."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.fleet.stage import Reading

MEMORY_MIB = 2_048.0


class Line(NamedTuple):
    """What must be so: `measured` at most, or at least, `limit`; None: only told."""

    what: str
    measured: float
    limit: float | None = None
    unit: str = ""
    is_least: bool = False

    @property
    def is_kept(self) -> bool:
        if self.limit is None:
            return True
        return self.measured >= self.limit if self.is_least else self.measured <= self.limit


def cost_lines(before: Reading, after: Reading) -> list[Line]:
    cpu_s, count = after.cost.cpu_s - before.cost.cpu_s, after.reports - before.reports
    return [
        Line("documents answered", count, None),
        Line("CPU of the control plane, answers included", cpu_s, None, "s"),
        Line("memory", after.cost.memory_mib, MEMORY_MIB, "MiB"),
    ]
