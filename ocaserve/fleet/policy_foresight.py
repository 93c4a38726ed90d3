"""What policies in force would say to clients in a what-if. Processes of their own are asked: what
is only imagined delays no client, and is no policy's fault.

A what-if is reckoned in a thread, which cannot ask. So it notes what it lacks, and is reckoned
again when that is known; what was not asked in time is done without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import NamedTuple

from ocaserve.fleet.decisions import Candidate, Group, network_of
from ocaserve.fleet.demand import DemandRow
from ocaserve.fleet.policing import Asker, Policing, describe_client, describe_server
from ocaserve.fleet.projections import PolicySaying
from ocaserve.policies.desk import Arm, PolicyAsk, PolicyDesk
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.questions import ObjectFacts, PolicyQuestion, ServerFacts, classify_key
from ocaserve.policies.rulings import BUILT_IN, Ruling

_MOST_AT_ONCE = 32  # questions, as one process takes them
_ASK_S = 3.0  # for all of them


class _RuleWanted(NamedTuple):
    arm: Arm
    question: PolicyQuestion


class _OrderWanted(NamedTuple):
    arm: Arm
    asker: Asker
    chosen: list[Candidate]


class ForeseenPolicies:
    """A judge, as `projections` has it. used: of what servers can take; minute: of the decisions.

    asked: questions that were answered; missing: those that were not.
    """

    def __init__(
        self, desk: PolicyDesk, policing: Policing, used: Mapping[str, float], minute: int
    ) -> None:
        self.missing: dict[Hashable, _RuleWanted | _OrderWanted] = {}
        self._desk = desk
        self._is_canary = policing.is_canary
        self._used, self._minute = dict(used), minute
        self._rulings: dict[Hashable, Ruling] = {}
        self._orders: dict[Hashable, Sequence[str]] = {}
        self._left_s = _ASK_S

    @property
    def asked(self) -> int:
        return len(self._rulings) + len(self._orders)

    @property
    def by(self) -> list[str]:
        """The policies that are asked."""
        arms = (self._desk.live, self._desk.canary)
        return sorted({name for arm in arms if arm is not None for name in arm.by})

    @property
    def orders(self) -> bool:
        """Whether some put those that were chosen in order."""
        arms = (self._desk.live, self._desk.canary)
        return any(arm.has_order for arm in arms if arm is not None)

    @property
    def reads_objects(self) -> bool:
        """Whether it matters to them what clients want."""
        arms = (self._desk.live, self._desk.canary)
        return any(arm.reads.object for arm in arms if arm is not None)

    # -- asked in a thread -----------------------------------------------------------------------

    def arm_of(self, row: DemandRow) -> Arm | None:
        """Those in force for these clients, as `Policing` has them."""
        desk = self._desk
        is_tried = desk.canary is not None and self._is_canary(_network_of(row))
        arm = desk.canary if is_tried else desk.live
        return arm if arm is not None and arm.bundles else None

    def rule(self, row: DemandRow, groups: Sequence[Group], key: bytes) -> PolicySaying:
        """groups: the same object as long as they are the same."""
        arm = self.arm_of(row)
        assert arm is not None, "it is asked for whom there are some"
        facts = classify_key(key.decode(errors="replace")) if arm.reads.object else ObjectFacts()
        mark = arm.number, id(groups), facts
        ruling = self._rulings.get(mark)
        asker = Asker(row.network.family, row.address, row.place, self._minute)
        if ruling is None:
            self.missing[mark] = _RuleWanted(arm, self._question(asker, groups, facts))

        def order(chosen: list[Candidate]) -> list[Candidate]:
            return self._order(arm, asker, groups, chosen)

        is_known = ruling is not None
        return PolicySaying((mark, is_known), ruling or BUILT_IN, order if arm.has_order else None)

    def _order(
        self, arm: Arm, asker: Asker, groups: Sequence[Group], chosen: list[Candidate]
    ) -> list[Candidate]:
        if len(chosen) < 2:
            return chosen
        mark = arm.number, id(groups), tuple(each.server.id for each in chosen)
        wanted = self._orders.get(mark)
        if wanted is None:
            self.missing[mark] = _OrderWanted(arm, asker, chosen)
            return chosen
        return sorted(chosen, key=lambda each: wanted.index(each.server.id))

    # -- asking ----------------------------------------------------------------------------------

    async def ask(self) -> bool:
        """Have what is missing answered; whether there is more to reckon with than before."""
        missing, before = self.missing, self.asked
        self.missing = {}
        while missing and self._left_s > 0:
            begun = time.monotonic()
            batch = dict(islice(missing.items(), _MOST_AT_ONCE))
            asks = [ask for wanted in batch.values() for ask in self._ask(wanted)[1]]
            if asks:
                await self._desk.fetch(asks, self._left_s)
            else:
                await asyncio.sleep(0)
            for mark, wanted in batch.items():
                said, asks = self._ask(wanted)
                if asks:
                    self.missing[mark] = wanted
                elif isinstance(said, Ruling):
                    self._rulings[mark] = said
                else:
                    self._orders[mark] = said
                del missing[mark]
            self._left_s -= time.monotonic() - begun
        self.missing |= missing
        return self.asked > before

    def _ask(
        self, wanted: _RuleWanted | _OrderWanted
    ) -> tuple[Ruling | Sequence[str], list[PolicyAsk]]:
        if isinstance(wanted, _RuleWanted):
            if len(wanted.question.servers) > LIMITS.servers:
                return BUILT_IN, []
            return self._desk.rule(wanted.arm, wanted.question)
        groups = [(each,) for each in wanted.chosen]
        client = describe_client(wanted.asker, groups)
        return self._desk.order(wanted.arm, client, [self._facts_of(each[0]) for each in groups])

    def _question(
        self, asker: Asker, groups: Sequence[Group], facts: ObjectFacts
    ) -> PolicyQuestion:
        servers = tuple(self._facts_of(each) for group in groups for each in group)
        return PolicyQuestion(describe_client(asker, groups), servers, facts)

    def _facts_of(self, candidate: Candidate) -> ServerFacts:
        return describe_server(candidate, self._used.get(candidate.server.id, 0.0))


def _network_of(row: DemandRow) -> bytes:
    return network_of(row.network.family, row.address)


@asynccontextmanager
async def foreseen_policies(
    policing: Policing, used: Mapping[str, float], minute: int
) -> AsyncIterator[ForeseenPolicies | None]:
    """Those that are in force, until the block ends; None where there are none."""
    live, canary = policing.desk.live, policing.desk.canary
    if not any(arm is not None and arm.bundles for arm in (live, canary)):
        yield None
        return
    desk = PolicyDesk()
    keeping = asyncio.create_task(desk.keep_running())
    try:
        await desk.put_in_force(
            live.bundles if live is not None else (),
            canary.bundles if canary is not None else None,
            [],
            [],
        )
        for runner, arm in ((desk.in_force, desk.live), (desk.on_trial, desk.canary)):
            if arm is not None and arm.bundles:
                await runner.be_up(LIMITS.start_s)
        yield ForeseenPolicies(desk, policing, used, minute)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
