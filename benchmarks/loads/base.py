"""What loads have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from benchmarks.peers import Peer
from benchmarks.server import Server
from benchmarks.stage import Plan, Stage


class Outcome(NamedTuple):
    """The figures of one sample, named as in `results.FIGURES`, and what went wrong."""

    figures: Mapping[str, float]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traits:
    """What is true of a kind of load.

    figures: what its samples measure, in the order of the tables.
    programs: what it needs to be installed.
    resource: what a control group has to be able to limit.
    is_hot: all objects are to be in the page cache, and to stay there.
    is_long: a sample takes `Plan.long_seconds`, and there are fewer rounds.
    """

    figures: tuple[str, ...]
    programs: tuple[str, ...] = ()
    resource: str | None = None
    is_hot: bool = True
    is_long: bool = False


class Load(ABC):
    """One kind of load, with its numbers."""

    traits: ClassVar[Traits]

    def descriptors(self, plan: Plan) -> int:
        """Open files that one process needs."""
        del plan
        return 4096

    def seconds(self, plan: Plan) -> float:
        """About how long a sample takes."""
        return float(plan.long_seconds if self.traits.is_long else plan.seconds)

    @contextmanager
    def prepared(self, stage: Stage) -> Iterator[None]:
        """Around all rounds of a scenario."""
        if not self.traits.is_hot:
            yield
            return
        stage.store.warm()
        with stage.store.locked() as problem:
            stage.note(problem)
            yield

    @abstractmethod
    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        """Take one sample. Raises LoadFailure if there is none to be had."""


@dataclass
class CpuTime:
    """CPU seconds, once they are over."""

    seconds: float = 0.0


@contextmanager
def cpu_of(server: Server) -> Iterator[CpuTime]:
    """The CPU time that a server uses inside the block."""
    spent = CpuTime()
    before = server.cpu_s()
    yield spent
    spent.seconds = server.cpu_s() - before
