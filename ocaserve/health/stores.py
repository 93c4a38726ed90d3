"""The stores, as looks at them and the workers tell: what is wrong with one, and how much room.

A look goes by the path. What clients get comes from the folder that the workers hold, so that is
compared: its device and inode, and whether a worker holds the store for failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ocaserve.health.consequences import NO_STORE
from ocaserve.health.judging import Thresholds, problems_of
from ocaserve.health.model import Level, Observation, Timing, Trouble, worst_level
from ocaserve.health.store_looks import StoreFacts, StoreWatch
from ocaserve.health.words import amount, duration, percent
from ocaserve.settings.health import HealthSettings
from ocaserve.stores import show_path

_TAKEN_WITHIN_S = 3.0  # workers take another folder within a second, and looks are as old


class HeldStore(NamedTuple):
    """A store as one worker holds it. device, inode: of the folder that it serves from."""

    is_failed: bool
    device: int
    inode: int


Holdings = Mapping[str, Sequence[HeldStore]]
"""By the path of the store, what each worker that has looked at it holds."""


class StoresComponent:
    """All stores. `holdings`: what the workers hold."""

    name = "stores"

    def __init__(
        self,
        timing: Timing,
        settings: HealthSettings,
        stores: Sequence[StoreWatch],
        holdings: Callable[[], Holdings],
    ) -> None:
        self.timing = timing
        self._settings = settings
        self._stores = stores
        self._holdings = holdings
        self._differ_since: dict[str, float] = {}

    def observe(self, now: float) -> Observation:
        holdings = self._holdings()
        problems: list[Trouble] = []
        known: list[StoreFacts] = []
        out = 0
        for store in self._stores:
            facts = store.facts(now)
            if facts is None:
                continue
            known.append(facts)
            held = holdings.get(store.path, ())
            problems += store_problems(facts, self._settings, held)
            problems += self._find_difference(facts, held, now)
            out += self._is_out(facts, held)
        if known and out == len(self._stores):
            problems.append(Trouble(Level.ERROR, NO_STORE, "no store can be read"))
        readable = len(self._stores) - out
        summary = f"{readable} readable, {amount(room_of(known).free, 'B')} free"
        return Observation(summary, tuple(problems))

    def _find_difference(
        self, facts: StoreFacts, held: Sequence[HeldStore], now: float
    ) -> Iterable[Trouble]:
        """Workers serve from another folder than is at the path, and do not take that."""
        count = 0 if facts.failure else count_differing(facts, held)
        if not count:
            self._differ_since.pop(facts.path, None)
        elif now - self._differ_since.setdefault(facts.path, now) >= _TAKEN_WITHIN_S:
            reason = f"{count} of {len(held)} workers serve another folder than {facts.path} is now"
            yield Trouble(Level.ERROR, f"{facts.path} folder", reason)

    def _is_out(self, facts: StoreFacts, held: Sequence[HeldStore]) -> bool:
        """Whether nothing can be had from it: it cannot be read, or does not answer."""
        return (
            bool(facts.failure)
            or facts.waited_s >= self._settings.store_stall_error_s
            or (bool(held) and all(each.is_failed for each in held))
        )


def count_differing(facts: StoreFacts, held: Sequence[HeldStore]) -> int:
    """How many workers serve from another folder than the look has found."""
    found = facts.device, facts.inode
    return sum(not each.is_failed and (each.device, each.inode) != found for each in held)


def store_problems(
    facts: StoreFacts, settings: HealthSettings, held: Sequence[HeldStore] = ()
) -> list[Trouble]:
    """What is wrong with one store. One that stalls is not judged by what it told before."""
    path = facts.path
    stall = Thresholds(settings.store_stall_warning_s, settings.store_stall_error_s)
    if stall.of_high(facts.waited_s):
        reason = f"{path} has not answered for {duration(facts.waited_s)}"
        return [Trouble(stall.of_high(facts.waited_s), f"{path} stall", reason)]
    if facts.failure:
        return [Trouble(Level.ERROR, path, f"{path} cannot be read: {facts.failure}")]
    problems = []
    failed = sum(each.is_failed for each in held)
    if failed:
        reason = f"{failed} of {len(held)} workers hold {path} for failed: the log has why"
        problems.append(Trouble(Level.ERROR, f"{path} held", reason))
    if facts.unreadable:
        reason = f"{facts.unreadable} of {facts.tried} objects tried on {path} cannot be read"
        problems.append(Trouble(Level.WARNING, f"{path} objects", reason))
    if facts.total:  # neither read-only nor of no size
        share = facts.free / facts.total
        room = Thresholds(settings.store_free_warning, settings.store_free_error)
        reason = f"{path} has {percent(share)} free ({amount(facts.free, 'B')})"
        problems += problems_of((room.of_low(share), f"{path} room", reason))
    return problems


class Room(NamedTuple):
    """Bytes that are free, and that there are, on the disks of all stores together."""

    free: int
    total: int


def room_of(stores: Iterable[StoreFacts]) -> Room:
    """Each device once: two stores on one file system share its room."""
    disks = {facts.device or facts.path: facts for facts in stores if facts.total}
    return Room(
        sum(facts.free for facts in disks.values()), sum(facts.total for facts in disks.values())
    )


class StoreCondition(NamedTuple):
    """A store for people. free, total: bytes; None where that means nothing or is not known."""

    path: str
    level: Level | None
    reason: str
    free: int | None
    total: int | None


def show_store(
    path: str, facts: StoreFacts | None, settings: HealthSettings, held: Sequence[HeldStore] = ()
) -> StoreCondition:
    """What its latest look found, and the workers hold; no level before the first look."""
    if facts is None:
        return StoreCondition(show_path(path), None, "not looked at yet", None, None)
    problems = store_problems(facts, settings, held)
    room = (facts.free, facts.total) if facts.total else (None, None)
    reason = "; ".join(problem.reason for problem in problems)
    level = worst_level(problem.level for problem in problems)
    return StoreCondition(facts.path, level, reason, *room)
