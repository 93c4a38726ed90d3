"""Who keeps the releases of policies: takes steps, has what is in force shown, ends what is over.

The book is the truth, and kept for all instances; what is here follows it within a quarter of a
second. A policy that was switched off, or whose canary fares worse, is rolled back from here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ocaserve.fleet.policy_checks import PolicyCheck, check_policies
from ocaserve.fleet.policy_judging import CanaryJudge
from ocaserve.fleet.policy_shadows import Shadows
from ocaserve.fleet.policy_storing import Change, PolicyStore, PolicyStoreError
from ocaserve.fleet.recorded_decisions import DecisionRow
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.in_force import (
    FigureRow,
    PoliciesInForce,
    PolicyNotes,
    add_figures,
    as_texts,
)
from ocaserve.policies.lives import PolicyEvent, PolicyState
from ocaserve.policies.releases import (
    EMPTY_BOOK,
    PolicyBook,
    Release,
    ReleaseError,
    hand_in,
    move,
)
from ocaserve.policies.runner import MISSING, can_run_policies

_log = logging.getLogger(__name__)

_LOOK_S = 0.25  # so that a switch is seen by all instances within a second
_MOST_HEARD = 1_000  # versions
_TOLD_PER_LOOK = 4  # looks, between two times that a canary is judged
LEAST_SESSIONS = 100  # of a canary that may come into force by itself

Show = Callable[[PoliciesInForce, Sequence[Bundle]], Awaitable[None]]
"""Have it in force wherever clients are answered; bundles: what is asked beside it."""


class PolicyOffice:
    """store: of the book. show: see above. recent: decisions of late, that new ones are tried with.

    checks: by release, of those that were checked here. heard: of each version.
    """

    def __init__(
        self, store: PolicyStore, show: Show, recent: Callable[[], Sequence[DecisionRow]],
        shadows: Shadows,
    ) -> None:  # fmt: skip
        self.book: PolicyBook = EMPTY_BOOK
        self.texts: Mapping[str, Bundle] = {}
        self.heard: dict[str, FigureRow] = {}
        self.checks: dict[int, PolicyCheck] = {}
        self.judge = CanaryJudge()
        self.shadows = shadows
        self.fault = ""
        self.restarts = 0  # of processes that run policies
        self.rollbacks = 0  # that nobody asked for
        self._store = store
        self._show = show
        self._recent = recent
        self._secret = b""
        self._lock = asyncio.Lock()  # what is read is shown in its order

    @property
    def figures(self) -> dict[str, FigureRow]:
        """By version, of those that some release is made of."""
        known = self.book.versions
        return {each: row for each, row in self.heard.items() if each in known}

    async def keep(self) -> None:
        """Follow the book, and end what is over, until cancelled. What goes wrong is said once."""
        turn, is_known = 0, False
        while True:
            try:
                if not is_known or await self._store.is_newer(self.book.serial):
                    await self._follow()
                is_known = True
                await self._end_what_is_over()
                if turn % _TOLD_PER_LOOK == 0:
                    await self._judge()
                if self.fault:
                    _log.info("fleet: the releases of policies are read again")
                self.fault = ""
            except PolicyStoreError as error:
                if not self.fault:
                    _log.error("fleet: policies stay as they are: %s", error)
                self.fault = str(error)
            turn += 1
            await asyncio.sleep(_LOOK_S)

    # -- steps of operators ----------------------------------------------------------------------

    async def hand_in(self, bundles: Sequence[Bundle], by: str, note: str) -> Release:
        """A new release. Raises PolicyStoreError."""
        versions = {each.name: each.version for each in bundles}
        now = time.time()
        book = await self._change(lambda book: hand_in(book, versions, by, note, now), bundles)
        return book.releases[-1]

    async def check(self, number: int, by: str) -> PolicyCheck:
        """Find its faults. Raises ReleaseError, PolicyStoreError."""
        if not can_run_policies():
            raise ReleaseError(MISSING)
        release = self.book.find(number)
        bundles = [self.texts[each] for each in release.policies.values()]
        found = self.checks[number] = await check_policies(bundles, self._recent())
        for old in sorted(self.checks)[:-50]:
            del self.checks[old]
        if not found.faults:
            why = f"{found.tests} tests, {found.decisions} decisions"
            await self.step(number, PolicyEvent.CHECK, by=by, why=why)
        return found

    async def step(
        self, number: int, event: PolicyEvent,
        *, by: str = "", why: str = "", seconds: float = 0.0, share: float = 0.0,
    ) -> Release:  # fmt: skip
        """One step of its life. Raises ReleaseError, PolicyStoreError."""
        now = time.time()

        def change(book: PolicyBook) -> PolicyBook:
            return move(book, number, event, now, by=by, why=why, until=now + seconds, share=share)

        return (await self._change(change)).find(number)

    async def _change(self, change: Change, texts: Sequence[Bundle] = ()) -> PolicyBook:
        """Once it is in force here as well."""
        await self._store.change(change, texts)
        return await self._follow()

    async def _follow(self) -> PolicyBook:
        async with self._lock:
            before = self.book
            kept = await self._store.load()
            self.book, self.texts, self._secret = kept.book, kept.texts, kept.secret
            if kept.book.serial != before.serial or not before.serial:
                await self._put_in_force(kept.book)
            return kept.book

    async def _put_in_force(self, book: PolicyBook) -> None:
        canary = book.canary
        live = book.in_force
        tried = live | canary.policies if canary else {}
        self.judge.follow(canary.number if canary else 0)
        if not can_run_policies():
            if live:
                _log.error("fleet: the built-in rule decides alone: %s", MISSING)
            live, tried, canary = {}, {}, None
        shadows = {each.number: self._bundles(live | each.policies) for each in book.shadows}
        now = PoliciesInForce(
            serial=book.serial,
            live=as_texts(self._bundles(live)),
            canary=as_texts(self._bundles(tried)),
            release=canary.number if canary else 0,
            share=canary.share if canary else 0.0,
            secret=self._secret,
        )
        await self._show(now, [each for rows in shadows.values() for each in rows])
        self.shadows.follow(shadows)

    def _bundles(self, policies: Mapping[str, str]) -> list[Bundle]:
        return [self.texts[each] for each in policies.values() if each in self.texts]

    # -- what is measured ------------------------------------------------------------------------

    def hear(self, notes: PolicyNotes) -> None:
        """What a process that decides has to tell."""
        self.heard = add_figures(self.heard, notes.figures)
        if notes.release:
            self.judge.hear(notes.release, notes.canary, notes.rest)

    async def _judge(self) -> None:
        if len(self.heard) > _MOST_HEARD:
            self.heard = {each: self.heard[each] for each in self.figures}
        for release in self.book.releases:
            rows = [self.heard.get(version) for version in release.policies.values()]
            off = [row.off_because for row in rows if row is not None and row.off_because]
            if off and release.state in (PolicyState.LIVE, PolicyState.CANARY, PolicyState.SHADOW):
                await self._roll_back(release, off[0])
        if (canary := self.book.canary) is not None:
            self.judge.weigh(await self._store.add_up(canary.number, self.judge.own))
            if why := self.judge.why_worse():
                await self._roll_back(canary, why)

    async def _roll_back(self, release: Release, why: str) -> None:
        if await self._try_step(release.number, PolicyEvent.ROLL_BACK, why):
            self.rollbacks += 1
            what = f"release {release.number} ({release.names})"
            _log.error("fleet: %s was rolled back: %s", what, why)

    async def _end_what_is_over(self) -> None:
        now = time.time()
        for release in self.book.releases:
            if not release.until or release.until > now:
                continue
            if release.state is PolicyState.SHADOW:
                await self._roll_back(release, "its time in shadow was over")
            elif (sessions := self.judge.sessions) < LEAST_SESSIONS:
                why = f"only {sessions} sessions were told, too few to judge it by"
                await self._roll_back(release, why)
            else:
                await self._try_step(release.number, PolicyEvent.PROMOTE, self.judge.verdict())

    async def _try_step(self, number: int, event: PolicyEvent, why: str) -> bool:
        """False where another instance has taken it already."""
        try:
            await self.step(number, event, why=why)
        except ReleaseError as error:
            _log.info("fleet: release %d is left as it is: %s", number, error)
            return False
        return True
