"""How one sample is taken, for each kind of load."""

from benchmarks.loads.base import Load, Outcome
from benchmarks.loads.cold import Cold
from benchmarks.loads.life import Idle, Reload, Start
from benchmarks.loads.paced import Paced
from benchmarks.loads.ranges import Hot, Mixed

__all__ = ["Cold", "Hot", "Idle", "Load", "Mixed", "Outcome", "Paced", "Reload", "Start"]
