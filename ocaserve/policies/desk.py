"""Who answers for policies while decisions are made: from memory, or by asking their process.

A decision never waits for long and never fails by a policy. What is not known is asked for, and
`wait_s` later the built-in rule decides without; so it does where a program fails. A policy that
fails too often is switched off here, at once, and what is told of it (`take_figures`) says so.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ocaserve.policies.bundles import Bundle
from ocaserve.policies.in_force import FigureRow
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.program_messages import (
    Answer,
    AskOrder,
    AskRule,
    ProgramDone,
    ProgramFailed,
    ProgramOrdered,
    ProgramRuled,
)
from ocaserve.policies.questions import (
    ClientFacts,
    PolicyQuestion,
    Reads,
    ServerFacts,
    find_reads,
    pick,
)
from ocaserve.policies.rulings import Ruling, merge_rulings
from ocaserve.policies.runner import PolicyRunner, not_asked
from ocaserve.protocol.memo import Memo

_log = logging.getLogger(__name__)

_MINUTE_S = 60.0
_START_S = 0.7  # that a switch waits for a process; one of its own is started for the first policy
_WARM_AT_ONCE = 32  # questions: fewer than would be too many for those of clients beside them
_WARM_S = 0.5  # a switch is seen everywhere within a second
_SAID_BYTES = 200  # of an answer, beside its key and each server in it

Said = Ruling | tuple[str, ...] | ProgramFailed


class PolicyAsk(NamedTuple):
    """A question to one version. key: of its answer in memory."""

    version: str
    key: bytes
    ask: AskRule | AskOrder


@dataclass(slots=True)
class PolicyFigures:
    """Of one version, since it is known here. cpu_s: of all its answers; worst_s: of one.

    asked: its process; kept: answers from memory; faults: decisions made without it because it
    failed; overruns: of these, where it took too long; late: those that could not wait, or ask.
    last_fault: with its line; last_question: that it failed at, as JSON. off_because: why it was
    switched off, empty while it is not.
    """

    asked: int = 0
    kept: int = 0
    faults: int = 0
    overruns: int = 0
    late: int = 0
    cpu_s: float = 0.0
    worst_s: float = 0.0
    last_fault: str = ""
    last_question: str = ""
    off_because: str = ""
    recent_faults: deque[float] = field(default_factory=lambda: deque(maxlen=LIMITS.faults))


_numbers = itertools.count(1)


class Arm:
    """Policies in force together, of which each is asked. number: another of each arm there was."""

    def __init__(self, bundles: Iterable[Bundle]) -> None:
        self.number = next(_numbers)
        self.bundles = tuple(sorted(bundles, key=lambda each: each.name))
        self.by = tuple(f"{each.name}@{each.version[:12]}" for each in self.bundles)
        self.has_order = any("order" in each.hooks for each in self.bundles)
        reads = [find_reads(each) for each in self.bundles]
        self.reads_hour = any("hour" in each.client for each in reads)
        self.reads_used = any("used" in each.server for each in reads)
        self.reads = Reads(*(tuple({n for each in reads for n in each[p]}) for p in range(3)))


class PolicyDesk:
    """One process's. figures: since they were last taken."""

    def __init__(self) -> None:
        self.live: Arm | None = None
        self.canary: Arm | None = None
        self.figures: dict[str, PolicyFigures] = {}
        self.in_force = PolicyRunner()
        self.on_trial = PolicyRunner()  # what may do worse is not to delay what has proved itself
        self._reads: dict[str, Reads] = {}
        self._runners: dict[str, PolicyRunner] = {}  # by version
        self._held: frozenset[str] = frozenset()
        self._memo: Memo[tuple[str, bytes], Said] = Memo(LIMITS.memo_bytes)
        self._asking: dict[tuple[str, bytes], asyncio.Future[None]] = {}

    @property
    def restarts(self) -> int:
        """How often a process was replaced."""
        return self.in_force.restarts + self.on_trial.restarts

    async def keep_running(self) -> None:
        """Keep the processes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.in_force.keep_running())
            group.create_task(self.on_trial.keep_running())

    # -- what is in force ------------------------------------------------------------------------

    async def put_in_force(
        self, live: Sequence[Bundle], canary: Sequence[Bundle] | None, shadows: Sequence[Bundle],
        questions: Iterable[PolicyQuestion],
    ) -> None:  # fmt: skip
        """From the next decision on. canary: all that is in force for its clients, None without.

        questions: those that will be asked next, so that they are answered before the switch.
        """
        before = [each for arm in (self.live, self.canary) if arm for each in arm.bundles]
        of_live = {each.version for each in live}
        tried = [each for each in (*(canary or ()), *shadows) if each.version not in of_live]
        self._held = frozenset(each.version for each in (*live, *tried))
        for each in (*live, *tried):
            self._reads.setdefault(each.version, find_reads(each))
            self.figures.setdefault(each.version, PolicyFigures())
        sets = ((self.in_force, self._able(live)), (self.on_trial, self._able(tried)))
        for runner, bundles in sets:  # what is in force answers until the switch
            same = [each for each in before if self._runners.get(each.version) is runner]
            await runner.hold([*bundles, *same])
        for runner, bundles in sets:
            if bundles:
                await runner.be_up(_START_S)
            self._runners |= {each.version: runner for each in bundles}
        arms = [self._arm(live), None if canary is None else self._arm(canary)]
        await self.warm(arms, questions)
        self.live, self.canary = arms
        for runner, bundles in sets:
            await runner.hold(bundles)
        self._runners = {each.version: runner for runner, rows in sets for each in rows}

    def _able(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        return [each for each in bundles if not self.figures[each.version].off_because]

    def _arm(self, bundles: Sequence[Bundle]) -> Arm:
        return Arm(self._able(bundles))

    async def warm(self, arms: Iterable[Arm | None], questions: Iterable[PolicyQuestion]) -> None:
        """Have these answered before they are asked, as far as it goes in half a second."""
        wanted = {
            (asked.version, asked.key): asked
            for question in questions
            for arm in arms
            if arm is not None
            for asked in self.rule(arm, question)[1]
        }
        rows = list(wanted.values())
        ends = time.monotonic() + _WARM_S
        while rows and time.monotonic() < ends:
            await self.fetch(rows[:_WARM_AT_ONCE], ends - time.monotonic())
            del rows[:_WARM_AT_ONCE]

    # -- asking ----------------------------------------------------------------------------------

    def rule(self, arm: Arm, question: PolicyQuestion) -> tuple[Ruling, list[PolicyAsk]]:
        """What is in memory of it, and what is not. Of one that fails nothing is in it: who is
        missing in its `by` has not answered.
        """
        rulings: list[Ruling] = []
        missing: list[PolicyAsk] = []
        for bundle, by in zip(arm.bundles, arm.by, strict=True):
            reads = self._reads[bundle.version]
            client = pick(question.client, reads.client)
            servers = [pick(each, reads.server) for each in question.servers]
            ask = AskRule(bundle.version, client, servers, pick(question.object, reads.object))
            said = self._look(bundle.version, ask, missing)
            if isinstance(said, Ruling):
                rulings.append(said._replace(by=(by,)))
        return merge_rulings(rulings), missing

    def order(
        self, arm: Arm, client: ClientFacts, chosen: Sequence[ServerFacts]
    ) -> tuple[tuple[str, ...], list[PolicyAsk]]:
        """The ids of those chosen as all want it, one after the other; likewise."""
        missing: list[PolicyAsk] = []
        for bundle in arm.bundles:
            if "order" not in bundle.hooks:
                continue
            reads = self._reads[bundle.version]
            servers = [pick(each, reads.server) for each in chosen]
            ask = AskOrder(bundle.version, pick(client, reads.client), servers)
            said = self._look(bundle.version, ask, missing)
            if isinstance(said, tuple) and not isinstance(said, Ruling):
                by_id = {each.id: each for each in chosen}
                chosen = [by_id[name] for name in said]
        return tuple(each.id for each in chosen), missing

    def _look(self, version: str, ask: AskRule | AskOrder, missing: list[PolicyAsk]) -> Said | None:
        key = msgspec.msgpack.encode(ask)
        said = self._memo.get((version, key))
        figures = self.figures.setdefault(version, PolicyFigures())
        if said is None:
            missing.append(PolicyAsk(version, key, ask))
        elif isinstance(said, ProgramFailed):
            self._note_fault(version, ask, said)
        else:
            figures.kept += 1
        return said

    async def fetch(self, missing: Sequence[PolicyAsk], wait_s: float = LIMITS.wait_s) -> None:
        """Have these answered, as far as it goes in this time. What comes later is kept, too."""
        waiting = [self._begin(each) for each in missing]
        _, late = await asyncio.wait(waiting, timeout=wait_s)
        if late:
            for asked, future in zip(missing, waiting, strict=True):
                self.figures[asked.version].late += future in late

    def _begin(self, asked: PolicyAsk) -> asyncio.Future[None]:
        """Who asks the same meanwhile waits for the same."""
        place = (asked.version, asked.key)
        if (known := self._asking.get(place)) is not None:
            return known
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking[place] = done
        runner = self._runners.get(asked.version)
        answer = not_asked() if runner is None else runner.ask(asked.ask)
        answer.add_done_callback(lambda future: self._take(asked, done, future.result()))
        return done

    def _take(self, asked: PolicyAsk, done: asyncio.Future[None], answer: Answer | None) -> None:
        self._asking.pop((asked.version, asked.key), None)
        figures = self.figures.get(asked.version)
        if figures is None:
            pass  # it is neither in force nor on trial any more
        elif answer is None or isinstance(answer, ProgramDone):
            figures.late += 1
        else:
            figures.asked += 1
            self._keep(asked, answer, figures)
        if not done.done():
            done.set_result(None)

    def _keep(self, asked: PolicyAsk, answer: Answer, figures: PolicyFigures) -> None:
        said: Said
        match answer:
            case ProgramRuled():
                said = Ruling(answer.refused, answer.weights)
            case ProgramOrdered():
                said = tuple(answer.order)
            case ProgramFailed(is_lost=True):
                self._note_fault(asked.version, asked.ask, answer)
                return  # perhaps the machine was slow: asked again
            case ProgramFailed():
                said = answer
            case _:
                raise AssertionError(f"{answer} is the answer to no question")
        if isinstance(answer, ProgramRuled | ProgramOrdered):
            figures.cpu_s += answer.cpu_s
            figures.worst_s = max(figures.worst_s, answer.cpu_s)
        size = len(asked.key) + _SAID_BYTES * (1 + len(asked.ask.servers))
        self._memo.keep((asked.version, asked.key), said, size)

    # -- failing ---------------------------------------------------------------------------------

    def _note_fault(self, version: str, ask: AskRule | AskOrder, fault: ProgramFailed) -> None:
        """One decision is made without it."""
        figures, now = self.figures[version], time.monotonic()
        figures.faults += 1
        figures.overruns += fault.is_overrun
        figures.last_fault = fault.why
        figures.last_question = msgspec.json.encode(ask).decode()
        figures.recent_faults.append(now)
        is_full = len(figures.recent_faults) == LIMITS.faults
        if is_full and now - figures.recent_faults[0] < _MINUTE_S and not figures.off_because:
            why = f"{LIMITS.faults} faults within a minute, the last: {fault.why}"
            figures.off_because = why
            _log.error("fleet: version %s of a policy is switched off: %s", version, why)
            self.live, self.canary = (
                self._less(each, version) for each in (self.live, self.canary)
            )

    @staticmethod
    def _less(arm: Arm | None, version: str) -> Arm | None:
        if arm is None or all(each.version != version for each in arm.bundles):
            return arm
        return Arm(each for each in arm.bundles if each.version != version)

    def take_figures(self) -> dict[str, FigureRow]:
        """What became of each version since the last time. What is neither in force nor on trial
        is forgotten.
        """
        taken = {}
        for version, each in list(self.figures.items()):
            row = FigureRow(*(getattr(each, name) for name in FigureRow.__struct_fields__))
            if row != FigureRow():
                taken[version] = row
            if version in self._held:
                self.figures[version] = PolicyFigures(
                    off_because=each.off_because, recent_faults=each.recent_faults
                )
            else:
                del self.figures[version]
        return taken
