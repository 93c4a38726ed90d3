"""What releases in shadow would change: recorded decisions made again beside what was decided."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from ocaserve.fleet.policy_checks import decide_again
from ocaserve.fleet.recorded_decisions import DecisionRow, RecordError, read_again
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.desk import Arm, PolicyDesk

_MOST_WAITING = 200  # decisions; more would be older than they are worth
_MOST_MOVES = 200  # pairs of servers
_NOBODY = "nobody"


class ShadowFigures:
    """Of one release. compared: objects of decisions; moved: where another would be the first;
    unserved: where nobody would be left. moves: by who is the first, and who would be.
    """

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.compared = self.moved = self.unserved = 0
        self.moves: Counter[tuple[str, str]] = Counter()

    def compare(self, decided: Sequence[str], having: Sequence[str]) -> None:
        self.compared += 1
        if decided[:1] == having[:1]:
            return
        self.moved += 1
        self.unserved += bool(decided and not having)
        move = (decided[0] if decided else _NOBODY, having[0] if having else _NOBODY)
        if move in self.moves or len(self.moves) < _MOST_MOVES:
            self.moves[move] += 1


class Shadows:
    """All of them. figures: by release."""

    def __init__(self) -> None:
        self.figures: dict[int, ShadowFigures] = {}
        self._waiting: deque[DecisionRow] = deque(maxlen=_MOST_WAITING)

    def follow(self, releases: Mapping[int, Sequence[Bundle]]) -> None:
        """These are in shadow now, each with all that would be in force with it."""
        for number in self.figures.keys() - releases.keys():
            del self.figures[number]
        for number, bundles in releases.items():
            arm = Arm(bundles)
            known = self.figures.get(number)
            if known is None or known.arm.by != arm.by:
                self.figures[number] = ShadowFigures(arm)

    def note(self, rows: Iterable[DecisionRow]) -> None:
        """Decisions as they were made, those of clients with a canary left out."""
        if self.figures:
            self._waiting.extend(rows)

    async def compare_some(self, desk: PolicyDesk, most: int) -> None:
        """With decisions that wait, so many at most."""
        for _ in range(min(most, len(self._waiting))):
            row = self._waiting.popleft()
            try:
                again = read_again(row)
            except RecordError:
                continue
            for figures in list(self.figures.values()) if again.groups else ():
                for key, decided in row.objects.items():
                    having = await decide_again(desk, figures.arm, row, again, key)
                    if having is not None:
                        figures.compare(decided, having)
