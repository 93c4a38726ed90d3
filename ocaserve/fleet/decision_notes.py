"""What a worker notes of its decisions, and tells the control process once a second.

Notes are sums, so who reads them late has lost nothing. A worker that has told, and was not read
yet, goes on adding up; what it holds is bounded.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ocaserve.fleet.client_urls import Object
from ocaserve.fleet.decisions import Candidate, Group, Place, holds_but, seed_of
from ocaserve.fleet.demand import MOST_NETWORKS
from ocaserve.fleet.recorded_decisions import DecisionRow, PolicyRecord, Question, record_decision
from ocaserve.fleet.shedding import TurnedAway, find_turned_away
from ocaserve.logs.hiding import hide_tokens
from ocaserve.policies.in_force import PolicyNotes
from ocaserve.serving.access_log import AccessLog
from ocaserve.settings.fleet import Fleet

_SAMPLE_S = 0.02  # between decisions of the sample: 50 a second say what new policies would change
_MOST_SAMPLED = 500
_MOST_KEYS = 65_536  # objects that were asked for; of others nothing is told
_MOST_OF_QUESTION = 8  # objects that are told of a network with one question
_MOST_OF_NETWORKS = 300  # objects of networks: told each second, so of clients of a whole minute


Asking = tuple[int, int, bytes, Place | None]
"""Who asks: the minute, the family, the network that draws go by, the place."""


class Decided(NamedTuple):
    """A question and what was chosen. network: that its draws go by.

    lacking: who does not have an object, by its name, where that counts. said: by policies,
    likewise by name. used: of what servers can take. is_whole: whether all who hear the client can
    take it.
    """

    question: Question
    network: bytes
    objects: Mapping[str, Object]
    groups: Sequence[Group]
    chosen: Mapping[str, Sequence[Candidate]]
    lacking: Mapping[str, frozenset[str]]
    said: PolicyRecord
    used: Mapping[str, float]
    is_whole: bool


class AskerRow(Struct, array_like=True, gc=False):
    """Clients of a network that have asked within a minute, and the address of one of them.

    wanted: of some of them what they asked for, by key; a question of many objects by its share.
    None: of none of them. They are counted in it: to make thousands of rows at once would hold up
    clients, and so would a collection of garbage that had them all to look through.
    """

    minute: int
    family: int
    address: str  # in hexadecimal: a number of 128 bits has no place in the encoding
    place: Place | None
    clients: int
    wanted: dict[bytes, float] | None = None


class ShedRow(Struct, frozen=True, array_like=True):
    """What was turned away from an appliance within a minute; cause: of `ShedCause`."""

    minute: int
    appliance: str
    cause: str
    clients: float
    bits_per_s: float


class DecisionNotes(Struct, frozen=True, array_like=True):
    """Since the last ones. outcomes: of decisions. others: clients of networks that were too many.

    wanted: how often each object was asked for, by its key. lines, lines_lost: of the decision log;
    left_out: decisions that were to be written down and were among too many appliances. sessions:
    that were told of, by how they went. sample: some decisions, as they are written down. policies:
    what became of them.
    """

    outcomes: dict[str, int]
    askers: list[AskerRow]
    others: int
    shed: list[ShedRow]
    wanted: dict[bytes, int]
    lines: int
    lines_lost: int
    left_out: int
    sessions: dict[str, int]
    sample: list[DecisionRow]
    policies: PolicyNotes | None


class NoteTaker:
    """Takes note of each decision. Nothing here waits. log: of decisions; None: none is kept.

    counts_objects: whether anybody wants to know which objects are asked for.
    """

    def __init__(self, settings: Fleet, log: AccessLog | None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.sessions: Counter[str] = Counter()
        self.log = log
        self._sample: list[DecisionRow] = []
        self._sampled_at = 0.0
        self._share = settings.decision_log_share
        self._client_bits_per_s = settings.client_bits_per_s
        self._counts_objects = bool(settings.content.catalogue)
        self._is_everywhere = settings.content.everywhere
        self._askers: dict[Asking, AskerRow] = {}
        self._wanted_count = 0
        self._others = 0
        self._shed: defaultdict[tuple[int, TurnedAway], list[float]]
        self._shed = defaultdict(lambda: [0.0, 0.0])
        self._wanted: Counter[bytes] = Counter()
        self._left_out = 0

    def count(
        self, asker: Asking, address: int, objects: Mapping[str, Object], *, is_policed: bool
    ) -> None:
        """A client has asked for these. is_policed: policies are in force for it."""
        row = self._askers.get(asker)
        if row is not None:
            row.clients += 1
        elif len(self._askers) < MOST_NETWORKS:
            minute, family, _, place = asker
            row = self._askers[asker] = AskerRow(minute, family, f"{address:x}", place, 1)
        else:
            self._others += 1
        if row is not None and (is_policed or not self._is_everywhere):  # else it decides nothing
            self._note_wanted(row, objects)
        if self._counts_objects:
            for wanted in objects.values():
                if wanted.key in self._wanted or len(self._wanted) < _MOST_KEYS:
                    self._wanted[wanted.key] += 1

    def wants(self, at: float, *, is_whole: bool) -> bool:
        """Whether there may be something to `note` of a decision. at: seconds since the epoch.

        is_whole: all who hear the client can take it.
        """
        return not is_whole or self.log is not None or self._samples(at)

    def _samples(self, at: float) -> bool:
        return at - self._sampled_at >= _SAMPLE_S and len(self._sample) < _MOST_SAMPLED

    def note(self, decided: Decided) -> None:
        """All of a decision. To be called of each that is wanted."""
        if not decided.is_whole:
            self._note_shed(decided)
        # Each has the same chance, whatever comes in which rhythm; nobody gains by guessing it.
        if self.log is not None and random.random() < self._share:  # noqa: S311
            self._write(decided, self.log)
        at = decided.question.at
        if self._samples(at):
            self._sampled_at = at
            if (row := _describe(decided)) is not None:
                self._sample.append(row)

    def _note_wanted(self, row: AskerRow, objects: Mapping[str, Object]) -> None:
        if self._wanted_count >= _MOST_OF_NETWORKS:
            return
        if row.wanted is None:
            row.wanted = {}
        wanted = row.wanted
        step = -(-len(objects) // _MOST_OF_QUESTION)
        keys = [each.key for each in islice(objects.values(), 0, None, step)]
        before = len(wanted)
        for key in keys:
            wanted[key] = wanted.get(key, 0.0) + 1 / len(keys)
        self._wanted_count += len(wanted) - before

    def _note_shed(self, decided: Decided) -> None:
        share, minute = 1 / len(decided.objects), decided.question.minute
        for name, wanted in decided.objects.items():
            seed = seed_of(decided.network, wanted.key, minute)
            holds = holds_but(decided.lacking.get(name, frozenset()))
            if turned := find_turned_away(decided.groups, seed, holds):
                sums = self._shed[minute, turned]
                sums[0] += share
                sums[1] += share * self._client_bits_per_s

    def _write(self, decided: Decided, log: AccessLog) -> None:
        row = _describe(decided)
        if row is None:
            self._left_out += 1
        else:
            log.write(msgspec.json.encode(row) + b"\n")

    def take(self, policies: PolicyNotes | None = None) -> DecisionNotes | None:
        """All since the last time; None where there is nothing. policies: likewise."""
        lines, lost = (self.log.taken, self.log.dropped) if self.log else (0, 0)
        if not (self.outcomes or self.sessions or policies or lines or lost):
            return None
        askers, self._askers = self._askers, {}
        shed, self._shed = self._shed, defaultdict(lambda: [0.0, 0.0])
        notes = DecisionNotes(
            dict(self.outcomes),
            list(askers.values()),
            self._others,
            [
                ShedRow(minute, turned.appliance, turned.cause.value, *sums)
                for (minute, turned), sums in shed.items()
            ],
            dict(self._wanted),
            lines,
            lost,
            self._left_out,
            dict(self.sessions),
            self._sample,
            policies,
        )
        self._sample = []
        self.outcomes.clear()
        self.sessions.clear()
        self._wanted.clear()
        self._others = self._left_out = self._wanted_count = 0
        if self.log is not None:
            self.log.taken = self.log.dropped = 0
        return notes


def _describe(decided: Decided) -> DecisionRow | None:
    """Objects whose key would have to be hidden are left out: who knew it could use it."""
    told = {
        wanted.key.decode(): decided.chosen[name]
        for name, wanted in decided.objects.items()
        if hide_tokens(wanted.key) == wanted.key
    }
    left_out = len(decided.objects) - len(told)
    lacking = {
        wanted.key.decode(): decided.lacking[name]
        for name, wanted in decided.objects.items()
        if decided.lacking.get(name)
    }
    said = decided.said.by_key({n: each.key.decode() for n, each in decided.objects.items()})
    return record_decision(
        decided.question, decided.groups, told, left_out, lacking, said, decided.used
    )
