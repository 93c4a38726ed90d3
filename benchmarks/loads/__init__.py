"""How one sample is taken, for each kind of load."""

from benchmarks.loads.base import Load, Outcome
from benchmarks.loads.cold import Cold
from benchmarks.loads.handshakes import Handshakes
from benchmarks.loads.life import Idle, Reload, Start
from benchmarks.loads.paced import Paced
from benchmarks.loads.ranges import Hot, Mixed, Replies, TlsHot

__all__ = [
    "Cold",
    "Handshakes",
    "Hot",
    "Idle",
    "Load",
    "Mixed",
    "Outcome",
    "Paced",
    "Reload",
    "Replies",
    "Start",
    "TlsHot",
]
