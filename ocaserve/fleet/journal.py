"""What all workers have noted of their decisions, added up: who asked, and what was turned away."""

from __future__ import annotations

from collections import Counter

from ocaserve.fleet.decision_notes import DecisionNotes
from ocaserve.fleet.demand import NOTHING_KNOWN, Demand
from ocaserve.fleet.recorded_decisions import DecisionRow
from ocaserve.fleet.shedding import ShedCause, ShedFigures, TurnedAway
from ocaserve.policies.in_force import PolicyNotes

_MOST_SAMPLED = 2_000


class Journal:
    """outcomes: of decisions, since the start; sessions: that were told of, by how they went.
    lines, lines_lost, left_out: see `DecisionNotes`.

    span_s: after which a client asks again.
    """

    def __init__(self, span_s: float) -> None:
        self.outcomes: Counter[str] = Counter()
        self.demand = Demand(span_s)
        self.shed = ShedFigures()
        self.sessions: Counter[str] = Counter()
        self._sample: list[DecisionRow] = []
        self._policies: list[PolicyNotes] = []
        self.lines = self.lines_lost = self.left_out = 0

    def add(self, notes: DecisionNotes) -> None:
        """One worker's. Raises ValueError where they make no sense."""
        self.outcomes.update(notes.outcomes)
        for row in notes.askers:
            address = int(row.address, 16)
            wanted = row.wanted or NOTHING_KNOWN
            self.demand.add(row.family, address, row.place, row.minute, row.clients, wanted)
        self.demand.add_others(notes.others)
        for each in notes.shed:
            turned = TurnedAway(each.appliance, ShedCause(each.cause))
            self.shed.add(turned, each.clients, each.bits_per_s, each.minute)
        self.lines += notes.lines
        self.lines_lost += notes.lines_lost
        self.left_out += notes.left_out
        self.sessions.update(notes.sessions)
        self._sample = [*self._sample, *notes.sample][-_MOST_SAMPLED:]
        if notes.policies is not None:
            self._policies.append(notes.policies)

    def take_sample(self) -> list[DecisionRow]:
        """Some decisions since the last time, as they are written down."""
        sample, self._sample = self._sample, []
        return sample

    def take_policy_notes(self) -> list[PolicyNotes]:
        """What workers have to tell of policies, since the last time."""
        notes, self._policies = self._policies, []
        return notes
