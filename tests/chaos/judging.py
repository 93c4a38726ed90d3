"""Which failed requests the faults explain. No effects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

from tests.chaos.clients import Failure, Kind

BACK_S = 10.0


@dataclass(frozen=True)
class Excuse:
    """What a fault may do to clients: nothing, unless it says so."""

    kinds: frozenset[Kind] = frozenset()
    keys: str = "*"  # a shell pattern of the objects that it touches
    traceback: bool = False  # whether the journal may have one: it can strike anywhere

    def covers(self, failure: Failure) -> bool:
        return failure.kind in self.kinds and fnmatch(failure.key, self.keys)


@dataclass
class Episode:
    """A time in which some faults were on (monotonic seconds), and how long all took to be back."""

    names: tuple[str, ...]
    excuses: tuple[Excuse, ...]
    begun: float
    lifted: float = float("inf")
    back_s: float = float("inf")
    explained: list[Failure] = field(default_factory=list)

    def explains(self, failure: Failure) -> bool:
        """Whether the failure falls into its time, until all was back, and is excused."""
        back = self.lifted + min(self.back_s, BACK_S)
        touches = failure.begun <= back and failure.ended >= self.begun
        return touches and any(excuse.covers(failure) for excuse in self.excuses)


def find_unexplained(failures: Iterable[Failure], episodes: Sequence[Episode]) -> list[Failure]:
    """Give each failure to the last episode that explains it; returns those of none."""
    left = []
    for failure in failures:
        episode = next((each for each in reversed(episodes) if each.explains(failure)), None)
        if episode is None:
            left.append(failure)
        else:
            episode.explained.append(failure)
    return left
