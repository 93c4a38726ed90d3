"""What is found out of policies before they may be tried: their faults, and what they would change.

Each is parsed, linted, loaded and tested in a process of its own, and then asked for recorded
decisions, which are made again with what it says and without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ocaserve.fleet.policing import Asker, describe_client, describe_server
from ocaserve.fleet.recorded_decisions import Again, DecisionRow, RecordError, read_again
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.desk import Arm, PolicyDesk
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.program_messages import ExamineProgram, ProgramExamined, ProgramFailed
from ocaserve.policies.questions import PolicyQuestion, classify_key
from ocaserve.policies.rulings import BUILT_IN
from ocaserve.policies.runner import running

_EXAMINE_S = 30.0  # all tests of one
_REPLAY_S = 10.0  # then what was replayed is what counts
_MOST_DIFFERENCES = 20


class PolicyDifference(Struct, frozen=True, kw_only=True):
    """An object of a decision that others would serve."""

    client: str
    object: str
    without: list[str]
    having: list[str]


class PolicyCheck(Struct, frozen=True, kw_only=True):
    """faults: what forbids it, each with its place; none: it is good.

    tests: that passed. decisions: that were made again, each object one; moved: of these, where
    another is the first; unserved: where nobody is left. mean_us and worst_us: of one answer.
    """

    faults: list[str]
    tests: int = 0
    decisions: int = 0
    moved: int = 0
    unserved: int = 0
    mean_us: float = 0.0
    worst_us: float = 0.0
    differences: list[PolicyDifference] = []


async def check_policies(
    bundles: Sequence[Bundle], rows: Iterable[DecisionRow] = ()
) -> PolicyCheck:
    """rows: decisions, of which as many are made again as can be in ten seconds."""
    desk = PolicyDesk()
    keeping = asyncio.create_task(desk.keep_running())
    desk.in_force.want()  # it starts while the bundles are examined
    try:
        return await _check(desk, bundles, rows)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _check(
    desk: PolicyDesk, bundles: Sequence[Bundle], rows: Iterable[DecisionRow]
) -> PolicyCheck:
    faults: list[str] = []
    tests = 0
    for bundle in bundles:
        found = await examine(bundle)
        faults += found.faults
        tests += found.tests
    if faults:
        return PolicyCheck(faults=faults, tests=tests)
    await desk.in_force.be_up(LIMITS.start_s)
    await desk.put_in_force(bundles, None, [], [])
    return await _Replay(desk, tests).go(rows)


async def examine(bundle: Bundle) -> ProgramExamined:
    async with running(_EXAMINE_S) as runner:
        await runner.be_up(LIMITS.start_s)
        found = await runner.ask(ExamineProgram(bundle.name, dict(bundle.files)))
    if found is None:
        return ProgramExamined(["the process that runs policies cannot be started"], 0)
    if isinstance(found, ProgramFailed):
        return ProgramExamined([found.why], 0)
    assert isinstance(found, ProgramExamined), "nothing else answers it"
    return found


class _Replay:
    """Decisions made again with what is in force at a desk of its own."""

    def __init__(self, desk: PolicyDesk, tests: int) -> None:
        assert desk.live is not None, "it was put in force"
        self._desk, self._arm = desk, desk.live
        self._tests = tests
        self._decisions = self._moved = self._unserved = 0
        self._differences: list[PolicyDifference] = []

    async def go(self, rows: Iterable[DecisionRow]) -> PolicyCheck:
        ends = time.monotonic() + _REPLAY_S
        for row in rows:
            if time.monotonic() > ends or self._faults():
                break
            try:
                again = read_again(row)
            except RecordError:
                continue  # a decision of another version of ours says nothing of a policy
            if again.groups:
                await self._decide(row, again)
        figures = list(self._desk.figures.values())
        asked = sum(each.asked for each in figures) or 1
        return PolicyCheck(
            faults=self._faults(), tests=self._tests, decisions=self._decisions,
            moved=self._moved, unserved=self._unserved,
            mean_us=round(sum(each.cpu_s for each in figures) / asked * 1e6, 1),
            worst_us=round(max((each.worst_s for each in figures), default=0.0) * 1e6, 1),
            differences=self._differences,
        )  # fmt: skip

    def _faults(self) -> list[str]:
        return [
            f"{each.last_fault} (asked {each.last_question})"
            for each in self._desk.figures.values()
            if each.faults
        ]

    async def _decide(self, row: DecisionRow, again: Again) -> None:
        for key in row.objects:
            without = [each.server.id for each in again.choose(row, key, BUILT_IN)]
            having = await decide_again(self._desk, self._arm, row, again, key, _REPLAY_S)
            if having is not None:
                self._compare(row.client, key, without, having)

    def _compare(self, client: str, key: str, without: list[str], having: list[str]) -> None:
        self._decisions += 1
        if having[:1] == without[:1]:
            return
        self._moved += 1
        self._unserved += bool(without and not having)
        if len(self._differences) < _MOST_DIFFERENCES:
            self._differences.append(
                PolicyDifference(client=client, object=key, without=without, having=having)
            )


async def decide_again(
    desk: PolicyDesk, arm: Arm, row: DecisionRow, again: Again, key: str,
    wait_s: float = LIMITS.wait_s,
) -> list[str] | None:  # fmt: skip
    """Who would serve an object of a decision with these policies; None where one has not answered.

    again: made of the row, with at least one group.
    """
    used = {each.server: each.used for each in row.candidates}
    servers = {
        each.server.id: describe_server(each, used[each.server.id])
        for group in again.groups
        for each in group
    }
    asker = Asker(again.family, again.address, row.location, row.minute)
    client = describe_client(asker, again.groups)
    question = PolicyQuestion(client, tuple(servers.values()), classify_key(key))
    ruling, missing = desk.rule(arm, question)
    if missing:
        await desk.fetch(missing, wait_s)
        ruling, _ = desk.rule(arm, question)
    if ruling.by != arm.by:
        return None
    chosen = [servers[each.server.id] for each in again.choose(row, key, ruling)]
    order, missing = desk.order(arm, client, chosen)
    if missing:
        await desk.fetch(missing, wait_s)
        order, missing = desk.order(arm, client, chosen)
    return None if missing else list(order)
